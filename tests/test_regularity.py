"""A steady pulse of usual rate has no rhythm feature; each irregularity raises its own, and only where it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.examples import RHYTHM_FEATURES
from cardioclarity.rates import touching
from cardioclarity.regularity import early_beats, repeats, rhythm
from cardioclarity.windows import window_starts

RATE_HZ = 200.0
WIDTH = 2000


def features(rr_s, *, unknown=(), odd=()):
    """Name → (window,) of a record with these intervals, some beats of another shape."""
    beat_s = 0.5 + np.r_[0, np.cumsum(rr_s)]
    rr = np.r_[np.nan, rr_s].astype(np.float32)
    rr[list(unknown)] = np.nan
    rpeaks = np.round(beat_s * RATE_HZ).astype(np.int64)
    n_samples = int(rpeaks[-1]) + 100
    window_start = window_starts(n_samples, rate_hz=RATE_HZ, window_s=10.0)
    first, stop = touching(rpeaks, window_start, n_samples=n_samples)
    is_odd = np.zeros(len(rr), bool)
    is_odd[list(odd)] = True
    table = rhythm(beat_s, rr, is_odd, (window_start + WIDTH / 2) / RATE_HZ, first=first, stop=stop)
    assert table.dtype == np.float32
    return dict(zip(RHYTHM_FEATURES, table.T, strict=True))


def test_a_steady_pulse_of_usual_rate_has_no_rhythm_feature():
    for name, values in features([0.8] * 100).items():
        np.testing.assert_allclose(values, 0, atol=1e-4, err_msg=name)


def test_fibrillation_raises_spread_and_entropy():
    found = features(np.random.default_rng(0).uniform(0.5, 1.0, 200))

    assert (found["spread"] > 0.1).all()
    assert (found["entropy"] > 1.8).all()


def test_the_spread_is_the_median_difference_of_neighbours_over_the_median():
    np.testing.assert_allclose(features([0.75, 0.85] * 60)["spread"], 0.1 / 0.8, rtol=0.15)


def test_entropy_of_two_equally_frequent_intervals_is_log_2():
    np.testing.assert_allclose(features([0.75, 0.85] * 60)["entropy"], np.log(2), atol=0.02)


def test_a_few_early_or_odd_beats_with_their_pauses_leave_a_steady_pulse_steady():
    rr_s = np.full(120, 0.8)
    early = np.array([20, 43, 71, 99])
    rr_s[early], rr_s[early + 1] = 0.5, 1.1

    found = features(rr_s, odd=[10, 60])

    for name in ("entropy", "spread", "bigeminy", "trigeminy", "run"):
        np.testing.assert_allclose(found[name], 0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("odd", "name"), [(range(31, 61, 2), "bigeminy"), (range(31, 64, 3), "trigeminy"), (range(31, 61), "run")]
)
def test_a_pattern_of_odd_beats_shows_in_its_own_feature_and_where_it_is(odd, name):
    found = features([0.8] * 100, odd=odd)

    for other in ("bigeminy", "trigeminy", "run"):
        expected = [0, 0, 1, 1, 0, 0] if other == name else 0
        np.testing.assert_allclose(found[other][[0, 1, 3, 4, 6, 7]], expected, atol=0.25, err_msg=other)


@pytest.mark.parametrize(("rr_s", "name"), [([0.6, 1.0], "bigeminy"), ([0.6, 1.0, 0.8], "trigeminy")])
def test_a_pattern_of_early_beats_needs_no_odd_shape(rr_s, name):
    assert (features(rr_s * 40)[name] > 0.7).all()


@settings(max_examples=60)
@given(mask=st.lists(st.booleans(), max_size=30), lag=st.integers(1, 3))
def test_repeats_marks_exactly_the_stretches_of_three_marked_beats_a_lag_apart(mask, lag):
    mask = np.array(mask, bool)
    expected = np.zeros(len(mask), bool)
    unit = [True, *[False] * (lag - 1)]
    for start in range(len(mask) - 2 * lag):
        if mask[start : start + 2 * lag + 1].tolist() == [*unit, *unit, True]:
            expected[start : start + 2 * lag + 1] = True

    np.testing.assert_array_equal(repeats(mask, lag), expected)


def test_a_beat_is_early_against_the_usual_interval_around_it_and_never_across_a_gap():
    rr_s = np.full(60, 0.8, np.float32)
    rr_s[[0, 40]] = np.nan
    rr_s[[20, 50]] = 0.6

    assert np.flatnonzero(early_beats(rr_s)).tolist() == [20, 50]
    assert not early_beats(np.full(5, np.nan, np.float32)).any()


@pytest.mark.parametrize(
    ("rr_s", "expected"),
    [
        (0.8, {}),
        (0.55, {"tachy": np.log(0.6 / 0.55)}),
        (0.4, {"tachy": np.log(0.6 / 0.4), "fast": np.log(0.5 / 0.4)}),
        (1.5, {"slow": np.log(1.5 / 1.2)}),
    ],
)
def test_fast_tachy_and_slow_are_logs_beyond_their_limits(rr_s, expected):
    found = features([rr_s] * 80)

    for name in ("fast", "tachy", "slow"):
        np.testing.assert_allclose(found[name], expected.get(name, 0), atol=1e-4)


def test_a_short_run_shows_in_its_own_window_only():
    fast = features([0.8] * 40 + [0.35] * 8 + [0.8] * 40)["fast"]

    assert fast.argmax() == 3
    assert fast[3] > 0.3
    np.testing.assert_allclose(fast[[0, 1, 5, 6]], 0, atol=1e-5)


@pytest.mark.parametrize(("n_intervals", "is_known"), [(7, False), (8, True)])
def test_rhythm_is_unknown_below_eight_intervals(n_intervals, is_known):
    for values in features([0.8] * n_intervals).values():
        assert np.isfinite(values).all() == is_known


def test_at_the_ends_of_a_record_the_neighbourhood_is_shifted_inwards():
    rr_s = [0.8] * 120
    rr_s[-59] = 0.9

    found = features(rr_s)["entropy"]

    assert found[-1] == found[-2] > 0


def test_an_unknown_interval_is_left_out_with_its_differences():
    rr_s = np.full(100, 0.8)
    rr_s[50] = 9.0

    for name, values in features(rr_s, unknown=[51]).items():
        known = values[~np.isnan(values)]
        np.testing.assert_allclose(known, 0, atol=1e-4, err_msg=name)


def test_beats_more_than_a_minute_away_say_nothing_of_a_window():
    rr_s = np.full(60, 0.8)
    rr_s[5] = 300.0

    found = features(rr_s, unknown=[6])["spread"]

    assert np.isnan(found[:30]).all()
    assert np.isfinite(found[-3:]).all()


@settings(max_examples=30, deadline=None)
@given(rr_s=st.lists(st.sampled_from([0.25, 0.5, 0.8, 1.0, 3.0, 30.0]), min_size=1, max_size=80), data=st.data())
def test_a_row_is_finite_or_all_nan_and_never_negative(rr_s, data):
    unknown = data.draw(st.sets(st.integers(1, len(rr_s)), max_size=5))

    table = np.stack(list(features(rr_s, unknown=unknown).values()), axis=1)

    is_known = np.isfinite(table).all(axis=1)
    assert (is_known | np.isnan(table).all(axis=1)).all()
    assert (table[is_known] >= 0).all()
