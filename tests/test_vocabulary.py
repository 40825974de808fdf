"""Words are closed and only ever added; a lead is known by its name or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.vocabulary import (
    BEAT_CLASSES,
    LEAD_ORDER,
    LEADS,
    STATE_REASON_LABEL,
    EventLabel,
    Head,
    Reason,
    Severity,
    Stage,
    State,
    canonical_lead,
)

PUBLISHED = {
    Head: "rate rhythm beat quality",
    State: "normal anomalous unreadable unscorable",
    Severity: "low medium high",
    Stage: "convert score train",
    Reason: (
        "unknown_format unsupported_variant unsupported_compression no_header missing_file truncated checksum_mismatch "
        "no_ecg_lead unknown_lead bad_rate bad_gain bad_key too_large too_short timeout memory malformed poisoned damaged"
    ),
}


@pytest.mark.parametrize("enum", PUBLISHED)
def test_a_published_word_is_never_changed_or_removed(enum):
    assert set(PUBLISHED[enum].split()) <= {word.value for word in enum}


def test_no_event_label_claims_a_diagnosis():
    claims = ("fibrillation", "infarct", "diagnos", "disease", "normal")
    assert not [label for label in EventLabel if any(claim in label for claim in claims)]


def test_each_reason_for_an_unreadable_stretch_has_a_label():
    assert set(STATE_REASON_LABEL.values()) <= set(EventLabel)
    assert len(set(STATE_REASON_LABEL.values())) == len(STATE_REASON_LABEL)


@pytest.mark.parametrize(
    ("source_name", "lead"),
    [
        ("MLII", "MLII"),
        ("II ", "II"),
        ("II\r", "II"),
        ("AVR", "aVR"),
        ("avr", "aVR"),
        ("aVF\0", "aVF"),
        ("v1", "V1"),
        ("C3", "V3"),
        ("vx", "X"),
        ("Lead I (Einthoven)", "I"),
        ("MDC_ECG_LEAD_V6", "V6"),
        ("MDC_ECG_LEAD_III", "III"),
        ("ECG lead: V2", None),
        ("LEAD V2", "V2"),
        ("ECG", "ECG"),
        ("EKG", "ECG"),
        ("ECG1", "ECG1"),
        ("ECG_2", "ECG2"),
        ("ECG V5", "V5"),
        ("V", None),
        ("VR", None),
        ("RESP", None),
        ("ABP", None),
        ("", None),
        ("PLETH", None),
    ],
)
def test_a_lead_is_found_under_the_names_that_files_give_it(source_name, lead):
    assert canonical_lead(source_name) == lead


@given(st.sampled_from(LEADS), st.sampled_from([str.upper, str.lower, str]), st.sampled_from(["", " ", "\t", "\r"]))
def test_case_and_blanks_never_hide_a_canonical_name(lead, case, blank):
    assert canonical_lead(blank + case(lead) + blank) == lead


@given(st.text(max_size=20))
def test_any_text_is_a_canonical_lead_or_none(text):
    assert canonical_lead(text) in {*LEADS, None}


def test_leads_are_ordered_and_unique():
    assert len(LEAD_ORDER) == len(LEADS)
    assert LEAD_ORDER["I"] < LEAD_ORDER["aVR"] < LEAD_ORDER["V1"] < LEAD_ORDER["MLII"] < LEAD_ORDER["ECG1"]


def test_rhythm_and_noise_marks_are_no_beats():
    assert not set('+~|"[]!x') & BEAT_CLASSES.keys()
    assert {BEAT_CLASSES[symbol] for symbol in "NAVF/"} == {"N", "S", "V", "F", "Q"}
