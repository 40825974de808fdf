"""How regular is the pulse around a window: eight numbers from its RR intervals and from which beats look odd."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import percentile_filter

from cardioclarity.filtering import expand
from cardioclarity.windows import as_rows, quantile_of_known

_FEWEST_INTERVALS = 8
_INTERVALS = 60
_NEAR_S = 60.0
_ENTROPY_STEP = 0.05
_ENTROPY_REACH = 12
_FAST_S, _TACHY_S, _SLOW_S = 0.5, 0.6, 1.2
_EARLY_SHARE = 0.85  # of the usual interval
_USUAL_SHARE, _USUAL_BEATS = 60, 21  # above the median: in bigeminy half of the intervals are short


def rhythm(
    rpeak_s: NDArray[np.float64],
    rr_s: NDArray[np.float32],
    is_odd: NDArray[np.bool_],
    centre_s: NDArray[np.float64],
    *,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Describe the rhythm around each window by eight numbers that are near 0 for a steady pulse of usual rate.

    Ectopic beats are taken out of the measures of irregularity and counted by measures of their own, so that a few of
    them do not look like fibrillation, and a pattern of them does not look like a steady pulse.

    Args:
        rpeak_s: (beat,) float64, time of each R peak.
        rr_s: (beat,) float32, interval to the previous R peak; NaN where unknown.
        is_odd: (beat,) bool, the QRS does not look like the record's usual one.
        centre_s: (window,) float64, time of the centre of each window.
        first: (window,) int64, first interval that touches the window.
        stop: (window,) int64, one past the last.

    Returns:
        (window, 8) float32, the columns of `examples.RHYTHM_FEATURES`. An interval is sound if neither of its two beats is
        odd, or early after one that is not. Over the 60 sound intervals around the centre, none more than a minute away:
        entropy of log RR in bins of 0.05; spread = median |difference of neighbours| / median; 0 where there are none.
        Over the intervals that touch the window: fast, tachy, slow = how far the lower fifth is below 0.5 s, the median
        below 0.6 s, above 1.2 s, in log, never below 0. Of the beats that end them: bigeminy, trigeminy, run = share
        inside three or more odd, or three or more early beats with one, two or (odd ones only) no other beat in between.
        A row is NaN where fewer than 8 intervals are known within a minute, or none of those that touch the window.

    Source: chosen on the development half of MIT-BIH by nested folds of patients; docs/experiments.md.
    """
    early = early_beats(rr_s)
    after_early = np.append(False, early)[:-1]
    is_ectopic = is_odd | (early & ~after_early)
    is_known = ~np.isnan(rr_s)
    sound = np.flatnonzero(is_known & ~is_ectopic & ~np.append(False, is_ectopic)[:-1])
    near, place = _around(rpeak_s, rr_s, sound, centre_s)
    x = near / quantile_of_known(near, 0.5)[:, None]
    inside = as_rows(rr_s[expand(np.minimum(first, stop), stop)], np.maximum(stop - first, 0))
    middle = quantile_of_known(inside, 0.5)
    columns = (
        _entropy(x),
        np.nan_to_num(_spread(x, place)),
        np.maximum(0, -np.log(quantile_of_known(inside, 0.2) / _FAST_S)),
        np.maximum(0, -np.log(middle / _TACHY_S)),
        np.maximum(0, np.log(middle / _SLOW_S)),
        _share(repeats(is_odd, 2) | repeats(early, 2), first, stop),
        _share(repeats(is_odd, 3) | repeats(early, 3), first, stop),
        _share(repeats(is_odd, 1), first, stop),
    )
    features = np.stack(columns, axis=1).astype(np.float32)
    features[
        _count(is_known, *np.searchsorted(rpeak_s, (centre_s - _NEAR_S, centre_s + _NEAR_S))) < _FEWEST_INTERVALS
    ] = np.nan
    features[np.isnan(features).any(axis=1)] = np.nan
    return features


def early_beats(rr_s: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(beat,) bool: the interval before the beat is shorter than 0.85 of the usual one among the 21 around it."""
    is_known = ~np.isnan(rr_s)
    if not is_known.any():
        return np.zeros(len(rr_s), bool)
    filled = np.where(is_known, rr_s, np.median(rr_s[is_known]))
    usual = percentile_filter(filled, _USUAL_SHARE, size=_USUAL_BEATS, mode="nearest")
    early: NDArray[np.bool_] = is_known & (rr_s < _EARLY_SHARE * usual)
    return early


def repeats(mask: NDArray[np.bool_], lag: int) -> NDArray[np.bool_]:
    """Mark the beats of each stretch in which marked beats stand `lag` apart, three or more, none in between marked."""
    inside = np.zeros(len(mask), bool)
    n_links = len(mask) - lag
    if n_links <= lag:
        return inside
    linked = mask[:n_links] & mask[lag:]
    for step in range(1, lag):
        linked &= ~mask[step : n_links + step]
    for start in np.flatnonzero(linked[:-lag] & linked[lag:]).tolist():
        inside[start : start + 2 * lag + 1] = True
    return inside


def _around(
    rpeak_s: NDArray[np.float64], rr_s: NDArray[np.float32], chosen: NDArray[np.int64], centre_s: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(window, 60) chosen intervals around each centre, shifted inwards at the ends, and their index in the record.

    An interval is NaN where there is none, or a minute away.
    """
    middle = np.searchsorted(rpeak_s[chosen], centre_s)
    low = np.clip(middle - _INTERVALS // 2, 0, max(0, len(chosen) - _INTERVALS))
    at = low[:, None] + np.arange(_INTERVALS)
    if len(chosen) == 0:
        return np.full(at.shape, np.nan, np.float32), at
    place = chosen[np.minimum(at, len(chosen) - 1)]
    is_near = (at < len(chosen)) & (np.abs(rpeak_s[place] - centre_s[:, None]) <= _NEAR_S)
    return np.where(is_near, rr_s[place], np.float32(np.nan)), place


def _spread(x: NDArray[np.floating], place: NDArray[np.int64]) -> NDArray[np.floating]:
    """(window,) median difference, unsigned, between intervals that follow each other in the record."""
    return quantile_of_known(np.where(np.diff(place) == 1, np.abs(np.diff(x)), np.float32(np.nan)), 0.5)


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


def _share(mask: NDArray[np.bool_], first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.floating]:
    """(window,) share of marked beats among first ... stop - 1; 0 where there are none."""
    share: NDArray[np.floating] = _count(mask, first, stop) / np.maximum(stop - first, 1)
    return share


def _count(mask: NDArray[np.bool_], first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """(window,) marked beats among first ... stop - 1."""
    total = np.append(0, np.cumsum(mask))
    count: NDArray[np.int64] = (
        total[np.clip(stop, 0, len(mask))] - total[np.clip(np.minimum(first, stop), 0, len(mask))]
    )
    return count
