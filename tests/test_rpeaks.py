"""Every beat is found once and at its peak, nothing else is taken for one, and no content makes the detector fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cardioclarity.rpeaks import best_lead, clarity, detect, detect_together, is_hopeless
from cardioclarity.vocabulary import BEAT_CLASSES

RATE_HZ = 360.0
DEVELOPMENT = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)


def bump(centres_s, *, width_s, height_mv, seconds=60.0, rate_hz=RATE_HZ):
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    signal = np.zeros(len(time_s))
    for centre, height in zip(centres_s, np.broadcast_to(height_mv, np.shape(centres_s)), strict=True):
        signal += height * np.exp(-0.5 * ((time_s - centre) / width_s) ** 2)
    return signal.astype(np.float32)


def ecg(beats_s, *, seconds, rate_hz=RATE_HZ, height_mv=1.0, t_mv=0.2, noise_mv=0.01):
    """QRS of 80 ms and a T wave 300 ms later."""
    at = {"seconds": seconds, "rate_hz": rate_hz}
    beats_s, height_mv = np.asarray(beats_s), np.asarray(height_mv)
    signal = bump(beats_s, width_s=0.012, height_mv=height_mv, **at)
    signal -= bump(beats_s + 0.03, width_s=0.012, height_mv=0.3 * height_mv, **at)
    signal += bump(beats_s + 0.3, width_s=0.05, height_mv=t_mv, **at)
    signal += np.random.default_rng(0).normal(0, noise_mv, len(signal))
    return signal


def steady(*, rr_s=0.8, seconds=60.0):
    return np.arange(0.6, seconds - 0.4, rr_s)


def irregular():
    return 0.6 + np.cumsum(np.random.default_rng(0).uniform(0.7, 1.1, 60))


def assert_found(peaks, beats_s, *, rate_hz=RATE_HZ, tolerance_s=0.006):
    assert len(peaks) == len(beats_s)
    assert np.abs(peaks / rate_hz - beats_s).max() <= tolerance_s


@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 200.0, 257.0, 360.0, 500.0, 1000.0])
def test_every_beat_is_found_at_its_peak_whatever_the_rate(rate_hz):
    peaks = detect(ecg(steady(), seconds=60, rate_hz=rate_hz), rate_hz=rate_hz)

    assert peaks.dtype == np.int64
    assert_found(peaks, steady(), rate_hz=rate_hz)


@settings(max_examples=15, deadline=None)
@given(rr_s=st.lists(st.floats(0.5, 1.1), min_size=12, max_size=30))
def test_every_beat_of_an_irregular_rhythm_is_found(rr_s):
    beats_s = 0.6 + np.cumsum(rr_s)
    seconds = beats_s[-1] + 1

    assert_found(detect(ecg(beats_s, seconds=seconds), rate_hz=RATE_HZ), beats_s)


def test_an_upside_down_or_scaled_lead_has_its_beats_at_the_same_places():
    signal = ecg(steady(), seconds=60)
    peaks = detect(signal, rate_hz=RATE_HZ)

    np.testing.assert_array_equal(detect(-signal, rate_hz=RATE_HZ), peaks)
    np.testing.assert_array_equal(detect(4 * signal, rate_hz=RATE_HZ), peaks)


def test_neither_offset_nor_wander_moves_a_beat():
    signal = ecg(steady(), seconds=60)
    wander = 5 + np.sin(2 * np.pi * 0.3 * np.arange(len(signal)) / RATE_HZ)

    assert_found(detect((signal + wander).astype(np.float32), rate_hz=RATE_HZ), steady())


def test_beats_that_become_low_for_a_while_are_all_found():
    heights = np.where(np.arange(len(steady())) < 50, 2.0, 0.5)

    assert_found(detect(ecg(steady(), seconds=60, height_mv=heights), rate_hz=RATE_HZ), steady())


def test_every_other_beat_may_be_a_third_as_high():
    heights = np.where(np.arange(len(steady())) % 2, 1.0, 0.35)

    assert_found(detect(ecg(steady(), seconds=60, height_mv=heights), rate_hz=RATE_HZ), steady())


def test_a_t_wave_taller_than_the_qrs_is_no_beat_even_if_the_rhythm_is_irregular():
    beats_s = irregular()
    signal = ecg(beats_s, seconds=60) + bump(beats_s + 0.3, width_s=0.04, height_mv=2.0)

    assert_found(detect(signal, rate_hz=RATE_HZ), beats_s)


def test_a_sharp_wave_soon_after_a_beat_is_none_if_it_is_half_as_high():
    beats_s = irregular()
    after_s = np.sort(np.r_[beats_s, beats_s + 0.33])
    heights = np.where(np.isin(after_s, beats_s), 1.0, 0.5)

    assert_found(detect(ecg(after_s, seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ), beats_s)


def test_a_sharp_wave_soon_after_a_beat_is_none_if_the_rhythm_is_whole_without_it():
    after_s = steady()[40] + 0.33
    beats_s = np.sort(np.r_[steady(), after_s])
    heights = np.where(beats_s == after_s, 0.7, 1.0)

    assert_found(detect(ecg(beats_s, seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ), steady())


def test_a_run_of_close_beats_of_like_height_is_kept():
    run_s = steady()[40] + 0.33 * np.arange(1, 6)
    beats_s = np.sort(np.r_[np.delete(steady(), [41, 42]), run_s])

    assert_found(detect(ecg(beats_s, seconds=60, t_mv=0), rate_hz=RATE_HZ), beats_s)


def test_of_three_close_rising_peaks_only_the_middle_one_falls():
    beats_s = np.sort(np.r_[np.delete(steady(), [40, 41]), steady()[40] + np.array([0.0, 0.33, 0.66])])
    heights = np.ones(len(beats_s))
    heights[40:43] = 0.33, 0.58, 1.0

    found = detect(ecg(beats_s, seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ)

    assert_found(found, np.delete(beats_s, 41))


def test_an_early_wide_beat_is_found():
    early_s = steady()[20] + 0.45
    signal = ecg(np.delete(steady(), 21), seconds=60) + bump([early_s], width_s=0.03, height_mv=1.8)

    peaks = detect(signal, rate_hz=RATE_HZ) / RATE_HZ

    assert len(peaks) == len(steady())
    assert np.abs(peaks - early_s).min() < 0.06


def test_a_low_beat_is_found_where_the_rhythm_waits_for_it_and_only_there():
    between_s = steady()[10] + 0.42
    waves_s = np.sort(np.r_[steady(), between_s])
    heights = np.where((waves_s == between_s) | (waves_s == steady()[30]), 0.26, 1.0)

    assert_found(detect(ecg(waves_s, seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ), steady())


@pytest.mark.parametrize(
    ("after_s", "is_beat"), [(0.28, False), (0.32, True), (0.8, True), (1.28, True), (1.32, False)]
)
def test_a_low_beat_in_a_long_interval_keeps_300_ms_from_both_ends(after_s, is_beat):
    low_s = steady()[29] + after_s
    others_s = np.delete(steady(), 30)
    waves_s = np.sort(np.r_[others_s, low_s])
    heights = np.where(waves_s == low_s, 0.26, 1.0)

    found = detect(ecg(waves_s, seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ)

    assert_found(found, waves_s if is_beat else others_s)


def test_a_blunt_wave_in_a_long_interval_is_no_beat():
    others_s = np.delete(steady(), 30)
    signal = ecg(others_s, seconds=60) + bump([steady()[30]], width_s=0.05, height_mv=0.8)

    assert_found(detect(signal, rate_hz=RATE_HZ), others_s)


def test_low_waves_half_way_between_beats_are_none_where_the_rhythm_is_even():
    waves_s = steady()[6:-6:4] + 0.42
    all_s = np.sort(np.r_[steady(), waves_s])
    heights = np.where(np.isin(all_s, waves_s), 0.55, 1.0)

    assert_found(detect(ecg(all_s, seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ), steady())


def test_low_beats_of_an_uneven_rhythm_are_kept():
    heights = np.where(np.arange(60) % 3 == 1, 0.55, 1.0)

    assert_found(detect(ecg(irregular(), seconds=60, height_mv=heights, t_mv=0), rate_hz=RATE_HZ), irregular())


def test_narrow_beats_are_found_among_taller_waves_of_five_per_second():
    beats_s = steady(rr_s=0.93)
    tremor = 0.1 * np.sin(2 * np.pi * 5 * np.arange(round(60 * RATE_HZ)) / RATE_HZ)
    signal = ecg(beats_s, seconds=60, height_mv=0.1, t_mv=0, noise_mv=0.001) + tremor.astype(np.float32)

    assert_found(detect(signal, rate_hz=RATE_HZ), beats_s, tolerance_s=0.06)


def test_a_wave_that_one_of_two_leads_shows_alone_is_no_beat():
    clean, twitch_s = ecg(irregular(), seconds=60), irregular()[10:40:5] + 0.38
    disturbed = clean + bump(twitch_s, width_s=0.012, height_mv=0.8)

    assert len(detect(disturbed, rate_hz=RATE_HZ)) > len(irregular())
    assert_found(detect_together(np.stack([disturbed, clean]), rate_hz=RATE_HZ), irregular())
    assert_found(detect_together(np.stack([clean, disturbed]), rate_hz=RATE_HZ), irregular())


@pytest.mark.parametrize(
    ("after_s", "height_mv", "is_beat"),
    [(0.36, 2.0, False), (0.4, 2.0, True), (0.4, 1.0, False), (0.45, 1.0, True), (0.45, 0.5, False)],
)
def test_an_early_beat_without_anything_sharp_is_found_in_two_leads_where_it_is_too_tall_for_a_t_wave(
    after_s, height_mv, is_beat
):
    before, after = np.split(steady(), [21])
    smooth_s = before[-1] + after_s
    signal = ecg(np.r_[before, after[:-1] + 0.4], seconds=60) + bump([smooth_s], width_s=0.04, height_mv=height_mv)

    peaks = detect_together(np.stack([signal, signal]), rate_hz=RATE_HZ) / RATE_HZ

    assert len(peaks) == len(steady()) - 1 + is_beat
    assert (np.abs(peaks - smooth_s) < 0.06).any() == is_beat


@pytest.mark.parametrize("fallen", [0.0, np.nan])
@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("seconds", [3, 20])
def test_while_a_lead_has_fallen_off_the_other_gives_the_beats_but_perhaps_one_at_the_edge_of_a_flat_line(
    fallen, lead, seconds
):
    signal = np.stack([ecg(irregular(), seconds=60)] * 2)
    signal[lead, round(20.2 * RATE_HZ) : round((20.2 + seconds) * RATE_HZ)] = fallen

    peaks = detect_together(signal, rate_hz=RATE_HZ) / RATE_HZ

    distance_s = np.abs(peaks[:, None] - irregular())
    missed_s = irregular()[distance_s.min(axis=0) > 0.08]
    at_the_edge = np.abs(missed_s[:, None] - [20.2, 20.2 + seconds]).min(axis=1) < 0.5
    assert (distance_s.min(axis=1) < 0.08).all()
    assert len(missed_s) <= (fallen == 0)
    assert at_the_edge.all()


def test_leads_that_show_nothing_leave_the_decision_to_the_one_that_does():
    signal = np.stack([ecg(steady(), seconds=60), *np.zeros((2, round(60 * RATE_HZ)), np.float32)])

    np.testing.assert_array_equal(
        detect_together(signal, rate_hz=RATE_HZ), detect_together(signal[:1], rate_hz=RATE_HZ)
    )


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros(0),
        np.zeros(1),
        np.ones(360),
        np.full(36_000, 1.3),
        np.full(36_000, np.nan),
        np.r_[np.full(1800, np.nan), np.full(1800, -2.0)],
    ],
    ids=["none", "one sample", "one second", "flat", "missing", "half missing, half flat"],
)
def test_a_lead_without_beats_gives_none(signal):
    peaks = detect(signal.astype(np.float32), rate_hz=RATE_HZ)

    assert peaks.shape == (0,)
    assert peaks.dtype == np.int64


def test_a_rate_too_low_for_a_qrs_gives_no_beat():
    assert len(detect(ecg(steady(), seconds=60, rate_hz=8.0), rate_hz=8.0)) == 0


def test_noise_of_a_microvolt_is_no_beat():
    noise = np.random.default_rng(0).normal(0, 0.001, 36_000).astype(np.float32)

    assert len(detect(noise, rate_hz=RATE_HZ)) == 0


@pytest.mark.parametrize("missing_s", [1.0, 3.3, 20.0])
def test_beats_on_both_sides_of_missing_signal_are_found_and_none_inside(missing_s):
    signal = ecg(steady(), seconds=60)
    first, last = round(20.2 * RATE_HZ), round((20.2 + missing_s) * RATE_HZ)
    signal[first:last] = np.nan

    peaks = detect(signal, rate_hz=RATE_HZ)

    assert not ((peaks >= first) & (peaks < last)).any()
    clear_s = steady()[(steady() < 20.0) | (steady() > 20.2 + missing_s + 0.2)]
    near = np.abs(peaks[:, None] / RATE_HZ - clear_s).min(axis=0)
    assert (near < 0.012).all()
    assert len(peaks) <= len(clear_s) + 2


@settings(max_examples=40, deadline=None)
@given(
    signal=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(0, 700)),
        elements=st.floats(-8, 8, width=32) | st.just(np.nan),
    ),
    rate_hz=st.sampled_from([1.0, 60.0, 128.0, 360.0]),
)
def test_peaks_ascend_inside_the_record_whatever_it_holds(signal, rate_hz):
    peaks = detect_together(signal, rate_hz=rate_hz)

    assert (np.diff(peaks) > 0).all()
    assert ((peaks >= 0) & (peaks < signal.shape[1])).all()


def test_the_name_decides_which_lead_is_asked_first():
    signal = np.stack([ecg(steady(), seconds=60)] * 5)

    assert best_lead(signal, rate_hz=RATE_HZ, leads=("V1", "V5", "I", "II", "MLII")) == (4, 3, 2, 1, 0)


@pytest.mark.parametrize("hopeless", [0.0, np.nan])
def test_a_flat_or_missing_lead_comes_after_all_others_whatever_its_name(hopeless):
    good = ecg(steady(), seconds=60)
    signal = np.stack([np.full_like(good, hopeless), good, good])

    assert best_lead(signal, rate_hz=RATE_HZ, leads=("MLII", "V1", "ECG1")) == (1, 2, 0)


def test_among_leads_of_unknown_placement_the_clearer_is_asked_first():
    rng = np.random.default_rng(0)
    good = ecg(steady(), seconds=60)
    signal = np.stack([good + rng.normal(0, noise, len(good)).astype(np.float32) for noise in (0.2, 0.0, 0.4)])

    assert best_lead(signal, rate_hz=RATE_HZ, leads=("ECG1", "ECG2", "ECG3")) == (1, 0, 2)
    assert best_lead(signal, rate_hz=RATE_HZ, leads=("ECG1", "ECG2", "V1")) == (2, 1, 0)


def test_a_lead_without_beats_has_no_clarity():
    assert clarity(np.zeros(3600, np.float32), rate_hz=RATE_HZ) == 0


@pytest.mark.parametrize(("flat_s", "verdict"), [(0, False), (29, False), (31, True), (60, True)])
def test_a_lead_is_hopeless_from_half_of_the_time_on(flat_s, verdict):
    signal = ecg(steady(), seconds=60)
    signal[: round(flat_s * RATE_HZ)] = 0.5

    assert is_hopeless(signal, rate_hz=RATE_HZ) == verdict


def test_a_lead_shorter_than_a_second_is_judged_as_a_whole():
    assert is_hopeless(np.zeros(0, np.float32), rate_hz=RATE_HZ)
    assert is_hopeless(np.zeros(100, np.float32), rate_hz=RATE_HZ)
    assert not is_hopeless(np.linspace(0, 1, 100, dtype=np.float32), rate_hz=RATE_HZ)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wfdb 4.3.1 uses what pandas 3.1 deprecates
def test_first_channels_of_mit_bih_give_sensitivity_and_precision_of_at_least_995_in_1000(real_data):
    import wfdb

    n_beats = n_found = n_peaks = n_true = 0
    reach = 54
    for name in DEVELOPMENT:
        record = wfdb.rdrecord(str(real_data / "mitdb" / name), channels=[0])
        annotation = wfdb.rdann(str(real_data / "mitdb" / name), "atr")
        symbols = np.array(annotation.symbol)
        beats = annotation.sample[np.isin(symbols, list(BEAT_CLASSES))]

        peaks = detect(record.p_signal[:, 0].astype(np.float32), rate_hz=float(record.fs))

        for first, last in annotation.sample[np.isin(symbols, ["[", "]"])].reshape(-1, 2):
            beats = beats[(beats < first - reach) | (beats > last + reach)]
            peaks = peaks[(peaks < first - reach) | (peaks > last + reach)]
        n_beats, n_peaks = n_beats + len(beats), n_peaks + len(peaks)
        n_found += (np.searchsorted(peaks, beats + reach, "right") > np.searchsorted(peaks, beats - reach)).sum()
        n_true += (np.searchsorted(beats, peaks + reach, "right") > np.searchsorted(beats, peaks - reach)).sum()

    assert n_found / n_beats >= 0.995
    assert n_true / n_peaks >= 0.995
