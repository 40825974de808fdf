"""The counts of the page are those of all rows, and the records it keeps are the first of all, whatever their number."""

import tracemalloc
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.report import tally
from cardioclarity.vocabulary import Head, State

STATES = st.dictionaries(st.sampled_from(Head), st.sampled_from(State), min_size=4, max_size=4)
ARCHIVES = st.lists(
    st.tuples(st.integers(0, 3), STATES, st.integers(0, 5), st.floats(1, 100), st.booleans()), max_size=12
)


def of_record(names, states, n_events):
    """The verdicts of one record as rows of `scores`."""
    rates = dict.fromkeys(("heart_rate_min_bpm", "heart_rate_median_bpm", "heart_rate_max_bpm"), 60.0)
    for head, state in states.items():
        yield {**names, **rates, "head": head, "state": state, "coverage": 0.5, "n_events": n_events, "n_beats": 9}


def tables(archive):
    """Rows of `scores` and of `records` in the order in which the tables give them; some records are in one alone."""
    scores, records = [], []
    for number, (segment, states, n_events, duration_s, is_catalogued) in enumerate(archive):
        names = {"segment_id": f"s{segment}", "record_id": f"r{number:09d}"}
        scores += of_record(names, states, n_events)
        if is_catalogued:
            records.append({**names, "duration_s": duration_s})
    return (sorted(rows, key=lambda row: row["segment_id"]) for rows in (scores, records))


@given(archive=ARCHIVES, limit=st.integers(1, 4))
def test_the_verdicts_are_counted_as_if_all_were_in_memory(archive, limit):
    scores, records = map(list, tables(archive))
    known_s = {row["record_id"]: row["duration_s"] for row in records}

    found = tally.verdicts(iter(scores), iter(records), limit=limit)
    every = tally.verdicts(iter(scores), iter(records), limit=len(archive)).first

    assert found.first == every[:limit]
    assert sorted(row.record_id for row in every) == sorted({row["record_id"] for row in scores})
    assert {row.record_id: row.duration_s for row in every} == {
        row.record_id: known_s.get(row.record_id, 0) for row in every
    }
    assert found.counts == Counter(row.state for row in every)
    assert found.n_events == Counter({head: sum(one[2] for one in archive) for head in Head if archive})
    for head in Head:
        assert abs(found.decided_s[head] - 0.5 * sum(known_s.values())) < 1e-6


def test_flagged_records_come_first_and_of_those_the_ones_with_most_events():
    normal, flagged = dict.fromkeys(Head, State.NORMAL), dict.fromkeys(Head, State.ANOMALOUS)
    scores, records = tables([(0, normal, 9, 1, True), (1, flagged, 1, 1, True), (0, flagged, 2, 1, True)])

    first = tally.verdicts(scores, records, limit=2).first

    assert [row.record_id for row in first] == ["r000000002", "r000000001"]


def test_events_are_counted_by_kind_label_and_severity_and_poor_signal_by_seconds():
    rows = [
        {"kind": kind, "label": label, "severity": severity, "start_s": 1.0, "end_s": 3.5}
        for kind, label, severity in [
            ("quality", "noise", "low"),
            ("quality", "noise", "low"),
            ("beat", "unusual beat", "high"),
        ]
    ]

    found = tally.events(iter(rows))

    assert found.counts == {("quality", "noise"): {"low": 2}, ("beat", "unusual beat"): {"high": 1}}
    assert found.unreadable_s == {"noise": 5.0}


def peak_bytes(n):
    """Peak of Python's memory for the verdicts of so many records, a hundred in a segment."""
    states = dict.fromkeys(Head, State.NORMAL)

    def names():
        return ({"segment_id": f"s{i // 100:09d}", "record_id": f"r{i:09d}"} for i in range(n))

    tracemalloc.start()
    try:
        scores = (row for number, own in enumerate(names()) for row in of_record(own, states, number % 7))
        found = tally.verdicts(scores, (own | {"duration_s": 10.0} for own in names()), limit=200)
        assert found.counts == {State.NORMAL: n}
        assert found.decided_s[Head.BEAT] == 5.0 * n
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_as_many_records_take_the_same_memory():
    peak_bytes(500)  # whatever loads once

    assert peak_bytes(10_000) < 1.1 * peak_bytes(1000)
