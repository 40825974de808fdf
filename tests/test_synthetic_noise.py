"""Noise has unit variance and the spectrum that was asked for, at any length and rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.synthetic import noise

RATES = st.sampled_from([128.0, 250.0, 360.0, 500.0])


def share_of_power(signal, *, rate_hz, low_hz, high_hz):
    power = np.abs(np.fft.rfft(signal - signal.mean())) ** 2
    frequency = np.fft.rfftfreq(len(signal), 1 / rate_hz)
    return power[(frequency >= low_hz) & (frequency <= high_hz)].sum() / power.sum()


@given(seed=st.integers(0, 2**32 - 1), rate_hz=RATES)
@settings(max_examples=15, deadline=None)
def test_coloured_noise_has_unit_variance_and_keeps_to_its_band(seed, rate_hz):
    rng = np.random.default_rng(seed)

    signal = noise.coloured(rng, noise.band(5, 20), shape=(2, 30_000), rate_hz=rate_hz)

    assert signal.dtype == np.float32
    assert signal.shape == (2, 30_000)
    np.testing.assert_allclose(signal.std(axis=1), 1, atol=0.15)
    assert share_of_power(signal[0], rate_hz=rate_hz, low_hz=4.5, high_hz=20.5) > 0.97


@given(n=st.integers(1, 3000), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_noise_of_any_length_is_finite(n, seed):
    rng = np.random.default_rng(seed)

    for make in (noise.ambient, noise.electrode_motion):
        signal = make(rng, shape=(3, n), rate_hz=250.0)
        assert signal.shape == (3, n)
        assert signal.dtype == np.float32
        assert np.isfinite(signal).all()


def test_the_rows_are_independent():
    signal = noise.coloured(np.random.default_rng(0), noise.band(5, 40), shape=(2, 50_000), rate_hz=250.0)

    assert abs(np.corrcoef(signal)[0, 1]) < 0.05


def test_a_period_longer_than_the_signal_is_resolved_where_asked_for():
    rng = np.random.default_rng(0)

    draws = [
        noise.coloured(rng, noise.band(0.01, 0.02), shape=(1, 100), rate_hz=10.0, longest_s=400)[0] for _ in range(200)
    ]

    assert np.std([draw.mean() for draw in draws]) == pytest.approx(1, abs=0.25)  # ten seconds see almost a constant
    assert np.std([draw.mean() for draw in draws]) > 5 * np.mean([np.std(np.diff(draw)) for draw in draws])


def test_slow_noise_holds_nothing_fast():
    signal = noise.slow(np.random.default_rng(1), low_hz=0.05, high_hz=0.4, shape=(1, 90_000), rate_hz=360.0)[0]

    assert signal.std() == pytest.approx(1, abs=0.3)
    assert share_of_power(signal, rate_hz=360.0, low_hz=0.04, high_hz=0.45) > 0.98


def test_what_every_recording_has_is_small_and_holds_a_trace_of_mains():
    signal = noise.ambient(np.random.default_rng(2), shape=(1, 100_000), rate_hz=500.0)[0]

    spectrum = np.abs(np.fft.rfft(signal))
    near_mains = spectrum[9_800:10_201]  # 49 to 51 Hz at 0.005 Hz a line
    assert 0.03 < signal.std() < 0.1
    assert near_mains.argmax() == 200
    assert near_mains.max() > 10 * np.median(near_mains)


def test_electrode_motion_has_unit_variance_and_lies_in_the_band_of_the_ecg():
    signal = noise.electrode_motion(np.random.default_rng(3), shape=(2, 60_000), rate_hz=360.0)

    assert signal.std() == pytest.approx(1, abs=1e-3)
    assert share_of_power(signal[0], rate_hz=360.0, low_hz=0.5, high_hz=13) > 0.6
