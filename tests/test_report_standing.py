"""The section on the model says where it fails first, what it rests on, and what nobody measured."""

import pages
import pytest
from test_report_page import Reading

from cardioclarity.card import BEATS_COUNTED
from cardioclarity.measured import Alarms, Realised
from cardioclarity.report.standing import standing


def said(**changes):
    return Reading(standing(pages.model(**changes))).text.replace("\u202f", " ").replace("\xa0", " ")


def test_it_says_what_the_model_is_made_of_and_whom_it_learned_from():
    assert (
        "Detectors: ae-dense , quality , rhythm , template . They learned from 16 hours of ECG. Patients, each of whom "
        "served one step: fitted on 19, stopped early by 5, calibrated and measured on 8." in said()
    )


def test_a_model_that_held_out_nobody_says_so_and_every_warning_of_its_training_is_repeated():
    text = said(is_disjoint=False, warnings=("1 patient with normal beats: <fitting> shares it",))

    assert "served one step" not in text
    assert "No patient was held out: what follows says nothing of other patients." in text
    assert "Warning of the training: 1 patient with normal beats: <fitting> shares it." in text


def test_thousands_of_patients_and_hours_are_written_as_all_counts_are():
    found = Realised.of("beat", 1.0, [Alarms(what="a" * 8, alarms=4321, items=9, hours=2345.6)] * 1200)

    text = said(patients={"fitting": 4500, "calibrating": 1125}, hours=12_345.6, realised=(found,))

    assert "12 346 hours of ECG" in text
    assert "fitted on 4 500, stopped early by 0, calibrated and measured on 1 125" in text
    assert "5 185 200 2 814 720 1 200" in text


def test_each_figure_stands_with_its_interval_and_what_it_rests_on():
    text = said()

    assert "beat all abnormal beats 0.9876 0.9576 to 0.9976 900 6 11 250 8" in text
    assert "beat class F 0.9123 too few patients 11 1 11 250 8" in text


def test_the_worst_class_and_the_worst_patient_stand_first():
    text = said()

    assert text.index("class F") < text.index("class S") < text.index("class V")
    assert "Worst patients of the beat head, by a record of theirs: 0f1e2d3c 0.8123, aa00bb11 0.9012." in text


def test_the_alarms_that_were_met_stand_beside_those_that_were_asked_for():
    text = said()

    assert "beat 1 per hour 5.1 5.1 10 15 2.94 6 rhythm 1 per day 0 0 0 0 0.47 1" in text
    assert "Most alarms of the beat head at 1 per hour: 00000005 5 in 0.49 h, 00000004 4 in 0.49 h, " in text
    assert "Most alarms of the rhythm head" not in text


@pytest.mark.parametrize(("told", "missing"), [(0, "rhythm"), (1, "beat")])
def test_a_head_whose_alarms_nobody_counted_stands_beside_the_other_as_not_measured(told, missing):
    one = pages.model().realised[told]

    text = said(realised=(one,))

    assert f"{one.head} {one.asked_for()} " in text
    assert f"{missing} not measured" in text
    assert f"{one.head} not measured" not in text


def test_which_beats_do_not_count_is_said_whatever_was_measured():
    assert BEATS_COUNTED in said()
    assert BEATS_COUNTED in said(measured={}, realised=())


def test_where_no_patient_has_five_minutes_there_is_neither_median_nor_largest():
    short = Realised.of("beat", 1.0, [Alarms(what="a" * 8, alarms=0, items=12, hours=1 / 360)])

    assert "beat 1 per hour 0 \N{EN DASH} \N{EN DASH} 0 0.00278 1" in said(realised=(short,))


def test_known_failures_and_what_was_not_measured_are_named():
    text = said()

    assert all(failure in text for failure in pages.model().failures)
    assert "Not measured: rhythm, rate, quality, noise, subgroups." in text
    assert "Not measured: nothing." in said(not_measured=())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measured": {}}, "How well it ranks what is abnormal was not measured"),
        (
            {"realised": ()},
            "beat not measured \N{EN DASH} \N{EN DASH} \N{EN DASH} \N{EN DASH} \N{EN DASH} \N{EN DASH} rhythm not measured \N{EN DASH} \N{EN DASH} \N{EN DASH} \N{EN DASH} \N{EN DASH} \N{EN DASH}",
        ),
    ],
)
def test_a_model_that_measured_nothing_says_so(changes, words):
    assert words in said(**changes)


def test_what_a_model_does_not_tell_is_left_out():
    text = said(patients={}, hours=None)

    assert "template ." in text
    assert "learned" not in text
    assert "served" not in text
    assert "None" not in text


def test_of_a_model_that_cannot_be_asked_nothing_is_said():
    assert "cannot be read" in Reading(standing(None)).text
