"""A protocol fits as `train` does, measures every detector, and joins autoencoders in units of their normals."""

import numpy as np
import pytest

from cardioclarity.cohort import Candidate
from cardioclarity.detectors import REGISTRY
from cardioclarity.evaluation import fits
from cardioclarity.evaluation.fits import combinations, combined, combined_name, groups_of, recipe_for
from cardioclarity.views import Standard


def stub(patient):
    return Candidate(
        patient_id=patient,
        examples=None,
        beats=np.zeros(0, bool),
        classes=np.zeros(0, "<U1"),
        windows=np.zeros(0, bool),
        rhythms=np.zeros(0, "<U8"),
        sinus_rhythm=False,
    )


def test_every_choice_of_two_or_more_autoencoders_is_a_combination():
    names = ["template", "ae-dense", "ae-conv", "pca", "ae-more"]

    assert [combined_name(chosen) for chosen in combinations(names)] == [
        "ae-dense+conv",
        "ae-dense+more",
        "ae-conv+more",
        "ae-dense+conv+more",
    ]


def test_members_add_what_lies_above_the_median_and_abstain_together():
    scores = {
        "ae-dense": np.array([-4.0, 4.0, np.nan], np.float32),
        "ae-conv": np.array([6.0, 3.0, 1.0], np.float32),
        "template": np.zeros(3, np.float32),
    }
    standards = {"ae-dense": Standard(centre=1.0, spread=1.0), "ae-conv": Standard(centre=0.0, spread=1.0)}

    (together,) = combined(scores, standards).values()

    assert together[:2] == pytest.approx([np.log(5.0), 2 * np.log(2.0)], rel=1e-5)
    assert np.isnan(together[2])


def test_two_leads_are_analysed_where_most_records_have_two():
    assert recipe_for([2, 12, 1]).n_leads == 2
    assert recipe_for([1, 1, 2]).n_leads == 1


def test_who_calibrates_is_taken_from_the_protocol_and_stopping_from_those_trained_on():
    train, calibrate = [stub(f"p{n}") for n in range(10)], [stub("q")]

    groups = groups_of(train, calibrate, seed=0)

    assert groups["calibrating"] == calibrate
    assert len(groups["stopping"]) == 2
    assert {one.patient_id for group in groups.values() for one in group} == {"q", *(f"p{n}" for n in range(10))}


def test_without_calibrating_records_the_patients_are_shared_out_as_in_training():
    groups = groups_of([stub(f"p{n}") for n in range(12)], (), seed=0)

    assert {name: len(group) for name, group in groups.items()} == {"calibrating": 3, "stopping": 2, "fitting": 7}


def test_the_beat_detectors_are_those_of_the_registry():
    assert set(fits.beat_detectors()) == {name for name, one in REGISTRY.items() if one.head == "beat"}
