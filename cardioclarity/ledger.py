"""What a plan has to remember of an archive, on disk: the driver's memory does not grow with the number of records.

The ledger is an SQLite database without a name. It stays in a cache of fixed size until that is full, then spills to a
file that SQLite unlinks as it makes it, so that no crash can leave one behind.
"""

import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from cardioclarity.errors import StorageError
from cardioclarity.readers.protocol import Source

_LAYOUT: Final = """
PRAGMA journal_mode = OFF; -- nothing is ever rolled back
PRAGMA temp_store = FILE;
PRAGMA cache_size = -8192; -- KiB, also what a sort may take
CREATE TABLE known (key TEXT, version TEXT, aside INTEGER);
CREATE TABLE patients (key TEXT PRIMARY KEY, patient TEXT) WITHOUT ROWID;
CREATE TABLE new (unit INTEGER, format TEXT, key TEXT, version TEXT, size INTEGER);
BEGIN;
"""
_UNITS: Final = """
SELECT unit, format, new.key, version, size, coalesce(patient, '') FROM new LEFT JOIN patients USING (key)
ORDER BY new.rowid
"""


class Known(NamedTuple):
    """A source that earlier runs have seen: its key, its version then, and whether it was set aside."""

    key: str
    version: str
    aside: bool


class Ledger:
    """The known sources of an archive, in any order, and the new ones of a plan, in the order of their keys.

    Attributes:
        n_known: How many listed sources are known in the listed version.
    """

    def __init__(self) -> None:
        """Start empty; nothing is on disk yet. It is gone when the last plan that holds it is."""
        self.n_known = 0
        # A plan may be made in one thread and used in another, never in both at once.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._database.close)
        self._database.executescript(_LAYOUT)

    def know(self, sources: Iterable[Known]) -> None:
        """Take in what earlier runs have seen.

        Raises:
            StorageError: The temporary folder is full.
        """
        with _telling():
            self._database.executemany("INSERT INTO known VALUES (?, ?, ?)", sources)

    def unseen(self, listed: Iterable[Source], *, again: bool) -> Iterator[Source]:
        """Hold a listing against what is known, two sorted streams side by side, and count what is known.

        Args:
            listed: Sorted by key in UTF-8 byte order.
            again: What was set aside counts as new.

        Yields:
            What is new, or there in another version.

        Raises:
            StorageError: The temporary folder is full.
        """
        with _telling():
            # BINARY, the collation by default, compares UTF-8 bytes.
            rows = map(Known._make, self._database.execute("SELECT key, version, aside FROM known ORDER BY key"))
            row = next(rows, None)
            for source in listed:
                while row is not None and row.key < source.key:  # code points sort as their UTF-8 bytes do
                    row = next(rows, None)
                same = row is not None and (row.key, row.version) == (source.key, source.version)
                if same and not (again and row is not None and row.aside):
                    self.n_known += 1
                else:
                    yield source

    def name(self, patients: Iterable[tuple[str, str]]) -> None:
        """Take in whose a source is, as key and pseudonym, empty for nobody's; of two lines for one key the last holds.

        Raises:
            StorageError: The temporary folder is full.
        """
        with _telling():
            self._database.executemany("INSERT OR REPLACE INTO patients VALUES (?, ?)", patients)

    def add(self, unit: int, sources: Iterable[Source]) -> None:
        """Write down the new sources of one unit, in the order of the units.

        Raises:
            StorageError: The temporary folder is full.
        """
        rows = ((unit, source.format, source.key, source.version, source.size) for source in sources)
        with _telling():
            self._database.executemany("INSERT INTO new VALUES (?, ?, ?, ?, ?)", rows)

    def n_named(self) -> int:
        """Count the sources that `name` gave a patient.

        Raises:
            StorageError: The temporary folder is full.
        """
        return self._count("SELECT count(*) FROM patients WHERE patient <> ''")

    def n_new_named(self) -> int:
        """Count those of them that are new.

        Raises:
            StorageError: The temporary folder is full: the new ones are sorted there.
        """
        return self._count("SELECT count(*) FROM patients WHERE patient <> '' AND key IN (SELECT key FROM new)")

    def _count(self, query: str) -> int:
        with _telling():
            return int(self._database.execute(query).fetchone()[0])

    def units(self) -> Iterator[list[tuple[Source, str]]]:
        """Read the units back, one in memory at a time: each source with its patient.

        Raises:
            StorageError: The temporary folder is full, or can no longer be read.
        """
        with _telling():
            rows = self._database.execute(_UNITS)
            for _, unit in groupby(rows, key=itemgetter(0)):
                yield [
                    (Source(format=kind, key=key, version=version, size=size), patient)
                    for _, kind, key, version, size, patient in unit
                ]


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"the plan does not fit into the temporary folder {tempfile.gettempdir()} ({error}); make room there, or set"
            " TMPDIR to a folder on a larger disk, and run the same command again"
        ) from error
