"""Bytes by key, alike in a folder and in an S3-like bucket: list, fetch, create once, replace, delete."""

import errno
import itertools
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from cardioclarity.config import StorageOptions
from cardioclarity.errors import ConflictError, StorageError, UsageError, shape
from cardioclarity.storage import arguments, credentials
from cardioclarity.storage.bucket import Bucket
from cardioclarity.storage.folder import Folder
from cardioclarity.storage.packed import Packed, is_packed

log = logging.getLogger(__name__)

_BATCH: Final = 1000
_CREATE_ROUNDS: Final = 5
_PROBES: Final = ".doctor"
"""Below it lies what probes a store; nothing there is ever kept."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing.

    Attributes:
        key: Relative to the storage's URL, joined by "/".
        size: Bytes.
        version: Changes when the object does: its ETag, in a folder its time of modification in ns.
        modified: When it last changed, by the clock of the store; UTC.
    """

    key: str
    size: int
    version: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder or a bucket prefix; cheap to make, picklable, usable from any thread and process.

    It holds no connection and no secret: both belong to the process in which a request is sent. What fails becomes a
    StorageError of one sentence. A key that is read may come out of an archive, where it can name a patient, so
    messages show its shape; a key that is written is our own and is shown.

    Attributes:
        url: Absolute path of the folder, or ``s3://bucket/prefix``; no trailing slash, never credentials.
        name: As the user gave it, for messages.
        options: How to reach it.
    """

    url: str
    name: str
    options: StorageOptions

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """List what lies under a prefix, in the UTF-8 byte order of the keys; a long listing waits on disk, not in memory.

        Names that are no plain keys (not UTF-8, a backslash, an empty part) are passed over with one warning. In a
        folder, a link that leads out of it is passed over too.

        Args:
            prefix: Text that the keys begin with; it need not end at a slash.

        Raises:
            StorageError: The listing failed.
        """
        assert not prefix or _is_plain(prefix.removesuffix("/")), prefix
        odd = 0
        with self._telling(f"list {prefix}" if prefix else "list"):
            for key, size, version, modified in self._place.list(prefix):
                if _is_plain(key):
                    yield Listed(key, size, version, modified)
                else:
                    odd += 1
        if odd:
            log.warning("%s: %d objects have names that are no plain keys and were passed over", self.name, odd)

    def leftovers(self) -> Iterator[Listed]:
        """List what `list` hides: temporary files of a folder, whose writer was killed or is at it now; in any order.

        Raises:
            StorageError: A folder could not be listed.
        """
        place = self._place
        if isinstance(place, Folder):
            with self._telling("list"):
                yield from (Listed(*found) for found in place.leftovers() if _is_plain(found[0]))

    def exists(self) -> bool:
        """Tell whether the folder, or any object under the prefix, is there.

        Raises:
            StorageError: The store did not answer, or there is no such bucket.
        """
        with self._telling("look"):
            return self._place.exists()

    def now(self) -> datetime:
        """Read the clock by which `Listed.modified` is told; UTC.

        Raises:
            StorageError: The store did not answer.
        """
        with self._telling("read the clock"):
            return self._place.now()

    def make_root(self) -> None:
        """Make the folder where it is missing, before a library writes below it; a bucket must be there.

        Raises:
            StorageError: It is a file, could not be made, or there is no such bucket.
        """
        place = self._place
        with self._telling("use the bucket" if self._is_bucket else "make the folder"):
            if isinstance(place, Folder) and Path(place.path).is_file():
                raise StorageError(f"{self.name} is a file, not a folder; give a folder or URL as --root")
            place.make()

    def require_create_only(self) -> None:
        """Make sure that an object that is there cannot be created again: on that alone rests who publishes.

        The right to delete is not needed: where it is refused, the probe stays until gc frees it, with a warning.

        Raises:
            StorageError: The store overwrites, or could not be asked.
        """
        place, key = self._place, f"{_PROBES}/{uuid.uuid4()}"
        with self._telling(f"write {key}"):
            place.put_all_new({key: b"first"})
            try:
                refused = place.put_all_new({key: b"second"}) == [key]
                kept = place.fetch(key) == b"first"
            finally:
                self._forget(place, key)
        if not (refused and kept):
            raise StorageError(
                f"{self.name}: this store overwrites an object where it must refuse (If-None-Match: *), so publishing there "
                f"could mix two runs; use a store with conditional writes; `cardioclarity doctor --root {self.name}` says "
                "more"
            )

    def _forget(self, place: Bucket | Folder | Packed, key: str) -> None:
        """Remove a probe, or warn."""
        try:
            place.delete(key)
        except place.failures() as error:
            log.warning("%s: cannot delete %s: %s; it stays until gc frees it", self.name, key, place.trouble(error))
        if isinstance(place, Folder):
            place.forget(_PROBES)

    def fetch(self, key: str) -> bytes:
        """Read one object whole.

        Raises:
            FileNotFoundError: No such object; a folder, a pipe or a device is none.
            StorageError: It could not be read.
            DataError: It is a damaged member of an archive file; the others may be sound.
        """
        return self._fetch(key, self._place.fetch)

    def fetch_checked(self, key: str) -> bytes:
        """Read one object whole that no digest of ours vouches for: as `fetch`, but held against the store's own.

        Raises:
            FileNotFoundError: As with `fetch`.
            StorageError: As with `fetch`.
            DataError: As with `fetch`; or what the store holds is not what was put there, as its ETag tells.
        """
        place = self._place
        return self._fetch(key, place.fetch_checked if isinstance(place, Bucket) else place.fetch)

    def _fetch(self, key: str, fetch: Callable[[str], bytes]) -> bytes:
        assert _is_plain(key), key
        with self._telling(f"read {shape(key)!r}"):
            try:
                return fetch(key)
            except FileNotFoundError:
                pass
        raise FileNotFoundError(errno.ENOENT, "no such object", key)

    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object that is never overwritten; all of it is there or nothing, and it is durable on return.

        Returns:
            True where it was written, False where equal bytes were there already.

        Raises:
            ConflictError: Other bytes are there.
            StorageError: It could not be written.
        """
        return not self._put_new({key: data})

    def put_all_new(self, objects: Mapping[str, bytes]) -> None:
        """Create several small objects in hardly more time than one; each by itself is as with `put_new`.

        Raises:
            ConflictError: Other bytes are there under one of the keys.
            StorageError: One could not be written.
        """
        self._put_new(objects)

    def _put_new(self, objects: Mapping[str, bytes]) -> set[str]:
        """Create objects; returns the keys under which equal bytes were there already."""
        assert all(map(_is_plain, objects)), list(objects)
        equal: set[str] = set()
        left = dict(objects)
        with self._telling(f"write {', '.join(list(objects)[:1])}"):
            for _ in range(_CREATE_ROUNDS):
                if not left:
                    return equal
                there = self._place.put_all_new(left)
                found = {key: self._found(key) for key in there}
                for key, data in found.items():
                    if data is not None and data != objects[key]:
                        raise ConflictError(f"{self.name}: {key} is there with other content and is never overwritten")
                equal |= {key for key, data in found.items() if data is not None}
                left = {key: objects[key] for key, data in found.items() if data is None}
        if left:
            raise StorageError(f"{self.name}: cannot write {next(iter(left))}: it is made and removed again and again")
        return equal

    def _found(self, key: str) -> bytes | None:
        try:
            return self._place.fetch(key)
        except FileNotFoundError:  # removed since the store refused to create it: to be created once more
            return None

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, over an older one where there is one; a reader sees the old bytes or the new ones.

        Raises:
            StorageError: It could not be written.
        """
        assert _is_plain(key), key
        with self._telling(f"write {key}"):
            self._place.replace(key, data)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine.

        Raises:
            StorageError: It could not be removed.
        """
        assert _is_plain(key), key
        with self._telling(f"delete {key}"):
            self._place.delete(key)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand at a time; those that are not there are fine.

        Raises:
            StorageError: One could not be removed; others may be gone.
        """
        left = iter(keys)
        while batch := list(itertools.islice(left, _BATCH)):
            assert all(map(_is_plain, batch)), batch
            with self._telling(f"delete {batch[0]}"):
                self._place.delete_all(batch)

    def join(self, key: str) -> str:
        """Give the full path or URL of a key, for people and for libraries that open it themselves."""
        assert _is_plain(key), key
        return f"{self.url.removesuffix('/')}/{key}"

    def delta_options(self) -> dict[str, str]:
        """Give the options under the names that deltalake knows; empty for a folder.

        They hold the credentials of the moment: to be asked for again with each use, never kept, shown or sent.

        Raises:
            StorageError: There are no credentials.
        """
        if not isinstance(place := self._place, Bucket):
            return {}
        with self._telling("look up the credentials"):
            return arguments.for_deltalake(credentials.resolve(self.options), place.bucket)

    def fsspec_options(self) -> dict[str, Any]:
        """Give the options under the names that s3fs knows, for a library that opens `join(key)`; empty for a folder.

        Raises:
            StorageError: There are no credentials.
        """
        if not self._is_bucket:
            return {}
        with self._telling("look up the credentials"):
            return arguments.for_fsspec(credentials.resolve(self.options))

    @property
    def _is_bucket(self) -> bool:
        return self.url.startswith("s3://")

    @property
    def _place(self) -> Bucket | Folder | Packed:
        if is_packed(self.url):
            return Packed.at(self.url, self.name, self.options)
        return Bucket.at(self.url, self.options) if self._is_bucket else Folder(self.url)

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Turn whatever the store answers into one sentence: where, what, why, what to do."""
        place = self._place
        try:
            yield
        except place.failures() as error:
            raise StorageError(f"{self.name}: cannot {doing}: {place.trouble(error)}") from error


def open_storage(url: str, options: StorageOptions = StorageOptions()) -> Storage:  # noqa: B008 - frozen
    """Name a folder or a bucket prefix; nothing is read or made.

    Args:
        url: A path, ``file://…`` or ``s3://bucket/prefix``; or that of a zip or tar file, which is only read.
        options: How to reach it.

    Raises:
        UsageError: It is none of these, or holds credentials.
    """
    scheme, separator, rest = url.partition("://")
    if not separator and url:
        return Storage(_absolute(url), url, options)
    if scheme == "file" and rest.startswith("/"):
        return Storage(_absolute(unquote(urlsplit(url).path)), url, options)
    bucket, _, prefix = rest.strip("/").partition("/")
    if "@" in bucket:
        raise UsageError(
            f"{scheme}://…@…: a URL never holds credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if scheme != "s3" or not bucket or (prefix and not _is_plain(prefix)):
        raise UsageError(f"{url!r} is no place to store: give a folder or s3://bucket/prefix")
    return Storage(f"s3://{rest.strip('/')}", url, options)


def _is_plain(key: str) -> bool:
    """Tell whether a key is UTF-8 text of non-empty parts that stays in its place in every kind of store."""
    parts_are_names = not {"", ".", ".."} & set(key.split("/"))
    return parts_are_names and "\\" not in key and "\0" not in key and not any("\ud800" <= c <= "\udfff" for c in key)


def _absolute(path: str) -> str:
    found = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - a link keeps the name that the user knows
    return f"/{found.lstrip('/')}" if found.startswith("//") else found  # POSIX keeps two slashes at the beginning
