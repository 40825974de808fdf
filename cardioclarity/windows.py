"""Ten-second windows of one record: what tells quality, flutter and rhythm."""

import numpy as np
from numpy.typing import NDArray
from scipy import signal as scipy_signal

from cardioclarity.filtering import band_pass, expand, runs

_FLAT_MV = 0.02
_FLAT_S = 1.0
_FLAT_STEP_S = 0.05
_RAIL_SAMPLES = 3
_NEIGHBOURS = 3
_LIKENESS_RANK = 3
_NOISE_BAND_HZ = (40.0, 120.0)
_NOISE_FROM_HZ = 100.0
_LEAST_MV = 1e-6
_WELCH_S = 2.0
_WELCH_CHUNK = 512
_FLUTTER_HZ = (2.0, 8.0)
_POWER_HZ = (0.7, 20.0)
_LINE_HZ = 0.75
_FEWEST_INTERVALS = 8
_NEAR_S = 60.0
_ENTROPY_STEP = 0.05
_ENTROPY_REACH = 12
_FAST_S, _TACHY_S, _SLOW_S = 0.5, 0.6, 1.2


def window_starts(n_samples: int, *, rate_hz: float, window_s: float) -> NDArray[np.int64]:
    """First sample of each window; they do not overlap, and what is left at the end is a shorter window of its own."""
    return np.arange(0, n_samples, max(1, round(window_s * rate_hz)), dtype=np.int64)


def defects(signal_mv: NDArray[np.float32], window_start: NDArray[np.int64], *, rate_hz: float) -> NDArray[np.float32]:
    """Measure what is wrong with the samples themselves.

    Args:
        signal_mv: (sample,) float32, unfiltered; NaN is a missing sample.
        window_start: (window,) int64.
        rate_hz: Samples per second.

    Returns:
        (window, 3) float32, shares of the window's samples, 0 to 1: missing; flat, inside a second that moves by less than
        20 microvolts (found to 50 ms); on the rails, at the record's smallest or largest value 3 or more times in a row.
    """
    masks = (np.isnan(signal_mv), _flat(signal_mv, rate_hz=rate_hz), _on_rails(signal_mv))
    return np.stack([window_share(mask, window_start) for mask in masks], axis=1).astype(np.float32)


def dissimilarity(
    beats: NDArray[np.float32], whole: NDArray[np.bool_], first: NDArray[np.int64], stop: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Ask how little the beats of a window look like each other: high for noise, low for any rhythm that repeats.

    Not "like normal": tachycardia, paced beats, bundle branch block and bigeminy all repeat their own shapes.

    Args:
        beats: (beat, sample) float32, 150 ms before to 250 ms after each R peak, 1-40 Hz.
        whole: (beat,) bool, the beats that may be compared.
        first: (window,) int64, first beat of each window.
        stop: (window,) int64, one past its last beat.

    Returns:
        (window,) float32: 1 - the median over the window's beats of the third-highest correlation with the other beats of
        the window and of 3 beats to either side; NaN with fewer than 4 beats to compare.

    Source: science of the project, section 10: electrode motion of 6 dB 0.95, ventricular tachycardia 0.03.
    """
    counts = stop - first
    window, beat = np.repeat(np.arange(len(first)), counts), expand(first, stop)
    low, high = np.maximum(first - _NEIGHBOURS, 0), np.minimum(stop + _NEIGHBOURS, len(beats))
    reach = int(counts.max(initial=0)) + _NEIGHBOURS
    offsets = np.arange(-reach, reach + 1)
    other = beat[:, None] + offsets
    comparable = (other >= low[window, None]) & (other < high[window, None]) & (offsets != 0) & whole[beat, None]
    comparable &= whole[np.clip(other, 0, max(0, len(beats) - 1))]
    correlation = np.where(comparable, _neighbour_correlation(beats, reach)[beat], -np.inf)
    third = np.partition(correlation, -_LIKENESS_RANK, axis=1)[:, -_LIKENESS_RANK].astype(np.float32)
    third[third == -np.inf] = np.nan
    return 1 - quantile_of_known(_as_rows(third, counts), 0.5)


def noise(
    signal_mv: NDArray[np.float32], window_start: NDArray[np.int64], *, rate_hz: float, amplitude_mv: float
) -> NDArray[np.float32]:
    """Measure the high-frequency noise against the QRS.

    Args:
        signal_mv: (sample,) float32, unfiltered.
        window_start: (window,) int64.
        rate_hz: Samples per second; below 267 the upper edge is 0.45 of it.
        amplitude_mv: Usual height of the QRS; may be NaN.

    Returns:
        (window,) float32: log(rms of 40-120 Hz / amplitude); NaN where the amplitude is unknown, all is missing, or the rate
        is below 100 Hz.
    """
    if rate_hz < _NOISE_FROM_HZ or not amplitude_mv > 0:
        return np.full(len(window_start), np.nan, np.float32)
    band_mv = band_pass(signal_mv, rate_hz=rate_hz, low_hz=_NOISE_BAND_HZ[0], high_hz=_NOISE_BAND_HZ[1])
    rms_mv = root_mean_square(band_mv, window_start)
    return np.log(np.maximum(rms_mv, _LEAST_MV) / np.float32(amplitude_mv))


def root_mean_square(signal: NDArray[np.float32], window_start: NDArray[np.int64]) -> NDArray[np.float32]:
    """(window,) float32 root mean square of a (sample,) signal over its known samples; NaN without any."""
    if len(window_start) == 0:
        return np.zeros(0, np.float32)
    squares = np.square(signal)
    is_missing = np.isnan(squares)
    squares[is_missing] = 0
    known = np.diff(np.append(window_start, len(signal))) * (1 - window_share(is_missing, window_start))
    sums = np.add.reduceat(squares, window_start)  # pairwise sums; float64 here would copy a whole 24-h lead
    return np.where(known > 0, np.sqrt(sums / np.maximum(known, 1)), np.nan).astype(np.float32)


def sinusoidal(
    signal_mv: NDArray[np.float32], window_start: NDArray[np.int64], *, rate_hz: float, window_s: float
) -> NDArray[np.float32]:
    """Ask how much a window is like a sine of 2-8 Hz: ventricular flutter has no QRS but is no noise either.

    Args:
        signal_mv: (sample,) float32, filtered; a missing sample counts as 0.
        window_start: (window,) int64, at the rate of this signal.
        rate_hz: Samples per second of this signal, 40 or more.
        window_s: Length of a window; the last may be shorter.

    Returns:
        (window,) float32: share of the power of 0.7-20 Hz within 0.75 Hz of the dominant frequency of 2-8 Hz and of its
        double (Welch, segments of 2 s); NaN without power or in a window shorter than 2 s. Flutter is above 0.6.

    Source: science of the project, section 10: 14 of 15 flutter windows, 0.2 % of noise windows at 0 dB.
    """
    share = np.full(len(window_start), np.nan, np.float32)
    width, segment = round(window_s * rate_hz), round(_WELCH_S * rate_hz)
    known_mv = np.nan_to_num(signal_mv)
    n_full = int((window_start + width <= len(known_mv)).sum())
    for begin in range(0, n_full, _WELCH_CHUNK):
        some = slice(begin, min(begin + _WELCH_CHUNK, n_full))
        share[some] = _line_share(known_mv[window_start[some, None] + np.arange(width)], segment, rate_hz)
    for window in range(n_full, len(window_start)):
        rest = known_mv[window_start[window] :]
        if len(rest) >= segment:
            share[window] = _line_share(rest[None], segment, rate_hz)[0]
    return share


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

    Source: science of the project, section 9, last row of the table.
    """
    near30 = _around(rpeak_s, rr_s, centre_s, 30)
    near60 = _around(rpeak_s, rr_s, centre_s, 60)
    inside = _as_rows(rr_s[expand(np.minimum(first, stop), stop)], np.maximum(stop - first, 0))
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


def window_share(mask: NDArray[np.bool_], window_start: NDArray[np.int64]) -> NDArray[np.float64]:
    """(window,) share of True in each window of a (sample,) mask."""
    if len(window_start) == 0:
        return np.zeros(0)
    counts = np.add.reduceat(mask, window_start, dtype=np.int32)
    share: NDArray[np.float64] = counts / np.diff(np.append(window_start, len(mask)))
    return share


def quantile_of_known(rows: NDArray[np.floating], share: float) -> NDArray[np.floating]:
    """(row,) quantile of the entries of (row, column) that are not NaN, interpolated; NaN where there are none."""
    if rows.shape[1] == 0:
        return np.full(len(rows), np.nan, rows.dtype)
    ordered = np.sort(rows, axis=1)  # NaN goes last
    position = share * np.maximum((~np.isnan(rows)).sum(axis=1) - 1, 0)
    low = np.floor(position).astype(np.int64)
    high = np.ceil(position).astype(np.int64)
    below = np.take_along_axis(ordered, low[:, None], axis=1)[:, 0]
    above = np.take_along_axis(ordered, high[:, None], axis=1)[:, 0]
    quantile: NDArray[np.floating] = (below + (above - below) * (position - low)).astype(rows.dtype)
    return quantile


def _flat(row: NDArray[np.float32], *, rate_hz: float) -> NDArray[np.bool_]:
    """(sample,) bool: inside some second whose peak-to-peak is below 20 microvolts, in steps of 50 ms."""
    width = max(1, round(_FLAT_STEP_S * rate_hz))
    n_steps = int(np.ceil(_FLAT_S * rate_hz / width))
    if len(row) < n_steps * width:
        return np.zeros(len(row), bool)
    step_starts = np.arange(0, len(row), width)
    highest, lowest = np.maximum.reduceat(row, step_starts), np.minimum.reduceat(row, step_starts)
    views = np.lib.stride_tricks.sliding_window_view
    moves = views(highest, n_steps).max(axis=1) - views(lowest, n_steps).min(axis=1)
    is_still = moves < _FLAT_MV
    change = np.zeros(len(step_starts) + 1, np.int64)
    np.add.at(change, np.flatnonzero(is_still), 1)
    np.add.at(change, np.flatnonzero(is_still) + n_steps, -1)
    is_flat: NDArray[np.bool_] = np.repeat(np.cumsum(change[:-1]) > 0, width)[: len(row)]
    return is_flat


def _on_rails(row: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(sample,) bool: one of three or more equal samples in a row at the lead's smallest or largest value."""
    on_rails = np.zeros(len(row), bool)
    if len(row) == 0:
        return on_rails
    for rail in (np.fmin.reduce(row), np.fmax.reduce(row)):
        starts, stops = runs(row == rail)
        is_long = stops - starts >= _RAIL_SAMPLES
        on_rails[expand(starts[is_long], stops[is_long])] = True
    return on_rails


def _neighbour_correlation(shapes: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """(beat, 2 reach + 1) correlation of each (beat, sample) shape with those up to `reach` before and after."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(norm > 0, norm, 1)
    correlation = np.zeros((len(unit), 2 * reach + 1), np.float32)
    for offset in range(1, min(reach, len(unit) - 1) + 1):
        pair = np.einsum("ij,ij->i", unit[:-offset], unit[offset:])
        correlation[:-offset, reach + offset] = pair
        correlation[offset:, reach - offset] = pair
    return correlation


def _as_rows(values: NDArray[np.floating], counts: NDArray[np.int64]) -> NDArray[np.floating]:
    """Lay values that follow each other, `counts[i]` for row i, into (row, largest count), filled with NaN."""
    rows = np.full((len(counts), int(counts.max(initial=0))), np.nan, np.float32)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = values
    return rows


def _line_share(windows: NDArray[np.float32], segment: int, rate_hz: float) -> NDArray[np.float32]:
    """(window,) share of power near the dominant frequency and its double, of (window, sample)."""
    hz, power = scipy_signal.welch(windows, fs=rate_hz, nperseg=segment, axis=-1)
    in_band = (hz >= _POWER_HZ[0]) & (hz <= _POWER_HZ[1])
    in_flutter = (hz >= _FLUTTER_HZ[0]) & (hz <= _FLUTTER_HZ[1])
    dominant_hz = hz[in_flutter][power[:, in_flutter].argmax(axis=1)][:, None]
    near = (np.abs(hz - dominant_hz) <= _LINE_HZ) | (np.abs(hz - 2 * dominant_hz) <= _LINE_HZ)
    total = (power * in_band).sum(axis=1)
    line = (power * near).sum(axis=1)
    return np.where(total > 0, line / np.where(total > 0, total, 1), np.nan).astype(np.float32)


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
