"""A Delta table as it stands: opened, and its live files, out of the log alone."""

import os
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cardioclarity.errors import CardioClarityError, NotFoundError, StorageError
from cardioclarity.storage import Storage
from cardioclarity.storage.hearsay import heard, is_refused
from cardioclarity.storage.retries import deadline_s
from cardioclarity.tables import log_names
from cardioclarity.tables.schemas import SCHEMA_VERSION
from cardioclarity.tables.staging import run_of

VERSION_PROPERTY: Final = "cardioclarity.schema_version"
"""Table property that holds the version of the schema."""

FAILURES: Final = (DeltaError, OSError)
"""What deltalake raises; what it means cannot be told from it."""

_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """A file that a snapshot shows.

    Attributes:
        table: The table that shows it.
        path: Relative to the table's folder.
        size: Bytes.
        n_rows: Number of rows.
        partition: Partition column → value.
    """

    table: str
    path: str
    size: int
    n_rows: int
    partition: dict[str, str | None]

    @property
    def key(self) -> str:
        """The object's key in the root."""
        return f"tables/{self.table}/{self.path}"

    @property
    def run_id(self) -> str:
        """The run that staged it."""
        return run_of(self.path)

    @property
    def segment_id(self) -> str:
        """The segment whose rows it holds."""
        return str(self.partition["segment_id"])


@contextmanager
def telling(root: Storage, table: str, doing: str = "read") -> Iterator[None]:
    """Turn what deltalake raises into one sentence.

    Raises:
        StorageError: In place of a DeltaError or an OSError.
    """
    try:
        yield
    except FAILURES as error:
        if heard(str(error), root.url) is None:
            root.exists()  # a store that is not reached at all says why, which deltalake's text does not
        raise StorageError(
            f"{root.name}: cannot {doing} tables/{table}/ ({why(root, error)}); check the root and run again"
        ) from error


def open_table(root: Storage, table: str, *, patient: bool = True) -> DeltaTable:
    """Open the newest snapshot of a table.

    Args:
        root: The deployment.
        table: Its name.
        patient: See `open_any`.

    Raises:
        NotFoundError: There is no such table.
        CardioClarityError: A newer version of this software wrote it, or other software.
        StorageError: It could not be read.
    """
    opened = open_any(root, table, patient=patient)
    version = schema_version(opened)
    if version is None:
        raise CardioClarityError(
            f"{root.name}: tables/{table}/ is a Delta table that CardioClarity did not make (it lacks the property"
            f" {VERSION_PROPERTY}); give another folder or URL as --root"
        )
    if version > SCHEMA_VERSION:
        raise CardioClarityError(
            f"{root.name}: tables/{table}/ was written by a newer CardioClarity (schema version {version}, this one"
            f" reads up to {SCHEMA_VERSION}); update CardioClarity and run the command again"
        )
    return opened


def open_any(root: Storage, table: str, *, patient: bool = True) -> DeltaTable:
    """Open the newest snapshot of whatever Delta table is there.

    No checksum covers the log, and an entry in which one bit is wrong can be passed over as one of an unknown kind. What
    comes over a network is therefore read twice.

    Args:
        root: The deployment.
        table: Its name.
        patient: Try again where an answer broke off; not for one who comes again by himself.

    Raises:
        NotFoundError: There is none.
        StorageError: It could not be read.
    """

    def opened() -> DeltaTable:
        address, options = root.join(f"tables/{table}"), root.delta_options()
        found = DeltaTable(address, storage_options=options)
        if options and not _are_alike(found, DeltaTable(address, version=found.version(), storage_options=options)):
            raise DeltaError("two readings of the log differ")
        return found

    with telling(root, table, "open"):
        try:
            return patiently(root, opened) if patient else opened()
        except (TableNotFoundError, FileNotFoundError) as error:
            raise NotFoundError(
                f"{root.name}: there is no table tables/{table}/;"
                f" make it with: cardioclarity convert ARCHIVE --root {root.name}"
            ) from error


def schema_version(opened: DeltaTable) -> int | None:
    """Read which version of the schema a table has; None where this software did not make it."""
    stated = opened.metadata().configuration.get(VERSION_PROPERTY, "")
    return int(stated) if stated.isdecimal() else None


def require_plain_place(root: Storage) -> None:
    """Check that a root to be made is not itself a Delta table: its own upkeep would remove what lies below it.

    Raises:
        CardioClarityError: It is one.
        StorageError: The store did not answer.
    """
    if next(root.list("_delta_log/"), None) is not None:
        raise CardioClarityError(
            f"{root.name} is itself a Delta table, whose upkeep would remove what CardioClarity writes below it; give"
            " another folder or URL as --root"
        )


def exists(root: Storage, table: str) -> bool:
    """Tell whether a table is there: a log with an entry, not what a killed process has half written into one.

    Raises:
        StorageError: The store did not answer.
    """
    # deltalake's own question holds the interpreter's lock while it waits: a Dask worker would miss its heartbeats.
    return any(log_names.version_of(listed.key) is not None for listed in root.list(f"tables/{table}/_delta_log/"))


def live_files(
    opened: DeltaTable, *, model_id: str | None = None, segment_ids: Collection[str] | None = None
) -> list[LiveFile]:
    """List the files of a snapshot, from the log alone.

    Args:
        opened: The snapshot.
        model_id: Only those of this model; of all where None.
        segment_ids: Only those of these segments; of all where None.
    """
    table = opened.table_uri.rstrip("/").rpartition("/")[2]
    actions = pa.table(opened.get_add_actions(flatten=True))
    for column, values in (("model_id", None if model_id is None else [model_id]), ("segment_id", segment_ids)):
        if values is not None:
            held = pc.is_in(actions[f"partition.{column}"].cast(pa.string()), pa.array(list(values), pa.string()))
            actions = actions.filter(held)
    names = {name.removeprefix("partition."): name for name in actions.schema.names if name.startswith("partition.")}
    wanted = actions.select(["path", "size_bytes", "num_records", *names.values()]).to_pylist()
    return [
        LiveFile(
            table=table,
            path=row["path"],
            size=row["size_bytes"],
            n_rows=row["num_records"],
            partition={column: row[name] for column, name in names.items()},
        )
        for row in wanted
    ]


def _are_alike(one: DeltaTable, other: DeltaTable) -> bool:
    """Tell whether two readings of a snapshot show the same files of the same table."""
    configurations = [opened.metadata().configuration for opened in (one, other)]
    first, second = (pa.table(opened.get_add_actions(flatten=True)) for opened in (one, other))
    return (
        configurations[0] == configurations[1]
        and one.schema() == other.schema()
        and first.schema == second.schema
        and first.sort_by("path").equals(second.sort_by("path"))
    )


def why(root: Storage, error: BaseException | None) -> str:
    """Say what the store answered where a library's message tells, else give its first line.

    The root has in it the name that the user gave.
    """
    if isinstance(error, StorageError) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if said := heard(text, root.url):
        return said
    line = (text.splitlines() or [""])[0]
    for place in (os.path.realpath(root.url), root.url):
        line = line.replace(place, root.name)
    return f"{type(error).__name__}: {line[:200]}"


def patiently(root: Storage, ask: Callable[[], T]) -> T:
    """Read again where an answer broke off or came garbled on its way, which deltalake does not do by itself."""
    started = time.monotonic()
    for pause_s in _PAUSES_S if root.delta_options() else ():
        try:
            return ask()
        except (TableNotFoundError, FileNotFoundError):
            raise
        except FAILURES as error:
            # What took long was not one broken answer: deltalake has repeated its requests by itself, to no avail.
            if is_refused(str(error)) or time.monotonic() - started > deadline_s() / 2:
                raise
            time.sleep(pause_s * random.random())  # noqa: S311 - spreads readers, keeps no secret
    return ask()
