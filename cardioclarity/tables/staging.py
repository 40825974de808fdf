"""Rows become a Parquet file below a table's folder that nobody sees until a commit names it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cardioclarity.storage import Storage
from cardioclarity.tables.schemas import IDENTIFYING, PARTITIONS, file_schema

Columns = Mapping[str, Any]
"""Column → one value per row as a sequence or a numpy array, or one scalar for all rows."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]+")
"""What may stand in a path of the log, which would have to be escaped otherwise."""

_LANES: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_NULL: Final = 0xA5A5_5A5A_0F0F_F0F0


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
    folder = "".join(f"{name}={value}/" for name, value in ordered)
    staged = Staged(
        table=table,
        path=f"{folder}{run_id}-{unit}-{sha256}.parquet",
        size=len(data),
        sha256=sha256,
        n_rows=rows.num_rows,
        row_digest=f"{_digest(rows, ordered):032x}",
        partition=ordered,
    )
    root.put_new(staged.key, data)
    return staged


def run_of(path: str) -> str:
    """Read off a file's name which run staged it; neither a unit's part nor a digest has a hyphen."""
    return path.rsplit("/", 1)[-1].rsplit("-", 2)[0]


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


def _digest(rows: pa.Table, partition: tuple[tuple[str, str], ...]) -> int:
    """Sum a 128-bit hash per row, mod 2^128, so that neither order nor division into files matters.

    Each column becomes 64-bit words: the bits of a number, a BLAKE2 digest per distinct text. Two lanes mix the words of
    a row, column by column, with the SplitMix64 finaliser. Left out is what names the run or its time.
    """
    n_rows = rows.num_rows
    lanes = [np.full(n_rows, _words_of(json.dumps(partition))[lane], np.uint64) for lane in (0, 1)]
    for name in rows.schema.names:
        if name in {"run_id", "evidence_run_id"} or name.endswith("_at"):
            continue
        words = _column_words(rows[name].combine_chunks())
        salt = _words_of(name)
        for lane, factor in enumerate(_LANES):
            lanes[lane] = _mix(lanes[lane] * np.uint64(factor) + _mix(words[lane] ^ np.uint64(salt[lane])))
    high, low = (_exact_sum(lane) for lane in lanes)
    return ((high << 64) + low) % 2**128


def _column_words(column: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Turn one column into two 64-bit words per row."""
    if pa.types.is_list(column.type):
        column = pa.array([None if words is None else json.dumps(words) for words in column.to_pylist()], pa.string())
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        words = np.array([_words_of(text) for text in encoded.dictionary.to_pylist()] or [(0, 0)], np.uint64)
        index = encoded.indices.fill_null(0).to_numpy()
        first, second = words[index, 0], words[index, 1]
    else:
        kind, zero = (pa.float64(), 0.0) if pa.types.is_floating(column.type) else (pa.int64(), 0)
        numbers = column.cast(kind).fill_null(zero).to_numpy(zero_copy_only=False)
        first = second = (numbers + numbers.dtype.type(0)).view(np.uint64)  # + 0 makes -0.0 and 0.0 one value
    if column.null_count:
        null = pc.is_null(column).to_numpy(zero_copy_only=False)
        first, second = (np.where(null, np.uint64(_NULL), lane) for lane in (first, second))
    return first, second


def _words_of(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over the word: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _exact_sum(words: NDArray[np.uint64]) -> int:
    return (int((words >> np.uint64(32)).sum()) << 32) + int((words & np.uint64(0xFFFFFFFF)).sum())
