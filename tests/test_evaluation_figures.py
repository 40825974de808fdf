"""Figures are drawings that a browser takes, tell what they show, and let no text of a file through."""

import re
from xml.etree import ElementTree as ET

import numpy as np

from cardioclarity.evaluation.figures import MAX_PATIENTS, bars, calibration, chart, precision_recall, roc
from cardioclarity.evaluation.results import Patient

CURVES = {"beat": (np.array([0.0, 0.5]), np.array([0.8, 1.0]), np.array([1.0, 0.6])), "<i>": (np.zeros(0),) * 3}


def parsed(drawn):
    return ET.fromstring(f"<div>{drawn}</div>")


def points(drawn):
    found = [one.get("points").split() for one in parsed(drawn).iter("polyline")]
    return [[tuple(map(float, point.split(","))) for point in line] for line in found]


def test_a_curve_begins_and_ends_in_its_corners():
    line = points(roc(CURVES))[0]

    assert line[0] == (120.0, 650.0)
    assert line[-1] == (970.0, 20.0)
    assert len(points(precision_recall(CURVES))) == 2


def test_what_is_realised_is_drawn_in_logarithms_and_none_leaves_the_frame():
    line = points(calibration({0.001: (0.0, 0.0, 0.0), 0.1: (1.0, 0.1, 0.2)}))

    assert len(line) == 3
    assert all(120 <= x <= 970 and 20 <= y <= 650 for one in line for x, y in one)
    assert line[0][1][1] < line[0][0][1]  # a larger rate stands higher


def test_patients_stand_worst_first_and_by_name_and_no_more_than_fit():
    patients = [Patient(name=f"p{at}", value=at / 100, n_positive=1, n_negative=1) for at in range(50, 0, -1)]

    drawn = bars("beat_auroc", [*patients, Patient(name="none", value=float("nan"), n_positive=0, n_negative=1)])

    names = [one.text for one in parsed(drawn).iter("text") if one.get("class") == "axis"]
    assert names == [f"p{at}" for at in range(1, MAX_PATIENTS + 1)]
    assert "the worst is p1" in drawn


def test_without_a_patient_of_its_own_figure_that_is_said():
    assert "No patient has beats enough" in bars("beat_auroc", [])


def test_names_are_escaped():
    assert "<i>" not in chart("<i>", "<i>", "<i>", [("<i>", np.zeros(2), np.zeros(2))])
    assert not re.search(r"<b>", bars("m", [Patient(name="<b>", value=0.5, n_positive=1, n_negative=1)]))
