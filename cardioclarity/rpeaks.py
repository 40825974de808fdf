"""R peaks of one lead or of several together, and which lead to ask: energy in two bands, local level, rhythm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy import signal as scipy_signal

from cardioclarity.filtering import band_pass

_WORK_RATE_HZ = 180.0
_ENERGY_BAND_HZ = (5.0, 20.0)
_SHARP_BAND_HZ = (15.0, 45.0)
_SMOOTH_S = 0.16
_APART_S = 0.2
_BLOCK_S = 1.2
_LEVEL_BLOCKS = 9
_LEVEL_RANGE = (0.25, 3.0)
_LEVEL_FLOOR_MV = 0.005
_POWER_FLOOR = 1e-8
_QUIET_SHARE = 0.3
_THRESHOLD = 0.25
_CLOSE_S = 0.34
_RHYTHM_BEATS = 17
_HIGH = 0.6
_BULKY = 0.25
_BULKY_AFTER = 0.5
_TALL = 0.28
_TALL_AFTER_S = 0.42
_TALLER = 0.5
_TALLER_AFTER_S = 0.38
_EVEN = 0.1
_FITS = 0.12
_GAP_RATIO = 1.5
_GAP_CLEAR_S = 0.3
_GAP_THRESHOLD = 0.7
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
    """What the decisions look at, at the work rate; a usual QRS hereabouts has height and sharpness 1.

    Attributes:
        rate_hz: Work rate.
        step: Samples of the record per sample of the trace.
        energy: (sample,) height of signal and slope together; 0 where the signal is missing.
        sharpness: (sample,) the same of 15-45 Hz alone.
        bulk: (sample,) the same of 5-20 Hz alone.
        quiet: (sample,) height between the beats hereabouts.
        level: (sample,) millivolts that a height of 1 stands for.
        is_voted: Several leads are in it, so that the T wave of one has been outvoted.
    """

    rate_hz: float
    step: int
    energy: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    bulk: NDArray[np.float32]
    quiet: NDArray[np.float32]
    level: NDArray[np.float32]
    is_voted: bool


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
    return detect_together(signal_mv[None], rate_hz=rate_hz)


def detect_together(signal_mv: NDArray[np.float32], *, rate_hz: float) -> NDArray[np.int64]:
    """Find the R peaks that leads of one moment show together.

    A wave of one lead alone counts for its share only, so that an artefact or a T wave is outvoted, and a lead that has
    fallen off or is noisy hereabouts has little say.

    Args:
        signal_mv: (lead, sample) float32, unfiltered, at least one lead; NaN is a missing sample.
        rate_hz: Samples per second.

    Returns:
        (beat,) int64, strictly ascending sample indices, each at the largest 5-20 Hz deflection of the first lead nearby.
    """
    if signal_mv.shape[-1] == 0:
        return np.zeros(0, np.int64)
    first_mv = _band(signal_mv[0], _ENERGY_BAND_HZ, rate_hz)
    trace = _trace(signal_mv, first_mv, rate_hz=rate_hz)
    candidates, _ = scipy_signal.find_peaks(trace.energy, distance=max(1.0, _APART_S * trace.rate_hz))
    accepted = candidates[trace.energy[candidates] > _threshold(trace, candidates)]
    accepted = _drop_extra(trace, _prune(trace, accepted))
    accepted = _search_back(trace, accepted, candidates)
    return _refine(first_mv, accepted * trace.step, reach=round(_REFINE_S * rate_hz))


def clarity(signal_mv: NDArray[np.float32], *, rate_hz: float) -> float:
    """Say how far the QRS of a (sample,) lead stand out: median height at the peaks over that half-way between them."""
    peaks = detect(signal_mv, rate_hz=rate_hz)
    if len(peaks) < 2:
        return 0.0
    trace = _trace(signal_mv[None], _band(signal_mv, _ENERGY_BAND_HZ, rate_hz), rate_hz=rate_hz)
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


def _band(signal_mv: NDArray[np.float32], band_hz: tuple[float, float], rate_hz: float) -> NDArray[np.float32]:
    """One band of a (sample,) lead; 0 where the signal is missing."""
    band_mv = band_pass(signal_mv, rate_hz=rate_hz, low_hz=band_hz[0], high_hz=band_hz[1], order=2)
    return np.nan_to_num(band_mv, copy=False)


def _trace(signal_mv: NDArray[np.float32], first_mv: NDArray[np.float32], *, rate_hz: float) -> _Trace:
    """Average the leads at a work rate near 180 Hz, each weighted by how far its QRS stand out hereabouts.

    What one of two equal leads shows alone keeps a quarter of its height; a lead that shows nothing for more than a beat
    has no say.

    Args:
        signal_mv: (lead, sample) float32.
        first_mv: (sample,) float32, lower band of the first lead, which the caller needs too.
        rate_hz: Samples per second.
    """
    step = max(1, round(rate_hz / _WORK_RATE_HZ))
    work_hz = rate_hz / step
    width = max(1, round(_BLOCK_S * work_hz))
    n_samples = len(first_mv[::step])
    energy, sharpness, bulk, quiet, log_level = (np.zeros(n_samples, np.float32) for _ in range(5))
    total = np.full(n_samples, 1e-9, np.float32)
    for lead, lead_mv in enumerate(signal_mv):
        low_mv = _band(lead_mv, _ENERGY_BAND_HZ, rate_hz) if lead else first_mv
        high_mv = _band(lead_mv, _SHARP_BAND_HZ, rate_hz)
        sharp = _log_power(high_mv[::step], _SHARP_BAND_HZ, work_hz)
        wide = _log_power(low_mv[::step], _ENERGY_BAND_HZ, work_hz)
        both = _blend(wide, sharp, width)
        height, between = _height_and_quiet(both, width)
        level = _spread(_level(height), width, n_samples)
        wide_level = _spread(_level(_height_and_quiet(wide, width)[0]), width, n_samples)
        sharp_level = _spread(_level(_height_and_quiet(sharp, width)[0]), width, n_samples)
        beats_near = ndimage.maximum_filter1d(both, width) > level + 2 * np.log(_THRESHOLD)
        weight = _spread((height - between) ** 2, width, n_samples) * beats_near
        total += weight
        energy += weight * _root_height(both - level)
        bulk += weight * _root_height(wide - wide_level)
        sharpness += weight * _root_height(sharp - sharp_level)
        quiet += weight * _root_height(_spread(between, width, n_samples) - level)
        log_level += weight * level
    return _Trace(
        rate_hz=work_hz,
        step=step,
        energy=np.square(energy / total),
        sharpness=np.square(sharpness / total),
        bulk=np.square(bulk / total),
        quiet=np.square(quiet / total),
        level=np.exp(log_level / (2 * total)),
        is_voted=len(signal_mv) > 1,
    )


def _root_height(log_power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square root of a height, whose mean over leads lies between that of the heights and that of their logarithms."""
    root: NDArray[np.float32] = np.exp(log_power / 4)
    return root


def _log_power(band_mv: NDArray[np.float32], band_hz: tuple[float, float], rate_hz: float) -> NDArray[np.float32]:
    """Logarithm of the smoothed power of a band and its slope, so that narrow and wide QRS have like height."""
    centre_hz = sum(band_hz) / 2
    slope = np.gradient(band_mv) * np.float32(rate_hz / (2 * np.pi * centre_hz)) if len(band_mv) > 1 else band_mv
    window = np.hanning(max(3, round(_SMOOTH_S * rate_hz) + 2))
    power = ndimage.convolve1d(band_mv**2 + slope**2, (window / window.sum()).astype(np.float32), mode="constant")
    log_power: NDArray[np.float32] = np.log(np.maximum(power, 0) + np.float32(_POWER_FLOOR))
    return log_power


def _blend(wide: NDArray[np.float32], sharp: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Mean of two log powers, each weighted by how far the QRS stand out in it: P, T and flutter waves drown in one."""
    stands_out = [np.subtract(*_height_and_quiet(log_power, width)) ** 2 for log_power in (wide, sharp)]
    share = stands_out[1] / (stands_out[0] + stands_out[1] + 1e-9)
    return wide + _spread(share, width, len(wide)) * (sharp - wide)


def _height_and_quiet(log_power: NDArray[np.float32], width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(block,) each: typical log power of a QRS and of what lies between them, over blocks longer than one beat."""
    n_blocks = -(-len(log_power) // width)
    padded = np.pad(log_power, (0, n_blocks * width - len(log_power)), mode="reflect")
    rank = int(_QUIET_SHARE * width)
    blocks = np.partition(padded.reshape(n_blocks, width), (rank, width - 1), axis=1)
    height, quiet = (ndimage.median_filter(blocks[:, at], _LEVEL_BLOCKS, mode="nearest") for at in (width - 1, rank))
    return height, quiet


def _level(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep a (block,) typical log power near that of the whole record, and above what noise of a microvolt has."""
    told = height[height > np.log(2 * _POWER_FLOOR)]
    usual = np.median(told) if len(told) else 0.0
    lowest, highest = (usual + 2 * np.log(factor) for factor in _LEVEL_RANGE)
    return np.clip(height, lowest, highest).clip(2 * np.log(_LEVEL_FLOOR_MV)).astype(np.float32)


def _spread(blocks: NDArray[np.float32], width: int, n_samples: int) -> NDArray[np.float32]:
    """Lead a (block,) value over to that of the next block in a straight line: a step would look like a wave."""
    padded = np.pad(blocks, 1, mode="edge")
    edge = (padded[1:] + padded[:-1]) / 2
    ramp = np.arange(width, dtype=np.float32) / width
    return np.asarray((edge[:-1, None] + np.diff(edge)[:, None] * ramp).ravel()[:n_samples], np.float32)


def _threshold(trace: _Trace, at: NDArray[np.int64]) -> NDArray[np.float32]:
    """The height from which a candidate counts: a share of the way from the quiet to a usual QRS."""
    threshold: NDArray[np.float32] = _THRESHOLD + (1 - _THRESHOLD) * trace.quiet[at]
    return threshold


def _running(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running median over the beats of a rhythm."""
    running: NDArray[np.float64] = ndimage.median_filter(values, _RHYTHM_BEATS, mode="nearest")
    return running


def _prune(trace: _Trace, peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop the weaker of two close peaks where height or sharpness speaks against it, until none is left.

    A peak falls only if the stronger partner stands in this round, so that a chain of rising peaks keeps every other.
    """
    while len(peaks) > 1:
        weak, strong = _close_pairs(trace, peaks)
        height_mv = trace.energy[peaks] * trace.level[peaks]
        ratio = height_mv[weak] / height_mv[strong]
        is_blunt = trace.sharpness[peaks[weak]] < 0.4 * trace.sharpness[peaks[strong]]
        goes = (ratio < 0.6) | ((ratio < 0.9) & is_blunt)
        weak, strong = weak[goes], strong[goes]
        falls = np.zeros(len(peaks), bool)
        falls[weak] = True
        drop = weak[~falls[strong]]
        if len(drop) == 0:
            break
        peaks = np.delete(peaks, drop)
    return peaks


def _close_pairs(trace: _Trace, peaks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices into `peaks`: the lower and the higher one of each two that are close."""
    first = np.flatnonzero(np.diff(peaks) < _CLOSE_S * trace.rate_hz)
    height_mv = trace.energy[peaks] * trace.level[peaks]
    first_is_weak = height_mv[first] < height_mv[first + 1]
    return np.where(first_is_weak, first, first + 1), np.where(first_is_weak, first + 1, first)


def _drop_extra(trace: _Trace, peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop lower peaks between two high ones that are one usual interval apart, where the rhythm is even.

    The rhythm is that without the lower of close peaks, so that a P or T wave taken with every beat does not hide it.
    """
    is_sure = np.ones(len(peaks), bool)
    is_sure[_close_pairs(trace, peaks)[0]] = False
    sure = peaks[is_sure]
    high = np.flatnonzero(is_sure & (trace.energy[peaks] > _HIGH))
    if len(sure) < 3 or len(high) < 2:
        return peaks
    interval = np.diff(sure).astype(np.float64)
    usual = _running(interval)
    unevenness = _running(np.abs(interval - usual) / usual)
    begin, end = peaks[high[:-1]], peaks[high[1:]]
    at = np.minimum(np.searchsorted(sure, begin), len(usual) - 1)
    is_whole = (unevenness[at] < _EVEN) & (np.abs((end - begin) / usual[at] - 1) < _FITS)
    lower = 0.9 * np.minimum(trace.energy[begin], trace.energy[end])
    gap = np.clip(np.searchsorted(peaks[high], peaks, side="right") - 1, 0, len(high) - 2)
    is_between = (peaks > begin[gap]) & (peaks < end[gap])
    return peaks[~(is_between & is_whole[gap] & (trace.energy[peaks] < lower[gap]))]


def _search_back(trace: _Trace, peaks: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fill each interval that is too long with the highest candidate inside that looks enough like its neighbours."""
    if len(peaks) < 2:
        return peaks
    before = np.searchsorted(peaks, candidates, side="right") - 1
    inside = (before >= 0) & (before < len(peaks) - 1)
    candidates, before = candidates[inside], before[inside]
    clear = _GAP_CLEAR_S * trace.rate_hz
    interval = np.diff(peaks).astype(np.float64)
    weaker = np.minimum(trace.sharpness[peaks[before]], trace.sharpness[peaks[before + 1]])
    usual = _running(interval)[before]
    is_high = trace.energy[candidates] > _GAP_THRESHOLD * _threshold(trace, candidates)
    is_sharp = is_high & (trace.sharpness[candidates] > 0.08 * weaker)
    # A wide ventricular beat may have nothing above 15 Hz; where a T wave would be, its bulk proves nothing.
    after = candidates - peaks[before]
    is_bulky = (trace.bulk[candidates] > _BULKY) & (after > _BULKY_AFTER * usual)
    is_tall = (trace.bulk[candidates] > _TALL) & (after > _TALL_AFTER_S * trace.rate_hz)
    is_tall |= (trace.bulk[candidates] > _TALLER) & (after > _TALLER_AFTER_S * trace.rate_hz)
    fits = (
        (((interval[before] > _GAP_RATIO * usual) & (is_sharp | is_bulky)) | (is_tall & trace.is_voted))
        & (after >= clear)
        & (peaks[before + 1] - candidates >= clear)
    )
    candidates, before = candidates[fits], before[fits]
    order = np.lexsort((-trace.energy[candidates], before))
    _, highest = np.unique(before[order], return_index=True)
    return np.union1d(peaks, candidates[order][highest])


def _refine(energy_mv: NDArray[np.float32], peaks: NDArray[np.int64], *, reach: int) -> NDArray[np.int64]:
    """Move each peak to the largest deflection within `reach` samples at the record's own rate, among equals the nearest."""
    nearest_first = np.array(sorted(range(-reach, reach + 1), key=abs))
    index = np.clip(peaks[:, None] + nearest_first, 0, len(energy_mv) - 1)
    at = np.abs(energy_mv[index]).argmax(axis=1)
    return np.unique(np.take_along_axis(index, at[:, None], axis=1)[:, 0]).astype(np.int64)
