"""A record of any length and content becomes examples whose rows belong together, whose values are finite or NaN."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.examples import QUALITY_FEATURES, RHYTHM_FEATURES, Recipe, choose_leads, prepare
from cardioclarity.record import Annotations, Record
from cardioclarity.vocabulary import LEAD_ORDER

RECIPE = Recipe()
MISSING = np.iinfo(np.int16).min
GAIN = 500.0
RESIDUAL, ROUGHNESS, RMS = (QUALITY_FEATURES.index(name) for name in ("residual", "roughness", "rms_mv"))


def record(signal_mv, *, rate_hz=250.0, leads=("II", "V1"), gain=GAIN):
    """A record of any (lead, sample) millivolts; NaN becomes a missing sample."""
    signal_mv = np.atleast_2d(signal_mv)
    digital = np.where(np.isnan(signal_mv), MISSING, np.round(np.nan_to_num(signal_mv) * gain))
    leads = leads[: len(signal_mv)]
    return Record(
        record_id="0" * 32,
        rate_hz=rate_hz,
        leads=leads,
        source_leads=leads,
        signal=digital.astype(np.int16),
        gain=np.full(len(leads), gain),
        baseline=np.zeros(len(leads)),
        annotations=Annotations.none(),
    )


def heart(beats_s, *, seconds, rate_hz=250.0, height_mv=(1.0, 0.5), early=()):
    """(2, sample) millivolts: QRS and T at each time; the early ones are wide and have neither P nor usual T."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    one = np.zeros(len(time_s))
    for i, beat_s in enumerate(beats_s):
        waves = ((0.0, 0.03, 1.4), (0.1, 0.04, -0.8)) if i in early else ((0.0, 0.012, 1.0), (0.3, 0.05, 0.25))
        for centre, width, height in waves:
            one += height * np.exp(-0.5 * ((time_s - beat_s - centre) / width) ** 2)
    noise = np.random.default_rng(0).normal(0, 0.003, (2, len(time_s)))
    return np.outer(height_mv, one) + noise


def steady(*, seconds=60.0, rr_s=0.8):
    return np.arange(0.5, seconds - 0.4, rr_s)


def spikes(times_s, rng):
    """(sample,) of a minute at 250 Hz: one sample of random sign and height at each time."""
    signal_mv = np.zeros(15_000)
    signal_mv[np.round(times_s * 250).astype(int)] = rng.uniform(-0.3, 0.3, len(times_s))
    return signal_mv


def ready(*, seconds=60.0, **changes):
    return prepare(record(heart(steady(seconds=seconds), seconds=seconds, **changes)), RECIPE)


def arrays(examples):
    values = ((field.name, getattr(examples, field.name)) for field in dataclasses.fields(examples))
    return {name: value for name, value in values if isinstance(value, np.ndarray)}


def assert_lawful(examples, source):
    n_beats, n_leads, n_windows = len(examples.rpeaks), len(examples.leads), len(examples.window_start)
    shapes = {
        "amplitude_mv": (n_leads,),
        "rpeaks": (n_beats,),
        "rr_s": (n_beats,),
        "late": (n_beats,),
        "whole": (n_beats,),
        "beats": (n_beats, n_leads, 140),
        "long": (n_beats, n_leads, 160),
        "window_start": (n_windows,),
        "quality": (n_windows, n_leads, len(QUALITY_FEATURES)),
        "window_peaks": (n_windows,),
        "sinusoidal": (n_windows,),
        "rhythm": (n_windows, len(RHYTHM_FEATURES)),
        "rate_bpm": (n_windows,),
    }
    assert {name: value.shape for name, value in arrays(examples).items()} == shapes
    integer = {"rpeaks": np.int64, "window_start": np.int64, "window_peaks": np.int32, "late": bool, "whole": bool}
    assert {name: value.dtype for name, value in arrays(examples).items()} == {
        name: np.dtype(integer.get(name, np.float32)) for name in shapes
    }
    assert not any(np.isinf(value).any() for value in arrays(examples).values())
    assert np.isfinite(examples.beats).all()
    assert np.isfinite(examples.long).all()
    assert examples.n_samples == source.n_samples
    assert examples.window_peaks.sum() == n_beats


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from([1.0, 50.0, 99.0, 128.0, 257.0, 500.0, 1000.0]),
    seconds=st.sampled_from([0.0, 0.02, 0.5, 1.0, 9.0, 10.5, 33.3]),
    contents=st.lists(st.sampled_from(["beats", "noise", "flat", "missing", "holes", "gap"]), min_size=1, max_size=2),
)
def test_a_record_of_any_length_rate_and_content_gives_lawful_examples(rate_hz, seconds, contents):
    rng = np.random.default_rng(0)
    rows = []
    for content in contents:
        row = heart(steady(seconds=seconds), seconds=seconds, rate_hz=rate_hz)[0]
        if content == "noise":
            row = rng.normal(0, 0.3, len(row))
        if content in {"flat", "missing"}:
            row[:] = 0.2 if content == "flat" else np.nan
        if content == "holes":
            row[rng.random(len(row)) < 0.2] = np.nan
        if content == "gap":
            row[len(row) // 3 : len(row) // 2] = np.nan
        rows.append(row)
    source = record(np.array(rows), rate_hz=rate_hz)

    examples = prepare(source, RECIPE)

    assert_lawful(examples, source)
    assert set(contents) - {"flat", "missing"} or len(examples.rpeaks) == 0


def test_a_healthy_minute_is_seen_as_it_is():
    examples = ready()

    assert examples.leads == ("II", "V1")
    np.testing.assert_allclose(examples.rpeaks / 250, steady(), atol=0.008)
    assert np.isnan(examples.rr_s[0])
    np.testing.assert_allclose(examples.rr_s[1:], 0.8, atol=0.009)
    np.testing.assert_allclose(examples.rate_bpm, 75, atol=0.5)
    np.testing.assert_allclose(examples.amplitude_mv, [1.0, 0.5], rtol=0.25)
    assert examples.adapted
    assert (examples.quality[..., :3] == 0).all()
    assert (examples.quality[..., RESIDUAL] < 0.02).all()
    assert (examples.quality[..., ROUGHNESS] < 0.02).all()
    assert (examples.quality[..., RMS] > 0.05).all()
    assert np.abs(examples.rhythm[:, 1:]).max() < 0.02
    np.testing.assert_array_equal(examples.window_peaks, np.bincount((steady() // 10).astype(int)))


def test_beats_are_in_units_of_the_amplitude_so_that_gain_does_not_matter():
    small, large = ready(height_mv=(0.5, 0.5)), ready(height_mv=(2.0, 2.0))

    np.testing.assert_allclose(np.ptp(large.beats[5], axis=-1), 1.0, atol=0.1)
    np.testing.assert_allclose(small.beats[5], large.beats[5], atol=0.05)
    np.testing.assert_allclose(np.median(large.beats, axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(np.median(large.long, axis=-1), 0, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [128.0, 257.0, 360.0, 500.0, 1000.0])
def test_the_same_heart_gives_the_same_beats_at_any_rate(rate_hz):
    expected = ready()

    examples = prepare(record(heart(steady(), seconds=60.0, rate_hz=rate_hz), rate_hz=rate_hz), RECIPE)

    assert len(examples.rpeaks) == len(expected.rpeaks)
    middle = slice(2, -2)
    typical = np.median(examples.beats[middle], axis=0)
    np.testing.assert_allclose(typical, np.median(expected.beats[middle], axis=0), atol=0.12)
    assert np.abs(typical[0]).argmax() == pytest.approx(50, abs=1)
    assert np.median(examples.long[middle, 0, 40:120], axis=0).argmax() == pytest.approx(40, abs=1)


def test_the_long_window_shows_the_neighbours_and_the_short_one_does_not():
    examples = prepare(record(heart(steady(rr_s=0.6), seconds=60.0)), RECIPE)

    high = examples.long[10, 0] > 0.5
    assert high[[20, 80, 140]].all()
    assert np.flatnonzero(examples.beats[10, 0] > 0.5).tolist() == pytest.approx(range(48, 53), abs=1)


def test_an_early_beat_keeps_out_of_the_template_and_stands_out_against_it():
    beats_s = steady()
    beats_s[30] -= 0.3
    examples = prepare(record(heart(beats_s, seconds=60.0, early=(30,))), RECIPE)

    assert len(examples.rpeaks) == len(beats_s)
    assert not examples.late[30]
    assert examples.late[31]
    template = np.median(examples.beats[examples.late], axis=0)
    distance = np.abs(examples.beats - template).mean(axis=(1, 2))
    assert distance.argmax() == 30


def test_the_first_lead_shifts_the_beat_and_the_second_follows():
    signal_mv = heart(steady(), seconds=60.0)
    reference = np.round(steady() * 250).astype(np.int64)
    exact = prepare(record(signal_mv), RECIPE, rpeaks=reference)
    shaky = reference + np.where(np.arange(len(reference)) % 5 == 2, 4, 0)

    examples = prepare(record(signal_mv), RECIPE, rpeaks=shaky)

    np.testing.assert_array_equal(examples.rpeaks, shaky)
    np.testing.assert_allclose(examples.beats[2:-2], exact.beats[2:-2], atol=0.06)


def test_given_r_peaks_take_the_place_of_detected_ones():
    reference = np.array([500, 1000, 1600], np.int64)

    examples = prepare(record(heart(steady(), seconds=60.0)), RECIPE, rpeaks=reference)

    np.testing.assert_array_equal(examples.rpeaks, reference)
    np.testing.assert_allclose(examples.rr_s[1:], [2.0, 2.4])
    assert not examples.adapted


def test_a_record_is_adapted_from_sixty_beats_on():
    rpeaks = np.arange(1, 61, dtype=np.int64) * 200
    source = record(heart(steady(), seconds=60.0))

    assert prepare(source, RECIPE, rpeaks=rpeaks).adapted
    assert not prepare(source, RECIPE, rpeaks=rpeaks[1:]).adapted


def test_only_beats_with_both_windows_inside_the_record_are_whole():
    examples = ready()
    time_s = examples.rpeaks / 250

    np.testing.assert_array_equal(examples.whole, (time_s >= 0.8) & (time_s <= 60 - 0.8))


def test_a_beat_at_missing_signal_of_any_analysed_lead_is_not_whole():
    signal_mv = heart(steady(), seconds=60.0)
    signal_mv[1, 7500:8000] = np.nan  # 30 to 32 s

    examples = prepare(record(signal_mv), RECIPE)

    time_s = examples.rpeaks / 250
    near = (time_s > 29.2) & (time_s < 32.8)
    assert not examples.whole[near].any()
    assert examples.whole[(time_s > 1) & (time_s < 28.9)].all()
    assert not np.isnan(examples.rr_s[1:]).any()
    np.testing.assert_allclose(examples.quality[3, :, 0], [0, 0.2])


def test_no_interval_is_known_across_missing_signal_of_all_leads():
    signal_mv = heart(steady(), seconds=60.0)
    signal_mv[:, 7500:8750] = np.nan

    examples = prepare(record(signal_mv), RECIPE)

    unknown = np.flatnonzero(np.isnan(examples.rr_s))
    assert len(unknown) == 2
    assert examples.rpeaks[unknown[1] - 1] < 7500
    assert examples.rpeaks[unknown[1]] >= 8750


def test_noise_in_one_window_shows_in_its_quality_only():
    signal_mv = heart(steady(), seconds=60.0)
    rng = np.random.default_rng(1)
    signal_mv[0, 5000:7500] += rng.normal(0, 0.8, 2500)
    signal_mv[1, 10000:12500] = 0.1

    quality = prepare(record(signal_mv), RECIPE).quality

    assert quality[:, 0, RESIDUAL].argmax() == 2
    assert quality[:, 0, ROUGHNESS].argmax() == 2
    np.testing.assert_allclose(quality[:, 1, 1], [0, 0, 0, 0, 1, 0], atol=0.02)


def test_beats_are_compared_from_150_ms_before_to_250_ms_after_the_r_peak():
    rng = np.random.default_rng(1)
    for after_s, is_seen in ((-0.3, False), (-0.1, True), (0.2, True), (0.4, False)):
        signal_mv = heart(steady(), seconds=60.0)
        beats_s = steady()[(steady() > 20.5) & (steady() < 29.5)]
        signal_mv[0] += np.convolve(spikes(beats_s + after_s, rng), np.hanning(20), mode="same")

        residual = prepare(record(signal_mv), RECIPE).quality[:, 0, RESIDUAL]

        assert (residual[2] > 2 * np.median(residual)) == is_seen


def test_flutter_is_sinusoidal():
    signal_mv = heart(steady(), seconds=60.0)
    signal_mv[:, 5000:7500] = np.sin(2 * np.pi * 4.5 * np.arange(2500) / 250)

    sinusoidal = prepare(record(signal_mv), RECIPE).sinusoidal

    assert sinusoidal.argmax() == 2
    assert sinusoidal[2] > 0.9


def test_ten_seconds_have_one_window_and_no_template_of_their_own():
    examples = ready(seconds=10.0)

    assert not examples.adapted
    assert examples.window_start.tolist() == [0]
    assert np.isfinite(examples.rhythm).all()
    assert examples.whole.sum() >= 9


def test_preparing_twice_gives_the_same_bits():
    first, second = ready(), ready()

    for name, value in arrays(first).items():
        np.testing.assert_array_equal(value, arrays(second)[name])


def test_the_record_is_left_as_it_was():
    source = record(heart(steady(), seconds=60.0))
    before = source.signal.copy()

    prepare(source, RECIPE)

    np.testing.assert_array_equal(source.signal, before)


def test_a_recipe_of_other_sizes_is_followed():
    recipe = Recipe(n_leads=1, beat_rate_hz=125.0, beat_before_s=0.2, beat_after_s=0.4, long_rate_hz=50.0, window_s=5.0)

    examples = prepare(record(heart(steady(), seconds=60.0)), recipe)

    assert examples.beats.shape[1:] == (1, 75)
    assert examples.long.shape[1:] == (1, 80)
    assert len(examples.window_start) == 12
    assert np.median(examples.beats[2:-2, 0], axis=0).argmax() == 25


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("II", "V5"), ("II", "V5")),
        (("V5", "MLII"), ("MLII", "V5")),
        (("V1", "V5"), ("V5", "V1")),
        (("I", "II", "III", "V2", "V5"), ("II", "V5")),
        (("I", "III"), ("I", "III")),
        (("I",), ("I",)),
    ],
)
def test_leads_are_chosen_by_name_first_one_plane_and_then_the_other(names, expected):
    one = heart(steady(), seconds=60.0)[0]
    source = record(np.tile(one, (len(names), 1)), leads=names)

    assert tuple(source.leads[lead] for lead in choose_leads(source, RECIPE)) == expected


def test_a_lead_that_has_fallen_off_gives_way_to_the_next():
    good = heart(steady(), seconds=60.0)[0]
    flat, missing = np.zeros_like(good), np.full_like(good, np.nan)

    assert choose_leads(record([flat, missing, good], leads=("I", "II", "V1")), RECIPE) == (2,)
    assert choose_leads(record([good, missing, good], leads=("I", "II", "V1")), RECIPE) == (0, 2)


def test_where_every_lead_has_fallen_off_the_best_name_is_kept_for_the_quality_head():
    source = record(np.zeros((2, 15_000)))

    examples = prepare(source, RECIPE)

    assert examples.leads == ("II",)
    assert len(examples.rpeaks) == 0
    assert (examples.quality[:, 0, 1] == 1).all()
    assert np.isnan(examples.amplitude_mv).all()
    assert_lawful(examples, source)


def test_a_long_record_is_judged_by_minutes_spread_over_it():
    rate_hz, hours = 50.0, 5
    n_samples = round(hours * 3600 * rate_hz)
    lively = np.random.default_rng(0).normal(0, 0.3, n_samples)
    early_end, late_start = lively.copy(), lively.copy()
    early_end[round(0.3 * n_samples) :] = 0.0
    late_start[: round(0.3 * n_samples)] = 0.0

    source = record([early_end, late_start], leads=("II", "V1"), rate_hz=rate_hz)

    assert choose_leads(source, RECIPE) == (1,)


def test_every_lead_has_a_place_in_the_preference_or_counts_as_unknown():
    one = heart(steady(seconds=10.0), seconds=10.0)[0]
    names = tuple(sorted(LEAD_ORDER, key=LEAD_ORDER.__getitem__))

    chosen = choose_leads(record(np.tile(one, (len(names), 1)), leads=names), Recipe(n_leads=len(names)))

    assert sorted(chosen) == list(range(len(names)))


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wfdb 4.3.1 uses what pandas 3.1 deprecates
def test_record_114_whose_leads_are_swapped_is_read_by_name(real_data):
    import wfdb

    stored = wfdb.rdrecord(str(real_data / "mitdb/114"), physical=False)
    assert stored.sig_name == ["V5", "MLII"]
    source = Record(
        record_id="114",
        rate_hz=float(stored.fs),
        leads=("V5", "MLII"),
        source_leads=("V5", "MLII"),
        signal=np.ascontiguousarray(stored.d_signal.T.astype(np.int16)),
        gain=np.array(stored.adc_gain, float),
        baseline=np.array(stored.baseline, float),
        annotations=Annotations.none(),
    )

    examples = prepare(source, RECIPE)

    assert examples.leads == ("MLII", "V5")
    assert len(examples.rpeaks) == pytest.approx(1879, abs=10)
    assert np.nanmedian(examples.quality[:, 0, RESIDUAL]) < 0.02
