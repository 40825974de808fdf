"""Law: a card tells every fact that is known, says of the others that nobody measured them, and invents nothing."""

import copy
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.card import BEATS_COUNTED, INTENDED_USE, card
from cardioclarity.examples import Recipe
from cardioclarity.measured import Alarms, Figure, Measured, Realised

FIGURE = Figure(what="all", auroc=0.987, low=0.95, high=0.999, patients=6, abnormal=120, normal=9000, normal_patients=6)
FUSION = replace(FIGURE, what="F", auroc=0.8123, low=None, high=None, patients=2, abnormal=14)
MEASURED = Measured(
    item="beat",
    patients=6,
    records=7,
    overall=FIGURE,
    classes=(FUSION,),
    patient_mean=replace(FIGURE, what="mean over patients", auroc=None, low=None, high=None, patients=0),
    worst_patients=(replace(FUSION, what="0123abcd", patients=1),),
)
REALISED = Realised.of(
    "beat", 1.0, [Alarms(what=name, alarms=n, items=2000, hours=0.5) for name, n in (("a0", 2), ("b1", 0))]
)

DESCRIPTION = {
    "format_version": 1,
    "intended_use": INTENDED_USE,
    "files": {"weights.safetensors": "ab" * 32},
    "parameters": {"ae-conv": 78_706, "ae-dense": 10_484},
    "model": {
        "recipe": asdict(Recipe()),
        "facts": {
            "beats_per_hour": 4300.0,
            "calibration_patients": 5,
            "calibration_is_disjoint": False,
            "realised": [asdict(REALISED)],
        },
    },
    "training": {
        "records": 22,
        "patients": 21,
        "hours": 11.0123456,
        "leads": ["MLII", "V1"],
        "fingerprint": "cd" * 32,
        "groups": {"fitting": {"patients": 12, "normal_beats": 9000}, "stopping": None},
        "seed": 7,
        "warnings": [],
        "metrics": {"beat": asdict(MEASURED), "worst lead": "0.91"},
        "moon_phase": "new",
    },
}

HEADINGS = (
    *("Intended use", "Out of scope", "Training data", "What served which step", "Preparation"),
    *("Members and the numbers that each learned", "Fit", "Calibration and alarm levels", "Metrics"),
    *("Known failures", "Train again", "Further facts"),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just("word"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def with_training(**training):
    return DESCRIPTION | {"training": training}


def section(text: str, heading: str) -> str:
    return text.split(f"## {heading}\n")[1].split("\n## ", maxsplit=1)[0]


def test_a_card_has_all_its_sections_in_order():
    headings = [line.removeprefix("## ") for line in card(DESCRIPTION).splitlines() if line.startswith("## ")]
    assert tuple(headings) == HEADINGS


@pytest.mark.parametrize(
    ("heading", "line"),
    [
        ("Intended use", INTENDED_USE),
        ("Training data", "- records: 22"),
        ("Training data", "- hours: 11.0123"),
        ("Training data", "- leads: MLII, V1"),
        ("Training data", f"- fingerprint: {'cd' * 32}"),
        ("Training data", "- ages: not measured"),
        ("What served which step", "- fitting: patients 12, normal beats 9000"),
        ("What served which step", "- stopping: not measured"),
        ("What served which step", "- calibrating: not measured"),
        ("Preparation", "- low hz: 0.5"),
        ("Preparation", "- n leads: 2"),
        ("Members and the numbers that each learned", "- ae-conv: 78706"),
        ("Fit", "- seed: 7"),
        ("Fit", "- hardware: not measured"),
        ("Fit", "- warnings: none"),
        ("Calibration and alarm levels", "- calibration patients: 5"),
        ("Calibration and alarm levels", "- calibration is disjoint: false"),
        (
            "Calibration and alarm levels",
            f"  - {REALISED.line()}",
        ),
        (
            "Calibration and alarm levels",
            "- p-value of a beat that gives one false alarm per hour of normal ECG: 0.000232558",
        ),
        ("Metrics", "- beat: 6 patients, 7 records"),
        (
            "Metrics",
            "  - all abnormal beats: AUROC 0.9870 (0.9500 to 0.9990; 120 abnormal of 6 patients, 9000 normal of 6)",
        ),
        ("Metrics", "  - class F: AUROC 0.8123 (too few patients; 14 abnormal of 2 patients, 9000 normal of 6)"),
        ("Metrics", "  - worst patients, by a record of theirs: 0123abcd 0.8123 (14 abnormal, 9000 normal)"),
        ("Metrics", "- rhythm: not measured"),
        ("Metrics", "- worst lead: 0.91"),
        ("Further facts", "- moon phase: new"),
    ],
)
def test_each_fact_stands_in_its_place(heading, line):
    assert line in section(card(DESCRIPTION), heading).splitlines()


def test_every_number_of_the_preparation_is_told():
    told = section(card(DESCRIPTION), "Preparation")
    assert all(f"- {name.replace('_', ' ')}: " in told for name in asdict(Recipe()))


def test_a_card_begins_with_the_digest_of_the_weights():
    assert card(DESCRIPTION).splitlines()[2] == f"Format 1; weights.safetensors sha256 {'ab' * 32}."


def test_where_nothing_is_known_nothing_is_claimed():
    text = card(with_training() | {"model": {"recipe": {}, "facts": {}}, "parameters": {}})
    assert "- records: not measured" in text
    assert "one false alarm per hour of normal ECG: not measured" in text
    assert "  - beat: not measured\n  - rhythm: not measured\n" in text
    assert "Further facts" not in text
    assert "None" not in text
    assert "null" not in text


@pytest.mark.parametrize(("told", "missing"), [("beat", "rhythm"), ("rhythm", "beat")])
def test_a_head_whose_alarms_nobody_counted_is_named_beside_the_other(told, missing):
    realised = [asdict(replace(REALISED, head=told))]
    lines = card(DESCRIPTION | {"model": {"recipe": {}, "facts": {"realised": realised}}}).splitlines()
    assert f"  - {missing}: not measured" in lines
    assert f"  - {told}: not measured" not in lines


@pytest.mark.parametrize("name", ["groups", "metrics"])
def test_a_group_of_facts_may_be_missing_as_a_whole(name):
    assert "not measured" in card(with_training(**{name: None}))


def test_a_card_says_which_beats_do_not_count():
    assert BEATS_COUNTED in section(card(DESCRIPTION), "Metrics")


def test_a_level_above_every_beat_is_one():
    slow = DESCRIPTION | {"model": {"recipe": {}, "facts": {"beats_per_hour": 0.25}}}
    assert "one false alarm per hour of normal ECG: 1\n" in card(slow)


@given(facts=st.dictionaries(st.sampled_from(["records", "seed", "metrics_of_others", "ages", "notes"]), JSON))
def test_whatever_the_facts_every_one_is_named_and_no_python_shows(facts):
    text = card(with_training(**facts))
    for name in facts:
        assert f"- {name.replace('_', ' ')}: " in text
    for python in ("None", "True", "False", "{", "["):
        assert python not in text


def test_writing_a_card_changes_nothing_and_can_be_repeated():
    given = copy.deepcopy(DESCRIPTION)
    assert card(given) == card(given)
    assert given == DESCRIPTION


def test_words_that_claim_a_diagnosis_do_not_appear():
    text = card(DESCRIPTION).replace(INTENDED_USE, "").lower()
    assert not any(word in text for word in ("diagnos", "detects", "normal ecg is", "clinical"))


def test_the_thousands_of_record_ids_are_left_to_the_description():
    assert card(with_training(record_ids=["0123456789ab"])) == card(with_training())
