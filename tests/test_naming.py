"""A stretch is named by the pattern of its beats, begins and ends with them, and keeps the general name where none is clear."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from evidences import LEVELS, RATE_HZ, any_evidence, evidence
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.events import Evidence
from cardioclarity.judgement import decide
from cardioclarity.naming import window_names
from cardioclarity.vocabulary import EventLabel, Head, Severity

FIBRILLATING = np.random.default_rng(0).uniform(0.4, 1.0, 85)


def paced(rr_s, *, unusual=(), score=40.0, irregular=()) -> Evidence:
    """A minute of these intervals; some beats are unusual, some windows irregular."""
    rpeaks = np.cumsum(np.round(np.r_[0.5, rr_s] * RATE_HZ)).astype(np.int64)
    rpeaks = rpeaks[rpeaks < 6000]
    n = len(rpeaks)
    beat_p = np.full(n, 0.5, np.float32)
    beat_p[[at for at in unusual if at < n]] = 1e-4
    return replace(
        evidence(6, irregular=dict.fromkeys(irregular, 1e-5)),
        rpeaks=rpeaks,
        rr_s=np.r_[np.nan, np.diff(rpeaks) / RATE_HZ].astype(np.float32),
        beat_readable=np.ones(n, bool),
        beat_members={"template": np.where(beat_p < 0.01, score, 0).astype(np.float32)},
        beat_score=-np.log(beat_p),
        beat_p=beat_p,
    )


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (paced([0.8] * 80), EventLabel.IRREGULAR_RHYTHM),
        (paced(FIBRILLATING), EventLabel.IRREGULARLY_IRREGULAR),
        (paced([0.6, 1.0] * 40), EventLabel.BIGEMINY),
        (paced([0.8] * 80, unusual=range(1, 80, 2)), EventLabel.BIGEMINY),
        (paced([0.8] * 80, unusual=range(1, 80, 3)), EventLabel.TRIGEMINY),
        (paced([0.8] * 80, unusual=range(1, 80, 4)), EventLabel.FREQUENT_ECTOPY),
        (paced([0.4] * 150, unusual=range(150)), EventLabel.FAST_RUN_OF_UNUSUAL_BEATS),
        (paced([0.4] * 150, unusual=range(150), score=20.0), EventLabel.FAST_RHYTHM),
        (paced([0.4] * 150, unusual=range(150), score=np.nan), EventLabel.FAST_RHYTHM),
        (paced([0.4] * 150), EventLabel.FAST_RHYTHM),
        (paced([1.0] * 70, unusual=range(70)), EventLabel.RUN_OF_UNUSUAL_BEATS),
    ],
)
def test_a_window_is_named_by_the_pattern_of_its_beats(found, name):
    assert set(window_names(found)[1:-1]) == {name}


def test_a_flagged_pattern_begins_and_ends_with_its_beats():
    found = paced([0.8] * 80, unusual=range(22, 47, 2), irregular=(2, 3))

    (event,) = [event for event in decide(found, LEVELS)[1] if event.kind is Head.RHYTHM]

    assert event.label is EventLabel.BIGEMINY
    assert event.start_sample == found.rpeaks[22] - 25
    assert event.end_sample == found.rpeaks[46] + 45
    assert event.severity is Severity.MEDIUM


def test_a_pattern_that_goes_on_through_a_window_that_is_not_flagged_is_one_event():
    found = paced([0.8] * 80, unusual=range(11, 61, 2), irregular=(1, 3))

    (event,) = [event for event in decide(found, LEVELS)[1] if event.kind is Head.RHYTHM]

    assert event.label is EventLabel.BIGEMINY
    assert event.start_sample == found.rpeaks[11] - 25
    assert event.end_sample >= found.rpeaks[47] + 45
    assert event.severity is Severity.HIGH


def test_a_pattern_that_is_absent_from_a_window_that_is_not_flagged_is_two_events():
    found = paced([0.8] * 80, unusual=[*range(11, 25, 2), *range(38, 61, 2)], irregular=(1, 3))

    first, second = [event for event in decide(found, LEVELS)[1] if event.kind is Head.RHYTHM]

    assert first.end_sample == found.rpeaks[23] + 45
    assert second.start_sample == found.rpeaks[38] - 25


@settings(max_examples=60, deadline=None)
@given(
    unusual=st.lists(st.booleans(), min_size=40, max_size=40),
    lag=st.sampled_from([1, 2, 3]),
    rr_s=st.sampled_from([0.4, 0.8]),
    irregular=st.sets(st.integers(0, 5)),
)
def test_two_events_of_one_pattern_never_overlap(unusual, lag, rr_s, irregular):
    beats = [at * lag for at, is_unusual in enumerate(unusual) if is_unusual]
    found = paced([rr_s] * 150, unusual=beats, irregular=sorted(irregular))

    events = [event for event in decide(found, LEVELS)[1] if event.kind is Head.RHYTHM]

    for label in {event.label for event in events}:
        spans = [(event.start_sample, event.end_sample) for event in events if event.label is label]
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_an_irregularly_irregular_stretch_keeps_the_borders_of_its_windows():
    (event,) = [e for e in decide(paced(FIBRILLATING, irregular=(2, 3)), LEVELS)[1] if e.kind is Head.RHYTHM]

    assert (event.label, event.start_sample, event.end_sample) == (EventLabel.IRREGULARLY_IRREGULAR, 2000, 4000)


def test_a_fast_run_of_unusual_beats_is_severe_however_short():
    found = paced([0.8] * 30 + [0.4] * 25 + [0.8] * 40, unusual=range(31, 56), irregular=(2,))

    (event,) = [event for event in decide(found, LEVELS)[1] if event.kind is Head.RHYTHM]

    assert (event.label, event.severity) == (EventLabel.FAST_RUN_OF_UNUSUAL_BEATS, Severity.HIGH)


@settings(max_examples=60, deadline=None)
@given(found=any_evidence())
def test_a_name_changes_no_score_and_every_flagged_window_lies_in_one_event_of_its_name(found):
    flagged = np.flatnonzero(found.window_readable & (found.rhythm_p <= LEVELS.rhythm_p))
    events = [event for event in decide(found, LEVELS)[1] if event.kind is Head.RHYTHM]

    assert len({event.id("r", "m") for event in events}) == len(events)
    assert {event.label for event in events} == {window_names(found)[at] for at in flagged}
    assert {event.score for event in events} <= {float(found.rhythm_score[at]) for at in flagged}
    assert all(0 <= event.start_sample < event.end_sample <= found.n_samples for event in events)
