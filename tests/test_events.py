"""An event is named by what it is and where it begins, so that judging again names it again."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.events import Event, Evidence, Levels, Verdict
from cardioclarity.vocabulary import EventLabel, Head, Severity

EVENT = Event(
    kind=Head.BEAT,
    label=EventLabel.UNUSUAL_BEAT,
    start_sample=2475,
    end_sample=2545,
    lead="MLII",
    score=9.2,
    p_value=1e-4,
    severity=Severity.LOW,
)


def test_the_id_of_an_event_names_record_model_kind_label_start_and_lead():
    others = [
        EVENT.id("another", "model"),
        EVENT.id("record", "another"),
        replace(EVENT, kind=Head.RATE).id("record", "model"),
        replace(EVENT, label=EventLabel.EARLY_BEAT).id("record", "model"),
        replace(EVENT, start_sample=1).id("record", "model"),
        replace(EVENT, lead="V1").id("record", "model"),
    ]

    assert len({EVENT.id("record", "model"), *others}) == 7


@given(
    score=st.floats(), p_value=st.none() | st.floats(0, 1), severity=st.sampled_from(Severity), end=st.integers(2476)
)
def test_an_event_that_is_judged_otherwise_keeps_its_id(score, p_value, severity, end):
    again = replace(EVENT, score=score, p_value=p_value, severity=severity, end_sample=end)

    assert again.id("record", "model") == EVENT.id("record", "model")


def test_an_id_is_thirty_two_hexadecimal_digits_and_the_same_on_every_machine():
    assert EVENT.id("record", "model") == "c2854a96a8b149784e5bed98b3c4335d"


@pytest.mark.parametrize("noun", [Evidence, Levels, Verdict, Event])
def test_every_attribute_of_a_noun_is_explained(noun):
    told = noun.__doc__.split("Attributes:")[1]

    assert [
        line.split(":")[0].strip() for line in told.splitlines() if line.startswith("        ") and line[8] != " "
    ] == [item.name for item in fields(noun)]


def test_what_was_judged_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        EVENT.score = 0.0
