"""A steady pulse of usual rate has no rhythm feature; each irregularity raises its own, and only where it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.examples import RHYTHM_FEATURES
from cardioclarity.rates import touching
from cardioclarity.regularity import rhythm
from cardioclarity.windows import window_starts

RATE_HZ = 200.0
WIDTH = 2000


def features(rr_s, *, unknown=()):
    """Name → (window,) of a record with these intervals."""
    beat_s = 0.5 + np.r_[0, np.cumsum(rr_s)]
    rr = np.r_[np.nan, rr_s].astype(np.float32)
    rr[list(unknown)] = np.nan
    rpeaks = np.round(beat_s * RATE_HZ).astype(np.int64)
    n_samples = int(rpeaks[-1]) + 100
    window_start = window_starts(n_samples, rate_hz=RATE_HZ, window_s=10.0)
    first, stop = touching(rpeaks, window_start, n_samples=n_samples)
    table = rhythm(beat_s, rr, (window_start + WIDTH / 2) / RATE_HZ, first=first, stop=stop)
    assert table.dtype == np.float32
    return dict(zip(RHYTHM_FEATURES, table.T, strict=True))


def test_a_steady_pulse_of_usual_rate_has_no_rhythm_feature():
    for name, values in features([0.8] * 100).items():
        np.testing.assert_allclose(values, 0, atol=1e-4, err_msg=name)


def test_fibrillation_raises_spread_and_entropy():
    rr_s = np.random.default_rng(0).uniform(0.4, 1.2, 100)

    found = features(rr_s)

    for name in ("mad30", "mad60", "lag3"):
        assert (found[name] > 0.15).all()
    for name in ("entropy30", "entropy60"):
        assert (found[name] > 2).all()


def test_the_spread_is_the_median_difference_of_neighbours_over_the_median():
    found = features([0.7, 0.9] * 60)

    np.testing.assert_allclose(found["mad60"], 0.2 / 0.8, rtol=0.15)
    np.testing.assert_allclose(found["lag3"], found["mad30"], rtol=1e-5)


def test_entropy_of_two_equally_frequent_intervals_is_log_2():
    np.testing.assert_allclose(features([0.7, 0.9] * 60)["entropy60"], np.log(2), atol=1e-3)


@pytest.mark.parametrize("far_s", [(2.0, 3.0), (0.15, 0.2)])
def test_intervals_far_from_the_median_count_in_the_outermost_bin(far_s):
    rr_s = np.full(61, 0.5)
    rr_s[::4], rr_s[2::8] = far_s

    entropy = features(rr_s)["entropy60"]

    p = np.array([16 + 8, 61 - 24]) / 61
    np.testing.assert_allclose(entropy, -(p * np.log(p)).sum(), atol=0.03)


def test_trigeminy_repeats_at_lag_3_and_nothing_else_does():
    found = features([0.6, 1.0, 0.8] * 40)

    assert (found["trigeminy"] > 0.15).all()
    np.testing.assert_allclose(found["lag3"], 0, atol=1e-5)
    for other in ([0.7, 0.9] * 60, 0.8 + 0.1 * np.sin(np.arange(120) / 5)):
        np.testing.assert_allclose(features(other)["trigeminy"], 0, atol=1e-6)


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
    rr_s = [0.8] * 90
    rr_s[-29] = 1.0

    found = features(rr_s)["entropy30"]

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

    found = features(rr_s, unknown=[6])["mad30"]

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
