"""Views are added in their rank and never averaged in their p-value; a view that is missing leaves the word to the others."""

from dataclasses import replace

import fits
import numpy as np
import pytest
from builders import examples, normals
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.calibration import Calibration
from cardioclarity.detectors import column
from cardioclarity.ensemble import Model
from cardioclarity.views import Standard, Views

SCORE = st.floats(-5, 50, width=32) | st.just(float("nan"))
CALIBRATIONS = {
    "template": Calibration.fit(np.random.default_rng(0).exponential(3, 5000), ["a"] * 5000),
    "population": Calibration.fit(np.random.default_rng(1).normal(0, 2, 5000), ["a"] * 5000),
    "context": Calibration.fit(np.random.default_rng(2).exponential(1, 5000), ["a"] * 5000),
}


NAN = float("nan")


def views(*beats: tuple[float, float, float]) -> Views:
    """What record, population and context view say of each beat."""
    record, population, context = np.array(beats, np.float32).reshape(-1, 3).T
    return Views(record=record, population=population, context=context)


def p_value(view: str, score: float) -> float:
    return float(CALIBRATIONS[view].p_values(np.array([np.float32(score)]))[0])


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

    members = {"template", "ae_dense", "ae_conv", "density", "ae_context", "ae_intervals"}
    assert set(full.evidence(record).beat_members) == members | {"population", "context"}
    assert set(template_only.evidence(record).beat_members) == {"template"}
    assert set(dense_only.evidence(record).beat_members) == {"ae_dense", "population"}
    assert set(full.evidence(record).window_members) == {"rhythm", "quality"}


def test_the_beat_score_of_a_record_with_a_template_is_its_view_and_twice_the_population_view(full):
    found = full.evidence(examples(120, seed=22))

    expected = found.beat_members["template"] + 2 * found.beat_members["population"]
    np.testing.assert_allclose(found.beat_score, expected, rtol=1e-5)


def test_the_beat_score_of_a_short_record_is_population_and_context_view(full):
    found = full.evidence(replace(examples(30, seed=22), adapted=False))

    assert np.isnan(found.beat_members["template"]).all()
    expected = found.beat_members["population"] + found.beat_members["context"]
    np.testing.assert_allclose(found.beat_score, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("view", "members"),
    [("population", ("ae-dense", "ae-conv", "density")), ("context", ("ae-context", "ae-intervals"))],
)
def test_a_view_is_the_mean_of_what_its_members_find_strange(full, view, members):
    found = full.evidence(examples(120, seed=22, unusual=(40, 41)))

    mean = np.mean([full.standards[name].strangeness(found.beat_members[column(name)]) for name in members], axis=0)
    np.testing.assert_allclose(found.beat_members[view], mean, rtol=1e-4, atol=1e-6)


@given(z=st.floats(-50, 50), more=st.floats(0, 20))
def test_what_is_usual_counts_nothing_and_what_is_stranger_never_less(z, more):
    unit = Standard(centre=2.0, spread=0.5)

    one, stranger = unit.strangeness(np.array([2 + 0.5 * z, 2 + 0.5 * (z + more)], np.float32))

    assert one == pytest.approx(np.log1p(max(z, 0) ** 2 / 9), rel=1e-3, abs=1e-5)
    assert stranger >= one >= 0


def test_where_one_population_member_abstains_the_others_speak_for_all(full):
    one_lead = examples(120, 1, seed=23)

    found = full.evidence(one_lead)

    assert np.isnan(found.beat_members["ae_conv"]).all()
    alone = full.standards["ae-dense"].strangeness(found.beat_members["ae_dense"])
    np.testing.assert_allclose(found.beat_members["population"], alone, rtol=1e-4, atol=1e-6)


@given(st.lists(st.tuples(SCORE, SCORE, SCORE), max_size=8))
def test_a_beat_has_a_rank_and_a_p_value_exactly_where_a_view_scored_it(beats):
    found = views(*beats)

    is_scored = np.isfinite(found.record) | np.isfinite(found.population) | np.isfinite(found.context)
    np.testing.assert_array_equal(np.isfinite(found.rank()), is_scored)
    np.testing.assert_array_equal(np.isfinite(found.p_values(CALIBRATIONS)), is_scored)


@given(record=SCORE, population=SCORE, context=SCORE)
def test_the_views_that_rank_a_beat_share_the_error_and_one_alone_has_it_all(record, population, context):
    (p,) = views((record, population, context)).p_values(CALIBRATIONS)

    record_p, population_p = p_value("template", record), p_value("population", population)
    context_p = p_value("context", context)
    if np.isfinite(record):
        expected = min(record_p / 0.95, population_p / 0.05, 1.0) if np.isfinite(population) else record_p
    elif np.isfinite(population) and np.isfinite(context):
        expected = min(2 * population_p, 2 * context_p, 1.0)
    else:
        expected = population_p if np.isfinite(population) else context_p
    np.testing.assert_allclose(p, expected, rtol=1e-6)


@given(
    record=st.floats(-5, 50) | st.just(NAN),
    population=st.floats(-5, 50),
    context=st.floats(0, 9),
    more=st.floats(0, 20),
)
def test_a_stranger_beat_never_has_a_larger_p_value_or_a_lower_rank(record, population, context, more):
    found = views(
        (record, population, context),
        (record + more, population, context),
        (record, population + more, context),
        (record, population, context + more),
    )

    assert (found.rank()[1:] >= found.rank()[0] - 1e-4).all()
    assert (found.p_values(CALIBRATIONS)[1:] <= found.p_values(CALIBRATIONS)[0]).all()


@pytest.mark.parametrize("with_record", [True, False])
def test_of_normal_beats_no_more_than_the_nominal_share_is_below_however_the_views_depend_on_each_other(with_record):
    rng = np.random.default_rng(2)
    first = rng.exponential(3, 20_000) if with_record else rng.exponential(1, 20_000)
    for population in (rng.normal(0, 2, 20_000), np.sort(rng.normal(0, 2, 20_000))[np.argsort(np.argsort(first))]):
        nothing = np.full(20_000, NAN)
        beats = (first, population, nothing) if with_record else (nothing, population, first)
        p = views(*zip(*beats, strict=True)).p_values(CALIBRATIONS)

        assert (p <= 0.05).mean() < 0.06


def test_a_view_without_a_calibration_gives_its_rank_and_leaves_the_p_value_to_the_other():
    calibrations = CALIBRATIONS | {"population": Calibration.nothing()}

    p = views((5.0, 5.0, NAN)).p_values(calibrations)

    np.testing.assert_allclose(p, calibrations["template"].p_values(np.array([5.0])), rtol=1e-6)


def test_a_member_that_could_score_nothing_has_the_unit_one():
    none = normals(1, 100, seed=3)

    class Silent:
        def score(self, record):
            return np.full(len(record.rpeaks), np.nan, np.float32)

        def arrays(self):
            return {}

    assert Standard.fit(Silent(), none) == Standard(centre=0.0, spread=1.0)
