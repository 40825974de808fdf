"""What is told of a model is told with its interval or with the reason why there is none, and the worst comes first."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.measured import FEWEST, N_WORST, Alarms, Labelled, Measured, Realised, measure
from cardioclarity.metrics import auroc

COUNTS = {"V": 20, "S": 12}


def labelled(at, *, shift=3.0, counts=COUNTS, n_normal=60):
    """One record, its abnormal items `shift` standard deviations above its normal ones."""
    rng = np.random.default_rng(at)
    classes = np.repeat(["N", *counts], [n_normal, *counts.values()])
    scores = rng.normal(size=len(classes)) + shift * (classes != "N")
    return Labelled(record_id=f"{at:032x}"[::-1], patient=f"patient {at}", scores=scores, classes=classes)


def many(n=FEWEST):
    return [labelled(at) for at in range(n)]


def test_a_figure_over_enough_patients_has_an_interval_around_it():
    measured = measure(many(), item="beat")

    for _, one in measured.figures():
        assert one.low <= one.auroc <= one.high
        assert one.patients == FEWEST
    assert (measured.patients, measured.overall.abnormal, measured.overall.normal) == (FEWEST, FEWEST * 32, FEWEST * 60)


def test_of_fewer_patients_the_figure_stands_with_the_words_that_they_are_too_few():
    measured = measure(many(FEWEST - 1), item="beat")

    assert measured.overall.auroc is not None
    assert (measured.overall.low, measured.overall.high) == (None, None)
    assert "(too few patients; 128 abnormal of 4 patients, 240 normal of 4)" in next(measured.lines())


@pytest.mark.parametrize("n_normal_patients", [1, FEWEST - 1, FEWEST])
def test_an_interval_takes_enough_patients_of_normal_items_too(n_normal_patients):
    """Of one patient's normal items the draws would show how ill patients differ, and not how healthy ones do."""
    records = [labelled(at, n_normal=60 if at < n_normal_patients else 0) for at in range(FEWEST)]

    found = measure(records, item="beat").overall

    assert (found.patients, found.normal_patients) == (FEWEST, n_normal_patients)
    assert (found.low is None) == (n_normal_patients < FEWEST)
    assert found.basis() == f"160 abnormal of 5 patients, {n_normal_patients * 60} normal of {n_normal_patients}"
    if n_normal_patients < FEWEST:
        assert found.interval() == "too few patients"


def test_only_patients_with_items_of_a_class_count_for_its_interval():
    """Many patients without a fusion beat say nothing of how fusion beats of others are ranked."""
    records = [*many(8), labelled(8, counts={"F": 11})]

    measured = measure(records, item="beat")

    fusion = next(one for one in measured.classes if one.what == "F")
    assert (fusion.patients, fusion.low) == (1, None)
    assert fusion.interval() == "too few patients"


def test_the_worst_class_and_the_worst_patient_come_first():
    records = [labelled(at, shift=shift) for at, shift in enumerate([4.0, 0.2, 3.0, 1.0, 2.0, 3.5])]
    records = [
        Labelled(
            record_id=one.record_id,
            patient=one.patient,
            scores=one.scores - 2.0 * (one.classes == "S"),
            classes=one.classes,
        )
        for one in records
    ]

    measured = measure(records, item="beat", classes=("S", "V", "F"))

    assert [one.what for one in measured.classes] == ["S", "V", "F"]
    assert [one.what for one in measured.worst_patients] == [records[at].record_id[:8] for at in (1, 3, 4)]
    assert len(measured.worst_patients) == N_WORST


def test_a_class_that_nobody_has_is_named_as_not_measured():
    measured = measure(many(), item="beat", classes=("F",))

    assert "class F: AUROC not measured (none there; 0 abnormal of 0 patients, 300 normal of 5)" in list(
        measured.lines()
    )


@pytest.mark.parametrize("counts", [{}, {"": 30}])
def test_where_nothing_is_known_to_be_abnormal_nothing_is_measured(counts):
    assert measure([labelled(0, counts=counts)], item="beat") is None


def test_where_nothing_is_known_to_be_normal_nothing_is_measured():
    assert measure([labelled(0, n_normal=0)], item="beat") is None
    assert measure([], item="beat") is None


def test_what_a_head_abstains_from_ranks_last_and_what_has_no_class_does_not_count():
    one = Labelled(
        record_id="a" * 32,
        patient="a",
        scores=np.array([1.0, 2.0, np.nan, 3.0, 99.0, np.nan]),
        classes=np.array(["N", "N", "V", "V", "", ""]),
    )

    assert measure([one], item="beat").overall.auroc == 0.5


@given(st.permutations(range(6)), st.integers(0, 3))
def test_neither_the_order_of_the_records_nor_where_they_are_cut_changes_a_figure(order, cut):
    records = [labelled(at) for at in range(6)]
    whole = measure(records, item="beat")
    first = records[cut]
    halves = [
        Labelled(
            record_id=first.record_id, patient=first.patient, scores=first.scores[part], classes=first.classes[part]
        )
        for part in (slice(0, 40), slice(40, None))
    ]
    cut_records = [*(records[at] for at in order if at != cut), *halves]

    again = measure(cut_records, item="beat")

    assert again.overall == whole.overall
    assert again.classes == whole.classes
    assert again.patient_mean == whole.patient_mean
    assert (again.patients, again.records) == (6, 7)


@given(st.lists(st.sampled_from([0.5, 1.5, 2.5]), min_size=1, max_size=7))
def test_the_overall_figure_is_the_area_over_all_items(shifts):
    records = [labelled(at, shift=shift) for at, shift in enumerate(shifts)]
    scores, classes = (np.concatenate([getattr(one, name) for one in records]) for name in ("scores", "classes"))

    assert measure(records, item="beat").overall.auroc == pytest.approx(auroc(scores, classes != "N"))


def test_a_measurement_comes_back_from_json():
    measured = measure(many(), item="window", classes=("AFIB",))

    assert Measured.load(json.loads(json.dumps(asdict(measured), allow_nan=False))) == measured


@pytest.mark.parametrize("told", [None, "AUROC 0.98 of 3 beats", {"AUROC": 0.98}, []])
def test_what_a_model_of_before_tells_is_no_measurement(told):
    assert Measured.load(told) is None


# ------------------------------------------------------------------------------------------------ alarms


def test_alarms_are_told_per_patient_and_the_worst_first():
    patients = [Alarms(what=name, alarms=n, items=2000, hours=0.5) for name, n in (("a", 0), ("b", 5), ("c", 1))]

    found = Realised.of("beat", 1.0, patients)

    assert (found.mean, found.median, found.largest) == (4.0, 2.0, 10.0)
    assert (found.patients, found.alarms, found.hours) == (3, 6, 1.5)
    assert [one.what for one in found.worst] == ["b", "c", "a"]
    assert found.line() == (
        "beat, 1 per hour asked for: 4 per hour, mean over 3 patients (6 alarms in 1.50 h); "
        "median 2, largest 10 of the 3 with 5 minutes or more; most: b 5 in 0.50 h, c 1 in 0.50 h"
    )


def test_one_alarm_in_half_a_minute_is_neither_the_worst_patient_nor_a_full_voice_in_the_mean():
    short = Alarms(what="a", alarms=1, items=3, hours=3 / 360)
    others = [Alarms(what=name, alarms=0, items=360, hours=1.0) for name in "bc"]

    found = Realised.of("rhythm", 1.0, [short, *others])

    assert (found.long, found.largest, found.most()) == (2, 0.0, "")
    assert found.mean == pytest.approx(3 * 120 / 723)
    assert found.alarms == 1


def test_of_an_archive_of_short_recordings_the_mean_is_told_alone():
    found = Realised.of("beat", 1.0, [Alarms(what="a", alarms=0, items=12, hours=1 / 360)])

    assert (found.mean, found.median, found.largest) == (0.0, None, None)
    assert "no patient has 5 minutes or more" in found.line()


def test_where_nobody_met_an_alarm_nobody_is_named():
    assert "most" not in Realised.of("beat", 1.0, [Alarms(what="a", alarms=0, items=9, hours=1.0)]).line()


def test_realised_alarms_come_back_from_json():
    found = Realised.of("rhythm", 1 / 24, [Alarms(what="a", alarms=2, items=90, hours=0.25)])

    assert Realised.load(json.loads(json.dumps(asdict(found)))) == found
