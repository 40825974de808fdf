"""P(p ≤ a) ≤ a on normal items of unseen patients; a higher score never has a larger p; each patient weighs the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cardioclarity.calibration import Calibration, strictest

# Scores are float32: two of them are never so close that a line between them is a cliff in float64.
SCORES = hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32))


def one_patient(scores: np.ndarray) -> Calibration:
    return Calibration.fit(scores, ["p"] * len(scores))


@given(SCORES, SCORES)
@settings(max_examples=60, deadline=None)
def test_a_higher_score_never_has_a_larger_p(calibrating, scored):
    calibration = one_patient(calibrating)

    p = calibration.p_values(np.sort(scored))

    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_p_is_at_least_the_conformal_one_and_equal_to_it_at_the_calibration_scores(calibrating):
    calibration = one_patient(calibrating)
    known = np.unique(calibrating).astype(np.float64)
    between = known[:-1] + np.diff(known) * 0.3

    def conformal(scores: np.ndarray) -> np.ndarray:
        return (1 + (calibrating[None] >= scores[:, None]).sum(axis=1)) / (1 + len(calibrating))

    np.testing.assert_allclose(calibration.p_values(calibrating), conformal(calibrating), rtol=1e-9)
    assert (calibration.p_values(between) >= conformal(between) * (1 - 1e-9)).all()


@pytest.mark.parametrize("seed", range(3))
def test_normal_items_of_the_same_kind_fall_below_a_level_as_often_as_it_says(seed):
    rng = np.random.default_rng(seed)
    calibration = one_patient(rng.gamma(2.0, 2.0, 4000))

    p = calibration.p_values(rng.gamma(2.0, 2.0, 40_000))

    for level in (0.5, 0.1, 0.01, 0.001):
        monte_carlo = 4 * np.sqrt(level / 4000 + level / 40_000)
        assert np.mean(p <= level) <= level + monte_carlo
        assert np.mean(p <= level) >= level - monte_carlo - 1 / 4000


def test_with_many_patients_of_unlike_hearts_the_mean_over_new_patients_holds():
    rng = np.random.default_rng(0)

    def patients(n: int) -> tuple[np.ndarray, np.ndarray]:
        lengths = rng.integers(50, 400, n)
        whose = np.repeat(np.arange(n), lengths)
        return rng.normal(0, 1, n)[whose] + rng.normal(0, 1, len(whose)), whose

    scores, whose = patients(300)
    new_scores, new_whose = patients(600)

    alarms = Calibration.fit(scores, whose.astype(str)).p_values(new_scores) <= 0.05

    realised = np.mean(np.bincount(new_whose, weights=alarms) / np.bincount(new_whose))
    assert realised == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("n_patients", [5, 10, 20])
def test_with_few_patients_of_unlike_hearts_the_mean_over_new_patients_is_not_twice_the_level(n_patients):
    rng = np.random.default_rng(0)
    new = rng.exponential(1, 6000) * (0.3 + np.repeat(rng.gamma(0.7, 1, 300), 20))
    realised = []
    for _ in range(100):
        whose = np.repeat(np.arange(n_patients), 200)
        scores = rng.exponential(1, len(whose)) * (0.3 + rng.gamma(0.7, 1, n_patients)[whose])
        realised.append(np.mean(Calibration.fit(scores, whose.astype(str)).p_values(new) <= 0.01))

    assert np.mean(realised) < 0.016  # without judging each by the others: 0.023, 0.018, 0.014


@given(st.lists(st.sampled_from([40, 90, 370, 900]), min_size=2, max_size=5), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_each_patient_is_judged_by_the_others_and_weighs_as_much_as_any_who_gave_enough(lengths, seed):
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(len(lengths)), lengths)
    scores = (rng.normal(0, 10, len(whose)) + rng.normal(0, 10, len(lengths))[whose]).round()
    weight = np.array([min(n, 360) / n for n in lengths])[whose]
    weight *= len(whose) / weight.sum()

    def p_by(judges: np.ndarray, judged: np.ndarray) -> np.ndarray:
        reached = scores[judges][None] >= judged[:, None]
        return (1 + (reached * weight[judges]).sum(axis=1)) / (1 + weight[judges].sum())

    everyone = np.ones(len(whose), bool)
    pooled, by_others = p_by(everyone, scores), np.empty(len(whose))
    for patient in range(len(lengths)):
        own = whose == patient
        by_others[own] = p_by(~own, scores[own])
    reached = np.array([weight[by_others <= level * (1 + 1e-9)].sum() / weight.sum() for level in pooled])

    p = Calibration.fit(scores, whose.astype(str)).p_values(scores)

    assert (p >= np.maximum(pooled, reached) * (1 - 1e-6)).all()
    assert (p <= 1).all()


@pytest.mark.parametrize("n", [400, 4000, 40_000])
def test_however_long_the_record_of_one_strange_heart_is_its_strangest_beat_is_no_alarm(n):
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 1600), 20 + rng.normal(0, 1, n)])
    whose = np.repeat(["a", "b", "c", "d", "strange"], [400, 400, 400, 400, n])

    p = Calibration.fit(scores, whose).p_values(np.sort(scores)[-3:])

    assert (np.diff(p) <= 0).all()
    assert p.min() > 0.1
    assert p.max() < 0.201


def test_beyond_the_largest_calibration_score_p_keeps_falling():
    calibration = one_patient(np.random.default_rng(0).normal(0, 1, 2000))

    p = calibration.p_values(np.array([3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))

    assert (np.diff(p) < 0).all()
    assert p[0] < 0.01


def test_p_falls_by_e_per_mean_excess_of_the_top_hundredth():
    calibration = one_patient(np.concatenate([np.zeros(9900), np.linspace(10.0, 14.0, 100)]))

    beyond = calibration.p_values(np.array([14.0, 16.0, 18.0]))

    assert calibration.decay[0] == pytest.approx(2.0, rel=1e-3)
    assert beyond[0] == pytest.approx(2 / 10_001)
    np.testing.assert_allclose(beyond[1:] / beyond[:-1], np.exp(-1.0), rtol=1e-3)


def test_p_is_never_zero_however_high_the_score():
    calibration = one_patient(np.arange(100.0))

    p = calibration.p_values(np.array([1e30, 1e300], np.float64))

    assert (p > 0).all()
    assert (p.astype(np.float32) > 0).all()


def test_a_patient_of_two_items_does_not_own_the_tail_either():
    quiet, loud = np.linspace(0, 1, 2000), np.array([10.0, 11.0])
    patients = [f"quiet {at % 20}" for at in range(2000)] + ["loud"] * 2

    p = Calibration.fit(np.concatenate([quiet, loud]), patients).p_values(np.array([5.0]))[0]

    assert p < 0.003  # not the 1/21 of a patient who is known well


def test_a_long_record_does_not_own_the_tail():
    quiet, loud = np.linspace(0, 1, 9000), np.linspace(10, 11, 400)
    calibration = Calibration.fit(np.concatenate([quiet, loud]), ["quiet"] * 9000 + ["loud"] * 400)

    assert calibration.p_values(np.array([5.0]))[0] == pytest.approx(0.5, abs=0.01)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_records_and_items_changes_no_bit(seed):
    rng = np.random.default_rng(seed)
    lengths = [2000, 900, 370, 90]
    scores = rng.normal(0, 1, sum(lengths)).round(1)  # with ties between patients of unlike weight
    whose = np.repeat(["a", "b", "c", "d"], lengths)
    order = rng.permutation(len(scores))

    straight, shuffled = Calibration.fit(scores, whose), Calibration.fit(scores[order], whose[order])

    for name, array in straight.arrays().items():
        np.testing.assert_array_equal(array, shuffled.arrays()[name])


def test_the_names_of_the_patients_do_not_matter():
    scores = np.random.default_rng(0).normal(0, 1, 300)

    named = Calibration.fit(scores, ["z"] * 100 + ["y"] * 200)
    renamed = Calibration.fit(scores, ["a"] * 100 + ["b"] * 200)

    np.testing.assert_array_equal(named.log_p, renamed.log_p)


def test_nan_is_left_out_of_the_fit_and_handed_through():
    scores = np.array([1.0, np.nan, 2.0, 3.0])

    calibration = one_patient(scores)

    np.testing.assert_array_equal(calibration.log_p, one_patient(np.array([1.0, 2.0, 3.0])).log_p)
    p = calibration.p_values(np.array([np.nan, 2.0]))
    assert np.isnan(p[0])
    assert np.isfinite(p[1])


@pytest.mark.parametrize("scores", [[], [np.nan, np.nan]])
def test_without_any_normal_item_there_is_no_p(scores):
    calibration = Calibration.fit(np.array(scores, np.float64), ["a"] * len(scores))

    assert np.isnan(calibration.p_values(np.array([1.0, np.nan]))).all()
    assert np.isnan(Calibration.load(calibration.arrays()).p_values(np.array([1.0]))).all()


def test_equal_calibration_scores_still_rank_what_lies_beyond():
    calibration = one_patient(np.full(50, 3.0))

    p = calibration.p_values(np.array([2.0, 3.0, 3.0 + 1e-6, 3.0 + 1e-5]))

    assert p[0] == p[1] == 1.0
    assert (np.diff(p[1:]) < 0).all()


def test_a_million_scores_are_kept_in_a_few_thousand_knots():
    scores = np.random.default_rng(0).exponential(1.0, 1_000_000)

    calibration = one_patient(scores)
    p = calibration.p_values(np.sort(scores))

    exact = 1 - np.arange(1_000_000) / 1_000_001
    assert len(calibration.score) <= 4096
    np.testing.assert_allclose(p, exact, rtol=0.005)
    np.testing.assert_allclose(p[-1000:], exact[-1000:], rtol=1e-6)


@given(SCORES, SCORES)
@settings(max_examples=30, deadline=None)
def test_a_loaded_calibration_gives_the_same_bits(calibrating, scored):
    calibration = one_patient(calibrating)

    loaded = Calibration.load(calibration.arrays())

    np.testing.assert_array_equal(loaded.p_values(scored), calibration.p_values(scored))


def test_its_arrays_are_sealed():
    calibration = one_patient(np.arange(10.0))

    for array in calibration.arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_the_strictest_member_decides_by_its_share_of_the_error():
    p = strictest([np.array([0.09, 0.5, 0.9]), np.array([0.5, 0.001, 0.9])], (0.9, 0.1))

    np.testing.assert_allclose(p, [0.1, 0.01, 1.0])


def test_where_a_member_abstains_so_does_the_combination():
    p = strictest([np.array([np.nan, 0.5]), np.array([0.5, np.nan])], (0.9, 0.1))

    assert np.isnan(p).all()


def test_weights_that_spend_more_than_the_whole_error_are_refused():
    with pytest.raises(AssertionError):
        strictest([np.array([0.1]), np.array([0.1])], (0.9, 0.9))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0, -1.0])
def test_the_combination_is_valid_however_the_members_depend_on_each_other(correlation):
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, 200_000)
    second = correlation * first + np.sqrt(1 - correlation**2) * rng.normal(0, 1, 200_000)
    uniform = [np.argsort(np.argsort(-values)) / 200_000 + 1 / 200_000 for values in (first, second)]

    p = strictest(uniform, (0.9, 0.1))

    for level in (0.1, 0.01, 0.001):
        assert np.mean(p <= level) <= level * 1.001 + 4 * np.sqrt(level / 200_000)
