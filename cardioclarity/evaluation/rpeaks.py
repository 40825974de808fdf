"""R peaks: each channel as stored and all together, whole record, all beat symbols, one to one within 150 ms, no flutter."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.results import Found, Metric, ratio_metric
from cardioclarity.evaluation.subjects import Subject
from cardioclarity.examples import Recipe, choose_leads
from cardioclarity.record import Record
from cardioclarity.references import MATCH_S, flutter, inside, pairs
from cardioclarity.rpeaks import detect, detect_together
from cardioclarity.vocabulary import BEAT_CLASSES

Floats = NDArray[np.float64]

SUBSETS = ("channel:1", "channel:2", "together")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """What is compared: one record with its reference beats.

    Attributes:
        rate_hz: Samples per second.
        leads: Canonical names, in stored order.
        signal_mv: (lead, sample) float32, in stored order.
        beats: (beat,) int64, reference positions.
        flutter: (stretch, 2) int64, where nobody labelled beats.
        analysed: Rows of `signal_mv` that production analyses, best first.
    """

    rate_hz: float
    leads: tuple[str, ...]
    signal_mv: NDArray[np.float32]
    beats: NDArray[np.int64]
    flutter: NDArray[np.int64]
    analysed: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, record: Record, order: Sequence[int]) -> "Labelled":
        """Take what is needed of a record.

        Args:
            record: The record.
            order: Row of the record that holds each stored channel.
        """
        is_beat = np.isin(record.annotations.symbol, list(BEAT_CLASSES))
        return cls(
            rate_hz=record.rate_hz,
            leads=tuple(record.leads[row] for row in order),
            signal_mv=record.millivolts()[list(order)],
            beats=np.unique(record.annotations.sample[is_beat]),
            flutter=flutter(record.annotations),
            analysed=tuple(list(order).index(row) for row in choose_leads(record, Recipe()) if row in order),
        )


def measure(subjects: Mapping[str, Subject]) -> Found:
    """Detect the R peaks of every record in its first and second channel, and as production does in all together.

    Args:
        subjects: Records of a database; those without reference beats are left out, and it is said how many.

    Returns:
        Sensitivity and positive predictive value of each, pooled.

    Raises:
        NotFoundError: No record has reference beats.
    """
    return pooled(subjects, _counts, _metrics, "R peaks are compared with them")


def pooled(
    subjects: Mapping[str, Subject],
    counts: Callable[[Labelled], Floats],
    metrics: Callable[[Floats], Iterable[Metric]],
    why: str,
) -> Found:
    """Count something in every record that has reference beats, and pool the counts of each patient.

    Args:
        subjects: Records of a database; those without reference beats are left out, and it is said how many.
        counts: What is counted in a record, as numbers that add up.
        metrics: The figures of (patient, count) sums.
        why: What reference beats are needed for.

    Raises:
        NotFoundError: No record has reference beats.
    """
    sums: dict[str, Floats] = {}
    n_left_out = 0
    for subject in subjects.values():
        record = subject.read()
        labelled = Labelled.of(record, subject.channels(record))
        if not len(labelled.beats):
            n_left_out += 1
            continue
        sums[subject.patient] = counts(labelled) + sums.get(subject.patient, 0.0)
    if not sums:
        raise NotFoundError(f"none of the {len(subjects)} records has reference beats; {why}")
    return Found(
        metrics=tuple(metrics(np.stack(list(sums.values())))),
        n_patients=len(sums),
        n_records=len(subjects) - n_left_out,
        notes=left_out(n_left_out, len(subjects), "reference beats"),
    )


def together(record: Labelled) -> NDArray[np.int64]:
    """Find the R peaks in the leads that production analyses."""
    return detect_together(record.signal_mv[list(record.analysed)], rate_hz=record.rate_hz)


def left_out(n_left_out: int, n_all: int, what: str) -> tuple[str, ...]:
    """Say how many records have not what is needed; nothing where all have."""
    return (f"{n_left_out} of {n_all} records have no {what} and were left out",) if n_left_out else ()


def _counts(record: Labelled) -> Floats:
    """Beats found, beats missed and false peaks of each of `SUBSETS`; a channel that is not there counts nothing."""
    counts = np.zeros((len(SUBSETS), 3))
    for at, signal_mv in enumerate(record.signal_mv[:2]):
        counts[at] = compare(record, detect(signal_mv, rate_hz=record.rate_hz))
    counts[-1] = compare(record, together(record))
    return counts.ravel()


def _metrics(sums: Floats) -> Iterator[Metric]:
    for at, subset in enumerate(SUBSETS):
        found, missed, false = sums[:, 3 * at : 3 * at + 3].T
        if (found + missed).any():
            yield ratio_metric("rpeaks", "rpeak_sensitivity", subset, found, found + missed)
            yield ratio_metric("rpeaks", "rpeak_ppv", subset, found, found + false)


def compare(record: Labelled, found: NDArray[np.int64]) -> tuple[int, int, int]:
    """Count beats found, beats missed and peaks that are no beat, outside flutter."""
    reach = round(MATCH_S * record.rate_hz)
    beats, peaks = (samples[~inside(samples, record.flutter, margin=reach)] for samples in (record.beats, found))
    n_matched = len(pairs(peaks, beats, reach=reach)[0])
    return n_matched, len(beats) - n_matched, len(peaks) - n_matched
