"""Bytes by key, alike in a folder and in an S3-like bucket: list, fetch, create once, replace, delete."""

import errno
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cardioclarity.config import StorageOptions
from cardioclarity.errors import ConflictError, StorageError, UsageError, shape
from cardioclarity.storage.bucket import Bucket, delta_arguments, s3_arguments
from cardioclarity.storage.folder import Folder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing.

    Attributes:
        key: Relative to the storage's URL, joined by "/".
        size: Bytes.
        version: Changes when the object does: its ETag, in a folder its time of modification in ns.
    """

    key: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder or a bucket prefix; cheap to make, picklable, usable from any thread and process.

    What fails becomes a StorageError of one sentence. A key that is read may come out of an archive, where it can name
    a patient, so messages show its shape; a key that is written is our own and is shown.

    Attributes:
        url: Absolute path of the folder, or ``s3://bucket/prefix``; no trailing slash, never credentials.
        name: As the user gave it, for messages.
        options: How to reach it.
    """

    url: str
    name: str
    options: StorageOptions

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """List what lies under a prefix, in the UTF-8 byte order of the keys, as a stream.

        Names that are no plain keys (not UTF-8, a backslash, an empty part) are passed over with one warning. In a
        folder, a link that leads out of it is passed over too.

        Args:
            prefix: Text that the keys begin with; it need not end at a slash.

        Raises:
            StorageError: The listing failed.
        """
        assert not prefix or _is_plain(prefix.removesuffix("/")), prefix
        odd = 0
        with self._telling(f"list {shape(prefix)!r}" if prefix else "list"):
            for key, size, version in self._place.list(prefix):
                if _is_plain(key):
                    yield Listed(key, size, version)
                else:
                    odd += 1
        if odd:
            log.warning("%s: %d objects have names that are no plain keys and were passed over", self.name, odd)

    def exists(self) -> bool:
        """Tell whether the folder, or any object under the prefix, is there.

        Raises:
            StorageError: The store did not answer.
        """
        with self._telling("look"):
            return self._place.exists()

    def make_root(self) -> None:
        """Make the folder where it is missing, before a library writes below it; a bucket is not made here.

        Raises:
            StorageError: It is a file, or could not be made.
        """
        if isinstance(place := self._place, Folder):
            with self._telling("make the folder"):
                if Path(place.path).is_file():
                    raise StorageError(f"{self.name} is a file, not a folder; give a folder or URL as --root")
                place.make()

    def fetch(self, key: str) -> bytes:
        """Read one object whole.

        Raises:
            FileNotFoundError: No such object; a folder, a pipe or a device is none.
            StorageError: It could not be read.
        """
        assert _is_plain(key), key
        with self._telling(f"read {shape(key)!r}"):
            try:
                return self._place.fetch(key)
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

    def _put_new(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        """Create objects; returns the keys under which equal bytes were there already."""
        assert all(map(_is_plain, objects)), list(objects)
        with self._telling(f"write {', '.join(list(objects)[:1])}"):
            there = self._place.put_all_new(objects)
            for key in there:
                if self._place.fetch(key) != objects[key]:
                    raise ConflictError(f"{self.name}: {key} is there with other content and is never overwritten")
        return there

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

    def join(self, key: str) -> str:
        """Give the full path or URL of a key, for people and for libraries that open it themselves."""
        assert _is_plain(key), key
        return f"{self.url.removesuffix('/')}/{key}"

    def delta_options(self) -> dict[str, str]:
        """Give the options under the names that deltalake knows; empty for a folder."""
        return delta_arguments(self.options, os.environ) if self._is_bucket else {}

    def fsspec_options(self) -> dict[str, Any]:
        """Give the options under the names that s3fs knows, for a library that opens `join(key)`; empty for a folder."""
        return s3_arguments(self.options, os.environ) if self._is_bucket else {}

    @property
    def _is_bucket(self) -> bool:
        return self.url.startswith("s3://")

    @property
    def _place(self) -> Bucket | Folder:
        if self._is_bucket:
            return Bucket.open(self.url, self.options, os.environ)
        return Folder(self.url)

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Turn whatever the store answers into one sentence: where, what, why, what to do."""
        place = Bucket if self._is_bucket else Folder
        try:
            yield
        except place.failures() as error:
            raise StorageError(f"{self.name}: cannot {doing}: {place.trouble(error)}") from error


def open_storage(url: str, options: StorageOptions = StorageOptions()) -> Storage:  # noqa: B008 - frozen
    """Name a folder or a bucket prefix; nothing is read or made.

    Args:
        url: A path, ``file://…`` or ``s3://bucket/prefix``.
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
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - a link keeps the name that the user knows
