"""A model is fitted on some patients and calibrated on others; its evidence is the same before and after storage."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from builders import RECIPE, examples, normals

from cardioclarity import ensemble
from cardioclarity.detectors.protocol import Normals
from cardioclarity.ensemble import Model
from cardioclarity.errors import NotFoundError
from cardioclarity.events import Evidence, decide
from cardioclarity.examples import QUALITY_FEATURES, RHYTHM_FEATURES, Examples
from cardioclarity.vocabulary import EventLabel, Head, State, StateReason

FITTING, STOPPING, CALIBRATING = normals(5, 100, seed=0), normals(2, 100, seed=5), normals(4, 100, seed=7)
PATIENTS = ["a", "b", "c", "d"]
UNUSUAL = (30, 60, 61)
LIMITS = {"tachycardia_bpm": 100.0, "bradycardia_bpm": 50.0, "pause_s": 2.0}


def fit(detectors: tuple[str, ...], calibrating: Normals = CALIBRATING, **changed) -> Model:
    arguments = {"calibration_patients": PATIENTS, "recipe": RECIPE, "detectors": detectors, "seed": 0} | changed
    return ensemble.fit(FITTING, STOPPING, calibrating, **arguments)


@pytest.fixture(scope="module")
def full() -> Model:
    return fit(())


@pytest.fixture(scope="module")
def template_only() -> Model:
    return fit(("template",))


@pytest.fixture(scope="module")
def dense_only() -> Model:
    return fit(("ae-dense",))


@pytest.fixture(params=["full", "template_only", "dense_only"])
def any_model(request) -> Model:
    return request.getfixturevalue(request.param)


def spoil(record: Examples, windows: list[int], feature: str, value: float) -> Examples:
    quality = record.quality.copy()
    quality[windows, :, QUALITY_FEATURES.index(feature)] = value
    return replace(record, quality=quality)


def same(one: Evidence, other: Evidence) -> None:
    for item in fields(Evidence):
        mine, theirs = getattr(one, item.name), getattr(other, item.name)
        if isinstance(mine, dict):
            assert mine.keys() == theirs.keys()
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])
        else:
            np.testing.assert_array_equal(mine, theirs)


# ------------------------------------------------------------------------------------------------ evidence


def test_empty_detectors_mean_the_default_ensemble_and_rhythm_and_quality_always_join(full, template_only):
    assert sorted(full.members) == ["ae-conv", "ae-dense", "quality", "rhythm", "template"]
    assert sorted(template_only.members) == ["quality", "rhythm", "template"]


def test_any_subset_of_detectors_ranks_unusual_beats_first(any_model):
    found = any_model.evidence(examples(120, seed=20, unusual=UNUSUAL))

    assert set(np.argsort(np.nan_to_num(found.beat_score, nan=-np.inf))[-3:]) == set(UNUSUAL)
    assert found.beat_p[list(UNUSUAL)].max() < 0.01
    assert np.nanmedian(found.beat_p) > 0.05


def test_evidence_belongs_to_its_record_row_by_row(full):
    record = examples(120, seed=21)

    found = full.evidence(record)

    assert (found.record_id, found.rate_hz, found.n_samples, found.lead) == (
        record.record_id,
        record.rate_hz,
        record.n_samples,
        "MLII",
    )
    n_beats, n_windows = len(record.rpeaks), len(record.window_start)
    for array in (found.beat_readable, found.beat_score, found.beat_p, *found.beat_members.values()):
        assert array.shape == (n_beats,)
    for array in (found.window_readable, found.rhythm_score, found.rhythm_p, *found.window_members.values()):
        assert array.shape == (n_windows,)
    assert len(found.window_reason) == n_windows
    assert {found.beat_score.dtype, found.beat_p.dtype, found.rhythm_score.dtype, found.rhythm_p.dtype} == {
        np.dtype(np.float32)
    }


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
    scores = np.concatenate([dense_only.evidence(record).beat_members["population"] for record in FITTING.records])

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


def test_a_short_record_is_judged_by_the_population_alone(full):
    found = full.evidence(examples(RECIPE.min_beats - 1, seed=24, unusual=(30,)))

    assert np.isnan(found.beat_members["template"]).all()
    np.testing.assert_array_equal(found.beat_score, found.beat_members["population"])
    population_p = full.calibrations["population"].p_values(found.beat_members["population"])
    np.testing.assert_allclose(found.beat_p, population_p, rtol=1e-6)
    assert (
        StateReason.POPULATION_ONLY
        in decide(found, full.levels(alarms_per_hour=1, rhythm_alarms_per_hour=1, **LIMITS))[0][2].reasons
    )


def test_a_model_without_population_members_abstains_from_short_records(template_only):
    found = template_only.evidence(examples(RECIPE.min_beats - 1, seed=24))

    assert np.isnan(found.beat_score).all()
    assert np.isnan(found.beat_p).all()


def test_a_beat_that_is_not_whole_has_neither_score_nor_p(any_model):
    record = examples(120, seed=25)

    found = any_model.evidence(record)

    np.testing.assert_array_equal(np.isfinite(found.beat_score), record.whole)
    np.testing.assert_array_equal(np.isfinite(found.beat_p), record.whole)


def test_beats_take_the_readability_of_their_window(template_only):
    record = spoil(examples(120, seed=26), [2, 5], "flat", 0.9)

    found = template_only.evidence(record)

    window = np.searchsorted(record.window_start, record.rpeaks, side="right") - 1
    np.testing.assert_array_equal(found.beat_readable, ~np.isin(window, [2, 5]))
    assert [at for at, reason in enumerate(found.window_reason) if reason] == [2, 5]
    np.testing.assert_array_equal(found.window_readable, found.window_members["quality"] <= 0)


def test_an_irregular_rhythm_gets_a_small_p(template_only):
    record = examples(120, seed=27)
    rhythm = record.rhythm.copy()
    rhythm[3, RHYTHM_FEATURES.index("mad30")] = 1.0

    found = template_only.evidence(replace(record, rhythm=rhythm))

    assert np.argmin(found.rhythm_p) == 3
    assert found.rhythm_p[3] < 0.05


def test_every_p_value_lies_above_zero_and_up_to_one(any_model):
    found = any_model.evidence(examples(120, seed=28, unusual=range(20, 100, 3)))

    for p in (found.beat_p, found.rhythm_p):
        known = p[np.isfinite(p)]
        assert ((known > 0) & (known <= 1)).all()


def test_evidence_does_not_depend_on_records_seen_before(full):
    record = examples(120, seed=29, unusual=UNUSUAL)
    alone = full.evidence(record)

    full.evidence(examples(80, seed=30))

    same(full.evidence(record), alone)


def test_unusual_beats_become_events_end_to_end(full):
    record = examples(120, seed=31, unusual=(40,))

    verdicts, events = decide(
        full.evidence(record), full.levels(alarms_per_hour=20.0, rhythm_alarms_per_hour=1e-9, **LIMITS)
    )

    (beat_event,) = (event for event in events if event.kind is Head.BEAT)
    assert beat_event.label is EventLabel.EARLY_BEAT
    assert beat_event.start_sample <= record.rpeaks[40] < beat_event.end_sample
    assert verdicts[2].state is State.ANOMALOUS


# ------------------------------------------------------------------------------------------------ storage


def test_a_loaded_model_gives_the_same_evidence_bit_by_bit(any_model):
    record = examples(120, seed=32, unusual=UNUSUAL)
    settings = json.loads(json.dumps(any_model.settings()))

    loaded = ensemble.load(settings, dict(any_model.arrays()))

    same(loaded.evidence(record), any_model.evidence(record))
    assert loaded.settings() == any_model.settings()
    assert loaded.arrays().keys() == any_model.arrays().keys()


def test_settings_are_strict_json(any_model):
    json.dumps(any_model.settings(), allow_nan=False)


def test_settings_of_a_newer_version_are_refused(template_only):
    newer = template_only.settings() | {"version": 2}

    with pytest.raises(NotFoundError, match="version 2 were written by a newer version"):
        ensemble.load(newer, template_only.arrays())


def test_one_seed_gives_one_model(template_only):
    again = fit(("template",))

    assert again.settings() == template_only.settings()
    for name, array in template_only.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


# ------------------------------------------------------------------------------------------------ calibration


@pytest.mark.parametrize("alarms_per_hour", [1.0, 10.0])
def test_a_level_is_the_share_of_normal_beats_that_gives_so_many_alarms_per_hour(template_only, alarms_per_hour):
    levels = template_only.levels(alarms_per_hour=alarms_per_hour, rhythm_alarms_per_hour=0.5, **LIMITS)

    assert levels.beat_p * template_only.facts.beats_per_hour == pytest.approx(alarms_per_hour)
    assert levels.rhythm_p == pytest.approx(0.5 / 360)
    assert (levels.tachycardia_bpm, levels.bradycardia_bpm, levels.pause_s) == (100.0, 50.0, 2.0)


def test_a_level_never_exceeds_one(template_only):
    levels = template_only.levels(alarms_per_hour=1e9, rhythm_alarms_per_hour=1e9, **LIMITS)

    assert (levels.beat_p, levels.rhythm_p) == (1.0, 1.0)


def test_beats_per_hour_is_that_of_readable_normal_beats_each_patient_alike(template_only):
    rates = [3600 * record.rate_hz * len(record.rpeaks) / record.n_samples for record in CALIBRATING.records]

    assert template_only.facts.beats_per_hour == pytest.approx(np.mean(rates))


def test_two_records_of_one_patient_weigh_as_one():
    twice = Normals(
        records=(*CALIBRATING.records, CALIBRATING.records[0]),
        beats=(*CALIBRATING.beats, CALIBRATING.beats[0]),
        windows=(*CALIBRATING.windows, CALIBRATING.windows[0]),
    )

    once, doubled = fit(("template",)), fit(("template",), twice, calibration_patients=[*PATIENTS, "a"])

    assert doubled.facts.calibration_patients == 4
    assert doubled.facts.beats_per_hour == pytest.approx(once.facts.beats_per_hour)
    # One item more in a sample of hundreds moves (1 + weight above) / (1 + total) by less than its own weight.
    scores = np.linspace(0, 20, 50)
    np.testing.assert_allclose(
        doubled.calibrations["template"].p_values(scores)[:20],
        once.calibrations["template"].p_values(scores)[:20],
        atol=0.005,
    )


def test_unreadable_and_abnormal_rows_take_no_part_in_fit_or_calibration():
    unusual_and_noisy = tuple(spoil(examples(100, seed=7 + i, unusual=(50,)), [0, 1], "missing", 0.5) for i in range(4))
    n_windows = sum(len(record.window_start) for record in unusual_and_noisy)
    calibrating = Normals(
        records=unusual_and_noisy,
        beats=tuple(np.arange(100) != 50 for _ in unusual_and_noisy),
        windows=tuple(np.ones(len(record.window_start), bool) for record in unusual_and_noisy),
    )

    model = fit(("template",), calibrating)

    in_noise = sum(int((record.rpeaks < record.window_start[2]).sum()) for record in unusual_and_noisy)
    assert model.facts.calibration_beats == 4 * 99 - in_noise
    assert model.facts.calibration_windows == n_windows - 8
    worst = max(np.nanmax(model.members["template"].score(record)) for record in unusual_and_noisy)
    assert model.calibrations["template"].score[-1] < worst


def test_the_population_limit_is_the_largest_median_of_few_records_that_were_not_fitted(dense_only):
    medians = [
        np.nanmedian(dense_only.evidence(record).beat_members["population"])
        for record in (*CALIBRATING.records, *STOPPING.records)
    ]

    levels = dense_only.levels(alarms_per_hour=1.0, rhythm_alarms_per_hour=1.0, **LIMITS)

    assert levels.population_median == pytest.approx(max(medians), rel=1e-5)


def test_without_population_members_no_record_differs_from_the_population(template_only):
    levels = template_only.levels(alarms_per_hour=1.0, rhythm_alarms_per_hour=1.0, **LIMITS)

    assert template_only.facts.population_median is None
    assert levels.population_median == math.inf


def test_facts_count_what_calibration_saw(full):
    assert full.facts.calibration_patients == 4
    assert full.facts.calibration_beats == 400
    assert full.facts.calibration_windows == sum(len(record.window_start) for record in CALIBRATING.records)
    assert full.facts.calibration_is_disjoint


# ------------------------------------------------------------------------------------------------ refusals


def test_calibration_that_shares_some_records_with_the_fit_is_our_own_mistake():
    mixed = Normals(
        records=(*CALIBRATING.records[:3], FITTING.records[0]),
        beats=(*CALIBRATING.beats[:3], FITTING.beats[0]),
        windows=(*CALIBRATING.windows[:3], FITTING.windows[0]),
    )

    with pytest.raises(AssertionError, match="shares some of its records"):
        fit(("template",), mixed)


def test_a_single_patient_may_serve_all_purposes_and_the_facts_say_so():
    one = normals(1, 100, seed=40)

    model = ensemble.fit(one, one, one, calibration_patients=["only"], recipe=RECIPE, detectors=("template",), seed=0)

    assert not model.facts.calibration_is_disjoint


@pytest.mark.parametrize("name", ["oracle", "rhythm", "quality"])
def test_a_name_that_is_no_beat_detector_is_refused_with_those_that_are(name):
    with pytest.raises(
        NotFoundError, match=f"beat detector '{name}' does not exist; there are: ae-conv, ae-dense, templ"
    ):
        ensemble.check_names(("template", name))


def test_known_names_and_none_at_all_are_accepted():
    ensemble.check_names(())
    ensemble.check_names(("ae-dense", "template"))


@pytest.mark.parametrize("purpose", ["fitting", "calibration"])
def test_without_a_readable_normal_beat_there_is_no_model(purpose):
    def no_beats(group: Normals) -> Normals:
        return replace(group, beats=tuple(np.zeros_like(mask) for mask in group.beats))

    fitting = no_beats(FITTING) if purpose == "fitting" else FITTING
    calibrating = no_beats(CALIBRATING) if purpose == "calibration" else CALIBRATING

    with pytest.raises(NotFoundError, match=f"records for {purpose} has a normal beat"):
        ensemble.fit(
            fitting,
            STOPPING,
            calibrating,
            calibration_patients=PATIENTS,
            recipe=RECIPE,
            detectors=("template",),
            seed=0,
        )


def test_a_record_of_hardly_any_beat_gives_evidence_without_an_error(any_model):
    short = examples(60, seed=50)
    per_beat = ("rpeaks", "rr_s", "late", "beats", "long", "whole")
    for n_beats in (0, 1):
        record = replace(short, adapted=False, **{name: getattr(short, name)[:n_beats] for name in per_beat})

        found = any_model.evidence(record)

        assert found.beat_p.shape == (n_beats,)
        assert len(decide(found, any_model.levels(alarms_per_hour=1, rhythm_alarms_per_hour=1, **LIMITS))[0]) == 4


def test_a_record_without_any_window_gives_evidence_without_an_error(template_only):
    short = examples(60, seed=51)
    per_window = ("window_start", "quality", "window_peaks", "sinusoidal", "rhythm", "rate_bpm")
    record = replace(short, **{name: getattr(short, name)[:0] for name in per_window})

    found = template_only.evidence(record)

    assert not found.beat_readable.any()
    assert found.window_reason == ()
