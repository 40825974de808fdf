"""Publishers that are killed and a reader that watches them, importable by name in processes of their own."""

import os
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from table_rows import NIGHT, of_beats, of_events, of_scores, stage

from cardioclarity import score
from cardioclarity.errors import ConflictError, NotFoundError
from cardioclarity.score import Scored
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, publish
from cardioclarity.work import Plan

MODEL, SEGMENTS = "m", "stu"


class Killed(BaseException):
    """The process is gone: nothing between here and its start sees it."""


@dataclass
class Published:
    """What became of one publisher's runs."""

    completed: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    kills: int = 0
    lost_acknowledgements: int = 0


@dataclass
class Watched:
    """What a reader saw."""

    accepted: int = 0
    sent_back: int = 0
    states: set[tuple[str | None, ...]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def n_events(run_id, segment):
    """The number of events that a run finds in a segment; every reader knows it."""
    return 1 + zlib.crc32(f"{run_id}{segment}".encode()) % 5


def event_ids(run_id, segment):
    return [f"{run_id} {segment} {i}" for i in range(n_events(run_id, segment))]


def publish_runs(url, environment, name, n_runs, seed):
    """Publish one run after the other on overlapping segments; each commit may kill the run, before or after it.

    A killed run starts again under its own id, or never.
    """
    os.environ.update(environment)
    root, rng, told = open_storage(url), random.Random(f"{seed}{name}"), Published()
    write = DeltaTable.create_write_transaction

    def fatal(self, *args, **kwargs):
        fate = rng.random()
        if fate < 0.06:
            raise Killed
        write(self, *args, **kwargs)
        if fate < 0.12:
            raise Killed
        if fate < 0.18:
            told.lost_acknowledgements += 1
            raise CommitFailedError("connection reset")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", fatal)
        for n in range(n_runs):
            _one_run(root, f"{name}{n}", rng, told)
    return told


def _one_run(root, run_id, rng, told):
    outputs = list(_outputs(root, run_id, rng))
    while run_id not in {*told.completed, *told.abandoned}:
        try:
            _finish(root, run_id, outputs)
            told.completed.append(run_id)
        except Killed:
            told.kills += 1
            if rng.random() < 0.3:
                told.abandoned.append(run_id)


def _outputs(root, run_id, rng):
    """Plan and stage: new evidence, or that which is there judged again."""
    current = catalog.current_scores(root, MODEL)
    for segment in rng.sample(SEGMENTS, rng.randint(1, len(SEGMENTS))):
        seen = current.get(segment)
        evidence = seen.evidence_run_id if seen and rng.random() < 0.3 else None
        place = {"run_id": run_id, "model_id": MODEL, "segment_id": segment}
        scores = of_scores(
            [f"record in {segment}"], n_events=n_events(run_id, segment), evidence_run_id=evidence or run_id
        )
        ids = event_ids(run_id, segment)
        yield Scored(
            segment_id=segment,
            scores=stage(root, "scores", scores, **place),
            events=stage(root, "events", of_events(ids), **place),
            beats=None if evidence else stage(root, "beats", of_beats(3, reason=f"{run_id} {segment}"), **place),
            replaces=seen and seen.run_id,
            n_events={},
        )


def _finish(root, run_id, outputs):
    plan = Plan(run_id=run_id, started_at=NIGHT, already_done=0, units=())
    score._publish(root, plan, MODEL, outputs)
    publish.sweep_leftovers(root, MODEL, run_id)


def watch(url, environment):
    """Read again and again until somebody puts `stop` into the root; every look must be right or be refused."""
    os.environ.update(environment)
    root, told = open_storage(url), Watched()
    while not any(root.list("stop")):
        try:
            told.wrong += look(root, told)
        except ConflictError:
            told.sent_back += 1
    return told


def look(root, told):
    found = catalog.results(root, model_id=MODEL)
    events = Counter((row["segment_id"], row["run_id"], row["event_id"]) for row in found.events())
    runs = {segment: found.run_of(segment) for segment in found.segment_ids}
    told.states.add(tuple(runs.get(segment) for segment in SEGMENTS))
    told.accepted += 1
    expected = Counter((s, run, event_id) for s, run in runs.items() for event_id in event_ids(run, s))
    wrong = [] if events == expected else [f"events {events} of {runs}"]
    for row in found.scores():
        segment = row["segment_id"]
        if (row["run_id"], row["n_events"]) != (runs[segment], n_events(runs[segment], segment)):
            wrong.append(f"scores {row} of {runs}")
    return wrong + [text for segment in runs if (text := _wrong_evidence(root, found, segment))]


def _wrong_evidence(root, found, segment):
    run_id = found.evidence_run(segment)
    try:
        rows = catalog.evidence(root, model_id=MODEL, segment_id=segment, run_id=run_id)
    except NotFoundError:  # swept meanwhile, or lost
        now = catalog.results(root, model_id=MODEL).evidence_run(segment)
        return f"evidence of {run_id} for {segment} is gone" if now == run_id else None
    right = list(rows["reason"]) == [f"{run_id} {segment}"] * 3
    return None if right else f"evidence of {run_id} for {segment}: {rows['reason']}"
