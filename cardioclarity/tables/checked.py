"""The rows of live files, out of bytes that were held against the digest in the file's name before they were parsed."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from cardioclarity.errors import DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables.schemas import PARTITIONS, SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import folder_of, sha256_of

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE: Final = 8
"""Files in memory at a time: enough to hide the round trips to a store."""


def fetch(root: Storage, file: LiveFile) -> bytes:
    """Fetch a live file and hold its bytes against the log and its name.

    Raises:
        DamageError: It is missing, or its bytes are not those that were staged; or the log says something else of it.
        StorageError: It could not be read.
    """
    if not file.path.startswith(folder_of(file.table, file.partition)):
        raise damage(root, file.key, f"stands in the log under another partition, {file.partition}")
    if (sha256 := sha256_of(file.path)) is None:
        raise damage(root, file.key, "has no digest in its name: CardioClarity did not write it")
    try:
        data = root.fetch(file.key)
    except FileNotFoundError:
        raise damage(root, file.key, "is missing") from None
    if len(data) != file.size:
        raise damage(root, file.key, f"has {len(data)} bytes, the log says {file.size}")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damage(root, file.key, "differs from the digest in its name")
    return data


def parse(root: Storage, file: LiveFile, data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Decode some columns of a file whose bytes were checked.

    Args:
        root: The deployment, for messages.
        file: The file.
        data: Its bytes.
        columns: In this order; all of the table where None. Partition columns come from the log.

    Raises:
        DamageError: It does not hold the rows or the columns that it should.
    """
    schema = SCHEMAS[file.table]
    names = schema.names if columns is None else list(columns)
    inside = [name for name in names if name not in PARTITIONS[file.table]]
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as parquet:
            held = parquet.read(columns=inside, use_threads=False)
            n_rows = parquet.metadata.num_rows
        found = {name: held[name].cast(schema.field(name).type) for name in inside}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise damage(root, file.key, f"is no file of the table {file.table} ({type(error).__name__})") from error
    if n_rows != file.n_rows:
        raise damage(root, file.key, f"has {n_rows} rows, the log says {file.n_rows}")
    for name in set(names) - set(inside):
        found[name] = pa.repeat(pa.scalar(file.partition[name], pa.string()), n_rows)
    return pa.table([found[name] for name in names], schema=pa.schema([schema.field(name) for name in names]))


def rows(root: Storage, file: LiveFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read some columns of one live file; see `fetch` and `parse`."""
    return parse(root, file, fetch(root, file), columns)


def stream(
    root: Storage, files: Iterable[LiveFile], columns: Sequence[str] | None = None
) -> Iterator[tuple[LiveFile, pa.Table]]:
    """Read many live files in their order, a few at once; only those few are in memory.

    Raises:
        DamageError: One of them is damaged.
        StorageError: One of them could not be read.
    """
    return ahead(lambda file: (file, rows(root, file, columns)), files)


def ahead(job: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Do a job for each item, a few ahead of the consumer, and hand the results out in the order of the items."""
    waiting = iter(items)
    first = list(islice(waiting, 2))
    if len(first) < 2:  # one file, as a unit reads it: no thread is worth its start
        yield from map(job, first)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running: deque[Future[R]] = deque(pool.submit(job, item) for item in first)
        try:
            for item in waiting:
                running.append(pool.submit(job, item))
                if len(running) == _AT_ONCE:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for left in running:
                left.cancel()


def damage(root: Storage, key: str, what: str) -> DamageError:
    """Say in one sentence what is wrong with an object of a table and how to find out more."""
    return DamageError(
        f"{root.name}: {key} {what}; find all damage with: cardioclarity verify --root {root.name} --read-data"
    )
