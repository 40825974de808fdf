"""The one way in which a table is made or changed: a commit that happens exactly once."""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import deltalake
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from cardioclarity.errors import StorageError
from cardioclarity.storage import Storage
from cardioclarity.storage.hearsay import is_refused
from cardioclarity.storage.retries import deadline_s
from cardioclarity.tables import snapshot
from cardioclarity.tables.schemas import DESCRIPTIONS, PARTITIONS, SCHEMA_VERSION, SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import Staged

log = logging.getLogger(__name__)

_ROUNDS: Final = 30
_DISK_ROUNDS: Final = 3
_PAUSE_S: Final = 0.05
_HISTORY: Final = 8
"""Commits that are searched first for a run's own."""
_CONFIGURATION: Final = {
    snapshot.VERSION_PROPERTY: str(SCHEMA_VERSION),
    "delta.checkpointInterval": "10",  # opening a table reads a checkpoint and at most ten commits
    "delta.enableExpiredLogCleanup": "false",  # it trusts the writer's clock; `gc` clears the log by the store's
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one commit adds and removes.

    Attributes:
        adds: Staged files that become visible.
        removes: Live files that vanish.
        notes: Kept in the commit's metadata, for a repeat of the run.
    """

    adds: Sequence[Staged] = ()
    removes: Sequence[LiveFile] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


def create(root: Storage, table: str) -> None:
    """Make an empty table where there is none, and see that it opens; any number of processes may try at once.

    Raises:
        StorageError: It could not be made.
    """
    last: Exception | None = None
    started = time.monotonic()
    for attempt in range(_ROUNDS):
        if snapshot.exists(root, table):
            snapshot.open_any(root, table)
            return
        if last is not None and _is_over(started):
            break
        try:
            DeltaTable.create(
                root.join(f"tables/{table}"),
                SCHEMAS[table],
                partition_by=list(PARTITIONS[table]),
                name=table,
                description=DESCRIPTIONS[table],
                configuration=_CONFIGURATION,
                storage_options=root.delta_options(),
                commit_properties=CommitProperties(max_commit_retries=0),
                raise_if_key_not_exists=False,  # the first property is our own
            )
        except snapshot.FAILURES as error:  # another process was faster, or nobody knows: look again
            log.debug("%s: round %d: %s", table, attempt, error)
            last = error
            if not _back_off(root, error, attempt):
                break
        else:
            return
    raise StorageError(
        f"{root.name}: cannot make the table {table} ({snapshot.why(root, last)}); run the command again"
    )


def commit(
    root: Storage, table: str, change: Callable[[DeltaTable], Change | None], *, run_id: str, once: bool = True
) -> bool:
    """Commit exactly once, whatever becomes of the acknowledgement.

    A conflict and an unknown outcome take the same road: open the table afresh, look whether our own mark is in it, and
    otherwise decide anew on what is there now. Nothing is ever concluded from the text of an error. The deadline counts
    from the last time that the table was seen to get on: who loses to others, however long a round takes, goes on.

    Args:
        root: The deployment.
        table: Its name.
        change: Decides on a fresh snapshot what to commit; None ends the loop without a commit.
        run_id: Marks the commit, so that it is recognised afterwards.
        once: One commit per run; else `change` itself must see on the snapshot that nothing is left to do.

    Returns:
        True where a commit of the run stands in the table, False where `change` had none.

    Raises:
        StorageError: The outcome stays unknown.
    """
    last: Exception | None = None
    started, seen = time.monotonic(), -1
    for attempt in range(_ROUNDS + 1):
        written = False
        try:
            opened = snapshot.open_table(root, table, patient=False)  # the next round is the retry
            if once and opened.transaction_version(f"run:{run_id}") is not None:
                return True
            if -1 < seen < opened.version():
                started = time.monotonic()
            elif last is not None and _is_over(started):
                break
            seen = opened.version()
            decided = change(opened)
            if decided is None:
                return False
            if attempt == _ROUNDS:  # that was a last look, for the mark or for nothing left to do
                break
            written = True
            _write(opened, table, decided, run_id=run_id, once=once)
        except (*snapshot.FAILURES, StorageError) as error:
            log.debug("%s, run %s, round %d: %s", table, run_id, attempt, error)
            last = error
            if not _back_off(root, error, attempt) or (not written and _is_over(started)):
                break
        else:
            return True
    raise StorageError(
        f"{root.name}: it is unknown whether run {run_id} was published in tables/{table}/"
        f" ({snapshot.why(root, last)}); run the same command again"
    ) from last


def notes_of(root: Storage, table: str, *, run_id: str) -> dict[str, Any]:
    """Read the notes of a run's commit back from the log.

    Raises:
        StorageError: The log does not reach back so far.
    """
    with snapshot.telling(root, table, "read the history of"):
        opened = snapshot.open_table(root, table)
        n_read, n_wanted = 0, _HISTORY
        while n_read < n_wanted:  # each entry is a request, and the commit is mostly among the last
            history = snapshot.patiently(root, partial(opened.history, n_wanted))
            for entry in history[n_read:]:
                if entry.get("cardioclarity_run_id") == run_id:
                    found: dict[str, Any] = json.loads(entry["cardioclarity_notes"])
                    return found
            n_read, n_wanted = len(history), (n_wanted * 8 if len(history) == n_wanted else 0)
    raise StorageError(f"{root.name}: the log of tables/{table}/ no longer holds the commit of run {run_id}")


def _write(opened: DeltaTable, table: str, change: Change, *, run_id: str, once: bool) -> None:
    now_ms = time.time_ns() // 1_000_000
    adds = [
        AddAction(
            path=file.path,
            size=file.size,
            partition_values=dict(file.partition),
            modification_time=now_ms,
            data_change=True,
            # Bounds of a column can name a patient and would stand in the log long after the rows are erased.
            stats=json.dumps({"numRecords": file.n_rows}),
        )
        for file in {file.path: file for file in change.adds}.values()
    ]
    removes = [
        RemoveAction(
            path=file.path,
            data_change=True,
            deletion_timestamp=now_ms,
            size=file.size,
            partition_values=file.partition,
        )
        for file in change.removes
    ]
    opened.create_write_transaction(
        [*adds, *removes],
        mode="append",
        schema=deltalake.Schema.from_arrow(SCHEMAS[table]),
        partition_by=list(PARTITIONS[table]),
        commit_properties=CommitProperties(
            max_commit_retries=0,  # deltalake's own retry would publish what was decided on an older snapshot
            app_transactions=[Transaction(f"run:{run_id}", 1)] if once else None,
            custom_metadata={"cardioclarity_run_id": run_id, "cardioclarity_notes": json.dumps(change.notes)},
        ),
    )


def _is_over(started: float) -> bool:
    return time.monotonic() - started >= deadline_s()


def _back_off(root: Storage, error: Exception, attempt: int) -> bool:
    """Pause before the next round; False where another one makes no sense."""
    is_network = bool(root.delta_options())
    if is_network and is_refused(str(error.__cause__ if isinstance(error, StorageError) else error)):
        return False
    if isinstance(error, OSError) and not is_network and attempt == _DISK_ROUNDS:
        return False  # a full disk does not change its mind as a network does
    time.sleep(_PAUSE_S * 2 ** min(attempt, 4) * random.random())  # noqa: S311 - spreads writers, keeps no secret
    return True
