"""The noise stress test: recorded noise of a known level over every other two minutes of a clean record."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cardioclarity.beats import qrs_amplitude
from cardioclarity.record import Record

_CLEAN_S = 300.0
_STRETCH_S = 120.0
_MEASURED = 300
_TRIMMED = 20


def is_noisy(n_samples: int, *, rate_hz: float) -> NDArray[np.bool_]:
    """Say where the noise lies: from 5:00 on two minutes with noise and two without, in turn.

    Args:
        n_samples: Length of the record.
        rate_hz: Samples per second.

    Returns:
        (sample,) bool.
    """
    since_s = np.arange(n_samples) / rate_hz - _CLEAN_S
    noisy: NDArray[np.bool_] = (since_s >= 0) & (since_s % (2 * _STRETCH_S) < _STRETCH_S)
    return noisy


def stressed(record: Record, noise: NDArray[np.float32], *, rpeaks: NDArray[np.int64], snr_db: float) -> Record:
    """Add noise to a record, in each lead at the same ratio to that lead's own QRS.

    The ratio is 10 log10(S / N). S is an eighth of the squared median peak-to-peak of the first 300 QRS. The root of N is
    the root mean square of the noise within a second, mean removed, over its first 300 seconds without the twentieth at
    either end: slow wander, most of the power of such recordings, counts for little.

    Args:
        record: The clean record.
        noise: (channel, sample) float32, any unit, at the record's rate, at least a second. It starts with the record and
            is repeated where it is shorter; lead k takes channel k, and the first again where there are no more.
        rpeaks: (beat,) int64, the record's reference beats.
        snr_db: The ratio.

    Returns:
        The record under its own id, with noise where `is_noisy` says so, cut at the limits of its sample type. Missing
        samples stay missing; a lead without a whole beat stays clean.

    Source: `nst` of the WFDB software (Moody). On record 118 of MIT-BIH this gives the gains of the published mix 118e06,
        1.483 and 3.83, to 2 %; with the whole power of the noise as N they are 2.1 times smaller.
    """
    measured = np.arange(len(rpeaks)) < _MEASURED
    amplitude_mv = qrs_amplitude(record.millivolts(), rpeaks, measured, rate_hz=record.rate_hz)
    level = _level(noise, rate_hz=record.rate_hz)
    signal = record.signal.copy()
    limits = np.iinfo(signal.dtype)
    noisy = np.flatnonzero(is_noisy(record.n_samples, rate_hz=record.rate_hz))
    onset = np.flatnonzero(np.diff(noisy, prepend=-2) > 1)
    begun = np.repeat(noisy[onset], np.diff(np.append(onset, len(noisy))))
    for lead, row in enumerate(signal):
        channel = noise[lead % len(noise)]
        wave = channel[noisy % len(channel)] - channel[begun % len(channel)]  # without a step where a stretch begins
        gain = amplitude_mv[lead] / np.sqrt(8) / 10 ** (snr_db / 20) / level[lead % len(noise)] * record.gain[lead]
        known = row[noisy] > limits.min
        added = np.rint(np.nan_to_num(gain) * wave)
        row[noisy] = np.where(known, np.clip(row[noisy] + added, limits.min + 1, limits.max), row[noisy])
    return replace(record, signal=signal)


def _level(noise: NDArray[np.float32], *, rate_hz: float) -> NDArray[np.float64]:
    """(channel,) trimmed mean of the root mean square within a second."""
    second = round(rate_hz)
    n_seconds = min(noise.shape[1] // second, _MEASURED)
    by_second = noise[:, : n_seconds * second].reshape(len(noise), n_seconds, second)
    ordered = np.sort(by_second.std(axis=2, dtype=np.float64), axis=1)
    cut = n_seconds // _TRIMMED
    level: NDArray[np.float64] = ordered[:, cut : n_seconds - cut].mean(axis=1)
    return level
