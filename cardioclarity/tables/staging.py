"""Rows become a Parquet file below a table's folder that nobody sees until a commit names it."""

import hashlib
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cardioclarity.storage import Storage
from cardioclarity.tables.digests import row_digest
from cardioclarity.tables.schemas import IDENTIFYING, PARTITIONS, file_schema

Columns = Mapping[str, Any]
"""Column → one value per row as a sequence or a numpy array, or one scalar for all rows."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]+")
"""What may stand in a path of the log, which would have to be escaped otherwise."""

_NAME: Final = re.compile(r".+-[^-]+-([0-9a-f]{64})\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """One staged file: all that a commit needs to know, and nothing of its rows.

    Attributes:
        table: The table it belongs to.
        path: Relative to the table's folder.
        size: Bytes.
        sha256: Hexadecimal digest of the bytes; part of the file's name.
        n_rows: Number of rows.
        row_digest: Digest of the rows in any order, without the columns that differ from run to run.
        partition: Partition column → value, in the order of `PARTITIONS`.
    """

    table: str
    path: str
    size: int
    sha256: str
    n_rows: int
    row_digest: str
    partition: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """The object's key in the root."""
        return f"tables/{self.table}/{self.path}"

    @property
    def segment_id(self) -> str:
        """The segment whose rows it holds; only per-segment tables have one."""
        return dict(self.partition)["segment_id"]


def stage(
    root: Storage,
    table: str,
    columns: Columns,
    *,
    run_id: str,
    unit_id: str,
    partition: Mapping[str, str] | None = None,
) -> Staged:
    """Write rows as one file that no reader sees yet.

    The name holds the digest and the file is only ever created, so that a repeated unit is harmless.

    Args:
        root: The deployment.
        table: Its name.
        columns: Every column of the table's schema except its partition columns; NaN becomes null.
        run_id: The run that stages.
        unit_id: The unit that stages.
        partition: A value for each partition column.

    Returns:
        The reference for a receipt.

    Raises:
        AssertionError: A column is missing, unknown, of another length, or null where it must not be.
        StorageError: It could not be written.
    """
    rows = arrow_table(table, columns)
    return stage_rows(root, table, rows, run_id=run_id, unit_id=unit_id, partition=partition or {})


def stage_rows(
    root: Storage, table: str, rows: pa.Table, *, run_id: str, unit_id: str, partition: Mapping[str, str]
) -> Staged:
    """Write an Arrow table that has the table's file schema; see `stage`."""
    assert rows.schema.equals(file_schema(table)), f"{table}: {rows.schema}"
    assert set(partition) == set(PARTITIONS[table]), f"{table} is partitioned by {PARTITIONS[table]}: {partition}"
    ordered = tuple((name, partition[name]) for name in PARTITIONS[table])
    unit = re.sub(r"[^A-Za-z0-9_.]", "_", unit_id)
    assert all(_PLAIN.fullmatch(part) for part in (run_id, unit, *partition.values())), (run_id, unit, partition)
    data = _parquet(rows)
    sha256 = hashlib.sha256(data).hexdigest()
    staged = Staged(
        table=table,
        path=f"{folder_of(table, partition)}{run_id}-{unit}-{sha256}.parquet",
        size=len(data),
        sha256=sha256,
        n_rows=rows.num_rows,
        row_digest=f"{row_digest(rows, ordered):032x}",
        partition=ordered,
    )
    root.put_new(staged.key, data)
    return staged


def run_of(path: str) -> str:
    """Read off a file's name which run staged it; neither a unit's part nor a digest has a hyphen."""
    return path.rsplit("/", 1)[-1].rsplit("-", 2)[0]


def sha256_of(path: str) -> str | None:
    """Read off a file's name the digest of its bytes; None where it has none, so that it was not staged here."""
    found = _NAME.fullmatch(path.rsplit("/", 1)[-1])
    return found and found[1]


def folder_of(table: str, partition: Mapping[str, str | None]) -> str:
    """Give the folder below the table's own in which the files of a partition lie; it ends in a slash or is empty."""
    return "".join(f"{name}={partition[name]}/" for name in PARTITIONS[table])


def arrow_table(table: str, columns: Columns) -> pa.Table:
    """Bring columns into the exact file schema of a table."""
    schema = file_schema(table)
    missing, extra = set(schema.names) - set(columns), set(columns) - set(schema.names)
    assert not missing | extra, f"{table}: columns missing {sorted(missing)}, unknown {sorted(extra)}"
    lengths = {name: len(value) for name, value in columns.items() if isinstance(value, Sized) and _is_column(value)}
    n_rows = next(iter(lengths.values()), 1)
    assert set(lengths.values()) <= {n_rows}, f"{table}: columns of unlike length {lengths}"
    arrays = [_arrow_array(columns[field.name], field, n_rows) for field in schema]
    for field, array in zip(schema, arrays, strict=True):
        assert field.nullable or array.null_count == 0, f"{table}.{field.name} must not be null"
    return pa.Table.from_arrays(arrays, schema=schema)


def _is_column(value: object) -> bool:
    return isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, str | bytes))


def _arrow_array(value: Any, field: pa.Field, n_rows: int) -> pa.Array:  # noqa: ANN401 - whatever a producer has
    if not _is_column(value):
        return pa.repeat(pa.scalar(value, field.type), n_rows) if n_rows else pa.array([], field.type)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return pa.array(value, from_pandas=True).cast(field.type)
    return pa.array(list(value), field.type, from_pandas=True)  # from_pandas: NaN is null


def _parquet(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        compression="zstd",
        write_page_checksum=True,
        store_schema=False,
        write_statistics=[name for name in rows.schema.names if name not in IDENTIFYING],
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
