"""Figures of scored beats are what their definitions say, for all patients and for parts of them."""

import numpy as np
import pytest

from cardioclarity.evaluation import tally
from cardioclarity.evaluation.tally import NOMINAL, Scored

GOALS = (
    "beat_auroc_patient_mean",
    "beat_average_precision",
    "beat_tpr_at_fpr_0.01",
    "beat_fpr_at_nominal_0.01_patient_mean",
    "beat_fpr_at_nominal_0.01_patient_p90",
    "beat_auroc_detected",
    "beat_tpr_at_fpr_0.01_detected",
    "coverage",
)


def scored(name, *, seed, n=60, patient=None, p=0.5, seeds=2):
    rng = np.random.default_rng(seed)
    classes = np.array(["N"] * (n - 15) + ["S"] * 5 + ["V"] * 10)
    scores = tuple(
        {
            "beat": (rng.normal(size=n) + 4 * (classes == "V")).astype(np.float32),
            "ae-one": rng.normal(size=n).astype(np.float32),
        }
        for _ in range(seeds)
    )
    return Scored(
        name=name,
        patient=patient or name,
        classes=classes,
        scores=scores,
        p=tuple(np.full(n, p, np.float32) for _ in range(seeds)),
        covered=(n - 6,) * seeds,
    )


@pytest.fixture(scope="module")
def figures():
    records = [scored("a", seed=1), scored("b", seed=2, p=0.002), scored("c", seed=3)]
    found = tally.found(records, records, without=("b",), detectors=("ae-one",))
    return {(one.scorer, one.name, one.subset): one for one in found.metrics}, found


def test_every_figure_of_the_goals_is_there_for_all_and_without_the_named_record(figures):
    table, _ = figures

    for subset in ("all", "without:b"):
        assert {(("beat", name, subset) in table) for name in GOALS} == {True}
        assert ("ae-one", "beat_auroc", subset) in table
    for subset in ("class:S", "class:V", "without:b/class:S", "without:b/class:V"):
        assert ("beat", "beat_auroc", subset) in table
    assert ("beat", "beat_auroc", "class:F") not in table


def test_a_class_is_ranked_against_normal_beats_alone(figures):
    table, _ = figures

    assert table["beat", "beat_auroc", "class:V"].value > 0.95
    assert table["beat", "beat_auroc", "class:S"].value < 0.8
    assert table["beat", "beat_auroc", "class:S"].n_items == 3 * 50


def test_realised_rates_are_means_medians_and_percentiles_of_patients(figures):
    table, found = figures

    assert table["beat", "beat_fpr_at_nominal_0.01_patient_mean", "all"].value == pytest.approx(1 / 3)
    assert table["beat", "beat_fpr_at_nominal_0.01_patient_median", "all"].value == 0
    assert table["beat", "beat_fpr_at_nominal_0.01_patient_p90", "all"].value == pytest.approx(0.8)
    assert table["beat", "beat_fpr_at_nominal_0.01_patient_mean", "without:b"].value == 0
    assert table["beat", "beat_fpr_at_nominal_0.001_patient_mean", "all"].value == 0
    assert table["beat", "beat_tpr_at_nominal_0.01", "all"].value == pytest.approx(1 / 3)
    assert found.figures.realised.keys() == set(NOMINAL)


def test_coverage_is_the_share_of_beats_that_are_readable_and_scored(figures):
    table, _ = figures

    assert table["beat", "coverage", "all"].value == pytest.approx(0.9)


def test_two_records_of_one_patient_are_one_patient():
    records = [scored("a", seed=1, patient="p"), scored("b", seed=2, patient="p"), scored("c", seed=3)]

    found = tally.found(records, records, without=("a",), detectors=())

    figures = {(one.scorer, one.name, one.subset): one for one in found.metrics}
    assert (found.n_patients, found.n_records) == (2, 3)
    assert figures["beat", "beat_auroc", "without:a"].n_patients == 1
    assert np.isnan(figures["beat", "beat_auroc", "without:a"].low)  # one patient tells nothing about others


def test_a_patient_with_few_anomalous_beats_has_no_area_of_its_own():
    records = [scored("a", seed=1), scored("b", seed=2, n=16)]

    found = tally.found(records, records, without=(), detectors=())

    assert [np.isnan(one.value) for one in found.figures.patients] == [False, True]
    (mean,) = [one for one in found.metrics if one.name == "beat_auroc_patient_mean"]
    assert mean.n_patients == 1
    assert mean.value == pytest.approx(found.figures.patients[0].value)
