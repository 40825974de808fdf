"""D8, D10: R peaks and heart rate on the development half of MIT-BIH, and the detector's seconds per hour of lead."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import mitbih, patients
from bench.rows import Row
from cardioclarity.beats import intervals
from cardioclarity.rates import mean_rate, touching
from cardioclarity.rpeaks import best_lead, detect, detect_together, is_hopeless
from cardioclarity.vocabulary import BEAT_CLASSES
from cardioclarity.windows import window_starts

TOLERANCE_S = 0.15
WINDOW_S = 10.0
LIMITS_BPM = {"tachycardia": 100.0, "bradycardia": 50.0}
PAUSE_S = 2.0
GOALS = {"channel 1": (0.999, 0.9985), "channel 2": (0.99, 0.98), "together": (0.999, 0.9985)}
"""Leads that are asked → sensitivity and positive predictive value."""
EVENT_GOALS = {"tachycardia": 0.99, "bradycardia": 0.99, "pause": 0.98}

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """A record as wfdb gives it.

    Attributes:
        rate_hz: Samples per second.
        leads: Canonical names, in stored order.
        signal_mv: (lead, sample) float32.
        beats: (beat,) int64, reference positions.
        flutter: (stretch, 2) int64, samples of `[` and `]`, where nobody labelled beats.
    """

    rate_hz: float
    leads: tuple[str, ...]
    signal_mv: NDArray[np.float32]
    beats: NDArray[np.int64]
    flutter: NDArray[np.int64]


def measure(archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT) -> list[Row]:
    """Detect the R peaks of every record and compare them, and the rates they give, with the reference.

    R peaks: each channel as stored, and both together as in production; whole record, all beat symbols, one to one within
    150 ms, `[`...`]` left out. Rate: from both together; 60 / mean RR of the intervals that touch a whole window of 10 s
    without `[`...`]`; events are windows above 100 bpm, below 50 bpm, or touched by an interval above 2 s.
    """
    archive = archive or mitbih.archive()
    records = [_labelled(archive / f"{name}.hea") for name in names]
    rows: list[Row] = []
    for leads, (sensitivity, predictive_value) in GOALS.items():
        counts = np.array([compare(record, peaks_of(record, leads)) for record in records], float)
        what, found_share = f"R peaks, {leads}", _value(counts, lambda c: c[0] / (c[0] + c[1]))
        true_share = _value(counts, lambda c: c[0] / (c[0] + c[2]))
        rows += [
            Row(goal="D8", what=f"{what}, sensitivity", unit="", at_least=sensitivity, **found_share),
            Row(goal="D8", what=f"{what}, +P", unit="", at_least=predictive_value, **true_share),
        ]
    rates = np.array([rate_counts(record) for record in records], float)
    error = _value(rates, lambda c: c[0] / c[1])
    rows.append(Row(goal="D10", what="rate, mean absolute error", unit="bpm", at_most=0.15, **error))
    for at, (event, goal) in enumerate(EVENT_GOALS.items()):
        f1 = _value(rates[:, 2 + 3 * at : 5 + 3 * at], lambda c: 2 * c[0] / (2 * c[0] + c[1] + c[2]))
        rows.append(Row(goal="D10", what=f"{event}, F1", unit="", at_least=goal, **f1))
    rows.append(Row(goal="S3", what="R peaks, per hour of one lead", unit="CPU s", ours=_cpu_s_per_hour(records)))
    return rows


def _labelled(header: Path) -> Labelled:
    record = mitbih.read(header)
    order = mitbih.stored_order(header, record)
    is_beat = np.isin(record.annotations.symbol, list(BEAT_CLASSES))
    return Labelled(
        rate_hz=record.rate_hz,
        leads=tuple(record.leads[at] for at in order),
        signal_mv=record.millivolts()[order],
        beats=record.annotations.sample[is_beat],
        flutter=mitbih.between(record.annotations, "[]"),
    )


def _value(counts: Counts, ratio: Callable[[Counts], float]) -> dict[str, float]:
    """A ratio of sums of (record, count), with its interval over patients."""
    with np.errstate(invalid="ignore"):  # a draw may hold no event of a kind
        low, high = patients.interval(lambda drawn: ratio(counts[drawn].sum(axis=0)), len(counts))
        return {"ours": float(ratio(counts.sum(axis=0))), "low": float(low), "high": float(high)}


def compare(record: Labelled, found: NDArray[np.int64]) -> tuple[int, int, int]:
    """Count beats found, beats missed and peaks that are no beat, outside flutter."""
    reach = round(TOLERANCE_S * record.rate_hz)
    beats, peaks = (_outside(samples, record.flutter, reach) for samples in (record.beats, found))
    n_matched = match(beats, peaks, reach)
    return n_matched, len(beats) - n_matched, len(peaks) - n_matched


def match(beats: NDArray[np.int64], peaks: NDArray[np.int64], reach: int) -> int:
    """Pair beats and peaks one to one, nearest first; the number of pairs."""
    first, stop = np.searchsorted(peaks, beats - reach), np.searchsorted(peaks, beats + reach, side="right")
    pairs = [(abs(int(peaks[j] - b)), i, j) for i, b in enumerate(beats) for j in range(first[i], stop[i])]
    beats_taken: set[int] = set()
    peaks_taken: set[int] = set()
    for _, i, j in sorted(pairs):
        if i not in beats_taken and j not in peaks_taken:
            beats_taken.add(i)
            peaks_taken.add(j)
    return len(beats_taken)


def rate_counts(record: Labelled) -> list[float]:
    """Sum of absolute errors, number of windows, then hits, false alarms and misses of each event."""
    found = peaks_of(record, "together")
    true_bpm, true_events = _rates(record, record.beats)
    found_bpm, found_events = _rates(record, found)
    error = np.abs(true_bpm - found_bpm)
    hits, false, missed = true_events & found_events, ~true_events & found_events, true_events & ~found_events
    counts = np.stack([hits.sum(axis=1), false.sum(axis=1), missed.sum(axis=1)], axis=1)
    return [float(np.nansum(error)), float((~np.isnan(error)).sum()), *counts.ravel().tolist()]


def peaks_of(record: Labelled, leads: str) -> NDArray[np.int64]:
    """The R peaks of one channel as stored, or those that production takes from all."""
    if leads != "together":
        channel = int(leads.removeprefix("channel "))
        return detect(record.signal_mv[channel - 1], rate_hz=record.rate_hz)
    order = best_lead(record.signal_mv, rate_hz=record.rate_hz, leads=record.leads)
    usable = [lead for lead in order if not is_hopeless(record.signal_mv[lead], rate_hz=record.rate_hz)]
    return detect_together(record.signal_mv[usable or list(order[:1])], rate_hz=record.rate_hz)


def _cpu_s_per_hour(records: Sequence[Labelled]) -> float:
    started = time.process_time()
    for record in records:
        detect(record.signal_mv[0], rate_hz=record.rate_hz)
    seconds = time.process_time() - started
    hours: float = sum(record.signal_mv.shape[1] / record.rate_hz for record in records) / 3600
    return seconds / hours


def _rates(record: Labelled, peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rate of each scored window, and (event, window) which events it holds."""
    n_samples = record.signal_mv.shape[1]
    starts = window_starts(n_samples, rate_hz=record.rate_hz, window_s=WINDOW_S)
    width = round(WINDOW_S * record.rate_hz)
    scored = starts + width <= n_samples
    for first, last in record.flutter:
        scored &= (starts > last) | (starts + width <= first)
    rr_s = intervals(peaks, np.isnan(record.signal_mv).all(axis=0), rate_hz=record.rate_hz)
    rate_bpm = mean_rate(peaks, rr_s, starts, n_samples=n_samples)
    long_before = np.concatenate([[0], np.cumsum(rr_s > PAUSE_S)])
    first, stop = touching(peaks, starts, n_samples=n_samples)
    pause = long_before[np.maximum(stop, first)] > long_before[first]
    events = np.stack([rate_bpm > LIMITS_BPM["tachycardia"], rate_bpm < LIMITS_BPM["bradycardia"], pause])
    return rate_bpm[scored], events[:, scored]


def _outside(samples: NDArray[np.int64], flutter: NDArray[np.int64], reach: int) -> NDArray[np.int64]:
    """Drop what lies within flutter or `reach` samples around it."""
    inside = (samples >= flutter[:, :1] - reach) & (samples <= flutter[:, 1:] + reach)
    return samples[~inside.any(axis=0)]
