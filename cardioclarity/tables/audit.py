"""What the tables should hold and what is wrong with them, for a verification of the whole root."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable

from cardioclarity.errors import DamageError, NotFoundError, StorageError
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, log_names, results, snapshot
from cardioclarity.tables.digests import KeySet, Words, key_words
from cardioclarity.tables.schemas import KEYS, PARTITIONS, SCHEMA_VERSION, SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import folder_of, sha256_of

PROTOCOL: Final = (1, 2)
"""Lowest reader and writer version, with which every Delta reader opens the tables."""

_PER_RUN: Final = ("events", "beats")
"""Tables that may hold rows of runs that count no more; a key is unique within one run's file of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a table.

    Attributes:
        table: The table.
        key: The object, or the folder of the log.
        kind: missing, unreadable, unknown_version, foreign, schema, gap, misplaced, unnamed, doubled, or rows.
        text: What is wrong, as the end of a sentence that begins with the key.
    """

    table: str
    key: str
    kind: str
    text: str


Opened = Mapping[str, DeltaTable | Problem]
"""Table → its newest snapshot, or what keeps it from being opened."""

Read = Callable[[LiveFile], bytes | None]
"""Fetches a live file and holds its bytes against their digest; None where they are wrong."""


def problems(
    root: Storage,
    *,
    opened: Opened | None = None,
    read_data: bool = False,
    read: Read | None = None,
) -> list[Problem]:
    """Find what is wrong with the tables themselves: their logs, and what the logs say.

    Bytes and digests of the live files are the caller's matter; a file whose bytes are wrong is passed over here.

    Args:
        root: The deployment.
        opened: The tables, where the caller has opened them.
        read_data: Read every row too: numbers of rows, and keys that stand in two rows.
        read: How to fetch a file, for a caller who notes which ones are wrong; called from several threads.

    Raises:
        StorageError: The store did not answer.
    """
    found: list[Problem] = []
    tables = open_all(root) if opened is None else opened
    for name, table in tables.items():
        found += _log(root, name)
        if isinstance(table, Problem):
            found.append(table)
            continue
        live = snapshot.live_files(table)
        found += [*_shape(name, table), *_places(live), *_doubled_files(name, live)]
        if read_data:
            found += _contents(root, name, live, read or partial(_sound, root))
    # Of a run that publishes at this moment one table may have been opened before and one after: such a finding is gone
    # at a second look.
    if unsupported := _unsupported(root, tables, read_data=read_data):
        again = _unsupported(root, open_all(root, ("scores", *_PER_RUN)), read_data=read_data)
        found += [problem for problem in unsupported if problem in again]
    return found


def open_all(root: Storage, tables: Collection[str] = tuple(SCHEMAS)) -> dict[str, DeltaTable | Problem]:
    """Open tables, in this order; one that does not open is a problem.

    Raises:
        StorageError: There are no credentials.
    """
    return {table: _open(root, table) for table in tables}


def _open(root: Storage, table: str) -> DeltaTable | Problem:
    trouble = partial(Problem, table=table, key=f"tables/{table}/_delta_log/")
    try:
        opened = snapshot.open_any(root, table)
    except NotFoundError:
        return trouble(kind="missing", text="holds no Delta table")
    except StorageError as error:
        return trouble(kind="unreadable", text=f"cannot be read: {error}")
    version = snapshot.schema_version(opened)
    if version is None:
        return trouble(kind="foreign", text="is the log of a table that CardioClarity did not make")
    if version > SCHEMA_VERSION:
        return trouble(kind="unknown_version", text=f"has schema version {version}, newer than {SCHEMA_VERSION}")
    return opened


def _log(root: Storage, table: str) -> Iterator[Problem]:
    """Look for commits that a reader would need and that are not there; the last ones only their lineage tells of."""
    folder = f"tables/{table}/_delta_log/"
    versions = {listed.key: log_names.version_of(listed.key) for listed in root.list(folder)}
    commits = {v for key, v in versions.items() if v is not None and log_names.is_commit(key)}
    checkpoints = {v for key, v in versions.items() if v is not None and log_names.is_checkpoint(key)}
    first = max(checkpoints, default=-1) + 1
    for version in sorted(set(range(first, max(commits, default=0))) - commits):
        yield Problem(table=table, key=f"{folder}{version:020d}.json", kind="gap", text="is missing between others")
    if (hint := f"{folder}{log_names.HINT}") in versions:
        try:
            hinted = json.loads(root.fetch(hint)).get("version")
        except (FileNotFoundError, ValueError, AttributeError):
            return  # readers do without it then
        if isinstance(hinted, int) and hinted > max(checkpoints, default=-1):
            text = "names a checkpoint that is not there; delete this object, readers do without it"
            yield Problem(table=table, key=hint, kind="unreadable", text=text)


def _shape(table: str, opened: DeltaTable) -> Iterator[Problem]:
    trouble = partial(Problem, table=table, key=f"tables/{table}/_delta_log/", kind="schema")
    if not pa.schema(opened.schema().to_arrow()).equals(SCHEMAS[table]):
        yield trouble(text="states other columns than docs/tables.md")
    if tuple(opened.metadata().partition_columns) != PARTITIONS[table]:
        yield trouble(text=f"states other partition columns than {PARTITIONS[table]}")
    protocol = opened.protocol()
    stated = (protocol.min_reader_version, protocol.min_writer_version)
    if stated != PROTOCOL:
        yield trouble(text=f"states the protocol {stated}, not {PROTOCOL}")


def _places(live: list[LiveFile]) -> Iterator[Problem]:
    for file in live:
        trouble = partial(Problem, table=file.table, key=file.key)
        if not file.path.startswith(folder_of(file.table, file.partition)):
            yield trouble(kind="misplaced", text=f"stands in the log under another partition, {file.partition}")
        if sha256_of(file.path) is None:
            yield trouble(kind="unnamed", text="has no digest in its name: CardioClarity did not write it")


def _doubled_files(table: str, live: list[LiveFile]) -> Iterator[Problem]:
    """Find what one run, or one switch, can only have written once."""
    if table not in {"scores", *_PER_RUN}:
        return
    seen: set[tuple[object, ...]] = set()
    for file in live:
        place = (*file.partition.values(), file.run_id if table in _PER_RUN else None)
        if place in seen:
            whose = f"run {file.run_id} and segment" if table in _PER_RUN else "model and segment"
            yield Problem(table=table, key=file.key, kind="doubled", text=f"is not the only live file of its {whose}")
        seen.add(place)


def _unsupported(root: Storage, tables: Opened, *, read_data: bool) -> list[Problem]:
    """Find scores whose events, or whose evidence, are not in the tables."""
    opened = {table: tables[table] for table in ("scores", *_PER_RUN)}
    live = {name: [] if isinstance(table, Problem) else snapshot.live_files(table) for name, table in opened.items()}
    there = {name: {(*file.partition.values(), file.run_id) for file in live[name]} for name in _PER_RUN}
    found = []
    for file in live["scores"]:
        trouble = partial(Problem, table="scores", key=file.key, kind="missing")
        place = tuple(file.partition.values())
        if not isinstance(opened["events"], Problem) and (*place, file.run_id) not in there["events"]:
            found.append(trouble(text=f"has no file of events beside it from its run {file.run_id}"))
        if not isinstance(opened["beats"], Problem) and read_data:
            try:
                evidence = results.evidence_run(root, file)
            except DamageError:
                continue  # the caller holds the bytes against their digest
            if (*place, evidence) not in there["beats"]:
                found.append(trouble(text=f"rests on evidence of run {evidence} that is not in tables/beats/"))
    return found


def _contents(root: Storage, table: str, live: list[LiveFile], read: Read) -> Iterator[Problem]:
    keys: list[Words] = []
    for file, content in checked.ahead(partial(_content, root, read), live):
        if isinstance(content, Problem):
            yield content
        elif content is not None:
            keys.append(content)
            if table in _PER_RUN and (n := KeySet.of([keys.pop()]).n_doubled):
                yield Problem(table=table, key=file.key, kind="doubled", text=f"holds {n} keys twice")
    if n := KeySet.of(keys).n_doubled:
        yield Problem(table=table, key=f"tables/{table}/", kind="doubled", text=f"holds {n} keys twice")


def _sound(root: Storage, file: LiveFile) -> bytes | None:
    try:
        return checked.fetch(root, file)
    except DamageError:
        return None


def _content(root: Storage, read: Read, file: LiveFile) -> tuple[LiveFile, Words | Problem | None]:
    """Digest the keys of a file; None where its bytes are wrong, which is the caller's matter."""
    if (data := read(file)) is None:
        return file, None
    try:
        return file, key_words(file.table, checked.parse(root, file, data, KEYS[file.table]))
    except DamageError as error:
        return file, Problem(table=file.table, key=file.key, kind="rows", text=f"is not what the log says: {error}")
