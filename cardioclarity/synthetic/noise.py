"""Random signals of a given spectrum: what disturbs a synthetic ECG and sways its heart rate."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Power = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Frequency in Hz → power, in any unit."""

_COARSE_HZ: Final = 8.0


def coloured(
    rng: np.random.Generator,
    power: Power,
    *,
    shape: tuple[int, int],
    rate_hz: float,
    longest_s: float = 0.0,
) -> NDArray[np.float32]:
    """Make noise of a given spectrum and unit variance.

    Args:
        rng: Source of chance.
        power: The spectrum.
        shape: Rows, which are independent, and samples.
        rate_hz: Samples per second.
        longest_s: The slowest period that the spectrum must resolve, where it exceeds the length.

    Returns:
        (row, sample) float32.
    """
    rows, n = shape
    size = fft.next_fast_len(max(n, int(longest_s * rate_hz), 64), real=True)
    weight = np.sqrt(power(fft.rfftfreq(size, 1 / rate_hz)))
    weight[[0, -1]] = 0  # neither a mean nor the real-valued last bin, so that the variance below is exact
    live = np.flatnonzero(weight)
    spectrum = np.zeros((rows, len(weight)), np.complex64)
    chance = rng.standard_normal((rows, len(live), 2), np.float32)
    spectrum[:, live] = (chance[..., 0] + 1j * chance[..., 1]) * weight[live]
    scale = np.float32(size / (2 * np.linalg.norm(weight)))
    noise: NDArray[np.float32] = fft.irfft(spectrum, size, axis=1)[:, :n] * scale
    return noise


def band(low_hz: float, high_hz: float) -> Power:
    """Describe a flat spectrum between two frequencies, in Hz."""
    return lambda f: ((f >= low_hz) & (f <= high_hz)).astype(np.float64)


def slow(
    rng: np.random.Generator, *, low_hz: float, high_hz: float, shape: tuple[int, int], rate_hz: float
) -> NDArray[np.float32]:
    """Make noise below 1 Hz and of unit variance, at little cost however fast the samples.

    Args:
        rng: Source of chance.
        low_hz: Lower edge of its flat spectrum.
        high_hz: Upper edge.
        shape: Rows, which are independent, and samples.
        rate_hz: Samples per second.

    Returns:
        (row, sample) float32.
    """
    rows, n = shape
    n_coarse = int(n / rate_hz * _COARSE_HZ) + 2
    coarse = coloured(rng, band(low_hz, high_hz), shape=(rows, n_coarse), rate_hz=_COARSE_HZ, longest_s=4 / low_hz)
    at = np.arange(n) * (_COARSE_HZ / rate_hz)
    return np.stack([np.interp(at, np.arange(n_coarse), row).astype(np.float32) for row in coarse])


def ambient(rng: np.random.Generator, *, shape: tuple[int, int], rate_hz: float) -> NDArray[np.float32]:
    """Make what every recording has: baseline wander, a little muscle, a trace of 50-Hz mains.

    Args:
        rng: Source of chance.
        shape: Leads and samples.
        rate_hz: Samples per second.

    Returns:
        (lead, sample) float32, millivolts.
    """
    wander = slow(rng, low_hz=0.05, high_hz=0.4, shape=shape, rate_hz=rate_hz) * np.float32(rng.uniform(0.03, 0.08))
    muscle = coloured(rng, band(15, 0.4 * rate_hz), shape=shape, rate_hz=rate_hz) * np.float32(
        rng.uniform(0.006, 0.012)
    )
    mains = np.sin(2 * np.pi * (50 / rate_hz * np.arange(shape[1]) + rng.uniform())) * rng.uniform(0.001, 0.004)
    everything: NDArray[np.float32] = wander + muscle + mains.astype(np.float32)
    return everything


def electrode_motion(rng: np.random.Generator, *, shape: tuple[int, int], rate_hz: float) -> NDArray[np.float32]:
    """Make bursts of electrode motion with muscle noise, of unit variance.

    Args:
        rng: Source of chance.
        shape: Leads and samples.
        rate_hz: Samples per second.

    Returns:
        (lead, sample) float32.

    Source: kinds and bands as in the MIT-BIH Noise Stress Test Database (Moody, Muldrow, Mark 1984).
    """
    motion = coloured(rng, band(0.7, 12), shape=shape, rate_hz=rate_hz, longest_s=20)
    bursts = np.exp(0.5 * np.clip(slow(rng, low_hz=0.1, high_hz=0.8, shape=shape, rate_hz=rate_hz), -2, 2))
    muscle = coloured(rng, band(15, 0.4 * rate_hz), shape=shape, rate_hz=rate_hz)
    noise = 0.9 * motion * bursts + 0.45 * muscle
    unit: NDArray[np.float32] = noise / noise.std()
    return unit
