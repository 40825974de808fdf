"""R peaks of one lead, and which lead to ask: energy of signal and slope, local level, rhythm-aware pruning."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy import signal as scipy_signal

from cardioclarity.filtering import band_pass

_WORK_RATE_HZ = 180.0
_ENERGY_BAND_HZ = (5.0, 20.0)
_SHARP_BAND_HZ = (10.0, 35.0)
_SLOPE_CENTRE_HZ = 12.0
_SMOOTH_S = 0.16
_SHARP_S = 0.12
_APART_S = 0.2
_BLOCK_S = 1.2
_LEVEL_BLOCKS = 9
_LEVEL_RANGE = (0.25, 3.0)
_LEVEL_FLOOR_MV = 0.005
_THRESHOLD = 0.27
_CLOSE_S = 0.36
_RHYTHM_BEATS = 17
_GAP_RATIO = 1.5
_GAP_CLEAR_S = 0.3
_GAP_THRESHOLD = 0.35
_REFINE_S = 0.06

_LEAD_PREFERENCE = (
    *("MLII", "II", "I", "V5", "MLI", "V4", "V6", "CM5", "CC5", "MCL6", "V3", "V2", "aVF", "MLIII", "III"),
    *("V1", "MCL1", "aVL", "aVR", "V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R", "V2R", "CS2"),
    *("ES", "AS", "AI", "X", "Y", "Z"),
)
_FLAT_MV = 0.02
_MISSING_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Trace:
    """What the decisions look at, at the work rate.

    Attributes:
        rate_hz: Work rate.
        step: Samples of the record per sample of the trace.
        energy: (sample,) height of signal and slope together, millivolts; 0 where the signal is missing.
        sharpness: (sample,) largest 10-35 Hz amplitude nearby, millivolts.
        level: (sample,) typical height of a QRS hereabouts, millivolts.
    """

    rate_hz: float
    step: int
    energy: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    level: NDArray[np.float32]


def detect(signal_mv: NDArray[np.float32], *, rate_hz: float) -> NDArray[np.int64]:
    """Find the R peaks of one lead.

    Args:
        signal_mv: (sample,) float32, unfiltered; NaN is a missing sample.
        rate_hz: Samples per second.

    Returns:
        (beat,) int64, strictly ascending sample indices of the largest 5-20 Hz deflection of each QRS; empty where there
        is none, whatever the signal holds.

    Source: tuned on DS1 of MIT-BIH (`python -m bench signal` prints what it gives); no number depends on the rate.
    """
    energy_mv = band_pass(signal_mv, rate_hz=rate_hz, low_hz=_ENERGY_BAND_HZ[0], high_hz=_ENERGY_BAND_HZ[1], order=2)
    np.nan_to_num(energy_mv, copy=False)
    if not energy_mv.any():
        return np.zeros(0, np.int64)
    trace = _trace(signal_mv, energy_mv, rate_hz=rate_hz)
    candidates, _ = scipy_signal.find_peaks(trace.energy, distance=max(1.0, _APART_S * trace.rate_hz))
    accepted = candidates[trace.energy[candidates] > _THRESHOLD * trace.level[candidates]]
    accepted = _prune(trace, accepted)
    accepted = _search_back(trace, accepted, candidates)
    return _refine(energy_mv, accepted * trace.step, reach=round(_REFINE_S * rate_hz))


def clarity(signal_mv: NDArray[np.float32], *, rate_hz: float) -> float:
    """Say how far the QRS of a (sample,) lead stand out: median height at the peaks over that half-way between them."""
    peaks = detect(signal_mv, rate_hz=rate_hz)
    if len(peaks) < 2:
        return 0.0
    energy_mv = band_pass(signal_mv, rate_hz=rate_hz, low_hz=_ENERGY_BAND_HZ[0], high_hz=_ENERGY_BAND_HZ[1], order=2)
    trace = _trace(signal_mv, np.nan_to_num(energy_mv), rate_hz=rate_hz)
    at = np.median(trace.energy[peaks // trace.step])
    between = np.median(trace.energy[(peaks[1:] + peaks[:-1]) // (2 * trace.step)])
    return float(at / max(float(between), 1e-9))


def best_lead(signal_mv: NDArray[np.float32], *, rate_hz: float, leads: Sequence[str]) -> tuple[int, ...]:
    """Order the leads for R-peak detection.

    The name decides first, since the parameters were measured on modified lead II; among leads of unknown placement
    the clearer one wins. A lead that is flat or missing for more than half of the time comes after all others.

    Args:
        signal_mv: (lead, sample) float32; NaN is a missing sample.
        rate_hz: Samples per second.
        leads: Canonical names.

    Returns:
        Indices of all leads, best first.
    """

    def key(index: int) -> tuple[bool, int, float, int]:
        name = leads[index]
        if name in _LEAD_PREFERENCE:
            return is_hopeless(signal_mv[index], rate_hz=rate_hz), _LEAD_PREFERENCE.index(name), 0.0, index
        hopeless = is_hopeless(signal_mv[index], rate_hz=rate_hz)
        return hopeless, len(_LEAD_PREFERENCE), -clarity(signal_mv[index], rate_hz=rate_hz), index

    return tuple(sorted(range(len(leads)), key=key))


def is_hopeless(signal_mv: NDArray[np.float32], *, rate_hz: float) -> bool:
    """Say whether more than half of a (sample,) lead's seconds are missing or move by less than 20 microvolts."""
    width = max(1, round(rate_hz))
    n_whole = len(signal_mv) // width
    if n_whole == 0:
        return len(signal_mv) == 0 or not float(np.ptp(signal_mv)) >= _FLAT_MV
    seconds = signal_mv[: n_whole * width].reshape(n_whole, width)
    moves = np.ptp(seconds, axis=1) >= _FLAT_MV
    return bool(moves.mean() < 1 - _MISSING_SHARE)


def _trace(signal_mv: NDArray[np.float32], energy_mv: NDArray[np.float32], *, rate_hz: float) -> _Trace:
    """Compute energy, sharpness and level at a work rate near 180 Hz."""
    step = max(1, round(rate_hz / _WORK_RATE_HZ))
    work_hz = rate_hz / step
    sharp_mv = band_pass(signal_mv, rate_hz=rate_hz, low_hz=_SHARP_BAND_HZ[0], high_hz=_SHARP_BAND_HZ[1], order=2)
    y = energy_mv[::step]
    slope = np.gradient(y) * np.float32(work_hz / (2 * np.pi * _SLOPE_CENTRE_HZ)) if len(y) > 1 else y
    window = np.hanning(max(3, round(_SMOOTH_S * work_hz) + 2))
    power = ndimage.convolve1d(y**2 + slope**2, (window / window.sum()).astype(np.float32), mode="constant")
    energy = np.sqrt(np.maximum(power, 0))
    sharpness = ndimage.maximum_filter1d(np.abs(np.nan_to_num(sharp_mv[::step])), max(1, round(_SHARP_S * work_hz)))
    return _Trace(rate_hz=work_hz, step=step, energy=energy, sharpness=sharpness, level=_level(energy, work_hz))


def _level(energy: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    """Typical height of a QRS around each sample: running median of the maxima of blocks longer than one beat."""
    width = max(1, round(_BLOCK_S * rate_hz))
    heights = np.maximum.reduceat(energy, np.arange(0, len(energy), width))
    usual = np.median(heights[heights > 0]) if heights.any() else 0.0
    smooth = ndimage.median_filter(heights, _LEVEL_BLOCKS, mode="nearest")
    level = np.clip(smooth, _LEVEL_RANGE[0] * usual, _LEVEL_RANGE[1] * usual)
    return np.repeat(np.maximum(level, _LEVEL_FLOOR_MV), width)[: len(energy)].astype(np.float32)


def _running_rr(peaks: NDArray[np.int64]) -> NDArray[np.float64]:
    """(beat - 1,) running median of the intervals between `peaks`."""
    running: NDArray[np.float64] = ndimage.median_filter(
        np.diff(peaks).astype(np.float64), _RHYTHM_BEATS, mode="nearest"
    )
    return running


def _prune(trace: _Trace, peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop the weaker of two close peaks where height, sharpness or rhythm speaks against it, until none is left.

    A peak falls only if the stronger partner stands in this round, so that a chain of rising peaks keeps every other.
    """
    while len(peaks) > 1:
        weak, strong = _weaker_of_close_pairs(trace, peaks)
        falls = np.zeros(len(peaks), bool)
        falls[weak] = True
        drop = weak[~falls[strong]]
        if len(drop) == 0:
            break
        peaks = np.delete(peaks, drop)
    return peaks


def _weaker_of_close_pairs(trace: _Trace, peaks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices into `peaks` of those that should fall, and of the stronger partner of each."""
    first = np.flatnonzero(np.diff(peaks) < _CLOSE_S * trace.rate_hz)
    height, sharp = trace.energy[peaks], trace.sharpness[peaks]
    first_is_weak = height[first] < height[first + 1]
    weak, strong = np.where(first_is_weak, first, first + 1), np.where(first_is_weak, first + 1, first)
    ratio = height[weak] / height[strong]
    is_low = ratio < 0.6
    is_blunt = (ratio < 0.9) & (sharp[weak] < 0.5 * sharp[strong])
    is_extra = (ratio < 0.8) & _fits_rhythm_without(peaks, weak)
    falls = is_low | is_blunt | is_extra
    return weak[falls], strong[falls]


def _fits_rhythm_without(peaks: NDArray[np.int64], weak: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where the interval over a peak, were it not there, is within 12 % of the running median."""
    before, after = np.maximum(weak - 1, 0), np.minimum(weak + 1, len(peaks) - 1)
    inside = (weak > 0) & (weak < len(peaks) - 1)
    usual = _running_rr(peaks)[before]
    fits: NDArray[np.bool_] = inside & (np.abs((peaks[after] - peaks[before]) - usual) < 0.12 * usual)
    return fits


def _search_back(trace: _Trace, peaks: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fill each interval that is too long with the highest candidate inside that looks enough like its neighbours."""
    if len(peaks) < 2:
        return peaks
    before = np.searchsorted(peaks, candidates, side="right") - 1
    inside = (before >= 0) & (before < len(peaks) - 1)
    candidates, before = candidates[inside], before[inside]
    clear = _GAP_CLEAR_S * trace.rate_hz
    weaker = np.minimum(trace.sharpness[peaks[before]], trace.sharpness[peaks[before + 1]])
    fits = (
        (np.diff(peaks)[before] > _GAP_RATIO * _running_rr(peaks)[before])
        & (candidates - peaks[before] >= clear)
        & (peaks[before + 1] - candidates >= clear)
        & (trace.energy[candidates] > _GAP_THRESHOLD * _THRESHOLD * trace.level[candidates])
        & (trace.sharpness[candidates] > 0.25 * weaker)
    )
    candidates, before = candidates[fits], before[fits]
    order = np.lexsort((-trace.energy[candidates], before))
    _, highest = np.unique(before[order], return_index=True)
    return np.union1d(peaks, candidates[order][highest])


def _refine(energy_mv: NDArray[np.float32], peaks: NDArray[np.int64], *, reach: int) -> NDArray[np.int64]:
    """Move each peak to the largest deflection within `reach` samples at the record's own rate."""
    index = np.clip(peaks[:, None] + np.arange(-reach, reach + 1), 0, len(energy_mv) - 1)
    at = np.abs(energy_mv[index]).argmax(axis=1)
    return np.unique(np.take_along_axis(index, at[:, None], axis=1)[:, 0]).astype(np.int64)
