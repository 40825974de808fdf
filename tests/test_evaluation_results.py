"""An evaluation says protocol, split, seeds, patients and interval beside its figures, in three forms alike."""

import json

import numpy as np
import pytest

from cardioclarity.evaluation.results import Evaluation, Figures, Found, Patient, metric, ratio_metric
from cardioclarity.intervals import METHOD


@pytest.fixture
def evaluation():
    draws = [np.array([0.7, 0.8, 0.9]), np.array([0.8, 0.9, 1.0])]
    figures = (
        metric("beat", "beat_auroc", "all", [0.8, 0.9], draws, n_patients=7, n_items=50),
        metric("ae-a|b", "beat_auroc", "all", [float("nan")], [np.full(3, np.nan)], n_patients=3, n_items=0),
    )
    patients = (Patient(name="232", value=float("nan"), n_positive=1, n_negative=9),)
    return Evaluation(
        protocol="mine",
        title="a title",
        source="a book",
        split="train on 2 records, test on 3 others",
        model=None,
        detectors=("template",),
        seeds=(0, 1),
        found=Found(
            metrics=figures,
            n_patients=3,
            n_records=4,
            notes=("something to know",),
            figures=Figures(measure="beat_auroc", patients=patients),
        ),
        versions={"numpy": "2"},
    )


def test_seeds_are_averaged_within_each_draw():
    one = metric("a", "b", "all", [0.8, 0.9], [np.array([0.0, 1.0]), np.array([1.0, 0.0])], n_patients=7, n_items=1)

    assert one.value == pytest.approx(0.85)
    assert one.seeds == (0.8, 0.9)
    assert (one.low, one.high) == (0.5, 0.5)


def test_a_share_of_counts_leaves_out_patients_who_have_none():
    one = ratio_metric("a", "b", "all", np.array([1.0, 0.0, 2.0]), np.array([2.0, 0.0, 2.0]))

    assert one.value == 0.75
    assert (one.n_patients, one.n_items) == (2, 4)
    assert np.isnan(ratio_metric("a", "b", "all", np.zeros(1), np.zeros(1)).value)


def test_the_json_holds_figures_facts_and_patients_and_null_for_what_is_not_defined(evaluation):
    told = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))

    assert told["metrics"][0] == {
        "scorer": "beat",
        "name": "beat_auroc",
        "subset": "all",
        "value": pytest.approx(0.85),
        "low": pytest.approx(0.755),
        "high": pytest.approx(0.945),
        "n_patients": 7,
        "n_items": 50,
        "seeds": [0.8, 0.9],
    }
    assert told["metrics"][1]["value"] is None
    assert told["patients"] == [{"patient": "232", "beat_auroc": None, "n_positive": 1, "n_negative": 9}]
    assert (told["protocol"], told["seeds"], told["n_patients"], told["n_records"]) == ("mine", [0, 1], 3, 4)
    assert told["interval"] == METHOD


def test_terminal_and_markdown_say_what_must_stand_beside_every_figure(evaluation):
    for said in ("\n".join(evaluation.lines()), evaluation.markdown()):
        assert all(
            part in said
            for part in ("mine", "a title", "a book", "train on 2", "0, 1", "3 patients", METHOD, "something to know")
        )
        assert "0.85" in said
        assert "not defined" in said


def test_a_table_of_markdown_is_not_broken_by_a_name(evaluation):
    rows = [line for line in evaluation.markdown().splitlines() if line.startswith("|")]

    assert {line.replace("\\|", "").count("|") for line in rows} == {8}
