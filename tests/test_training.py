"""A model is fitted on some patients and calibrated on others, each patient alike, and its alarm levels are per hour of normal ECG."""

from dataclasses import replace

import fits
import numpy as np
import pytest
from builders import RECIPE, examples, normals, spoil
from fits import CALIBRATING, FITTING, STOPPING, fit

from cardioclarity import training
from cardioclarity.detectors import detector
from cardioclarity.detectors.protocol import Normals
from cardioclarity.ensemble import Model
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples

GROUPS = (FITTING, STOPPING, CALIBRATING)
EVERYONE = tuple(record for group in GROUPS for record in group.records)


@pytest.fixture
def full() -> Model:
    return fits.model("full")


@pytest.fixture
def template_only() -> Model:
    return fits.model("template only")


@pytest.fixture
def dense_only() -> Model:
    return fits.model("dense only")


def test_empty_detectors_mean_the_default_ensemble_and_rhythm_and_quality_always_join(full, template_only):
    assert sorted(full.members) == sorted([*training.DEFAULT_BEAT_DETECTORS, "quality", "rhythm"])
    assert sorted(template_only.members) == ["quality", "rhythm", "template"]


def test_one_seed_gives_one_model(template_only):
    again = fit(("template",))

    assert again.settings() == template_only.settings()
    for name, array in template_only.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def with_pace(record: Examples, rr_s: float) -> Examples:
    """The same beats at another pace, spaced evenly; the record grows or shrinks with it."""
    rr = np.where(np.arange(len(record.rpeaks)) == 0, np.nan, rr_s).astype(np.float32)
    return replace(record, rr_s=rr)


def test_beats_per_hour_is_the_pace_of_normal_ecg_each_patient_alike(template_only):
    paces = [
        3600 / np.nanmean(record.rr_s.astype(np.float64))
        for record in (*FITTING.records, *STOPPING.records, *CALIBRATING.records)
    ]

    assert template_only.facts.beats_per_hour == pytest.approx(np.mean(paces))


@pytest.mark.parametrize("every", [2, 3])
def test_ectopic_beats_in_half_of_the_time_do_not_slow_the_pace_of_the_normal_ones(template_only, every):
    """Per hour of recording there would be fewer normal beats, so each could alarm more often."""
    abnormal = range(1, 50, every)

    ill = training.fit(
        *(normals(n, 100, seed=seed, unusual=abnormal) for n, seed in ((5, 0), (2, 5), (4, 7))),
        recipe=RECIPE,
        detectors=("template",),
        seed=0,
    )

    assert ill.facts.beats_per_hour == pytest.approx(template_only.facts.beats_per_hour, rel=0.03)


def test_an_interval_counts_only_between_two_readable_normal_beats_in_a_row():
    one = with_pace(examples(100, seed=60), 0.75)
    rr_s = one.rr_s.copy()
    is_normal = np.ones(100, bool)
    is_normal[[40, 41]], rr_s[[40, 41, 42]] = False, (0.3, 0.3, 5.0)
    rr_s[70] = np.nan
    window = np.searchsorted(one.window_start, one.rpeaks, side="right") - 1
    rr_s[(window == 3) | (np.diff(window, prepend=0) != 0)] = 9.0
    one = spoil(replace(one, rr_s=rr_s), [3], "missing", 0.5)
    windows = np.ones(len(one.window_start), bool)
    edges = np.flatnonzero(np.diff(window, prepend=0) != 0)
    is_normal[edges] = False
    group = Normals(records=(one,), patients=("only",), beats=(is_normal,), windows=(windows,))

    facts = training.fit(group, group, group, recipe=RECIPE, detectors=("template",), seed=0).facts

    assert facts.beats_per_hour == pytest.approx(3600 / 0.75, rel=1e-6)


def test_windows_per_hour_are_those_of_normal_ecg_whatever_the_length_of_the_last_one(template_only):
    ends = [np.append(record.window_start[1:], record.n_samples) for record in EVERYONE]
    lengths_s = [(end - record.window_start) / record.rate_hz for end, record in zip(ends, EVERYONE, strict=True)]

    expected = np.mean([3600 * len(of_record) / of_record.sum() for of_record in lengths_s])

    assert template_only.facts.windows_per_hour == pytest.approx(expected)
    assert expected > 360


def without_last_window(group: Normals, of: str) -> Normals:
    """Call the last window of each record, the short one, abnormal; or keep the rhythm head from scoring it."""
    n_windows = [len(record.window_start) for record in group.records]
    if of == "normal":
        return replace(group, windows=tuple(np.arange(n) < n - 1 for n in n_windows))
    is_last = [(np.arange(n) == n - 1)[:, None] for n in n_windows]
    rhythm = [np.where(last, np.nan, record.rhythm) for last, record in zip(is_last, group.records, strict=True)]
    records = [replace(record, rhythm=found) for record, found in zip(group.records, rhythm, strict=True)]
    return replace(group, records=tuple(records))


@pytest.mark.parametrize("of", ["normal", "scored"])
def test_windows_that_are_not_normal_or_not_scored_do_not_count(of):
    groups = [without_last_window(group, of) for group in GROUPS]

    facts = training.fit(*groups, recipe=RECIPE, detectors=("template",), seed=0).facts

    assert facts.windows_per_hour == pytest.approx(360)


def test_without_any_normal_window_those_of_a_full_hour_are_taken():
    groups = [replace(group, windows=tuple(np.zeros_like(mask) for mask in group.windows)) for group in GROUPS]

    assert training.fit(*groups, recipe=RECIPE, detectors=("template",), seed=0).facts.windows_per_hour == 360


def test_two_records_of_one_patient_weigh_as_one():
    again = replace(CALIBRATING.records[0], record_id="again")
    twice = Normals(
        records=(*CALIBRATING.records, again),
        patients=(*CALIBRATING.patients, CALIBRATING.patients[0]),
        beats=(*CALIBRATING.beats, CALIBRATING.beats[0]),
        windows=(*CALIBRATING.windows, CALIBRATING.windows[0]),
    )

    once, doubled = fit(("template",)), fit(("template",), twice)

    assert (doubled.facts.calibration_patients, doubled.facts.record_view_patients) == (4, 11)
    assert doubled.facts.beats_per_hour == pytest.approx(once.facts.beats_per_hour)
    # One item more in a sample of a thousand moves (1 + weight above) / (1 + total) by less than its own weight.
    scores = np.linspace(0, 20, 50)
    np.testing.assert_allclose(
        doubled.calibrations["template"].p_values(scores)[:20],
        once.calibrations["template"].p_values(scores)[:20],
        atol=0.015,
    )


# ------------------------------------------------------------------------------------------------ folds


def test_a_record_is_scored_by_a_fit_that_has_seen_no_record_of_its_patient():
    everyone = normals(7, 100, seed=0)
    two_each = replace(everyone, patients=("a", "a", "b", "b", "c", "d", "e"))
    scored = training._scores_by_folds("template", two_each, seed=0)
    others = {
        patient: [row for row, other in enumerate(two_each.patients) if other != patient]
        for patient in two_each.patients
    }

    for row, patient in enumerate(two_each.patients):  # five patients, five folds: each is left out alone
        fitted = detector("template").fit(training._only(two_each, others[patient]), held_out=two_each, seed=0)
        np.testing.assert_array_equal(scored[row], fitted.score(two_each.records[row]))


def test_record_view_and_rhythm_are_calibrated_by_all_patients_the_population_view_by_those_held_out(full):
    everyone = training._joined(GROUPS)
    found = {
        "template": training._scores_by_folds("template", everyone, seed=0),
        "population": [full.evidence(record).beat_members["population"] for record in CALIBRATING.records],
        "rhythm": training._scores_by_folds("rhythm", everyone, seed=0),
    }

    for name, scores in found.items():
        pooled = np.concatenate(scores).astype(np.float64)
        np.testing.assert_array_equal(full.calibrations[name].score, np.unique(pooled[np.isfinite(pooled)]))


def test_without_a_record_view_there_is_nothing_to_calibrate(dense_only):
    assert not len(dense_only.calibrations["template"].score)


def test_the_order_of_the_records_changes_no_p_value(template_only):
    turned = [training._only(group, range(len(group.records))[::-1]) for group in GROUPS]

    again = training.fit(*turned, recipe=RECIPE, detectors=("template",), seed=0)

    for name in ("template", "rhythm"):
        np.testing.assert_array_equal(again.calibrations[name].score, template_only.calibrations[name].score)
        np.testing.assert_allclose(again.calibrations[name].log_p, template_only.calibrations[name].log_p, rtol=1e-12)


def test_where_folds_leave_nobody_to_fit_on_the_held_out_records_calibrate():
    one = normals(1, 100, seed=40)

    model = training.fit(one, one, one, recipe=RECIPE, detectors=("template",), seed=0)

    found = model.members["template"].score(one.records[0])
    np.testing.assert_array_equal(model.calibrations["template"].score, np.unique(found[np.isfinite(found)]))


def test_of_the_normal_beats_of_new_patients_about_the_nominal_share_is_below(template_only):
    new = [template_only.evidence(examples(120, seed=2000 + i)).beat_p for i in range(40)]

    assert np.mean([(p[np.isfinite(p)] <= 0.1).mean() for p in new]) == pytest.approx(0.1, abs=0.05)


# ------------------------------------------------------------------------------------------------ rows


def test_unreadable_and_abnormal_rows_take_no_part_in_fit_or_calibration():
    unusual_and_noisy = tuple(spoil(examples(100, seed=7 + i, unusual=(50,)), [0, 1], "missing", 0.5) for i in range(4))
    n_windows = sum(len(record.window_start) for record in unusual_and_noisy)
    calibrating = Normals(
        records=unusual_and_noisy,
        patients=tuple(record.record_id for record in unusual_and_noisy),
        beats=tuple(np.arange(100) != 50 for _ in unusual_and_noisy),
        windows=tuple(np.ones(len(record.window_start), bool) for record in unusual_and_noisy),
    )

    model = fit(("template",), calibrating)

    in_noise = sum(int((record.rpeaks < record.window_start[2]).sum()) for record in unusual_and_noisy)
    assert model.facts.calibration_beats == 4 * 99 - in_noise
    assert model.facts.record_view_beats == 700 + 4 * 99 - in_noise
    others = sum(len(record.window_start) for group in GROUPS[:2] for record in group.records)
    assert model.facts.calibration_windows == others + n_windows - 8
    worst = max(np.nanmax(model.members["template"].score(record)) for record in unusual_and_noisy)
    assert model.calibrations["template"].score[-1] < worst


@pytest.mark.parametrize(("stopping", "calibrating"), [(STOPPING, CALIBRATING), (CALIBRATING, STOPPING)])
def test_the_population_limit_is_the_largest_median_of_few_records_that_were_not_fitted(stopping, calibrating):
    model = training.fit(FITTING, stopping, calibrating, recipe=RECIPE, detectors=("ae-dense",), seed=0)
    medians = [
        np.nanmedian(model.evidence(record).beat_members["population"])
        for record in (*calibrating.records, *stopping.records)
    ]

    levels = model.levels(alarms_per_hour=1.0, rhythm_alarms_per_hour=1.0, **fits.LIMITS)

    assert levels.population_median == pytest.approx(max(medians), rel=1e-5)


def test_facts_count_what_calibration_saw(full):
    assert (full.facts.calibration_patients, full.facts.record_view_patients) == (4, 11)
    assert (full.facts.calibration_beats, full.facts.record_view_beats) == (400, 1100)
    assert full.facts.calibration_windows == sum(
        len(record.window_start) for group in GROUPS for record in group.records
    )
    assert full.facts.calibration_is_disjoint


def test_false_alarms_are_counted_on_held_out_patients_by_beats_and_on_all_by_windows(full):
    beat, *rhythm = full.facts.realised

    assert (beat.head, beat.asked, beat.patients) == ("beat", 1.0, 4)
    assert beat.hours == pytest.approx(400 / full.facts.beats_per_hour, rel=0.2)
    assert [(one.head, one.patients) for one in rhythm] == [("rhythm", 11), ("rhythm", 11)]
    assert {one.asked for one in rhythm} == {1.0, 1.0 / 24}
    assert sum(one.hours for one in rhythm) / 2 == pytest.approx(
        sum(record.n_samples / record.rate_hz for record in EVERYONE) / 3600
    )


def test_the_beats_of_a_patient_are_counted_by_a_calibration_that_none_of_them_has_part_in(template_only):
    """One patient of the calibration whose every beat is strange: the others' level must not have been raised by him."""
    odd = replace(CALIBRATING.records[0], record_id="f" * 32)
    odd = replace(
        odd, beats=odd.beats * np.where(np.arange(len(odd.beats)) % 2, -1, 1)[:, None, None].astype(np.float32)
    )
    calibrating = replace(
        CALIBRATING, records=(odd, *CALIBRATING.records[1:]), patients=("odd", *CALIBRATING.patients[1:])
    )

    with_odd = fit(("template",), calibrating).facts.realised[0]

    assert with_odd.alarms > template_only.facts.realised[0].alarms + 30


def test_ectopic_beats_of_a_held_out_patient_are_neither_false_alarms_nor_hours_of_normal_ecg():
    ill = normals(1, 100, seed=7, unusual=range(10, 90, 8))
    masks = (*ill.beats, *CALIBRATING.beats[1:])
    calibrating = replace(CALIBRATING, records=(*ill.records, *CALIBRATING.records[1:]), beats=masks)

    model = fit(("template",), calibrating)

    found, hours = model.facts.realised[0], 0.0
    for record, is_normal in zip(calibrating.records, masks, strict=True):
        between = record.rr_s[1:][is_normal[1:] & is_normal[:-1]]
        is_judged = is_normal & np.isfinite(model.evidence(record).beat_p)
        hours += is_judged.sum() * between.mean(dtype=np.float64) / 3600
    assert found.alarms <= 1  # ten with the ectopic beats
    assert found.hours == pytest.approx(hours)


def test_where_the_held_out_patients_took_part_in_the_fit_no_false_alarm_of_theirs_is_told():
    model = training.fit(FITTING, FITTING, FITTING, recipe=RECIPE, detectors=("template",), seed=0)

    assert {one.head for one in model.facts.realised} == {"rhythm"}


def test_calibration_that_shares_some_patients_with_the_fit_is_our_own_mistake():
    mixed = replace(CALIBRATING, patients=(*CALIBRATING.patients[:3], FITTING.patients[0]))

    with pytest.raises(AssertionError, match="shares some of its patients"):
        fit(("template",), mixed)


def test_a_single_patient_may_serve_all_purposes_and_the_facts_say_so():
    one = normals(1, 100, seed=40)

    model = training.fit(one, one, one, recipe=RECIPE, detectors=("template",), seed=0)

    assert not model.facts.calibration_is_disjoint
    assert (model.facts.calibration_patients, model.facts.record_view_beats) == (1, 100)


@pytest.mark.parametrize("name", ["oracle", "rhythm", "quality"])
def test_a_name_that_is_no_beat_detector_is_refused_with_those_that_are(name):
    with pytest.raises(
        NotFoundError, match=f"beat detector '{name}' does not exist; there are: ae-context, ae-conv, ae-dense, "
    ):
        training.check_names(("template", name))


def test_known_names_and_none_at_all_are_accepted():
    training.check_names(())
    training.check_names(("ae-dense", "template"))


@pytest.mark.parametrize("purpose", ["fitting", "calibration"])
def test_without_a_readable_normal_beat_there_is_no_model(purpose):
    def no_beats(group: Normals) -> Normals:
        return replace(group, beats=tuple(np.zeros_like(mask) for mask in group.beats))

    fitting = no_beats(FITTING) if purpose == "fitting" else FITTING
    calibrating = no_beats(CALIBRATING) if purpose == "calibration" else CALIBRATING

    with pytest.raises(NotFoundError, match=f"records for {purpose} has a normal beat in readable signal"):
        training.fit(fitting, STOPPING, calibrating, recipe=RECIPE, detectors=("template",), seed=0)


def test_where_no_two_normal_beats_follow_each_other_there_is_no_pace_and_no_model():
    bigeminy = [replace(group, beats=tuple(np.arange(100) % 2 == 0 for _ in group.records)) for group in GROUPS]

    with pytest.raises(NotFoundError, match="none of the 11 records for training has two normal beats in a row"):
        training.fit(*bigeminy, recipe=RECIPE, detectors=("template",), seed=0)
