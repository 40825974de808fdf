"""A zip or tar file as an archive of ECG files, read in place: nothing is unpacked but the member that is asked for."""

import logging
import os
import re
import threading
import time
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Self

from cardioclarity.config import StorageOptions
from cardioclarity.errors import StorageError, UnreadableFileError
from cardioclarity.storage import tarred, zipped
from cardioclarity.storage.bucket import Bucket
from cardioclarity.storage.folder import Folder
from cardioclarity.storage.members import (
    ENTRIES,
    NAMES_BYTES,
    TOTAL_BYTES,
    BrokenArchiveError,
    Member,
    Read,
    Skip,
    pread,
)

log = logging.getLogger(__name__)

SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz")

_FRESH_S: Final = 1.0
"""For so long nobody looks whether the archive file has changed: there are thousands of members, and one look costs a
request."""

_KEPT: Final = 4
"""Indexes that a process keeps; each holds up to a hundred thousand members."""

_OUTSIDE: Final = re.compile(r"/|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)
_OF_A_MAC: Final = "__MACOSX/"
"""What a Mac adds to a zip file beside the files that were packed; it is in no folder from which one packs."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An archive file in a folder."""

    path: str

    def stat(self) -> tuple[int, str, datetime]:
        """Give size, time of modification in ns, and that time."""
        found = Path(self.path).stat()
        return found.st_size, str(found.st_mtime_ns), datetime.fromtimestamp(found.st_mtime, UTC)

    def read(self, start: int, stop: int) -> bytes:
        """Read a part of it."""
        with Path(self.path).open("rb", buffering=0) as file:
            return pread(file.fileno(), start, stop)

    def now(self) -> datetime:
        """Read the system's clock."""
        return Folder(os.path.dirname(self.path)).now()  # noqa: PTH120 - text, as elsewhere for folders

    failures = staticmethod(Folder.failures)
    trouble = staticmethod(Folder.trouble)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An archive file in a bucket."""

    place: Bucket
    key: str

    def stat(self) -> tuple[int, str, datetime]:
        """Give size, ETag and time as a listing tells them."""
        for key, size, version, modified in self.place.list(self.key):
            if key == self.key:  # the first one, if it is there at all
                return size, version, modified
            break
        raise FileNotFoundError(self.key)

    def read(self, start: int, stop: int) -> bytes:
        """Read a part of it by one request."""
        return self.place.fetch_range(self.key, start, stop)

    def now(self) -> datetime:
        """Ask the store for its time."""
        return self.place.now()

    failures = staticmethod(Bucket.failures)
    trouble = staticmethod(Bucket.trouble)


@dataclass(frozen=True, slots=True)
class _Index:
    """The members of one version of an archive file, under their keys."""

    stat: tuple[int, str, datetime]
    members: Mapping[str, Member]
    keys: Sequence[str]
    skipped: Counter[Skip]
    read: Read
    fetch: Callable[[Read, Member], bytes]

    def take(self, key: str) -> bytes:
        return self.fetch(self.read, self.members[key])


_lock = threading.Lock()
_indexes: OrderedDict[tuple[int, LocalFile | StoredFile], tuple[float, _Index]] = OrderedDict()
"""By process, since a temporary file is not to be shared over a fork; with the time of the last look at the file."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The raw operations on an archive file, of which those that write are refused.

    Attributes:
        file: The archive file.
        name: As the user gave it, for messages.
    """

    file: LocalFile | StoredFile
    name: str

    @classmethod
    def at(cls, url: str, name: str, options: StorageOptions) -> Self:
        """Address an archive file by its path or URL."""
        if "://" not in url:
            return cls(LocalFile(url), name)
        folder, _, key = url.rpartition("/")
        return cls(StoredFile(Bucket.at(folder, options), key), name)

    def failures(self) -> tuple[type[Exception], ...]:
        """Name what the operations raise when the store says no or nothing."""
        return self.file.failures()

    def trouble(self, error: BaseException) -> str:
        """Say what went wrong and what to do."""
        return self.file.trouble(error)

    def list(self, prefix: str) -> Iterator[tuple[str, int, str, datetime]]:
        """Yield key, size, version and the archive file's time, in the UTF-8 byte order of the keys.

        Raises:
            StorageError: The file is not there, or is no archive.
        """
        index = self._index(look=True)
        for key in index.keys[bisect_left(index.keys, prefix) :]:
            if not key.startswith(prefix):
                break
            member = index.members[key]
            yield key, member.size, member.version, index.stat[2]
        if index.skipped and not prefix:
            counts = ", ".join(f"{n} {skip}" for skip, n in sorted(index.skipped.items()))
            log.warning("%s: %d files in it were passed over: %s", self.name, index.skipped.total(), counts)

    def exists(self) -> bool:
        """Tell whether the archive file is there."""
        try:
            self.file.stat()
        except FileNotFoundError:
            return False
        return True

    def now(self) -> datetime:
        """Read the clock of the store."""
        return self.file.now()

    def fetch(self, key: str) -> bytes:
        """Read and unpack one member.

        Raises:
            FileNotFoundError: There is no such member.
            StorageError: The file is not there, or is no archive.
            DataError: This member is damaged, too large, or packed in a way that is not read; the others may be sound.
        """
        index = self._index()
        if key not in index.members:
            raise FileNotFoundError(key)
        try:
            return self._taken(index, key)
        except UnreadableFileError:
            # A bit may have been lost on the way here, or the archive file replaced since the last look: once more.
            index = self._index(look=True)
        if key not in index.members:
            raise FileNotFoundError(key)
        return self._taken(index, key)

    def make(self) -> NoReturn:
        """Refuse: an archive file is only read."""
        raise StorageError(f"{self.name} is an archive file and is only read; give a folder or s3://bucket/prefix")

    def put_all_new(self, objects: Mapping[str, bytes]) -> NoReturn:  # noqa: ARG002 - as the other places have it
        """Refuse to write."""
        self.make()

    def replace(self, key: str, data: bytes) -> NoReturn:  # noqa: ARG002 - as the other places have it
        """Refuse to write."""
        self.make()

    def delete(self, key: str) -> NoReturn:  # noqa: ARG002 - as the other places have it
        """Refuse to remove."""
        self.make()

    def delete_all(self, keys: Iterable[str]) -> NoReturn:  # noqa: ARG002 - as the other places have it
        """Refuse to remove."""
        self.make()

    def _taken(self, index: _Index, key: str) -> bytes:
        try:
            return index.take(key)
        except FileNotFoundError:
            self._gone()

    def _gone(self) -> NoReturn:
        raise StorageError(
            f"{self.name}: the archive file is no longer there; give it again, or unpack it into a folder"
        )

    def _index(self, *, look: bool = False) -> _Index:
        """Give the index of the file as it is now, or was a moment ago."""
        place = os.getpid(), self.file
        with _lock:
            looked, known = _indexes.get(place, (0.0, None))
            if known is not None and not look and time.monotonic() - looked < _FRESH_S:
                return known
            try:
                stat = self.file.stat()
                index = known if known is not None and known.stat == stat else _indexed(self.file, stat)
            except FileNotFoundError:
                self._gone()
            except BrokenArchiveError as error:
                raise StorageError(f"{self.name} cannot be read as an archive: {error}") from error
            _indexes[place] = time.monotonic(), index
            _indexes.move_to_end(place)
            while len(_indexes) > _KEPT:
                _indexes.popitem(last=False)
            return index


def is_packed(url: str) -> bool:
    """Tell whether a path or URL names an archive file; a folder or a bucket may have any name."""
    if not url.lower().endswith(SUFFIXES):
        return False
    _, separator, place = url.partition("://")
    return "/" in place if separator else not Path(url).is_dir()


def _read(file: LocalFile | StoredFile, size: int, start: int, stop: int) -> bytes:
    """Read a part of a file as large as it was when it was looked at."""
    stop = min(stop, size)
    return file.read(start, stop) if start < stop else b""


def _indexed(file: LocalFile | StoredFile, stat: tuple[int, str, datetime]) -> _Index:
    """Read the names of all members; the last of those with one name counts, as when they are unpacked."""
    name = (file.path if isinstance(file, LocalFile) else file.key).lower()
    size = stat[0]
    read: Read = partial(_read, file, size)
    if name.endswith("gz"):
        unpacked = tarred.Unpacked(read, size)
        read, size = unpacked.read, unpacked.size
    kind = zipped if name.endswith(".zip") else tarred
    members: dict[str, Member] = {}
    skipped: Counter[Skip] = Counter()
    n_bytes = n_chars = 0
    for n, member in enumerate(kind.index(read, size)):
        n_bytes, n_chars = n_bytes + member.size, n_chars + len(member.name)
        if n == ENTRIES or n_chars > NAMES_BYTES:
            raise BrokenArchiveError.too_large(f"it holds more than {ENTRIES} files, or very long names")
        if n_bytes > TOTAL_BYTES:
            raise BrokenArchiveError.too_large(f"it unpacks to more than {TOTAL_BYTES} bytes")
        key = re.sub(r"\A(\./+)+", "", member.name)  # as `tar -c .` names them
        skip = Skip.OUTSIDE if _OUTSIDE.match(key) else member.skip
        if skip is not None:
            skipped[skip] += 1
            members.pop(key, None)
        elif not key.startswith(_OF_A_MAC):
            members[key] = member
    return _Index(stat, members, sorted(members), skipped, read, kind.fetch)
