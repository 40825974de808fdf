"""An S3-like store through s3fs: each request sent once, each failure told as a StoreError."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from cardioclarity.storage.answers import Silence, StoreError
from cardioclarity.storage.arguments import for_s3fs
from cardioclarity.storage.credentials import Access

if TYPE_CHECKING:
    from s3fs import S3FileSystem


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing.

    Attributes:
        objects: Key, size in bytes, ETag and time of the last change of each.
        token: Asks for the next page; None on the last one.
        date: The store's own time of the answer; None where it does not say.
    """

    objects: tuple[tuple[str, int, str, datetime], ...]
    token: str | None
    date: datetime | None


@dataclass(frozen=True, slots=True)
class PlainClient:
    """The requests that a store answers.

    Attributes:
        filesystem: The connection of this process.
        bucket: Name of the bucket.
    """

    filesystem: "S3FileSystem"
    bucket: str

    @classmethod
    def open(cls, access: Access, bucket: str) -> Self:
        """Take the connection that this process has under these credentials."""
        return cls(_filesystem(os.getpid(), access), bucket)

    def page(self, prefix: str, token: str | None = None, at_most: int = 1000) -> Page:
        """List a page of the keys under a prefix, in the order in which the server gives them."""
        more = {"ContinuationToken": token} if token else {}
        with _translated():
            said: dict[str, Any] = self.filesystem.call_s3(
                "list_objects_v2", Bucket=self.bucket, Prefix=prefix, MaxKeys=at_most, **more
            )
        objects = tuple(
            (found["Key"], found["Size"], found["ETag"].strip('"'), found["LastModified"])
            for found in said.get("Contents", ())
        )
        date = said["ResponseMetadata"]["HTTPHeaders"].get("date")
        return Page(
            objects,
            token=said.get("NextContinuationToken") if said["IsTruncated"] else None,
            date=parsedate_to_datetime(date) if date else None,
        )

    def get(self, key: str) -> tuple[bytes, str | None]:
        """Read an object whole, with its ETag; a body that is shorter than announced is found."""
        from fsspec.asyn import sync

        with _translated():
            got: tuple[bytes, str] = sync(self.filesystem.loop, self._get, key)
        return got

    async def _get(self, key: str) -> tuple[bytes, str]:
        said = await self.filesystem._call_s3("get_object", Bucket=self.bucket, Key=key)  # noqa: SLF001 - cat_file gives no ETag
        async with said["Body"] as body:
            return await body.read(), said["ETag"].strip('"')

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) of an object, fewer where it ends before; not empty."""
        with _translated():
            data: bytes = self.filesystem.cat_file(f"{self.bucket}/{key}", start=start, end=stop, max_concurrency=1)
        return data

    def has_own_key(self, key: str) -> bool:
        """Tell whether an object is encrypted with a key whose use makes an ETag that is no MD5 (SSE-KMS, SSE-C)."""
        with _translated():
            said: dict[str, Any] = self.filesystem.call_s3("head_object", Bucket=self.bucket, Key=key)
        return "SSECustomerAlgorithm" in said or str(said.get("ServerSideEncryption", "")).startswith("aws:kms")

    def create(self, key: str, data: bytes) -> None:
        """Write an object by one PUT; 412 where the key is taken."""
        with _translated():
            self.filesystem.call_s3("put_object", Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")

    def write(self, key: str, data: bytes) -> None:
        """Write an object by one PUT, over an older one where there is one."""
        with _translated():
            self.filesystem.call_s3("put_object", Bucket=self.bucket, Key=key, Body=data)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        with _translated():
            self.filesystem.call_s3("delete_object", Bucket=self.bucket, Key=key)


@lru_cache(maxsize=8)
def _filesystem(process: int, access: Access) -> "S3FileSystem":  # noqa: ARG001 - a part of the cache's key
    """Make the connection of one process: its loop thread does not survive a fork."""
    from s3fs import S3FileSystem

    filesystem = S3FileSystem(**for_s3fs(access))
    filesystem.retries = 1  # s3fs's own loop is off: it would multiply ours, and knows no deadline
    return filesystem


@contextmanager
def _translated() -> Iterator[None]:
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # ships no types

    try:
        yield
    except (OSError, BotoCoreError, ClientError, HttpError) as error:  # OSError holds TimeoutError too
        raise _store_error(error) from error


def _store_error(error: Exception) -> StoreError:
    said = getattr(error.__cause__, "response", None) or getattr(error, "response", None) or {}
    status: int | None = said.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status is not None:
        return StoreError(status, str(said.get("Error", {}).get("Code", "")))
    names = {kind.__name__ for kind in type(error).__mro__}
    if "SSLError" in names:
        return StoreError(None, Silence.UNTRUSTED if "CERTIFICATE_VERIFY" in str(error) else Silence.NO_TLS)
    if names & {"ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}:
        return StoreError(None, Silence.TIMEOUT)
    if names & {"ClientPayloadError", "IncompleteReadError", "ResponseStreamingError", "ResponseParserError"}:
        return StoreError(None, Silence.CUT_SHORT)
    if names & {"NoCredentialsError", "PartialCredentialsError"}:
        return StoreError(None, Silence.NO_CREDENTIALS)
    return StoreError(None, Silence.UNREACHABLE)
