"""An S3-like bucket as a store: create-only by one PUT, nothing cached, each request sent by `retries.persist`."""

import errno
import hashlib
import multiprocessing
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final, Protocol, Self, TypeVar

from cardioclarity.config import StorageOptions
from cardioclarity.errors import UnreadableFileError, shape
from cardioclarity.storage import credentials, fast
from cardioclarity.storage.answers import Again, Silence, StoreError
from cardioclarity.storage.ordering import ordered
from cardioclarity.storage.plain import Page, PlainClient
from cardioclarity.storage.retries import AT_ONCE, persist
from cardioclarity.vocabulary import Reason

T = TypeVar("T")

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_HAS_MD5: Final[dict[tuple[StorageOptions, str], bool]] = {}
"""Whether the ETags of a bucket are the MD5s of the bytes: True once one was, False where two equal readings of an object
told that its ETag is none and no other object's has been one."""

_ANSWERED: Final[set[str | None]] = set()
"""Endpoints that have answered this process, whatever they said; None is AWS itself."""

_NOBODY: Final = {Silence.UNREACHABLE, Silence.TIMEOUT}


class Client(Protocol):
    """One request each, sent once; every failure is a StoreError."""

    def page(self, prefix: str, token: str | None = None, at_most: int = 1000) -> Page:
        """List a page of keys."""

    def get(self, key: str) -> tuple[bytes, str | None]:
        """Read an object whole, with its ETag where the answer tells it."""

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) of an object, fewer where it ends before; not empty."""

    def has_own_key(self, key: str) -> bool:
        """Tell whether an object is encrypted with a key whose use makes an ETag that is no MD5 (SSE-KMS, SSE-C)."""

    def create(self, key: str, data: bytes) -> None:
        """Write an object where there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object, over an older one."""

    def delete(self, key: str) -> None:
        """Remove an object."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The raw operations on an S3-like bucket; they raise StoreError, and FileNotFoundError where no object is.

    Objects are written by one PUT: some stores do not honour create-only at the end of a multipart upload.

    Attributes:
        options: How to reach it.
        bucket: Name of the bucket.
        prefix: What all keys begin with; no slash at its end.
    """

    options: StorageOptions
    bucket: str
    prefix: str

    @classmethod
    def at(cls, url: str, options: StorageOptions) -> Self:
        """Address ``s3://bucket/prefix``."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        return cls(options, bucket, prefix)

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Name what the operations raise when the store says no or nothing."""
        return (OSError,)  # a StoreError is one

    @staticmethod
    def trouble(error: BaseException) -> str:
        """Say what went wrong and what to do."""
        if isinstance(error, StoreError):
            return error.sentence()
        return f"{getattr(error, 'strerror', None) or type(error).__name__}; run the command again"

    def list(self, prefix: str) -> Iterator[tuple[str, int, str, datetime]]:
        """Yield key, size, ETag and time of the objects, in the UTF-8 byte order of the keys.

        S3 lists in this order. SeaweedFS lists a folder's objects before a sibling whose name goes on with a character
        below the slash (`a/b`, `a.hea`), so what takes more than one page is sorted in a temporary file.
        """
        first = self._page(self._key("") + prefix)
        if first.token is None:
            yield from sorted(self._named(first.objects))
        else:
            yield from ordered(chain(self._named(first.objects), self._further(prefix, first.token)))

    def _further(self, prefix: str, token: str | None) -> Iterator[tuple[str, int, str, datetime]]:
        while token is not None:
            page = self._page(self._key("") + prefix, token)
            yield from self._named(page.objects)
            token = page.token

    def _named(self, objects: Iterable[tuple[str, int, str, datetime]]) -> Iterator[tuple[str, int, str, datetime]]:
        base = self._key("")
        for key, size, etag, modified in objects:
            if not key.endswith("/"):  # a console's mark of an empty folder
                yield key.removeprefix(base), size, etag, modified

    def exists(self) -> bool:
        """Tell whether any object is under the prefix; a bucket itself need not hold one, but must be there."""
        try:
            page = self._page(self._key(""), at_most=1)
        except StoreError as error:
            if error.is_absent:
                return False
            raise
        return bool(page.objects) or not self.prefix

    def make(self) -> None:
        """Look whether the bucket is there: some stores make one, mistyped or not, for the first object."""
        self._page(self._key(""), at_most=1)

    def now(self) -> datetime:
        """Ask the store for its time."""
        date = self._page(self._key(""), at_most=1).date
        if date is None:
            raise StoreError(200, "no Date header")
        return date

    def fetch(self, key: str) -> bytes:
        """Read one object whole, again where the bytes are not those that its ETag names.

        Over plain HTTP a flipped bit is nobody else's business. What reads twice alike is handed out: a digest of ours
        tells better than an ETag what is wrong with it.
        """
        return self._fetch_whole(key, is_checked=False)

    def fetch_checked(self, key: str) -> bytes:
        """Read one object whole for which there is no digest but its ETag.

        An ETag that is no MD5, as under encryption with keys of a service, is told by two equal readings. Only while no
        ETag of the bucket has been one, the whole bucket is believed to have none.

        Raises:
            UnreadableFileError: What the store holds is not what its ETag names, and other ETags of the bucket are MD5s.
        """
        return self._fetch_whole(key, is_checked=True)

    def _fetch_whole(self, key: str, *, is_checked: bool) -> bytes:
        place, read = (self.options, self.bucket), set[str]()

        def get(client: Client) -> bytes:
            data, etag = client.get(self._key(key))
            if etag is None or not _MD5.fullmatch(etag):
                return data
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if md5 == etag:
                _HAS_MD5[place] = True
                return data
            if md5 not in read and _HAS_MD5.get(place, True):
                read.add(md5)
                raise StoreError(None, Silence.GARBLED)
            if not _HAS_MD5.setdefault(place, False) or not is_checked or client.has_own_key(self._key(key)):
                return data
            message = (
                f"{shape(key)!r} is damaged in the store: its bytes are not those of its ETag; put the file there again"
            )
            raise UnreadableFileError.because(Reason.CHECKSUM_MISMATCH, message)

        return self._fetch(get)

    def fetch_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) of one object, fewer where it ends before."""
        return self._fetch(lambda client: client.get_range(self._key(key), start, stop))

    def _fetch(self, request: Callable[[Client], bytes]) -> bytes:
        try:
            return self._ask(request)
        except StoreError as error:
            if error.is_absent:
                raise FileNotFoundError(errno.ENOENT, "no such object") from error
            raise

    def put_all_new(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        """Create objects; returns the keys under which something was there already."""
        written = _at_once(self._put_new, objects.keys(), objects.values())
        return [key for key, is_written in zip(objects, written, strict=True) if not is_written]

    def _put_new(self, key: str, data: bytes) -> bool:
        """Create an object; False where something was there before the first try."""
        unknown = False

        def create(client: Client) -> None:
            nonlocal unknown
            try:
                client.create(self._key(key), data)
            except StoreError as error:
                unknown |= error.is_unknown
                raise

        try:
            self._ask(create)
        except StoreError as error:
            if not error.exists:
                raise
            # An answer was lost on the way: what is there may be what an earlier try wrote. Not every loss is seen:
            # aiohttp by itself sends once more what met a connection that the store had just closed.
            return unknown and self._holds(key, data)
        return True

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.fetch(key) == data
        except FileNotFoundError:  # removed meanwhile
            return False

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, over an older one where there is one."""
        self._ask(lambda client: client.write(self._key(key), data))

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        self._ask(lambda client: client.delete(self._key(key)))

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove objects, each by a request of its own: not every store knows the bulk request."""
        _at_once(self.delete, keys)

    def _page(self, prefix: str, token: str | None = None, at_most: int = 1000) -> Page:
        return self._ask(lambda client: client.page(prefix, token, at_most))

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _ask(self, request: Callable[[Client], T]) -> T:
        """Send a request until it is answered, by the client and with the credentials of the moment."""
        kind = fast.FastClient if fast.is_chosen() else PlainClient

        def send() -> T:
            access = credentials.resolve(self.options)
            try:
                answer = request(kind.open(access, self.bucket))
            except StoreError as error:
                error.endpoint = credentials.shown(access.endpoint)
                if error.code not in _NOBODY:
                    _ANSWERED.add(access.endpoint)
                elif _is_unproven(access.endpoint):
                    error.again = Again.BRIEFLY
                if error.is_expired and credentials.renewed(self.options, access):
                    error.again = Again.SOON
                raise
            _ANSWERED.add(access.endpoint)
            return answer

        return persist(send)


def _is_unproven(endpoint: str | None) -> bool:
    """Tell whether the address may be wrong: nothing came from it yet, and no process that started this one knew it."""
    return endpoint not in _ANSWERED and multiprocessing.parent_process() is None


def _at_once(call: Callable[..., T], *arguments: Collection[object]) -> Sequence[T]:
    size = min(AT_ONCE, len(arguments[0]))
    if size <= 1:
        return list(map(call, *arguments))
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(call, *arguments))
