"""From evidence alone: four verdicts in order, events that merge and never share an id, silence only where one could hear."""

import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from evidences import LEVELS, RATE_HZ, WINDOW, any_evidence, evidence, without_beats
from hypothesis import given, settings

from cardioclarity.events import Evidence, Levels
from cardioclarity.judgement import at_age, decide
from cardioclarity.vocabulary import EventLabel, Head, Severity, State, StateReason

RATE, RHYTHM, BEAT, QUALITY = range(4)


def labels(found: Evidence, levels: Levels = LEVELS) -> list[EventLabel]:
    return [event.label for event in decide(found, levels)[1]]


# ------------------------------------------------------------------------------------------------ beats


def test_a_quiet_record_has_four_normal_verdicts_and_no_event():
    verdicts, events = decide(evidence(), LEVELS)

    assert [verdict.head for verdict in verdicts] == list(Head)
    assert {verdict.state for verdict in verdicts} == {State.NORMAL}
    assert {verdict.coverage for verdict in verdicts} == {1.0}
    assert {verdict.reasons for verdict in verdicts} == {()}
    assert events == ()


def test_a_flagged_beat_is_one_event_around_its_r_peak():
    found = evidence(flagged={30: 0.0005})

    verdicts, (event,) = decide(found, LEVELS)

    assert (event.kind, event.label, event.lead) == (Head.BEAT, EventLabel.UNUSUAL_BEAT, "MLII")
    assert (event.start_sample, event.end_sample) == (found.rpeaks[30] - 25, found.rpeaks[30] + 45)
    assert event.p_value == pytest.approx(0.0005)
    assert event.score == pytest.approx(-math.log(0.0005), rel=1e-6)
    assert (verdicts[BEAT].state, verdicts[BEAT].n_events) == (State.ANOMALOUS, 1)
    assert verdicts[BEAT].p_value == event.p_value


@pytest.mark.parametrize(("p", "n_events"), [(0.000999, 1), (0.0011, 0)])
def test_an_alarm_begins_at_the_level(p, n_events):
    assert len(labels(evidence(flagged={30: p}))) == n_events


def test_a_p_value_equal_to_the_level_alarms():
    level = float(np.float32(0.001))

    assert labels(evidence(flagged={30: level}), replace(LEVELS, beat_p=level)) == [EventLabel.UNUSUAL_BEAT]


def test_an_unreadable_beat_never_alarms():
    found = evidence(flagged={30: 1e-9}, unreadable={2: StateReason.NOISE})

    assert found.beat_readable[30] == np.False_
    assert labels(found) == [EventLabel.NOISE]


def test_a_beat_that_nothing_could_score_never_alarms():
    assert labels(evidence(flagged={30: np.nan})) == []


def test_alarms_of_one_kind_within_ten_seconds_are_one_event():
    within, beyond = evidence(flagged={10: 1e-4, 22: 1e-5}), evidence(flagged={10: 1e-4, 23: 1e-5})

    (event,) = decide(within, LEVELS)[1]

    assert within.rpeaks[22] - within.rpeaks[10] <= 10 * RATE_HZ < beyond.rpeaks[23] - beyond.rpeaks[10]
    assert (event.start_sample, event.end_sample) == (within.rpeaks[10] - 25, within.rpeaks[22] + 45)
    assert event.p_value == pytest.approx(1e-5)
    assert len(labels(beyond)) == 2


@pytest.mark.parametrize(("beyond_samples", "n_events"), [(0, 1), (1, 2)])
def test_ten_seconds_exactly_are_still_one_event(beyond_samples, n_events):
    found = evidence(rr_s=1.0, flagged={10: 1e-4, 20: 1e-4})
    rpeaks = found.rpeaks.copy()
    rpeaks[20] += beyond_samples

    assert len(labels(replace(found, rpeaks=rpeaks))) == n_events


def test_three_flagged_beats_in_a_row_are_a_severe_run_and_two_are_not():
    two, three = evidence(flagged=dict.fromkeys((30, 31), 5e-4)), evidence(flagged=dict.fromkeys((30, 31, 32), 5e-4))

    assert [(event.label, event.severity) for event in decide(two, LEVELS)[1]] == [
        (EventLabel.UNUSUAL_BEAT, Severity.LOW)
    ]
    assert [(event.label, event.severity) for event in decide(three, LEVELS)[1]] == [
        (EventLabel.RUN_OF_UNUSUAL_BEATS, Severity.HIGH)
    ]


def test_a_single_beat_beside_a_run_is_an_event_of_its_own():
    assert labels(evidence(flagged=dict.fromkeys((20, 21, 22, 25), 5e-4))) == [
        EventLabel.RUN_OF_UNUSUAL_BEATS,
        EventLabel.UNUSUAL_BEAT,
    ]


def test_a_gap_of_more_than_ten_seconds_ends_a_run():
    found = evidence(flagged=dict.fromkeys((30, 31, 32), 5e-4))
    rpeaks = found.rpeaks.copy()
    rpeaks[32:] += 1100
    apart = replace(found, rpeaks=rpeaks[rpeaks < found.n_samples])
    n = len(apart.rpeaks)
    apart = replace(
        apart,
        rr_s=np.where(np.arange(n) == 32, np.nan, found.rr_s[:n]).astype(np.float32),
        beat_readable=np.ones(n, bool),
        beat_members={},
        beat_score=found.beat_score[:n],
        beat_p=found.beat_p[:n],
    )

    assert [event.label for event in decide(apart, LEVELS)[1] if event.kind is Head.BEAT] == [
        EventLabel.UNUSUAL_BEAT,
        EventLabel.UNUSUAL_BEAT,
    ]


@pytest.mark.parametrize(("share", "label"), [(0.84, EventLabel.EARLY_BEAT), (0.86, EventLabel.UNUSUAL_BEAT)])
def test_a_flagged_beat_is_early_below_85_percent_of_the_local_rr(share, label):
    found = evidence(flagged={30: 5e-4})
    rr_s = found.rr_s.copy()
    rr_s[30] = 0.8 * share

    assert labels(replace(found, rr_s=rr_s)) == [label]


def test_early_is_measured_against_the_neighbourhood_not_the_record():
    found = evidence(60, flagged={100: 5e-4, 600: 5e-4})
    rr_s = found.rr_s.copy()
    rr_s[:300], rr_s[300:] = 0.5, 1.0  # fast, then slow: 0.6 s is late in one and early in the other
    rr_s[[100, 600]] = 0.6

    events = decide(replace(found, rr_s=rr_s), LEVELS)[1]

    assert [event.label for event in events if event.kind is Head.BEAT] == [
        EventLabel.UNUSUAL_BEAT,
        EventLabel.EARLY_BEAT,
    ]


def test_where_no_interval_is_known_no_beat_is_early():
    found = evidence(flagged={30: 5e-4})

    assert labels(replace(found, rr_s=np.full_like(found.rr_s, np.nan))) == [EventLabel.UNUSUAL_BEAT]


@pytest.mark.parametrize(("p", "severity"), [(0.9e-5, Severity.MEDIUM), (1.1e-5, Severity.LOW)])
def test_a_hundredth_of_the_level_is_of_medium_severity(p, severity):
    (event,) = decide(evidence(flagged={30: p}), LEVELS)[1]

    assert event.severity is severity


def test_an_event_never_leaves_the_record():
    found = evidence(flagged={0: 5e-4, 73: 5e-4})
    at_the_edges = replace(
        found, rpeaks=np.concatenate([[3], found.rpeaks[1:73], [found.n_samples - 1], found.rpeaks[74:]])
    )

    first, last = (event for event in decide(at_the_edges, LEVELS)[1] if event.kind is Head.BEAT)

    assert first.start_sample == 0
    assert last.end_sample == found.n_samples


# ------------------------------------------------------------------------------------------------ rhythm, rate, quality


def test_neighbouring_irregular_windows_are_one_event_severe_from_thirty_seconds_on():
    events = decide(evidence(9, irregular=dict.fromkeys((0, 2, 3, 5, 6, 7), 1e-5)), LEVELS)[1]

    assert [(event.start_sample, event.end_sample) for event in events] == [(0, 1000), (2000, 4000), (5000, 8000)]
    assert [event.severity for event in events] == [Severity.MEDIUM, Severity.MEDIUM, Severity.HIGH]
    assert {event.label for event in events} == {EventLabel.IRREGULAR_RHYTHM}


def test_the_last_window_ends_with_the_record():
    (event,) = decide(evidence(6, irregular={5: 1e-5}, n_samples=5400), LEVELS)[1]

    assert (event.start_sample, event.end_sample) == (5000, 5400)


def test_an_unreadable_window_is_not_irregular_and_parts_two_events():
    found = evidence(9, irregular=dict.fromkeys((2, 3, 4), 1e-5), unreadable={3: StateReason.NOISE})

    assert labels(found) == [EventLabel.IRREGULAR_RHYTHM, EventLabel.NOISE, EventLabel.IRREGULAR_RHYTHM]


@pytest.mark.parametrize(
    ("rr_s", "label"), [(0.5, EventLabel.TACHYCARDIA), (1.3, EventLabel.BRADYCARDIA), (2.1, EventLabel.PAUSE)]
)
def test_rates_beyond_their_limits_are_events_without_a_p_value(rr_s, label):
    verdicts, events = decide(evidence(rr_s=rr_s), LEVELS)

    assert label in {event.label for event in events}
    assert all(event.p_value is None for event in events if event.kind is Head.RATE)
    assert verdicts[RATE].state is State.ANOMALOUS
    assert verdicts[RATE].score > 0
    assert verdicts[RATE].p_value is None


def test_the_rate_limits_are_those_of_the_levels():
    fast = evidence(rr_s=0.5)

    assert labels(fast, replace(LEVELS, tachycardia_bpm=130.0)) == []
    assert decide(fast, replace(LEVELS, tachycardia_bpm=130.0))[0][RATE].score < 0


def test_heart_rates_come_from_readable_windows_and_stand_in_every_verdict():
    found = evidence(rr_s=0.8, unreadable={0: StateReason.NOISE})

    verdicts, _ = decide(found, LEVELS)

    assert {verdict.heart_rate_median_bpm for verdict in verdicts} == {75.0}
    assert {verdict.n_beats for verdict in verdicts} == {int((found.rpeaks >= WINDOW).sum())}
    for verdict in verdicts:
        assert verdict.heart_rate_min_bpm <= verdict.heart_rate_median_bpm <= verdict.heart_rate_max_bpm


def test_neighbouring_windows_unreadable_for_one_reason_are_one_event():
    noise, flat = StateReason.NOISE, StateReason.FLAT_LINE
    verdicts, events = decide(evidence(9, unreadable={1: noise, 2: noise, 3: flat, 5: noise}), LEVELS)

    assert [(event.label, event.start_sample, event.end_sample) for event in events] == [
        (EventLabel.NOISE, 1000, 3000),
        (EventLabel.FLAT_LINE, 3000, 4000),
        (EventLabel.NOISE, 5000, 6000),
    ]
    assert {event.severity for event in events} == {Severity.LOW}
    assert {event.score for event in events} == {float(np.float32(0.7))}
    assert verdicts[QUALITY].state is State.ANOMALOUS
    assert verdicts[QUALITY].coverage == pytest.approx(5 / 9)
    assert verdicts[QUALITY].reasons == (flat, noise)


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        (StateReason.MISSING_SIGNAL, EventLabel.MISSING_SIGNAL),
        (StateReason.FLAT_LINE, EventLabel.FLAT_LINE),
        (StateReason.SATURATION, EventLabel.SATURATION),
        (StateReason.NOISE, EventLabel.NOISE),
        (StateReason.NO_QRS, EventLabel.NO_QRS),
    ],
)
def test_every_reason_has_its_label(reason, label):
    assert labels(evidence(unreadable={2: reason})) == [label]


def test_most_of_the_record_in_one_unreadable_stretch_is_of_medium_severity():
    (event,) = decide(evidence(4, unreadable=dict.fromkeys((0, 1, 2), StateReason.NOISE)), LEVELS)[1]

    assert event.severity is Severity.MEDIUM


# ------------------------------------------------------------------------------------------------ states


def test_a_flat_line_is_normal_under_no_head():
    flat = without_beats(evidence(6, unreadable=dict.fromkeys(range(6), StateReason.FLAT_LINE)))

    verdicts, events = decide(flat, LEVELS)

    assert {verdict.state for verdict in verdicts} == {State.UNREADABLE}
    assert {verdict.reasons for verdict in verdicts} == {(StateReason.FLAT_LINE,)}
    assert {verdict.coverage for verdict in verdicts} == {0.0}
    assert [verdict.n_events for verdict in verdicts] == [0, 0, 0, 1]
    assert [event.label for event in events] == [EventLabel.FLAT_LINE]


def test_a_record_mostly_unreadable_without_an_event_is_unreadable_and_says_why():
    found = evidence(6, unreadable=dict.fromkeys(range(4), StateReason.NOISE))

    verdicts, _ = decide(found, LEVELS)

    assert {verdict.state for verdict in verdicts} == {State.UNREADABLE}
    assert {verdict.reasons for verdict in verdicts} == {(StateReason.LOW_COVERAGE, StateReason.NOISE)}
    assert all(verdict.coverage == pytest.approx(1 / 3) for verdict in verdicts)


def test_half_of_the_record_is_enough_to_decide():
    verdicts, _ = decide(evidence(6, unreadable=dict.fromkeys(range(3), StateReason.NOISE)), LEVELS)

    assert [verdict.state for verdict in verdicts] == [State.NORMAL, State.NORMAL, State.NORMAL, State.ANOMALOUS]


def test_an_event_speaks_for_itself_in_a_record_mostly_unreadable():
    found = evidence(6, flagged={70: 1e-5}, unreadable=dict.fromkeys(range(4), StateReason.NOISE))

    verdict = decide(found, LEVELS)[0][BEAT]

    assert (verdict.state, verdict.n_events) == (State.ANOMALOUS, 1)
    assert StateReason.LOW_COVERAGE in verdict.reasons


def test_readable_signal_without_a_beat_is_unscorable():
    verdicts, _ = decide(without_beats(evidence(6)), LEVELS)

    assert [verdict.state for verdict in verdicts] == [State.UNSCORABLE] * 3 + [State.NORMAL]
    assert [verdict.reasons for verdict in verdicts[:3]] == [(StateReason.NO_BEATS,)] * 3
    assert all(verdict.score is None and verdict.p_value is None for verdict in verdicts[:3])
    assert all(verdict.heart_rate_median_bpm is None for verdict in verdicts)


def test_a_record_shorter_than_a_window_in_which_nothing_scores_is_too_short():
    verdicts, _ = decide(without_beats(evidence(1, n_samples=400)), LEVELS)

    assert {verdict.reasons for verdict in verdicts[:3]} == {(StateReason.TOO_SHORT,)}
    assert {verdict.state for verdict in verdicts[:3]} == {State.UNSCORABLE}


def test_a_record_without_any_window_is_unscorable_under_every_head():
    verdicts, events = decide(without_beats(evidence(0, n_samples=0)), LEVELS)

    assert {verdict.state for verdict in verdicts} == {State.UNSCORABLE}
    assert {verdict.reasons for verdict in verdicts} == {(StateReason.TOO_SHORT,)}
    assert events == ()


def test_a_short_record_that_could_be_scored_is_judged():
    assert decide(evidence(1, n_samples=600), LEVELS)[0][BEAT].state is State.NORMAL


def test_a_record_with_beats_but_too_few_for_the_rhythm_is_unscorable_there_alone():
    found = evidence(1)
    found = replace(found, rhythm_p=np.array([np.nan], np.float32), rhythm_score=np.array([np.nan], np.float32))

    verdicts, _ = decide(found, LEVELS)

    assert [verdict.state for verdict in verdicts] == [State.NORMAL, State.UNSCORABLE, State.NORMAL, State.NORMAL]
    assert verdicts[RHYTHM].reasons == (StateReason.TOO_SHORT,)


@pytest.mark.parametrize("template", ["absent", "silent"])
def test_a_record_that_only_the_population_judged_says_so(template):
    found = evidence()
    members = {"population": found.beat_members["population"]}
    if template == "silent":
        members["template"] = np.full(len(found.rpeaks), np.nan, np.float32)

    assert decide(replace(found, beat_members=members), LEVELS)[0][BEAT].reasons == (StateReason.POPULATION_ONLY,)


@pytest.mark.parametrize(
    ("median", "reasons"), [(3.1, (StateReason.DIFFERS_FROM_POPULATION,)), (3.0, ()), (np.nan, ())]
)
def test_a_record_unlike_the_population_says_so_beyond_the_limit(median, reasons):
    found = evidence()
    members = {**found.beat_members, "population": np.full(len(found.rpeaks), median, np.float32)}

    assert decide(replace(found, beat_members=members), LEVELS)[0][BEAT].reasons == reasons


# ------------------------------------------------------------------------------------------------ laws


@given(any_evidence())
@settings(max_examples=200, deadline=None)
def test_verdicts_and_events_always_fit_together(found):
    verdicts, events = decide(found, LEVELS)

    assert [verdict.head for verdict in verdicts] == list(Head)
    for verdict in verdicts:
        assert verdict.n_events == sum(event.kind is verdict.head for event in events)
        assert 0.0 <= verdict.coverage <= 1.0
        assert verdict.reasons == tuple(sorted(set(verdict.reasons)))
        assert verdict.score is None or math.isfinite(verdict.score)
        if verdict.n_events:
            unreadable_quality = verdict.head is Head.QUALITY and verdict.state is State.UNREADABLE
            assert verdict.state is State.ANOMALOUS or unreadable_quality
        else:
            assert verdict.state is not State.ANOMALOUS
        if verdict.state in {State.UNREADABLE, State.UNSCORABLE}:
            assert verdict.reasons
        if verdict.state is State.NORMAL:
            assert verdict.coverage >= 0.5


@given(any_evidence())
@settings(max_examples=200, deadline=None)
def test_events_lie_inside_the_record_in_order_and_no_two_share_an_id(found):
    _, events = decide(found, LEVELS)

    assert all(0 <= event.start_sample < event.end_sample <= found.n_samples for event in events)
    assert all(earlier.start_sample <= later.start_sample for earlier, later in pairwise(events))
    assert all(event.p_value is None or 0 < event.p_value <= 1 for event in events)
    assert all(math.isfinite(event.score) for event in events)
    assert len({event.id("record", "model") for event in events}) == len(events)


@given(any_evidence())
@settings(max_examples=200, deadline=None)
def test_events_of_one_kind_and_label_never_overlap(found):
    spans = defaultdict(list)
    for event in decide(found, LEVELS)[1]:
        spans[event.kind, event.label].append((event.start_sample, event.end_sample))

    for of_one in spans.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(of_one))


@given(any_evidence())
@settings(max_examples=100, deadline=None)
def test_every_readable_beat_at_the_level_lies_in_a_beat_event_and_every_such_event_holds_one(found):
    flagged = found.rpeaks[found.beat_readable & (found.beat_p <= LEVELS.beat_p)]

    spans = [(e.start_sample, e.end_sample) for e in decide(found, LEVELS)[1] if e.kind is Head.BEAT]

    assert all(any(start <= peak < end for start, end in spans) for peak in flagged)
    assert all(((flagged >= start) & (flagged < end)).any() for start, end in spans)


@given(any_evidence())
@settings(max_examples=50, deadline=None)
def test_judging_twice_gives_the_same_and_changes_nothing(found):
    before = found.beat_p.copy()

    assert decide(found, LEVELS) == decide(found, LEVELS)
    np.testing.assert_array_equal(found.beat_p, before)


# ------------------------------------------------------------------------------------------------ ages


def test_a_child_is_judged_by_the_limits_of_its_age_where_they_were_left_at_their_defaults():
    of_four = at_age(LEVELS, 4)

    assert (of_four.bradycardia_bpm, of_four.tachycardia_bpm) == (65.0, 131.0)
    assert labels(evidence(rr_s=0.5), of_four) == []
    assert set(labels(evidence(rr_s=1.0), of_four)) == {EventLabel.BRADYCARDIA}
    assert at_age(replace(LEVELS, tachycardia_bpm=150.0), 4).tachycardia_bpm == 150.0


@pytest.mark.parametrize("age", [None, 18, 90])
def test_an_adult_and_someone_of_unknown_age_are_judged_by_the_limits_given(age):
    assert at_age(LEVELS, age) is LEVELS
