"""What no scores name any more goes: the rows of `events` and `beats` that a run replaced or could not publish."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

from deltalake import DeltaTable

from cardioclarity.errors import DamageError, StorageError
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, commit, results, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.snapshot import LiveFile

log = logging.getLogger(__name__)

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

    Nobody reads the events that give way when evidence is judged again. A damaged file of them is told with a warning, so
    that no damage is healed in silence.

    Args:
        root: The deployment.
        model_id: The model whose results are swept.
        run_id: The run that sweeps.
        gone_events: (segment_id, run_id) whose events no scores name any more.
        gone_beats: (segment_id, run_id) whose evidence no scores name any more.

    Raises:
        StorageError: The outcome is unknown.
    """
    if gone_events:
        _tell_damage(root, model_id, set(gone_events))
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


def _tell_damage(root: Storage, model_id: str, gone: Gone) -> None:
    """Warn of each damaged file of events that gives way."""

    def is_sound(file: LiveFile) -> bool:
        try:
            checked.fetch(root, file)
        except (DamageError, StorageError):  # what cannot be read must not keep it from being replaced
            return False
        return True

    with snapshot.telling(root, "events"):
        files = _named(snapshot.open_table(root, "events"), model_id, gone)
    for file, sound in checked.ahead(lambda file: (file, is_sound(file)), files):
        if not sound:
            log.warning(
                "%s: %s was damaged or could not be read; it is taken out, since new rows stand in its place",
                root.name,
                file.key,
            )


def _named(opened: DeltaTable, model_id: str, gone: Gone) -> list[LiveFile]:
    live = snapshot.live_files(opened, model_id=model_id)
    return [file for file in live if (file.segment_id, file.run_id) in gone]


def _removing(model_id: str, gone: Gone) -> Callable[[DeltaTable], Change | None]:
    def removing(opened: DeltaTable) -> Change | None:
        removes = _named(opened, model_id, gone)
        return Change(removes=removes) if removes else None

    return removing
