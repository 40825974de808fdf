"""A long listing in the order of its keys, sorted on disk."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime

from cardioclarity.errors import StorageError

Row = tuple[str, int, str, datetime]
"""Key, size, version and time of modification of an object."""


def ordered(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of a listing in the UTF-8 byte order of their keys, in memory that does not grow with it.

    Raises:
        StorageError: The temporary folder is full.
    """
    # A database without a name is a temporary file, unlinked from the start.
    with closing(sqlite3.connect("", check_same_thread=False)) as database:
        try:
            database.execute("CREATE TABLE listed (key BLOB PRIMARY KEY, size, version, modified) WITHOUT ROWID")
            database.executemany(
                "INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?)",
                ((key.encode(errors="surrogatepass"), size, tag, time.timestamp()) for key, size, tag, time in rows),
            )
            for key, size, tag, seconds in database.execute("SELECT * FROM listed ORDER BY key"):
                yield key.decode(errors="surrogatepass"), size, tag, datetime.fromtimestamp(seconds, UTC)
        except sqlite3.Error as error:
            raise StorageError(
                f"a long listing cannot be sorted in the temporary folder: {error}; make room or set TMPDIR to another"
            ) from error
