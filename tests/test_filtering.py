"""Filters move nothing in time, never reach across missing signal, and take any length at any rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from cardioclarity.filtering import band_pass, bridge, expand, present, resample, runs

RATE_HZ = 250.0
NAN = np.float32(np.nan)


def sine(hz, *, seconds=20.0, rate_hz=RATE_HZ):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


def middle(signal, *, share=0.25):
    edge = round(share * signal.shape[-1])
    return signal[..., edge:-edge]


@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 257.0, 360.0, 1000.0])
@pytest.mark.parametrize("hz", [2.0, 8.0, 15.0])
def test_what_lies_inside_the_band_passes_in_height_and_time(rate_hz, hz):
    signal = sine(hz, rate_hz=rate_hz)

    passed = band_pass(signal, rate_hz=rate_hz, low_hz=0.5, high_hz=40.0)

    assert passed.dtype == np.float32
    np.testing.assert_allclose(middle(passed), middle(signal), atol=0.03)


@pytest.mark.parametrize("hz", [0.05, 110.0])
def test_what_lies_outside_the_band_is_removed(hz):
    removed = band_pass(sine(hz, seconds=80.0), rate_hz=RATE_HZ, low_hz=0.5, high_hz=40.0)

    assert np.abs(middle(removed)).max() < 0.01


def test_a_pulse_stays_where_it_is_and_spreads_alike_to_both_sides():
    pulse = np.zeros(4001, np.float32)
    pulse[2000] = 1

    spread = band_pass(pulse, rate_hz=RATE_HZ, low_hz=0.5, high_hz=40.0)

    assert spread.argmax() == 2000
    np.testing.assert_allclose(spread, spread[::-1], atol=1e-5)


def test_long_signals_are_filtered_in_blocks_that_join_without_a_seam():
    signal = np.cumsum(np.random.default_rng(0).normal(size=600_000)).astype(np.float32) / 50
    sections = scipy_signal.butter(3, (0.5, 40.0), "bandpass", fs=360.0, output="sos")

    filtered = band_pass(signal, rate_hz=360.0, low_hz=0.5, high_hz=40.0)

    np.testing.assert_allclose(filtered, scipy_signal.sosfiltfilt(sections, signal), atol=1e-5)


def test_each_side_of_a_long_gap_is_filtered_as_if_it_stood_alone():
    signal = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    signal[2000:2100] = NAN

    filtered = band_pass(signal, rate_hz=RATE_HZ, low_hz=0.5, high_hz=40.0)

    for side in (slice(None, 2000), slice(2100, None)):
        alone = band_pass(signal[side], rate_hz=RATE_HZ, low_hz=0.5, high_hz=40.0)
        np.testing.assert_array_equal(filtered[side], alone)
    assert np.isnan(filtered[2000:2100]).all()


@pytest.mark.parametrize(("n_missing", "is_bridged"), [(1, True), (50, True), (51, False)])
def test_a_gap_is_bridged_up_to_a_fifth_of_a_second(n_missing, is_bridged):
    signal = np.ones(1000, np.float32)
    signal[500 : 500 + n_missing] = NAN

    filtered = band_pass(signal, rate_hz=RATE_HZ, low_hz=0.5, high_hz=40.0)

    assert np.isnan(filtered[500 : 500 + n_missing]).all() == (not is_bridged)
    assert not np.isnan(filtered[:500]).any()


def test_a_bridge_is_a_straight_line_between_the_two_ends():
    signal = np.array([0, 1, NAN, NAN, NAN, 5, 6], np.float32)

    np.testing.assert_allclose(bridge(signal, rate_hz=RATE_HZ), np.arange(7))
    assert np.isnan(signal[2:5]).all()


def test_missing_samples_at_the_ends_have_nothing_to_be_bridged_to():
    signal = np.array([NAN, 1, 2, NAN], np.float32)

    np.testing.assert_array_equal(np.isnan(bridge(signal, rate_hz=RATE_HZ)), [True, False, False, True])


def test_a_complete_signal_is_bridged_without_a_copy():
    signal = np.arange(5, dtype=np.float32)

    assert bridge(signal, rate_hz=RATE_HZ) is signal


@settings(max_examples=60, deadline=None)
@given(
    missing=st.lists(st.booleans(), max_size=60),
    n_leads=st.integers(0, 3),
    rate_hz=st.sampled_from([0.5, 1.0, 20.0, 90.0, 128.0, 500.0]),
)
def test_any_length_rate_and_pattern_of_missing_samples_is_taken(missing, n_leads, rate_hz):
    is_missing = np.array(missing, bool)
    signal = np.tile(np.arange(len(missing), dtype=np.float32), (n_leads, 1))
    signal[:, is_missing] = NAN

    filtered = band_pass(signal, rate_hz=rate_hz, low_hz=5.0, high_hz=20.0, order=2)

    assert filtered.shape == signal.shape
    assert filtered.dtype == np.float32
    assert np.isfinite(filtered[:, ~is_missing]).all()


def test_a_lead_is_filtered_alike_alone_and_among_others():
    signal = np.random.default_rng(2).normal(size=(3, 2000)).astype(np.float32)

    together = band_pass(signal, rate_hz=RATE_HZ, low_hz=1.0, high_hz=40.0)

    for lead in range(3):
        np.testing.assert_array_equal(
            together[lead], band_pass(signal[lead], rate_hz=RATE_HZ, low_hz=1.0, high_hz=40.0)
        )


def test_a_band_above_what_the_rate_carries_holds_nothing():
    signal = np.array([1, NAN, 2], np.float32)

    np.testing.assert_array_equal(band_pass(signal, rate_hz=10.0, low_hz=5.0, high_hz=20.0), [0, NAN, 0])


def test_an_upper_edge_beyond_the_rate_is_lowered_to_what_the_rate_carries():
    signal = sine(10.0, rate_hz=60.0)

    passed = band_pass(signal, rate_hz=60.0, low_hz=0.5, high_hz=40.0)

    np.testing.assert_allclose(middle(passed), middle(signal), atol=0.03)


@pytest.mark.parametrize(
    ("rate_hz", "to_hz"), [(360, 200), (128, 200), (257, 200), (250, 200), (1000, 200), (200, 100)]
)
def test_a_resampled_signal_shows_the_same_times_to_its_very_end(rate_hz, to_hz):
    signal = sine(5.0, seconds=300.0, rate_hz=rate_hz)

    resampled = resample(signal, rate_hz=float(rate_hz), to_hz=float(to_hz))

    assert resampled.dtype == np.float32
    assert len(resampled) == 300 * to_hz
    np.testing.assert_allclose(
        resampled[-2 * to_hz : -to_hz], sine(5.0, seconds=300.0, rate_hz=to_hz)[-2 * to_hz : -to_hz], atol=5e-3
    )


def test_a_rate_that_is_no_whole_number_drifts_by_less_than_a_sample_in_an_hour():
    rate_hz = 1000 / 3
    signal = sine(1.0, seconds=3600.0, rate_hz=rate_hz)

    resampled = resample(signal, rate_hz=rate_hz, to_hz=100.0)

    np.testing.assert_allclose(resampled[-300:-200], sine(1.0, seconds=3600.0, rate_hz=100.0)[-300:-200], atol=5e-3)


def test_what_the_new_rate_cannot_carry_does_not_fold_back():
    folded = resample(sine(90.0), rate_hz=RATE_HZ, to_hz=100.0)

    assert np.abs(middle(folded)).max() < 0.01


def test_an_equal_rate_and_an_empty_signal_are_given_back():
    signal = sine(5.0)
    empty = np.zeros((2, 0), np.float32)

    assert resample(signal, rate_hz=RATE_HZ, to_hz=RATE_HZ) is signal
    assert resample(empty, rate_hz=RATE_HZ, to_hz=100.0).shape == (2, 0)


def test_missing_samples_stay_missing_at_the_new_rate_and_spoil_only_their_surroundings():
    signal = sine(5.0, rate_hz=360.0)
    whole = resample(signal, rate_hz=360.0, to_hz=200.0)
    signal[3600:3960] = NAN

    resampled = resample(signal, rate_hz=360.0, to_hz=200.0)

    is_missing = np.isnan(resampled)
    assert is_missing[2000:2200].all()
    assert not is_missing[:1970].any()
    assert not is_missing[2230:].any()
    np.testing.assert_array_equal(resampled[:1970], whole[:1970])


@given(mask=st.lists(st.booleans(), max_size=30))
def test_runs_written_out_again_are_the_places_of_true(mask):
    mask = np.array(mask, bool)

    starts, stops = runs(mask)

    assert (stops > starts).all()
    assert (starts[1:] > stops[:-1]).all()
    np.testing.assert_array_equal(expand(starts, stops), np.flatnonzero(mask))


def test_present_stretches_lie_between_the_gaps():
    signal = np.array([NAN, 1, 2, NAN, NAN, 3, NAN], np.float32)

    assert present(signal) == [(1, 3), (5, 6)]
