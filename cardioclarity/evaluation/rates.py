"""Heart rate and rate events in windows of 10 s, as production finds the R peaks, against reference beats.

The rate is 60 / mean RR of the intervals that touch a whole window without ventricular flutter; events are windows above
100 bpm, below 50 bpm, or touched by an interval of 2 s or more.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from cardioclarity.beats import intervals
from cardioclarity.config import ScoreConfig
from cardioclarity.evaluation.results import Found, Metric, metric, ratio_metric
from cardioclarity.evaluation.rpeaks import Labelled, pooled, together
from cardioclarity.evaluation.subjects import Subject
from cardioclarity.intervals import Draws
from cardioclarity.rates import mean_rate, touching
from cardioclarity.windows import window_starts

WINDOW_S = 10.0
EVENTS = ("tachycardia", "bradycardia", "pause")
_LIMITS = ScoreConfig(root="")
Floats = NDArray[np.float64]


def measure(subjects: Mapping[str, Subject]) -> Found:
    """Compare the rates of own R peaks with those of reference beats.

    Args:
        subjects: Records of a database; those without reference beats are left out, and it is said how many.

    Returns:
        Mean absolute error in beats per minute, and the F1 of each event over windows.

    Raises:
        NotFoundError: No record has reference beats.
    """
    return pooled(subjects, rate_counts, _metrics, "rates are compared with theirs")


def _metrics(sums: Floats) -> Iterator[Metric]:
    yield ratio_metric("rate", "rate_mae_bpm", "all", sums[:, 0], sums[:, 1])
    for at, name in enumerate(EVENTS):
        yield _f1_metric(name, sums[:, 2 + 3 * at : 5 + 3 * at])


def _f1_metric(name: str, counts: Floats) -> Metric:
    """F1 of one event from (patient, 3) hits, false alarms and misses."""
    draws = Draws.of(np.ones(len(counts), bool))
    value = float(_f1(counts.sum(axis=0, keepdims=True))[0])
    values = draws.of_counts(counts, _f1)
    n_true = int(counts[:, [0, 2]].sum())
    return metric("rate", "rate_event_f1", name, [value], [values], n_patients=len(counts), n_items=n_true)


def _f1(sums: Floats) -> Floats:
    """(draw,) F1; NaN where a draw holds no event, true or claimed."""
    whole = 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]
    f1: Floats = np.divide(2 * sums[:, 0], whole, out=np.full(len(sums), np.nan), where=whole > 0)
    return f1


def rate_counts(record: Labelled) -> Floats:
    """Sum of absolute errors, number of windows, then hits, false alarms and misses of each event."""
    true_bpm, true_events = _rates(record, record.beats)
    found_bpm, found_events = _rates(record, together(record))
    error = np.abs(true_bpm - found_bpm)
    hits, false, missed = true_events & found_events, ~true_events & found_events, true_events & ~found_events
    counts = np.stack([hits.sum(axis=1), false.sum(axis=1), missed.sum(axis=1)], axis=1)
    return np.concatenate([[np.nansum(error), (~np.isnan(error)).sum()], counts.ravel()]).astype(np.float64)


def _rates(record: Labelled, peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rate of each scored window, and (event, window) which events it holds."""
    n_samples = record.signal_mv.shape[1]
    starts = window_starts(n_samples, rate_hz=record.rate_hz, window_s=WINDOW_S)
    width = round(WINDOW_S * record.rate_hz)
    scored = starts + width <= n_samples
    for first, last in record.flutter:
        scored &= (starts > last) | (starts + width <= first)
    missing: NDArray[np.bool_] = np.all(np.isnan(record.signal_mv[list(record.analysed)]), axis=0)
    rr_s = intervals(peaks, missing, rate_hz=record.rate_hz)
    rate_bpm = mean_rate(peaks, rr_s, starts, n_samples=n_samples)
    long_before = np.concatenate([[0], np.cumsum(rr_s >= _LIMITS.pause_s)])
    first_rr, stop_rr = touching(peaks, starts, n_samples=n_samples)
    top = len(rr_s)
    first_rr, stop_rr = np.minimum(first_rr, top), np.clip(stop_rr, np.minimum(first_rr, top), top)
    pause = long_before[stop_rr] > long_before[first_rr]
    events = np.stack([rate_bpm > _LIMITS.tachycardia_bpm, rate_bpm < _LIMITS.bradycardia_bpm, pause])
    return rate_bpm[scored], events[:, scored]
