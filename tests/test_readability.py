"""Each defect, each noise and each flutter has a number of its own that is blind to the others, or NaN where it cannot know."""

import numpy as np
import pytest

from cardioclarity.readability import defects, residual, roughness, sinusoidal
from cardioclarity.windows import window_starts

RATE_HZ = 200.0
WIDTH = 2000
NAN = np.float32(np.nan)
MISSING, FLAT, RAILS = range(3)


def wavy(n_windows=3, *, n_extra=0):
    return np.sin(np.arange(n_windows * WIDTH + n_extra) / 7.3).astype(np.float32)


def starts(signal):
    return window_starts(len(signal), rate_hz=RATE_HZ, window_s=10.0)


def test_a_clean_signal_has_no_defect():
    signal = wavy(n_extra=500)

    shares = defects(signal, starts(signal), rate_hz=RATE_HZ)

    assert shares.shape == (4, 3)
    assert shares.dtype == np.float32
    assert (shares == 0).all()


def test_the_missing_share_counts_each_window_by_its_own_length():
    signal = wavy(n_extra=500)
    signal[1000:2500] = NAN
    signal[-100:] = NAN

    np.testing.assert_allclose(defects(signal, starts(signal), rate_hz=RATE_HZ)[:, MISSING], [0.5, 0.25, 0, 0.2])


@pytest.mark.parametrize(("still_s", "is_flat"), [(0.9, False), (1.1, True), (5.0, True)])
@pytest.mark.parametrize(("range_mv", "is_still"), [(0.0, True), (0.018, True), (0.022, False)])
def test_flat_is_what_moves_less_than_20_microvolts_for_a_second(still_s, is_flat, range_mv, is_still):
    signal = wavy()
    n_still = round(still_s * RATE_HZ)
    signal[2403 : 2403 + n_still] = range_mv * (np.arange(n_still) % 2)

    flat = defects(signal, starts(signal), rate_hz=RATE_HZ)[:, FLAT]

    expected = still_s / 10 if is_flat and is_still else 0
    np.testing.assert_allclose(flat, [0, expected, 0], atol=0.011)


def test_missing_signal_is_not_flat_and_a_signal_below_a_second_never_is():
    missing = np.full(2 * WIDTH, NAN)
    short = np.zeros(199, np.float32)

    assert (defects(missing, starts(missing), rate_hz=RATE_HZ)[:, FLAT] == 0).all()
    assert defects(short, starts(short), rate_hz=RATE_HZ)[0, FLAT] == 0


@pytest.mark.parametrize(("n_equal", "share"), [(2, 0), (3, 0.0015), (400, 0.2)])
@pytest.mark.parametrize("rail", [-1.5, 1.5])
def test_rails_are_three_or_more_equal_samples_at_the_smallest_or_largest_value(n_equal, share, rail):
    signal = wavy()
    signal[2500 : 2500 + n_equal] = rail
    signal[4500:4900] = 0.3

    np.testing.assert_allclose(defects(signal, starts(signal), rate_hz=RATE_HZ)[:, RAILS], [0, share, 0])


def left_over(beats, first, stop, *, whole=None, amplitude_mv=1.0):
    whole = np.ones(len(beats), bool) if whole is None else whole
    return residual(beats, whole, np.array([first]), np.array([stop]), amplitude_mv=amplitude_mv)[0]


@pytest.mark.parametrize("amplitude_mv", [1.0, 2.5])
def test_equal_beats_leave_no_residual_and_noise_between_them_leaves_itself(amplitude_mv):
    rng = np.random.default_rng(0)
    shape = 2 * rng.normal(size=80)
    beats = np.tile(shape, (24, 1)).astype(np.float32)
    beats[:10] = beats[:10] * rng.uniform(0.5, 2, (10, 1)) + rng.normal(size=(10, 1))
    beats[10:14] = rng.normal(size=(4, 80))
    beats[14:] += 0.3 * rng.normal(size=(10, 80))

    measured = residual(beats, np.ones(24, bool), np.array([0, 14]), np.array([10, 24]), amplitude_mv=amplitude_mv)

    assert measured.dtype == np.float32
    assert measured[0] == pytest.approx(0, abs=0.01)
    assert measured[1] == pytest.approx(0.3 / amplitude_mv, rel=0.25)


def test_bigeminy_repeats_its_two_shapes_and_leaves_no_residual():
    shapes = np.random.default_rng(0).normal(size=(2, 80)).astype(np.float32)

    assert left_over(np.tile(shapes, (6, 1)), 0, 12) == pytest.approx(0, abs=0.002)


def test_a_window_leaves_what_the_best_match_of_its_median_beat_does_not_explain():
    angle = np.deg2rad([0, 10, 30, 70, 75])
    beats = np.zeros((5, 4), np.float32)
    beats[:, 0], beats[:, 2] = np.cos(angle), np.sin(angle)
    beats[:, 1], beats[:, 3] = -beats[:, 0], -beats[:, 2]  # mean 0, so that a correlation is the cosine between angles
    best = np.cos(np.deg2rad([10, 10, 20, 5, 5]))

    assert left_over(beats, 0, 5) == pytest.approx(np.sqrt(1 - np.median(best)) * np.sqrt(0.5), abs=1e-5)


@pytest.mark.parametrize(("n_before", "is_known"), [(0, False), (1, True)])
def test_a_beat_to_either_side_helps_a_window_with_one(n_before, is_known):
    beats = np.tile(np.random.default_rng(0).normal(size=80).astype(np.float32), (n_before + 1, 1))

    assert np.isnan(left_over(beats, n_before, n_before + 1)) == (not is_known)


def test_beats_beyond_three_to_either_side_do_not_help():
    beats = np.random.default_rng(1).normal(size=(9, 80)).astype(np.float32)
    beats[4] = beats[8]

    assert left_over(beats, 8, 9) > 0.5
    assert left_over(beats[:8], 7, 8) > 0.5
    beats[5] = beats[8]
    assert left_over(beats, 8, 9) == pytest.approx(0, abs=0.002)


def test_a_beat_that_is_not_whole_is_compared_with_none():
    beats = np.tile(np.random.default_rng(0).normal(size=80).astype(np.float32), (5, 1))
    beats[4] = 0
    whole = np.array([False, False, True, True, False])

    assert left_over(beats, 0, 5, whole=whole) == pytest.approx(0, abs=0.002)
    assert np.isnan(left_over(beats, 0, 5, whole=whole & (np.arange(5) != 2)))


def test_windows_without_a_beat_have_no_residual_to_measure():
    no_window, nothing = np.zeros(0, np.int64), np.zeros((0, 80), np.float32)

    assert np.isnan(residual(nothing, np.zeros(0, bool), np.array([0, 0]), np.array([0, 0]), amplitude_mv=1.0)).all()
    assert residual(nothing + 1, np.zeros(0, bool), no_window, no_window, amplitude_mv=1.0).shape == (0,)


@pytest.mark.parametrize("amplitude_mv", [np.nan, 0.0])
def test_noise_has_no_measure_where_the_amplitude_is_unknown(amplitude_mv):
    beats = np.random.default_rng(0).normal(size=(5, 80)).astype(np.float32)

    assert np.isnan(left_over(beats, 0, 5, amplitude_mv=amplitude_mv))
    assert np.isnan(roughness(wavy(), starts(wavy()), rate_hz=RATE_HZ, amplitude_mv=amplitude_mv)).all()


@pytest.mark.parametrize("rate_hz", [128.0, 200.0, 360.0])
@pytest.mark.parametrize(("hz", "weight"), [(20.0, 1.0), (5.0, 1 / 16)])
def test_roughness_is_the_share_of_20_hz_beside_which_slow_waves_count_little(rate_hz, hz, weight):
    time_s = np.arange(round(20 * rate_hz)) / rate_hz
    wave = (0.2 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)

    rough = roughness(wave, window_starts(len(wave), rate_hz=rate_hz, window_s=10.0), rate_hz=rate_hz, amplitude_mv=2.0)

    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, weight * 0.2 / np.sqrt(2) / 2, rtol=0.2)


@pytest.mark.parametrize("beats_per_s", [1, 2])
def test_qrs_and_pacing_spikes_are_not_rough_but_noise_that_fills_their_pauses_is(beats_per_s):
    rng = np.random.default_rng(0)
    time_s = np.arange(2 * WIDTH) / RATE_HZ
    since_s = time_s % (1 / beats_per_s)
    signal = np.exp(-0.5 * ((since_s - 0.15) / 0.015) ** 2) + (since_s < 0.004)
    signal[WIDTH:] += 0.05 * rng.normal(size=WIDTH)

    quiet, noisy = roughness(signal.astype(np.float32), starts(signal), rate_hz=RATE_HZ, amplitude_mv=1.0)

    assert quiet < 0.01
    assert noisy > 0.1


def test_roughness_needs_a_step_without_missing_samples():
    signal = wavy(4)
    signal[:WIDTH] = NAN
    signal[WIDTH : 2 * WIDTH : 10] = NAN
    signal[2 * WIDTH : 3 * WIDTH - 50] = NAN

    rough = roughness(signal, starts(signal), rate_hz=RATE_HZ, amplitude_mv=1.0)

    np.testing.assert_array_equal(np.isnan(rough), [True, True, False, False])
    assert rough[2] == pytest.approx(rough[3], rel=0.2)
    for n in (0, 2, 19):
        few = np.zeros(n, np.float32)
        assert np.isnan(roughness(few, starts(few), rate_hz=RATE_HZ, amplitude_mv=1.0)).all()


def test_flutter_is_sinusoidal_and_a_pulse_train_or_noise_is_not():
    time_s = np.arange(3000) / 100
    flutter = np.sin(2 * np.pi * 4.3 * time_s) + 0.4 * np.sin(2 * np.pi * 8.6 * time_s)
    pulses = np.exp(-0.5 * (((time_s % 0.8) - 0.4) / 0.02) ** 2)
    noisy = np.random.default_rng(0).normal(size=1000)
    signal = np.r_[flutter[:1000], pulses[1000:2000], noisy].astype(np.float32)

    share = sinusoidal(signal, np.arange(0, 3000, 1000), rate_hz=100.0, window_s=10.0)

    assert share.dtype == np.float32
    assert share[0] > 0.9
    assert (share[1:] < 0.5).all()


@pytest.mark.parametrize(("hz", "is_flutter"), [(1.5, False), (2.0, False), (2.5, True), (7.5, True)])
def test_flutter_is_faster_than_wide_beats_with_pauses_between_them(hz, is_flutter):
    signal = np.sin(2 * np.pi * hz * np.arange(1000) / 100).astype(np.float32)

    share = sinusoidal(signal, np.array([0]), rate_hz=100.0, window_s=10.0)[0]

    assert share > 0.9 if is_flutter else share == 0


def test_power_below_and_above_the_band_does_not_hide_flutter():
    time_s = np.arange(1000) / 100
    signal = sum(np.sin(2 * np.pi * hz * time_s) for hz in (0.1, 4.0, 35.0)).astype(np.float32)

    assert sinusoidal(signal, np.array([0]), rate_hz=100.0, window_s=10.0)[0] > 0.9


@pytest.mark.parametrize(("rest_s", "is_known"), [(1.9, False), (2.0, True), (9.9, True)])
def test_a_last_window_is_judged_from_2_s_on(rest_s, is_known):
    time_s = np.arange(1000 + round(100 * rest_s)) / 100
    signal = np.sin(2 * np.pi * 4 * time_s).astype(np.float32)

    share = sinusoidal(signal, np.array([0, 1000]), rate_hz=100.0, window_s=10.0)

    assert np.isnan(share[1]) == (not is_known)
    assert not is_known or share[1] > 0.9


def test_a_window_without_power_or_signal_cannot_be_sinusoidal():
    signal = np.r_[np.zeros(1000), np.full(1000, NAN)].astype(np.float32)

    assert np.isnan(sinusoidal(signal, np.array([0, 1000]), rate_hz=100.0, window_s=10.0)).all()


def test_every_window_of_a_long_record_is_judged_as_if_it_stood_alone():
    signal = np.random.default_rng(0).normal(size=600_000).astype(np.float32)

    share = sinusoidal(signal, np.arange(0, 600_000, 1000), rate_hz=100.0, window_s=10.0)

    alone = sinusoidal(signal[520_000:521_000], np.array([0]), rate_hz=100.0, window_s=10.0)
    assert share[520] == alone[0]
