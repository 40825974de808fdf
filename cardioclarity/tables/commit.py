"""The one way in which a table is made or changed: a commit that happens exactly once."""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import deltalake
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from cardioclarity.errors import StorageError
from cardioclarity.storage import Storage
from cardioclarity.tables import snapshot
from cardioclarity.tables.schemas import DESCRIPTIONS, PARTITIONS, SCHEMA_VERSION, SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import Staged

log = logging.getLogger(__name__)

_ROUNDS: Final = 30
_PAUSE_S: Final = 0.05


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
    """Make an empty table where there is none; any number of processes may try at once.

    Raises:
        StorageError: It could not be made.
    """
    url, options = root.join(f"tables/{table}"), root.delta_options()
    last: Exception | None = None
    for attempt in range(_ROUNDS):
        if snapshot.exists(root, table):
            return
        try:
            DeltaTable.create(
                url,
                SCHEMAS[table],
                partition_by=list(PARTITIONS[table]),
                name=table,
                description=DESCRIPTIONS[table],
                configuration={snapshot.VERSION_PROPERTY: str(SCHEMA_VERSION)},
                storage_options=options,
                commit_properties=CommitProperties(max_commit_retries=0),
                raise_if_key_not_exists=False,  # the property is our own
            )
        except snapshot.FAILURES as error:  # another process was faster, or nobody knows: look again
            log.debug("%s: round %d: %s", table, attempt, error)
            last = error
            _back_off(attempt)
        else:
            return
    raise StorageError(f"{root.name}: cannot make the table {table}: {snapshot.why(root, last)}; run the command again")


def commit(
    root: Storage, table: str, change: Callable[[DeltaTable], Change | None], *, run_id: str, once: bool = True
) -> bool:
    """Commit exactly once, whatever becomes of the acknowledgement.

    A conflict and an unknown outcome take the same road: open the table afresh, look whether our own mark is in it, and
    otherwise decide anew on what is there now. Nothing is ever concluded from the text of an error.

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
    for attempt in range(_ROUNDS):
        try:
            opened = snapshot.open_table(root, table)
            if once and opened.transaction_version(f"run:{run_id}") is not None:
                return True
            decided = change(opened)
            if decided is None:
                return False
            _write(opened, table, decided, run_id=run_id, once=once)
        except (*snapshot.FAILURES, StorageError) as error:
            log.debug("%s, run %s, round %d: %s", table, run_id, attempt, error)
            last = error
            _back_off(attempt)
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
        for entry in opened.history():
            if entry.get("cardioclarity_run_id") == run_id:
                found: dict[str, Any] = json.loads(entry["cardioclarity_notes"])
                return found
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


def _back_off(attempt: int) -> None:
    time.sleep(_PAUSE_S * 2 ** min(attempt, 4) * random.random())  # noqa: S311 - spreads writers, keeps no secret
