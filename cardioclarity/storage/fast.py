"""An S3-like store through obstore, where it is installed: several times more requests per second than s3fs."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from cardioclarity.errors import UsageError
from cardioclarity.storage.answers import Silence, StoreError
from cardioclarity.storage.arguments import for_obstore
from cardioclarity.storage.credentials import Access
from cardioclarity.storage.plain import Page, PlainClient

if TYPE_CHECKING:
    from obstore.store import S3Store

CLIENT_VARIABLE: Final = "CARDIOCLARITY_S3_CLIENT"

_UNSPEAKABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
"""What obstore refuses in a key."""

_STATUS: Final = re.compile(r"^ +status: (\d{3}),$", re.MULTILINE)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")


def is_chosen() -> bool:
    """Tell whether obstore is installed and CARDIOCLARITY_S3_CLIENT does not ask for s3fs.

    Raises:
        UsageError: The variable names another client, or obstore where it is not installed.
    """
    asked = os.environ.get(CLIENT_VARIABLE) or None
    if asked not in {None, "s3fs", "obstore"}:
        raise UsageError(f"{CLIENT_VARIABLE}={asked}: give s3fs or obstore, or leave it out")
    installed = find_spec("obstore") is not None
    if asked == "obstore" and not installed:
        raise UsageError(f"{CLIENT_VARIABLE}=obstore: obstore is not installed; pip install 'cardioclarity[fast]'")
    return installed and asked != "s3fs"


@dataclass(frozen=True, slots=True)
class FastClient:
    """The requests that a store answers.

    Attributes:
        store: The connection of this process.
        plain: Lists, since obstore shows the keys ``a/`` and ``a//b`` as ``a`` and ``a/b``, and serves odd keys.
    """

    store: "S3Store"
    plain: PlainClient

    @classmethod
    def open(cls, access: Access, bucket: str) -> Self:
        """Take the connection that this process has under these credentials."""
        return cls(_store(os.getpid(), access, bucket), PlainClient.open(access, bucket))

    def page(self, prefix: str, token: str | None = None, at_most: int = 1000) -> Page:
        """List a page of the keys under a prefix, in their UTF-8 byte order."""
        return self.plain.page(prefix, token, at_most)

    def get(self, key: str) -> tuple[bytes, str | None]:
        """Read an object whole, with its ETag; obstore finds a body that is shorter than announced."""
        import obstore

        if _UNSPEAKABLE.search(key):
            return self.plain.get(key)
        with _translated():
            got = obstore.get(self.store, key)
            return bytes(got.bytes()), (got.meta["e_tag"] or "").strip('"') or None

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) of an object, fewer where it ends before; not empty."""
        import obstore

        if _UNSPEAKABLE.search(key):
            return self.plain.get_range(key, start, stop)
        with _translated():
            return bytes(obstore.get_range(self.store, key, start=start, end=stop))

    def has_own_key(self, key: str) -> bool:
        """Tell whether an object is encrypted with a key of one's own; obstore shows no such header."""
        return self.plain.has_own_key(key)

    def create(self, key: str, data: bytes) -> None:
        """Write an object by one PUT; 412 where the key is taken."""
        import obstore

        if _UNSPEAKABLE.search(key):
            self.plain.create(key, data)
            return
        with _translated():
            obstore.put(self.store, key, data, mode="create", use_multipart=False)

    def write(self, key: str, data: bytes) -> None:
        """Write an object by one PUT, over an older one where there is one."""
        import obstore

        if _UNSPEAKABLE.search(key):
            self.plain.write(key, data)
            return
        with _translated():
            obstore.put(self.store, key, data, use_multipart=False)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        self.plain.delete(key)  # obstore sends the bulk request, which not every store knows


@lru_cache(maxsize=32)
def _store(process: int, access: Access, bucket: str) -> "S3Store":  # noqa: ARG001 - a part of the cache's key
    from obstore.store import S3Store

    return S3Store(**for_obstore(access, bucket))


@contextmanager
def _translated() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise _store_error(str(error)) from error


def _store_error(text: str) -> StoreError:
    """Read the status and the store's code out of the only thing that obstore gives, its text.

    The key stands in the text too, but never alone in a line, and the store's code comes after it.
    """
    if status := _STATUS.findall(text):
        codes = _CODE.findall(text)
        return StoreError(int(status[-1]), codes[-1] if codes else "")
    if "BareRedirect" in text:
        return StoreError(301, "PermanentRedirect")
    _, _, debug = text.partition("\nDebug source:")
    for sign, silence in _SIGNS.items():
        if sign in debug:
            return StoreError(None, silence)
    return StoreError(None, Silence.UNREACHABLE)


_SIGNS: Final = {
    "InvalidCertificate": Silence.UNTRUSTED,
    "InvalidContentType": Silence.NO_TLS,
    "InvalidMessage": Silence.NO_TLS,
    "TimedOut": Silence.TIMEOUT,
    "kind: Timeout": Silence.TIMEOUT,
    "IncompleteBody": Silence.CUT_SHORT,
    "kind: Body": Silence.CUT_SHORT,
}
