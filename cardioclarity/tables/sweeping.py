"""What no scores name any more goes: the rows of `events` and `beats` that a run replaced or could not publish."""

import json
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

from deltalake import DeltaTable

from cardioclarity.storage import Storage
from cardioclarity.tables import commit, results, snapshot
from cardioclarity.tables.commit import Change

Gone = set[tuple[str, str]]
"""(segment_id, run_id)."""

_REMEMBERED: Final = 200
"""Commits of `scores` that are searched for what a killed run has left."""


def sweep(
    root: Storage,
    *,
    model_id: str,
    run_id: str,
    gone_events: Collection[tuple[str, str]],
    gone_beats: Collection[tuple[str, str]],
) -> None:
    """Remove exactly the named files of `events` and `beats`; what another run is publishing stays.

    Args:
        root: The deployment.
        model_id: The model whose results are swept.
        run_id: The run that sweeps.
        gone_events: (segment_id, run_id) whose events no scores name any more.
        gone_beats: (segment_id, run_id) whose evidence no scores name any more.

    Raises:
        StorageError: The outcome is unknown.
    """
    for table, gone in (("events", gone_events), ("beats", gone_beats)):
        if gone:
            commit.commit(root, table, _removing(model_id, set(gone)), run_id=run_id, once=False)


def sweep_leftovers(root: Storage, model_id: str, run_id: str) -> None:
    """Finish the sweep of runs that were killed between their switch and its end.

    Only what a commit of `scores` says it has replaced, or could not publish, is removed. Such scores never become
    current again, whoever publishes meanwhile; what a live run has added and not switched on yet stands in no commit.

    Args:
        root: The deployment.
        model_id: The model whose results are swept.
        run_id: The run that sweeps.

    Raises:
        DamageError: A file of `scores` is damaged.
        StorageError: A table could not be read, or the outcome is unknown.
    """
    doubled = {table: _segments_with_several_files(root, table, model_id) for table in ("events", "beats")}
    if not any(doubled.values()):
        return
    with snapshot.telling(root, "scores", "read the history of"):
        opened = snapshot.open_table(root, "scores")
        current = results.live_scores(root, opened, model_id)
        history = opened.history(_REMEMBERED)
    named_events = {segment_id: current[segment_id].run_id for segment_id in doubled["events"] & current.keys()}
    named_beats = {
        segment_id: results.evidence_run(root, current[segment_id])
        for segment_id in sorted(doubled["beats"] & current.keys())
    }
    gone_events, gone_beats = _replaced(history)
    sweep(
        root,
        model_id=model_id,
        run_id=run_id,
        gone_events={(s, r) for s, r in gone_events if s in named_events and named_events[s] != r},
        gone_beats={(s, r) for s, r in gone_beats if s in named_beats and named_beats[s] != r},
    )


def _segments_with_several_files(root: Storage, table: str, model_id: str) -> set[str]:
    with snapshot.telling(root, table):
        live = snapshot.live_files(snapshot.open_table(root, table), model_id=model_id)
    return {segment_id for segment_id, n in Counter(file.segment_id for file in live).items() if n > 1}


def _replaced(history: list[dict[str, Any]]) -> tuple[Gone, Gone]:
    """Read from commits of `scores` whose events, and whose evidence, no scores need any more as far as they know."""
    gone_events: Gone = set()
    gone_beats: Gone = set()
    for entry in history:
        notes = json.loads(entry.get("cardioclarity_notes", "{}"))
        lost = {(segment_id, entry["cardioclarity_run_id"]) for segment_id in notes.get("superseded", ())}
        replaced = notes.get("replaced", ())
        gone_events |= lost | {(segment_id, run_id) for segment_id, run_id, _ in replaced}
        gone_beats |= lost | {(segment_id, evidence_run_id) for segment_id, _, evidence_run_id in replaced}
    return gone_events, gone_beats


def _removing(model_id: str, gone: Gone) -> Callable[[DeltaTable], Change | None]:
    def removing(opened: DeltaTable) -> Change | None:
        live = snapshot.live_files(opened, model_id=model_id)
        removes = [file for file in live if (file.segment_id, file.run_id) in gone]
        return Change(removes=removes) if removes else None

    return removing
