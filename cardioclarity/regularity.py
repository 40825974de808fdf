"""How regular is the pulse around a window: nine numbers from its RR intervals."""

import numpy as np
from numpy.typing import NDArray

from cardioclarity.filtering import expand
from cardioclarity.windows import as_rows, quantile_of_known

_FEWEST_INTERVALS = 8
_NEAR_S = 60.0
_ENTROPY_STEP = 0.05
_ENTROPY_REACH = 12
_FAST_S, _TACHY_S, _SLOW_S = 0.5, 0.6, 1.2


def rhythm(
    rpeak_s: NDArray[np.float64],
    rr_s: NDArray[np.float32],
    centre_s: NDArray[np.float64],
    *,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Describe the rhythm around each window by nine numbers that are near 0 for a steady pulse of usual rate.

    Args:
        rpeak_s: (beat,) float64, time of each R peak.
        rr_s: (beat,) float32, interval to the previous R peak; NaN where unknown.
        centre_s: (window,) float64, time of the centre of each window.
        first: (window,) int64, first interval that touches the window.
        stop: (window,) int64, one past the last.

    Returns:
        (window, 9) float32, the columns of `examples.RHYTHM_FEATURES`. With x = RR / median over 30 or 60 intervals around
        the centre, shifted inwards at the ends of the record: mad30, mad60 = median |difference of neighbours|; entropy30,
        entropy60 of log x in bins of 0.05; lag3 = median |x(i) - x(i - 3)|; trigeminy = spread of log x times the excess of
        its autocorrelation at lag 3 over lag 1. Over the intervals that touch the window: fast, tachy, slow = how far the
        fifth-shortest is below 0.5 s, the median below 0.6 s, above 1.2 s, in log, never below 0. A row is NaN where fewer
        than 8 intervals are known among the 30, all within a minute.

    Source: chosen on the development half of MIT-BIH, where patients are held out in turn.
    """
    near30 = _around(rpeak_s, rr_s, centre_s, 30)
    near60 = _around(rpeak_s, rr_s, centre_s, 60)
    inside = as_rows(rr_s[expand(np.minimum(first, stop), stop)], np.maximum(stop - first, 0))
    x30, x60 = near30 / quantile_of_known(near30, 0.5)[:, None], near60 / quantile_of_known(near60, 0.5)[:, None]
    middle = quantile_of_known(inside, 0.5)
    columns = (
        _lag(x30, 1),
        _entropy(x30),
        _lag(x60, 1),
        _entropy(x60),
        _lag(x30, 3),
        np.maximum(0, -np.log(quantile_of_known(inside, 0.2) / _FAST_S)),
        np.maximum(0, -np.log(middle / _TACHY_S)),
        np.maximum(0, np.log(middle / _SLOW_S)),
        _trigeminy(x30),
    )
    features = np.stack(columns, axis=1).astype(np.float32)
    features[(~np.isnan(near30)).sum(axis=1) < _FEWEST_INTERVALS] = np.nan
    features[np.isnan(features).any(axis=1)] = np.nan
    return features


def _around(
    rpeak_s: NDArray[np.float64], rr_s: NDArray[np.float32], centre_s: NDArray[np.float64], count: int
) -> NDArray[np.float32]:
    """(window, count) intervals around each centre, shifted inwards at the ends; NaN: unknown, none, or a minute away."""
    middle = np.searchsorted(rpeak_s, centre_s)
    low = np.clip(middle - count // 2, 1, max(1, len(rr_s) - count))
    index = low[:, None] + np.arange(count)
    exists = index < len(rr_s)
    index = np.where(exists, index, 0)
    if len(rr_s) == 0:
        return np.full(index.shape, np.nan, np.float32)
    is_near = exists & (np.abs(rpeak_s[index] - centre_s[:, None]) <= _NEAR_S)
    return np.where(is_near, rr_s[index], np.float32(np.nan))


def _lag(x: NDArray[np.floating], lag: int) -> NDArray[np.floating]:
    """(window,) median difference, unsigned, between intervals `lag` apart."""
    return quantile_of_known(np.abs(x[:, lag:] - x[:, :-lag]), 0.5)


def _entropy(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """(window,) Shannon entropy, in nats, of log x over 25 bins; what lies outside counts in the outermost."""
    is_known = ~np.isnan(x)
    steps = np.round(np.log(np.where(is_known, x, 1)) / _ENTROPY_STEP)
    bins = np.clip(steps, -_ENTROPY_REACH, _ENTROPY_REACH).astype(np.int64) + _ENTROPY_REACH
    n_bins = 2 * _ENTROPY_REACH + 1
    flat = (np.arange(len(x))[:, None] * n_bins + bins)[is_known]
    counts = np.bincount(flat, minlength=len(x) * n_bins).reshape(len(x), n_bins)
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    entropy: NDArray[np.floating] = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
    return entropy


def _trigeminy(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """(window,) spread of log x times the excess of its autocorrelation at lag 3 over that at lag 1."""
    is_known = ~np.isnan(x)
    n = np.maximum(is_known.sum(axis=1), 1)
    y = np.log(np.where(is_known, x, 1))
    y = np.where(is_known, y - (y.sum(axis=1) / n)[:, None], 0)
    power = (y**2).sum(axis=1)
    scale = np.where(power > 0, power, 1)
    lag1, lag3 = (y[:, 1:] * y[:, :-1]).sum(axis=1) / scale, (y[:, 3:] * y[:, :-3]).sum(axis=1) / scale
    excess: NDArray[np.floating] = np.sqrt(power / n) * np.maximum(0, lag3 - np.maximum(0, lag1))
    return excess
