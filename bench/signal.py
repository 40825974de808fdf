"""R peaks and heart rate on the development half of MIT-BIH: what D8 and D10 ask, and seconds per hour of lead."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from cardioclarity.beats import intervals
from cardioclarity.rates import mean_rate, touching
from cardioclarity.rpeaks import best_lead, detect
from cardioclarity.vocabulary import BEAT_CLASSES, canonical_lead
from cardioclarity.windows import window_starts

DEVELOPMENT = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
TOLERANCE_S = 0.15
WINDOW_S = 10.0
N_DRAWS = 1000
LIMITS_BPM = {"tachycardia": 100.0, "bradycardia": 50.0}
PAUSE_S = 2.0

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """A record as wfdb gives it.

    Attributes:
        name: The record.
        rate_hz: Samples per second.
        leads: Names as stored, in stored order.
        signal_mv: (lead, sample) float32.
        beats: (beat,) int64, reference positions.
        flutter: (stretch, 2) int64, samples of `[` and `]`, where nobody labelled beats.
    """

    name: str
    rate_hz: float
    leads: tuple[str, ...]
    signal_mv: NDArray[np.float32]
    beats: NDArray[np.int64]
    flutter: NDArray[np.int64]


def measure(archive: Path | None = None) -> dict[str, dict[str, float]]:
    """Detect the R peaks of every record and compare them, and the rates they give, with the reference.

    R peaks: first channel as stored, whole record, all beat symbols, one to one within 150 ms, `[`...`]` left out. Rate:
    lead chosen as in production; 60 / mean RR of the intervals that touch a whole window of 10 s without `[`...`]`; events
    are windows above 100 bpm, below 50 bpm, or touched by an interval above 2 s.

    Args:
        archive: Folder of MIT-BIH.

    Returns:
        Per metric its value over all records and its 95 % interval over patients (1000 draws, seed 0).
    """
    records = [read((archive or _archive()) / name) for name in DEVELOPMENT]
    results: dict[str, dict[str, float]] = {}
    for channel in (0, 1):
        peaks = [detect(record.signal_mv[channel], rate_hz=record.rate_hz) for record in records]
        counts = np.array([compare(record, found) for record, found in zip(records, peaks, strict=True)], float)
        results[f"rpeak_sensitivity channel:{channel + 1}"] = interval(counts, lambda c: c[0] / (c[0] + c[1]))
        results[f"rpeak_ppv channel:{channel + 1}"] = interval(counts, lambda c: c[0] / (c[0] + c[2]))
    rates = np.array([rate_counts(record) for record in records], float)
    results["rate_mae_bpm all"] = interval(rates, lambda c: c[0] / c[1])
    for at, event in enumerate((*LIMITS_BPM, "pause")):
        hits = rates[:, 2 + 3 * at : 5 + 3 * at]
        results[f"rate_event_f1 {event}"] = interval(hits, lambda c: 2 * c[0] / (2 * c[0] + c[1] + c[2]))
    results["detect_s_per_hour"] = {"value": seconds_per_hour(records)}
    return results


def read(path: Path) -> Labelled:
    """Read a record and its reference beats with wfdb."""
    record = wfdb.rdrecord(str(path))
    annotation = wfdb.rdann(str(path), "atr")
    symbols = np.array(annotation.symbol)
    edges = annotation.sample[np.isin(symbols, ["[", "]"])]
    return Labelled(
        name=path.name,
        rate_hz=float(record.fs),
        leads=tuple(record.sig_name),
        signal_mv=record.p_signal.T.astype(np.float32),
        beats=annotation.sample[np.isin(symbols, list(BEAT_CLASSES))].astype(np.int64),
        flutter=edges.reshape(-1, 2).astype(np.int64),
    )


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
    names = [canonical_lead(name) or name for name in record.leads]
    lead = best_lead(record.signal_mv, rate_hz=record.rate_hz, leads=names)[0]
    found = detect(record.signal_mv[lead], rate_hz=record.rate_hz)
    true_bpm, true_events = _rates(record, record.beats)
    found_bpm, found_events = _rates(record, found)
    error = np.abs(true_bpm - found_bpm)
    hits, false, missed = true_events & found_events, ~true_events & found_events, true_events & ~found_events
    counts = np.stack([hits.sum(axis=1), false.sum(axis=1), missed.sum(axis=1)], axis=1)
    return [float(np.nansum(error)), float((~np.isnan(error)).sum()), *counts.ravel().tolist()]


def interval(counts: Counts, ratio: Callable[[Counts], float]) -> dict[str, float]:
    """A ratio of sums of (record, count), and its percentiles over draws of records with replacement."""
    rng = np.random.default_rng(0)
    with np.errstate(invalid="ignore"):  # a draw may hold no event of a kind
        draws = [ratio(counts[rng.integers(0, len(counts), len(counts))].sum(axis=0)) for _ in range(N_DRAWS)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {"value": float(ratio(counts.sum(axis=0))), "low": float(low), "high": float(high)}


def seconds_per_hour(records: Sequence[Labelled]) -> float:
    """Seconds of one core that an hour of one lead takes."""
    started = time.perf_counter()
    for record in records:
        detect(record.signal_mv[0], rate_hz=record.rate_hz)
    hours = sum(record.signal_mv.shape[1] / record.rate_hz for record in records) / 3600
    return (time.perf_counter() - started) / hours


def _rates(record: Labelled, peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rate of each scored window, and (event, window) which events it holds."""
    n_samples = record.signal_mv.shape[1]
    starts = window_starts(n_samples, rate_hz=record.rate_hz, window_s=WINDOW_S)
    width = round(WINDOW_S * record.rate_hz)
    scored = starts + width <= n_samples
    for first, last in record.flutter:
        scored &= (starts > last) | (starts + width <= first)
    rr_s = intervals(peaks, np.isnan(record.signal_mv[0]), rate_hz=record.rate_hz)
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


def _archive() -> Path:
    """The folder of MIT-BIH: beside the checkout, unless `CARDIOCLARITY_DATA` says otherwise."""
    default = Path(__file__).parents[1] / "../shared/data"
    return Path(os.environ.get("CARDIOCLARITY_DATA") or default).resolve() / "mitdb"


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
