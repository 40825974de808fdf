"""The evidence of a record is the model's alone: row by row, before and after storage, whatever was seen before."""

import json
import math
from dataclasses import fields, replace

import fits
import numpy as np
import pytest
from builders import RECIPE, examples, spoil

from cardioclarity import ensemble
from cardioclarity.ensemble import Model
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.events import Evidence
from cardioclarity.examples import RHYTHM_FEATURES
from cardioclarity.judgement import decide
from cardioclarity.vocabulary import EventLabel, Head, State, StateReason


@pytest.fixture
def full() -> Model:
    return fits.model("full")


@pytest.fixture
def template_only() -> Model:
    return fits.model("template only")


@pytest.fixture(params=fits.MODELS)
def any_model(request) -> Model:
    return fits.model(request.param)


def same(one: Evidence, other: Evidence) -> None:
    for item in fields(Evidence):
        mine, theirs = getattr(one, item.name), getattr(other, item.name)
        if isinstance(mine, dict):
            assert mine.keys() == theirs.keys()
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])
        else:
            np.testing.assert_array_equal(mine, theirs)


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


def test_any_subset_of_detectors_ranks_unusual_beats_first(any_model):
    found = any_model.evidence(examples(120, seed=20, unusual=fits.UNUSUAL))

    assert set(np.argsort(np.nan_to_num(found.beat_score, nan=-np.inf))[-3:]) == set(fits.UNUSUAL)
    assert found.beat_p[list(fits.UNUSUAL)].max() < 0.01
    assert np.nanmedian(found.beat_p) > 0.05


def test_a_short_record_is_judged_without_its_own_template(full):
    found = full.evidence(examples(RECIPE.min_beats - 1, seed=24, unusual=(30,)))

    assert np.isnan(found.beat_members["template"]).all()
    np.testing.assert_allclose(found.beat_score, found.beat_members["population"] + found.beat_members["context"])
    p = [full.calibrations[view].p_values(found.beat_members[view]) for view in ("population", "context")]
    np.testing.assert_allclose(found.beat_p, np.minimum(2 * np.minimum(*p), 1.0), rtol=1e-6)
    assert (
        StateReason.POPULATION_ONLY
        in decide(found, full.levels(alarms_per_hour=1, rhythm_alarms_per_hour=1, **fits.LIMITS))[0][2].reasons
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
    rhythm[3, RHYTHM_FEATURES.index("spread")] = 1.0

    found = template_only.evidence(replace(record, rhythm=rhythm))

    assert np.argmin(found.rhythm_p) == 3
    assert found.rhythm_p[3] < 0.05


def test_every_p_value_lies_above_zero_and_up_to_one(any_model):
    found = any_model.evidence(examples(120, seed=28, unusual=range(20, 100, 3)))

    for p in (found.beat_p, found.rhythm_p):
        known = p[np.isfinite(p)]
        assert ((known > 0) & (known <= 1)).all()


def test_evidence_does_not_depend_on_records_seen_before(full):
    record = examples(120, seed=29, unusual=fits.UNUSUAL)
    alone = full.evidence(record)

    full.evidence(examples(80, seed=30))

    same(full.evidence(record), alone)


def test_unusual_beats_become_events_end_to_end(full):
    record = examples(120, seed=31, unusual=(40,))

    verdicts, events = decide(
        full.evidence(record), full.levels(alarms_per_hour=20.0, rhythm_alarms_per_hour=1e-9, **fits.LIMITS)
    )

    (beat_event,) = (event for event in events if event.kind is Head.BEAT)
    assert beat_event.label is EventLabel.EARLY_BEAT
    assert beat_event.start_sample <= record.rpeaks[40] < beat_event.end_sample
    assert verdicts[2].state is State.ANOMALOUS


def test_a_record_of_hardly_any_beat_gives_evidence_without_an_error(any_model):
    short = examples(60, seed=50)
    per_beat = ("rpeaks", "rr_s", "late", "beats", "long", "whole")
    for n_beats in (0, 1):
        record = replace(short, adapted=False, **{name: getattr(short, name)[:n_beats] for name in per_beat})

        found = any_model.evidence(record)

        assert found.beat_p.shape == (n_beats,)
        assert len(decide(found, any_model.levels(alarms_per_hour=1, rhythm_alarms_per_hour=1, **fits.LIMITS))[0]) == 4


def test_a_record_without_any_window_gives_evidence_without_an_error(template_only):
    short = examples(60, seed=51)
    per_window = ("window_start", "quality", "window_peaks", "sinusoidal", "rhythm", "rate_bpm")
    record = replace(short, **{name: getattr(short, name)[:0] for name in per_window})

    found = template_only.evidence(record)

    assert not found.beat_readable.any()
    assert found.window_reason == ()


def test_a_loaded_model_gives_the_same_evidence_bit_by_bit(any_model):
    record = examples(120, seed=32, unusual=fits.UNUSUAL)
    settings = json.loads(json.dumps(any_model.settings()))

    loaded = ensemble.load(settings, dict(any_model.arrays()))

    same(loaded.evidence(record), any_model.evidence(record))
    assert loaded.settings() == any_model.settings()
    assert loaded.arrays().keys() == any_model.arrays().keys()


def test_settings_are_strict_json(any_model):
    json.dumps(any_model.settings(), allow_nan=False)


def test_settings_of_another_version_are_refused(template_only):
    for version, told in ((4, "newer version .*: update it"), (2, "older version .*: train again")):
        other = template_only.settings() | {"version": version}

        with pytest.raises(NotFoundError, match=f"version {version} were written by an? {told}"):
            ensemble.load(other, template_only.arrays())


@pytest.mark.parametrize("alarms_per_hour", [1.0, 10.0])
def test_a_level_is_the_share_of_normal_beats_that_gives_so_many_alarms_per_hour(template_only, alarms_per_hour):
    levels = template_only.levels(alarms_per_hour=alarms_per_hour, rhythm_alarms_per_hour=0.5, **fits.LIMITS)

    assert levels.beat_p * template_only.facts.beats_per_hour == pytest.approx(alarms_per_hour)
    assert levels.rhythm_p * template_only.facts.windows_per_hour == pytest.approx(0.5)
    assert (levels.tachycardia_bpm, levels.bradycardia_bpm, levels.pause_s) == (100.0, 50.0, 2.0)


@pytest.mark.parametrize(("alarms_per_hour", "rhythm_alarms_per_hour"), [(1e6, 1.0), (1.0, 1e6)])
def test_a_level_that_would_flag_everything_is_refused(template_only, alarms_per_hour, rhythm_alarms_per_hour):
    with pytest.raises(
        UsageError, match=r"alarms-per-hour 1e\+06 would flag everything: an hour of normal ECG has \d+ "
    ):
        template_only.levels(
            alarms_per_hour=alarms_per_hour,
            rhythm_alarms_per_hour=rhythm_alarms_per_hour,
            **fits.LIMITS,
        )


def test_without_population_members_no_record_differs_from_the_population(template_only):
    levels = template_only.levels(alarms_per_hour=1.0, rhythm_alarms_per_hour=1.0, **fits.LIMITS)

    assert template_only.facts.population_median is None
    assert levels.population_median == math.inf
