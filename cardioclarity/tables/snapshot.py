"""A Delta table as it stands: opened, its live files, their rows."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cardioclarity.errors import CardioClarityError, NotFoundError, StorageError
from cardioclarity.storage import Storage
from cardioclarity.tables.schemas import SCHEMA_VERSION
from cardioclarity.tables.staging import run_of

VERSION_PROPERTY: Final = "cardioclarity.schema_version"
"""Table property that holds the version of the schema."""

FAILURES: Final = (DeltaError, OSError)
"""What deltalake raises; what it means cannot be told from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """A file that a snapshot shows.

    Attributes:
        path: Relative to the table's folder.
        size: Bytes.
        n_rows: Number of rows.
        partition: Partition column → value.
    """

    path: str
    size: int
    n_rows: int
    partition: dict[str, str | None]

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
        raise StorageError(
            f"{root.name}: cannot {doing} tables/{table}/ ({why(root, error)}); check the root and run again"
        ) from error


def open_table(root: Storage, table: str) -> DeltaTable:
    """Open the newest snapshot of a table.

    Raises:
        NotFoundError: There is no such table.
        CardioClarityError: A newer version of this software wrote it.
        StorageError: It could not be read.
    """
    with telling(root, table, "open"):
        try:
            opened = DeltaTable(root.join(f"tables/{table}"), storage_options=root.delta_options())
        except (TableNotFoundError, FileNotFoundError) as error:
            raise NotFoundError(
                f"{root.name}: there is no table tables/{table}/; make it with: cardioclarity convert ARCHIVE --root …"
            ) from error
        version = int(opened.metadata().configuration.get(VERSION_PROPERTY, SCHEMA_VERSION))
    if version > SCHEMA_VERSION:
        raise CardioClarityError(
            f"{root.name}: tables/{table}/ was written by a newer CardioClarity (schema version {version}, this one"
            f" reads up to {SCHEMA_VERSION}); update CardioClarity and run the command again"
        )
    return opened


def exists(root: Storage, table: str) -> bool:
    """Tell whether a table is there.

    Raises:
        StorageError: The store did not answer.
    """
    with telling(root, table, "look for"):
        return DeltaTable.is_deltatable(root.join(f"tables/{table}"), root.delta_options())


def live_files(opened: DeltaTable) -> list[LiveFile]:
    """List the files of a snapshot, from the log alone."""
    actions = pa.table(opened.get_add_actions(flatten=True))
    names = {name.removeprefix("partition."): name for name in actions.schema.names if name.startswith("partition.")}
    wanted = actions.select(["path", "size_bytes", "num_records", *names.values()]).to_pylist()
    return [
        LiveFile(
            path=row["path"],
            size=row["size_bytes"],
            n_rows=row["num_records"],
            partition={column: row[name] for column, name in names.items()},
        )
        for row in wanted
    ]


def dataset(opened: DeltaTable, paths: Collection[str]) -> ds.Dataset:
    """Take only the named files of a snapshot, to be read as rows."""
    whole = opened.to_pyarrow_dataset()
    by_path = {fragment.path: fragment for fragment in whole.get_fragments()}
    return ds.FileSystemDataset([by_path[path] for path in paths], whole.schema, whole.format, whole.filesystem)


def one_by_one(opened: DeltaTable) -> Iterator[tuple[LiveFile, ds.Dataset]]:
    """Go through the files of a snapshot, each with its rows."""
    whole = opened.to_pyarrow_dataset()
    by_path = {fragment.path: fragment for fragment in whole.get_fragments()}
    for file in live_files(opened):
        yield file, ds.FileSystemDataset([by_path[file.path]], whole.schema, whole.format, whole.filesystem)


def evidence_runs(opened: DeltaTable, model_id: str, *, segments: Collection[str] | None = None) -> dict[str, str]:
    """Read from a snapshot of `scores` which run's evidence each segment's scores rest on.

    Args:
        opened: The table `scores`.
        model_id: The model that scored.
        segments: Only these; all where None.

    Returns:
        segment_id → evidence_run_id; a segment without a row has none.
    """
    wanted = ds.field("model_id") == model_id
    if segments is not None:
        wanted &= ds.field("segment_id").isin(pa.array(segments, pa.string()))
    found: dict[str, str] = {}
    columns = ["segment_id", "evidence_run_id"]
    for batch in opened.to_pyarrow_dataset().to_batches(columns=columns, filter=wanted):
        pairs = pa.Table.from_batches([batch]).group_by(columns).aggregate([])
        found.update(zip(pairs["segment_id"].to_pylist(), pairs["evidence_run_id"].to_pylist(), strict=True))
    return found


def why(root: Storage, error: Exception | None) -> str:
    """Keep the first line of a library's message; the root has in it the name that the user gave."""
    line = (str(error).splitlines() or [""])[0]
    for place in (os.path.realpath(root.url), root.url):
        line = line.replace(place, root.name)
    return f"{type(error).__name__}: {line[:200]}"
