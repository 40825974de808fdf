"""Each defect, each noise and each flutter has a number of its own that is blind to the others, or NaN where it cannot know."""

import numpy as np
import pytest

from cardioclarity.readability import defects, dissimilarity, noise, sinusoidal
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


def test_equal_beats_are_not_dissimilar_and_noise_is():
    rng = np.random.default_rng(0)
    shape = rng.normal(size=80)
    beats = rng.normal(size=(30, 80)).astype(np.float32)
    beats[:10] = shape * rng.uniform(0.5, 2, (10, 1)) + rng.normal(size=(10, 1))
    first, stop = np.array([0, 10, 20]), np.array([10, 20, 30])

    mut = dissimilarity(beats, np.ones(30, bool), first, stop)

    assert mut.dtype == np.float32
    assert mut[0] == pytest.approx(0, abs=1e-5)
    assert (mut[1:] > 0.6).all()


def test_bigeminy_repeats_its_two_shapes_and_is_not_dissimilar():
    shapes = np.random.default_rng(0).normal(size=(2, 80)).astype(np.float32)
    beats = np.tile(shapes, (6, 1))

    assert dissimilarity(beats, np.ones(12, bool), np.array([0]), np.array([12]))[0] == pytest.approx(0, abs=1e-5)


def test_a_window_is_as_dissimilar_as_the_third_best_match_of_its_median_beat():
    angle = np.deg2rad([0, 10, 30, 70, 75])
    beats = np.zeros((5, 4), np.float32)
    beats[:, 0], beats[:, 2] = np.cos(angle), np.sin(angle)
    beats[:, 1], beats[:, 3] = -beats[:, 0], -beats[:, 2]  # mean 0, so that a correlation is the cosine between angles
    third_best = np.cos(np.deg2rad([70, 60, 40, 60, 65]))

    mut = dissimilarity(beats, np.ones(5, bool), np.array([0]), np.array([5]))

    assert mut[0] == pytest.approx(1 - np.median(third_best), abs=1e-6)


@pytest.mark.parametrize(("n_before", "is_known"), [(2, False), (3, True)])
def test_three_beats_to_either_side_help_a_window_with_one(n_before, is_known):
    beats = np.tile(np.random.default_rng(0).normal(size=80).astype(np.float32), (n_before + 1, 1))

    mut = dissimilarity(beats, np.ones(len(beats), bool), np.array([n_before]), np.array([n_before + 1]))

    assert np.isnan(mut[0]) == (not is_known)


def test_beats_beyond_three_to_either_side_do_not_help():
    beats = np.tile(np.random.default_rng(0).normal(size=80).astype(np.float32), (9, 1))
    beats[5] = np.random.default_rng(1).normal(size=80)

    assert dissimilarity(beats, np.ones(9, bool), np.array([8]), np.array([9]))[0] > 0.5


def test_a_beat_that_is_not_whole_is_compared_with_none():
    beats = np.tile(np.random.default_rng(0).normal(size=80).astype(np.float32), (5, 1))
    whole = np.array([True, True, True, True, False])
    beats[4] = 0

    assert dissimilarity(beats, whole, np.array([0]), np.array([5]))[0] == pytest.approx(0, abs=1e-5)
    assert np.isnan(dissimilarity(beats, whole & (np.arange(5) > 0), np.array([0]), np.array([5]))[0])


def test_windows_without_a_beat_cannot_say_how_alike_beats_are():
    no_window = np.zeros(0, np.int64)

    mut = dissimilarity(np.zeros((0, 80), np.float32), np.zeros(0, bool), np.array([0, 0]), np.array([0, 0]))

    assert np.isnan(mut).all()
    assert dissimilarity(np.ones((5, 80), np.float32), np.ones(5, bool), no_window, no_window).shape == (0,)


@pytest.mark.parametrize("rate_hz", [128.0, 200.0, 360.0])
def test_noise_is_the_log_of_the_high_band_against_the_qrs(rate_hz):
    time_s = np.arange(int(20 * rate_hz)) / rate_hz
    slow = np.sin(2 * np.pi * 10 * time_s)
    hum = 0.2 * np.sin(2 * np.pi * 50 * time_s)
    window_start = window_starts(len(time_s), rate_hz=rate_hz, window_s=10.0)

    level = noise((slow + hum).astype(np.float32), window_start, rate_hz=rate_hz, amplitude_mv=2.0)

    np.testing.assert_allclose(level, np.log(0.2 / np.sqrt(2) / 2), atol=0.25)
    assert (noise(slow.astype(np.float32), window_start, rate_hz=rate_hz, amplitude_mv=2.0) < level - 2).all()


@pytest.mark.parametrize(("rate_hz", "amplitude_mv"), [(99.0, 1.0), (360.0, np.nan), (360.0, 0.0)])
def test_noise_is_unknown_below_100_hz_and_without_an_amplitude(rate_hz, amplitude_mv):
    assert np.isnan(noise(wavy(), starts(wavy()), rate_hz=rate_hz, amplitude_mv=amplitude_mv)).all()


def test_noise_of_silence_is_low_and_of_missing_signal_unknown():
    signal = np.zeros(2 * WIDTH, np.float32)
    signal[:WIDTH] = NAN

    level = noise(signal, starts(signal), rate_hz=RATE_HZ, amplitude_mv=1.0)

    assert np.isnan(level[0])
    assert np.isfinite(level[1])
    assert level[1] < -10


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
