"""Rows and files that give way: a file that holds such a row is written again without it, the others stay as they are."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from posixpath import commonpath, commonprefix, dirname
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from numpy.typing import NDArray

from cardioclarity.errors import DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, commit, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.digests import KeySet, Words, key_words
from cardioclarity.tables.schemas import KEYS, SCHEMAS, file_schema
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import Staged, run_of, sha256_of, stage_rows

_LISTINGS: Final = 64
"""Folders that are listed one by one; of more, the whole table is listed instead, a thousand files a request."""

Stays = Callable[[pa.Table], NDArray[np.bool_]]
"""Tells for each row of a file whether it stays."""


def upsert(
    root: Storage,
    table: str,
    staged: Sequence[Staged],
    *,
    run_id: str,
    gone: Collection[tuple[object, ...]] = (),
) -> None:
    """Add rows to `sources` or `quarantine`; a row with an equal key gives way.

    Only the files that hold such a row are written again, without it. In memory are 16 bytes per staged key and a few
    files at a time.

    Args:
        root: The deployment.
        table: Its name.
        staged: Files of it.
        run_id: The run that publishes.
        gone: Keys, in the order of `KEYS`, of rows that vanish with nothing in their place.

    Raises:
        DamageError: A staged file has vanished or has another size; or a file of the table is damaged.
        StorageError: The outcome is unknown.
    """
    assert table in {"sources", "quarantine"}
    if not staged and not gone:
        return
    files = present(root, staged) if staged else []
    listed = KeySet.of(checked.ahead(lambda file: staged_keys(root, file), files))
    assert not listed.n_doubled, f"{table}: run {run_id} staged a key twice"
    named = pa.Table.from_pylist(
        [dict(zip(KEYS[table], key, strict=True)) for key in gone],
        pa.schema([pa.field(name, SCHEMAS[table].field(name).type) for name in KEYS[table]]),
    )
    keys = KeySet.of([(listed.high, listed.low), key_words(table, named)])
    rewriting = _Rewriting(root, KEYS[table], lambda rows: ~keys.holds(key_words(table, rows)))

    def replacing(opened: DeltaTable) -> Change:
        without = rewriting.of(snapshot.live_files(opened))
        return Change(adds=[*files, *without.adds], removes=without.removes)

    commit.commit(root, table, replacing, run_id=run_id)


def remove_rows(root: Storage, table: str, where: Mapping[str, Collection[str]], *, run_id: str) -> None:
    """Take rows out of a table; done again, it changes nothing.

    Args:
        root: The deployment.
        table: Its name.
        where: Column → values; a row vanishes where each of these columns holds one of its values.
        run_id: The run that does it.

    Raises:
        DamageError: A file of the table is damaged: remove that file first.
        StorageError: The outcome is unknown.
    """
    assert where, "a table is never emptied by accident"
    columns = sorted(where)
    values = {name: pa.array(sorted(set(where[name])), SCHEMAS[table].field(name).type) for name in columns}

    def stays(rows: pa.Table) -> NDArray[np.bool_]:
        named = np.ones(rows.num_rows, np.bool_)
        for name in columns:
            named &= pc.is_in(rows[name], value_set=values[name]).to_numpy()
        return ~named

    rewriting = _Rewriting(root, columns, stays)

    def removing(opened: DeltaTable) -> Change | None:
        without = rewriting.of(snapshot.live_files(opened))
        return without if without.removes else None

    commit.commit(root, table, removing, run_id=run_id, once=False)


def remove_files(root: Storage, table: str, paths: Collection[str], *, run_id: str) -> None:
    """Take whole files out of a table, whatever is in them; done again, it changes nothing.

    Args:
        root: The deployment.
        table: Its name.
        paths: Relative to the table's folder, `LiveFile.path`.
        run_id: The run that does it.

    Raises:
        StorageError: The outcome is unknown.
    """
    wanted = set(paths)

    def removing(opened: DeltaTable) -> Change | None:
        removes = [file for file in snapshot.live_files(opened) if file.path in wanted]
        return Change(removes=removes) if removes else None

    if wanted:
        commit.commit(root, table, removing, run_id=run_id, once=False)


def present(root: Storage, staged: Sequence[Staged]) -> list[Staged]:
    """Refuse to publish a file that is not there: the log would take it, and every reader would fail ever after.

    Only what lies beside the files is listed where they are in few folders: a nightly run lists no whole table.

    Raises:
        DamageError: One has vanished or has another size.
        StorageError: The store did not answer.
    """
    wanted = {file.key: file.size for file in staged}
    by_folder = groupby(sorted(wanted), key=dirname)
    prefixes = [commonprefix(list(keys)) for _, keys in by_folder]
    if len(prefixes) > _LISTINGS:
        prefixes = [f"{commonpath(map(dirname, wanted))}/"]
    for listing in checked.ahead(lambda prefix: [(found.key, found.size) for found in root.list(prefix)], prefixes):
        for key, size in listing:
            if wanted.get(key) == size:
                del wanted[key]
    if wanted:
        raise DamageError(
            f"{root.name}: {len(wanted)} of {len(staged)} staged files are missing or cut short, first {min(wanted)};"
            " nothing was published from them, run the command again"
        )
    return list(staged)


def staged_rows(root: Storage, file: Staged, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a staged file before it is published, in the table's file schema or some columns of it.

    Raises:
        DamageError: Its bytes are not those that were staged.
        StorageError: It could not be read.
    """
    live = LiveFile(
        table=file.table, path=file.path, size=file.size, n_rows=file.n_rows, partition=dict(file.partition)
    )
    return checked.rows(root, live, file_schema(file.table).names if columns is None else columns)


class _Rewriting:
    """Writes files again without the rows that do not stay; what one round of a commit has looked at the next one knows."""

    def __init__(self, root: Storage, columns: Sequence[str], stays: Stays) -> None:
        self._root, self._columns, self._stays = root, columns, stays
        self._rests: dict[str, tuple[Staged, ...]] = {}
        self._untouched: set[str] = set()

    def of(self, live: Sequence[LiveFile]) -> Change:
        """Decide on a snapshot which files go, and stage what is left of them."""
        new = [file for file in live if file.path not in self._untouched and file.path not in self._rests]
        for file, rest in checked.ahead(self._look, new):
            if rest is None:
                self._untouched.add(file.path)
            else:
                self._rests[file.path] = rest
        removes = [file for file in live if file.path in self._rests]
        return Change(adds=[staged for file in removes for staged in self._rests[file.path]], removes=removes)

    def _look(self, file: LiveFile) -> tuple[LiveFile, tuple[Staged, ...] | None]:
        """Stage the rest of a file: nothing where no row stays, None where all do."""
        data = checked.fetch(self._root, file)
        stays = self._stays(checked.parse(self._root, file, data, self._columns))
        if stays.all():
            return file, None
        if not stays.any():
            return file, ()
        rows = checked.parse(self._root, file, data, file_schema(file.table).names).filter(pa.array(stays))
        return file, (stage_rest(self._root, file, rows.combine_chunks()),)


def stage_rest(root: Storage, file: LiveFile | Staged, rows: pa.Table) -> Staged:
    """Stage some rows of a file beside it; they are still those of the run that wrote the file."""
    unit_id = f"of_{sha256_of(file.path) or ''}"[:19]
    partition = {name: str(value) for name, value in dict(file.partition).items()}
    return stage_rows(root, file.table, rows, run_id=run_of(file.path), unit_id=unit_id, partition=partition)


def staged_keys(root: Storage, file: Staged) -> Words:
    """Digest the keys of a staged file.

    Raises:
        DamageError: Its bytes are not those that were staged.
        StorageError: It could not be read.
    """
    return key_words(file.table, staged_rows(root, file, KEYS[file.table]))
