"""Two views are added in their rank and never averaged in their p-value; a view that is missing leaves the word to the other."""

import fits
import numpy as np
import pytest
from builders import examples, normals
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.calibration import Calibration
from cardioclarity.ensemble import Model
from cardioclarity.views import Standard, Views

SCORE = st.floats(-5, 50, width=32) | st.just(float("nan"))
CALIBRATIONS = {
    "template": Calibration.fit(np.random.default_rng(0).exponential(3, 500), ["a"] * 500),
    "population": Calibration.fit(np.random.default_rng(1).normal(0, 2, 500), ["a"] * 500),
}


def views(*pairs: tuple[float, float]) -> Views:
    record, population = np.array(pairs, np.float32).reshape(-1, 2).T
    return Views(record=record, population=population)


@pytest.fixture
def full() -> Model:
    return fits.model("full")


@pytest.fixture
def template_only() -> Model:
    return fits.model("template only")


@pytest.fixture
def dense_only() -> Model:
    return fits.model("dense only")


def test_members_stand_under_the_names_of_the_table_columns(full, template_only, dense_only):
    record = examples(120, seed=21)

    assert set(full.evidence(record).beat_members) == {"template", "ae_dense", "ae_conv", "population"}
    assert set(template_only.evidence(record).beat_members) == {"template"}
    assert set(dense_only.evidence(record).beat_members) == {"ae_dense", "population"}
    assert set(full.evidence(record).window_members) == {"rhythm", "quality"}


def test_the_beat_score_is_the_record_view_and_half_the_population_view(full):
    found = full.evidence(examples(120, seed=22))

    expected = found.beat_members["template"] + 0.5 * found.beat_members["population"]
    np.testing.assert_allclose(found.beat_score, expected, rtol=1e-5)


def test_the_population_view_adds_the_members_in_units_of_their_spread(full):
    found = full.evidence(examples(120, seed=22))

    total = sum(
        (found.beat_members[name.replace("-", "_")] - unit.centre) / unit.spread
        for name, unit in full.standards.items()
    )
    np.testing.assert_allclose(found.beat_members["population"], total, rtol=1e-4, atol=1e-4)


def test_population_members_score_normal_beats_of_training_near_zero_with_unit_spread(dense_only):
    scores = np.concatenate([dense_only.evidence(record).beat_members["population"] for record in fits.FITTING.records])

    assert np.nanmedian(scores) == pytest.approx(0.0, abs=1e-3)
    assert 1.4826 * np.nanmedian(np.abs(scores)) == pytest.approx(1.0, abs=0.01)


def test_where_one_population_member_abstains_the_other_speaks_for_both(full):
    one_lead = examples(120, 1, seed=23)

    found = full.evidence(one_lead)

    unit = full.standards["ae-dense"]
    assert np.isnan(found.beat_members["ae_conv"]).all()
    np.testing.assert_allclose(
        found.beat_members["population"],
        2 * (found.beat_members["ae_dense"] - unit.centre) / unit.spread,
        rtol=1e-4,
        atol=1e-4,
    )


@given(st.lists(st.tuples(SCORE, SCORE), max_size=8))
def test_a_beat_has_a_rank_and_a_p_value_exactly_where_a_view_scored_it(pairs):
    found = views(*pairs)

    is_scored = np.isfinite(found.record) | np.isfinite(found.population)
    np.testing.assert_array_equal(np.isfinite(found.rank()), is_scored)
    np.testing.assert_array_equal(np.isfinite(found.p_values(CALIBRATIONS)), is_scored)


@given(record=SCORE, population=SCORE)
def test_two_views_share_the_error_and_one_has_it_all(record, population):
    (p,) = views((record, population)).p_values(CALIBRATIONS)

    record_p = CALIBRATIONS["template"].p_values(np.array([record]))
    population_p = CALIBRATIONS["population"].p_values(np.array([population]))
    if np.isfinite(record) and np.isfinite(population):
        expected = min(record_p[0] / 0.9, population_p[0] / 0.1, 1.0)
    else:
        expected = population_p[0] if np.isnan(record) else record_p[0]
    np.testing.assert_allclose(p, expected, rtol=1e-6)


@given(record=st.floats(-5, 50), population=st.floats(-5, 50), more=st.floats(0, 20))
def test_a_stranger_beat_never_has_a_larger_p_value_or_a_lower_rank(record, population, more):
    found = views((record, population), (record + more, population), (record, population + more))

    assert (np.diff(found.rank()[[0, 1]]) >= 0).all()
    assert (np.diff(found.rank()[[0, 2]]) >= 0).all()
    assert (found.p_values(CALIBRATIONS)[1:] <= found.p_values(CALIBRATIONS)[0]).all()


def test_of_normal_beats_no_more_than_the_nominal_share_is_below_however_the_views_depend_on_each_other():
    rng = np.random.default_rng(2)
    record = rng.exponential(3, 20_000)
    for population in (rng.normal(0, 2, 20_000), np.sort(rng.normal(0, 2, 20_000))[np.argsort(np.argsort(record))]):
        p = views(*zip(record, population, strict=True)).p_values(CALIBRATIONS)

        assert (p <= 0.05).mean() < 0.06


def test_a_view_without_a_calibration_gives_its_rank_and_leaves_the_p_value_to_the_other():
    calibrations = CALIBRATIONS | {"population": Calibration.nothing()}

    p = views((5.0, 5.0)).p_values(calibrations)

    np.testing.assert_allclose(p, calibrations["template"].p_values(np.array([5.0])), rtol=1e-6)


def test_a_member_that_could_score_nothing_has_the_unit_one():
    none = normals(1, 100, seed=3)

    class Silent:
        def score(self, record):
            return np.full(len(record.rpeaks), np.nan, np.float32)

        def arrays(self):
            return {}

    assert Standard.fit(Silent(), none) == Standard(centre=0.0, spread=1.0)
