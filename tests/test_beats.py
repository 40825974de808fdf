"""Row i always belongs to R peak i: its interval, its place among the late beats, its window, its shift."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.beats import alignment, cut, intervals, late_beats, normalise, odd_beats, qrs_amplitude

RATE_HZ = 200.0
NAN = np.float32(np.nan)


def pulse_train(centres, *, n_samples, height_mv=1.0, width=4.0):
    """(sample,) pulses of one sign with a dip after each, so that no shift of one looks like another."""
    at = np.arange(n_samples)[:, None] - np.asarray(centres)
    pulses = np.exp(-0.5 * (at / width) ** 2) - 0.4 * np.exp(-0.5 * ((at - 12) / width) ** 2)
    return (height_mv * pulses).sum(axis=1).astype(np.float32)


def test_the_interval_of_a_beat_is_the_time_since_the_one_before():
    rr_s = intervals(np.array([100, 300, 340]), np.zeros(1000, bool), rate_hz=RATE_HZ)

    assert rr_s.dtype == np.float32
    np.testing.assert_allclose(rr_s, [NAN, 1.0, 0.2])


@pytest.mark.parametrize(("n_missing", "is_unknown"), [(1, False), (40, False), (41, True)])
def test_an_interval_over_more_than_a_fifth_of_a_second_of_missing_signal_is_unknown(n_missing, is_unknown):
    is_missing = np.zeros(1000, bool)
    is_missing[320 : 320 + n_missing] = True

    rr_s = intervals(np.array([100, 300, 500, 700]), is_missing, rate_hz=RATE_HZ)

    np.testing.assert_array_equal(np.isnan(rr_s), [True, False, is_unknown, False])


def test_missing_signal_before_the_first_and_after_the_last_beat_hides_no_interval():
    is_missing = np.zeros(1000, bool)
    is_missing[:90] = is_missing[710:] = True

    rr_s = intervals(np.array([100, 300, 700]), is_missing, rate_hz=RATE_HZ)

    np.testing.assert_allclose(rr_s[1:], [1.0, 2.0])


@pytest.mark.parametrize("rpeaks", [[], [5]])
def test_fewer_than_two_beats_have_no_interval(rpeaks):
    rr_s = intervals(np.array(rpeaks, np.int64), np.ones(10, bool), rate_hz=RATE_HZ)

    assert rr_s.shape == (len(rpeaks),)
    assert np.isnan(rr_s).all()


def test_in_bigeminy_no_early_beat_is_late():
    rr_s = np.tile([0.5, 1.1], 30).astype(np.float32)
    rr_s[0] = NAN

    np.testing.assert_array_equal(late_beats(rr_s)[1:], rr_s[1:] > 1)


def test_the_first_beat_takes_the_interval_of_the_second():
    rr_s = np.array([NAN, *([1.0] * 15), *([0.5] * 15)], np.float32)

    early_s = np.array([NAN, *([0.5] * 10), *([1.0] * 20)], np.float32)

    assert late_beats(rr_s)[0]
    assert not late_beats(early_s)[0]


def test_a_long_record_is_judged_by_its_own_hour_a_short_one_as_a_whole():
    slow, fast = np.full(300, 1.0, np.float32), np.full(300, 0.5, np.float32)

    assert late_beats(np.r_[slow, fast]).all()
    assert not late_beats(np.r_[slow[:200], fast[:199]])[-150:].any()


def test_the_running_median_reaches_25_beats_to_either_side():
    rr_s = np.full(600, 0.8, np.float32)
    rr_s[300:325] = 0.6

    assert not late_beats(rr_s)[300:325].any()
    rr_s[300:326] = 0.6
    assert late_beats(rr_s)[313]


def test_a_beat_of_unknown_interval_is_not_late():
    rr_s = np.full(600, 0.8, np.float32)
    rr_s[[200, 201]] = NAN

    np.testing.assert_array_equal(np.flatnonzero(~late_beats(rr_s)), [200, 201])


@given(rr_s=st.lists(st.floats(0.25, 2.0, width=32) | st.just(NAN), max_size=40))
def test_there_are_at_least_ten_late_beats_or_all_are(rr_s):
    late = late_beats(np.array(rr_s, np.float32))

    assert late.shape == (len(rr_s),)
    assert late.sum() >= 10 or late.all()


@settings(max_examples=60)
@given(
    n_samples=st.integers(0, 60),
    centres=st.lists(st.integers(-5, 65), max_size=8),
    before=st.integers(0, 9),
    after=st.integers(1, 9),
    missing=st.sets(st.integers(0, 59), max_size=3),
)
def test_row_i_is_the_signal_around_beat_i_or_marked_as_not_whole(n_samples, centres, before, after, missing):
    signal_mv = np.arange(1, 2 * n_samples + 1, dtype=np.float32).reshape(2, n_samples)
    gone = [sample for sample in missing if sample < n_samples]
    signal_mv[1, gone] = NAN

    windows, whole = cut(signal_mv, np.array(centres, np.int64), before=before, after=after)

    assert windows.shape == (len(centres), 2, before + after)
    for window, is_whole, centre in zip(windows, whole, centres, strict=True):
        inside = range(centre - before, centre + after)
        assert is_whole == (inside.start >= 0 and inside.stop <= n_samples and not missing & set(inside))
        np.testing.assert_array_equal(window, signal_mv[:, inside] if is_whole else 0)


def test_the_amplitude_is_the_median_height_of_the_chosen_beats_of_each_lead():
    centres = np.arange(100, 2000, 200)
    first = pulse_train(centres, n_samples=2100)
    chosen = np.arange(len(centres)) % 3 != 0
    signal_mv = np.stack([first, 0.25 * first])
    signal_mv[:, : centres[0] + 100] *= 7

    amplitude_mv = qrs_amplitude(signal_mv, centres, chosen, rate_hz=RATE_HZ)

    assert amplitude_mv.dtype == np.float32
    np.testing.assert_allclose(amplitude_mv, [np.ptp(first), np.ptp(first) / 4], rtol=1e-5)


def test_the_amplitude_sees_from_100_ms_before_to_150_ms_after_the_peak():
    signal_mv = np.zeros((1, 400), np.float32)
    signal_mv[0, [179, 231]] = 5
    signal_mv[0, [180, 230]] = 1, -1

    assert qrs_amplitude(signal_mv, np.array([200]), np.array([True]), rate_hz=RATE_HZ)[0] == 2


def test_a_lead_without_a_whole_chosen_beat_has_no_amplitude():
    signal_mv = np.full((2, 400), NAN)
    signal_mv[1] = pulse_train([200], n_samples=400)

    amplitude_mv = qrs_amplitude(signal_mv, np.array([200]), np.array([True]), rate_hz=RATE_HZ)

    np.testing.assert_array_equal(np.isnan(amplitude_mv), [True, False])
    assert np.isnan(qrs_amplitude(signal_mv, np.zeros(0, np.int64), np.zeros(0, bool), rate_hz=RATE_HZ)).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_alignment_undoes_the_shift_of_each_beat(seed):
    rng = np.random.default_rng(seed)
    true = np.arange(200, 6000, 200)
    shifts = rng.integers(-4, 5, len(true)) * (rng.random(len(true)) < 0.2)
    heights = rng.uniform(0.5, 2.0, len(true))
    lead_mv = pulse_train(true, n_samples=6200, height_mv=heights) + rng.normal(0, 0.005, 6200).astype(np.float32)

    found = alignment(lead_mv, true - shifts, np.ones(len(true), bool), reach=4, before=50, after=90)

    # All beats together may sit a sample beside the template: what counts is that they sit alike.
    (common,) = set((found - shifts).tolist())
    assert abs(common) <= 1


def test_alignment_follows_the_chosen_beats_and_reaches_no_further_than_it_may():
    true = np.arange(200, 4000, 200)
    lead_mv = pulse_train(true, n_samples=4200)
    offset = np.where(np.arange(len(true)) % 2, 0, 9)

    found = alignment(lead_mv, true - offset, offset == 0, reach=4, before=50, after=90)

    assert (found[offset == 0] == 0).all()
    assert (found[offset == 9] == 4).all()


def test_a_beat_that_is_not_whole_or_has_no_shape_is_not_shifted():
    true = np.arange(200, 4000, 200)
    lead_mv = pulse_train(true, n_samples=4200)
    lead_mv[930:1100] = 0
    centres = np.r_[53, true, 4190]

    found = alignment(lead_mv, centres, np.ones(len(centres), bool), reach=4, before=50, after=90)

    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("reach", [0, 4])
def test_without_a_template_nothing_is_shifted(reach):
    lead_mv = pulse_train([200, 402], n_samples=800)
    centres = np.array([200, 400])

    np.testing.assert_array_equal(
        alignment(lead_mv, centres, np.full(2, reach == 0), reach=reach, before=50, after=90), [0, 0]
    )


@given(offset=st.floats(-5, 5), scale=st.floats(0.1, 10))
def test_normalised_windows_know_neither_offset_nor_amplitude(offset, scale):
    shape = np.random.default_rng(0).normal(size=(3, 2, 11)).astype(np.float32)
    plain, moved = shape.copy(), (scale * shape + offset).astype(np.float32)

    normalise(plain, np.array([1, 2], np.float32))
    normalise(moved, np.float32(scale) * np.array([1, 2], np.float32))

    np.testing.assert_allclose(np.median(plain, axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(moved, plain, atol=1e-3)


@pytest.mark.parametrize("amplitude_mv", [0.0, np.nan])
def test_a_lead_of_unknown_amplitude_becomes_zeros_and_never_infinite(amplitude_mv):
    windows = np.random.default_rng(0).normal(size=(9000, 2, 5)).astype(np.float32)

    normalise(windows, np.array([amplitude_mv, 1], np.float32))

    assert (windows[:, 0] == 0).all()
    assert (windows[:, 1] != 0).any(axis=1).all()
    assert np.isfinite(windows).all()


def odd(heights, widths, *, late=None, whole=None):
    """Which of these beats are odd, each a pulse of its own height and width in one lead beside an empty one."""
    at = np.arange(140) - 50
    windows = np.zeros((len(heights), 2, 140), np.float32)
    windows[:, 0] = np.array(heights)[:, None] * np.exp(-0.5 * (at / np.array(widths)[:, None]) ** 2)
    everyone = np.ones(len(heights), bool)
    whole, late = (everyone if mask is None else mask for mask in (whole, late))
    return np.flatnonzero(odd_beats(windows, whole, late, rate_hz=RATE_HZ, before=50)).tolist()


def test_a_wide_or_inverted_beat_is_odd_and_a_slightly_taller_one_is_not():
    assert odd([1.0] * 20 + [1.0, -1.0, 1.1], [4.0] * 20 + [16.0, 4.0, 4.0]) == [20, 21]


def test_late_beats_say_what_is_usual_even_where_most_beats_are_not():
    late = np.arange(30) % 3 == 0
    heights = np.where(late, 1.0, -1.0)

    assert odd(heights, [4.0] * 30, late=late) == np.flatnonzero(~late).tolist()


def test_a_beat_that_is_not_whole_is_never_odd_and_without_late_beats_none_is():
    whole = np.arange(20) != 7
    heights = np.where(np.isin(np.arange(20), [7, 9]), -1.0, 1.0)

    assert odd(heights, [4.0] * 20, whole=whole) == [9]
    assert odd(heights, [4.0] * 20, late=np.zeros(20, bool)) == []
    assert not len(odd_beats(np.zeros((0, 1, 140), np.float32), whole[:0], whole[:0], rate_hz=RATE_HZ, before=50))
