"""Counts over all verdicts and events, each seen once and forgotten; in memory stay the records that the page shows."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from cardioclarity.report.view import RecordRow
from cardioclarity.vocabulary import Head, State

_ORDER: Final = {
    state: place for place, state in enumerate((State.ANOMALOUS, State.UNREADABLE, State.UNSCORABLE, State.NORMAL))
}
_segment = itemgetter("segment_id")
Row = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Verdicts:
    """What the verdicts of all records come to.

    Attributes:
        counts: Number of records per state.
        decided_s: Seconds of ECG on which each head could decide.
        n_events: Number of events per head.
        first: The records to look at first, in that order: flagged ones, then those with the most events.
    """

    counts: Counter[State] = field(default_factory=Counter)
    decided_s: Counter[Head] = field(default_factory=Counter)
    n_events: Counter[Head] = field(default_factory=Counter)
    first: Sequence[RecordRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What all events come to.

    Attributes:
        counts: (kind, label) → severity → number.
        unreadable_s: Label → seconds of unreadable signal.
    """

    counts: Mapping[tuple[str, str], Mapping[str, int]]
    unreadable_s: Mapping[str, float]


def verdicts(scores: Iterable[Row], records: Iterable[Row], *, limit: int) -> Verdicts:
    """Go through the verdicts once.

    Args:
        scores: Rows of `scores`, by segment, those of a record together.
        records: Rows of `records` by segment: segment_id, record_id, duration_s.
        limit: Keep so many records; at least 1.
    """
    found = Verdicts()

    def counted() -> Iterator[RecordRow]:
        for mine, duration_s in _with_durations(scores, records):
            row = _record(mine, duration_s)
            found.counts[row.state] += 1
            for score in mine:
                found.decided_s[score["head"]] += score["coverage"] * duration_s
                found.n_events[score["head"]] += score["n_events"]
            yield row

    found.first = heapq.nsmallest(limit, counted(), key=lambda row: (_ORDER[row.state], -row.n_events, row.record_id))
    return found


def events(rows: Iterable[Row]) -> Events:
    """Go through the events once."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    unreadable_s: dict[str, float] = defaultdict(float)
    for row in rows:
        counts[row["kind"], row["label"]][row["severity"]] += 1
        if row["kind"] == Head.QUALITY:
            unreadable_s[row["label"]] += row["end_s"] - row["start_s"]
    return Events(counts=counts, unreadable_s=unreadable_s)


def _with_durations(scores: Iterable[Row], records: Iterable[Row]) -> Iterator[tuple[list[Row], float]]:
    """Join the verdicts of each record with its length, a segment in memory at a time."""
    catalogued = groupby(records, key=_segment)
    segment_id, rows = next(catalogued, ("", iter(())))
    for scored, verdicts_of_segment in groupby(scores, key=_segment):
        while segment_id < scored and (following := next(catalogued, None)):
            segment_id, rows = following
        durations = {row["record_id"]: row["duration_s"] for row in rows} if segment_id == scored else {}
        for record_id, mine in groupby(verdicts_of_segment, key=itemgetter("record_id")):
            yield list(mine), durations.get(record_id, 0.0)


def _record(mine: Sequence[Row], duration_s: float) -> RecordRow:
    """Join the four verdicts of a record."""
    one = mine[0]
    return RecordRow(
        record_id=one["record_id"],
        duration_s=duration_s,
        states={Head(score["head"]): State(score["state"]) for score in mine},
        heart_rate_bpm=(one["heart_rate_min_bpm"], one["heart_rate_median_bpm"], one["heart_rate_max_bpm"]),
        n_beats=one["n_beats"],
        readable=next((score["coverage"] for score in mine if score["head"] == Head.QUALITY), 0.0),
        n_events=sum(score["n_events"] for score in mine),
    )
