"""An S3-like bucket as a store, through s3fs: one layer of retries, no cached listings, create-only by one PUT."""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

from cardioclarity.config import StorageOptions

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_AT_ONCE: Final = 8
_CREATE_ROUNDS: Final = 5
"""A create that meets a delete is answered 409: ask again."""

_TROUBLES: Final = {
    301: "the bucket lies in another region; set AWS_REGION",
    400: "the store refuses the request; check AWS_REGION and the credentials",
    403: "the store refuses access (403); check the credentials (AWS_ACCESS_KEY_ID or AWS_PROFILE), their rights on the "
    "bucket, and this machine's clock; a public bucket needs --anon",
    404: "no such bucket; make it first, or correct its name",
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """The raw operations on an S3-like bucket; they raise OSError, and what botocore and aiohttp raise.

    Objects are written by one PUT: some stores do not honour create-only at the end of a multipart upload.

    Attributes:
        filesystem: The connection of this process.
        bucket: Name of the bucket.
        prefix: What all keys begin with; no slash at its end.
    """

    filesystem: "S3FileSystem"
    bucket: str
    prefix: str

    @classmethod
    def open(cls, url: str, options: StorageOptions, environ: Mapping[str, str]) -> Self:
        """Address ``s3://bucket/prefix`` over the connection that this process has under these settings."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        settings = tuple(sorted((name, value) for name, value in environ.items() if name.startswith("AWS_")))
        return cls(_filesystem(os.getpid(), options, settings), bucket, prefix)

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Name what the operations raise when the store says no or nothing."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # ships no types

        return (OSError, BotoCoreError, ClientError, HttpError)

    @staticmethod
    def trouble(error: BaseException) -> str:
        """Say what went wrong and what to do."""
        status, kind = _http_status(error), type(error).__name__
        if status in _TROUBLES:
            return _TROUBLES[status]
        if status is not None:
            return f"the store answers {status} after three tries; run the command again later"
        if "Credential" in kind or "Token" in kind or "Profile" in kind:
            return (
                "no usable credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or give --anon"
            )
        return f"the store cannot be reached ({kind}); check the network and AWS_ENDPOINT_URL"

    def list(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Yield key, size and ETag of the objects, page by page, in the UTF-8 byte order of the keys."""
        base = self._key("")
        page: dict[str, Any] = {"NextContinuationToken": None, "IsTruncated": True}
        while page["IsTruncated"]:
            token = page["NextContinuationToken"]
            more = {"ContinuationToken": token} if token else {}
            page = self.filesystem.call_s3("list_objects_v2", Bucket=self.bucket, Prefix=base + prefix, **more)
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):  # a console's mark of an empty folder
                    yield found["Key"].removeprefix(base), found["Size"], found["ETag"].strip('"')

    def exists(self) -> bool:
        """Tell whether any object is under the prefix; a bucket itself need not hold one."""
        try:
            page = self.filesystem.call_s3("list_objects_v2", Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)
        except FileNotFoundError:
            return False
        return page["KeyCount"] > 0 or not self.prefix

    def fetch(self, key: str) -> bytes:
        """Read one object whole."""
        # With more than one connection s3fs asks for the size first: a second round trip per object.
        data: bytes = self.filesystem.cat_file(f"{self.bucket}/{self._key(key)}", max_concurrency=1)
        return data

    def put_all_new(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        """Create objects; returns the keys under which something was there already."""
        with ThreadPoolExecutor(min(_AT_ONCE, max(len(objects), 1))) as pool:
            written = pool.map(self._put_new, objects.keys(), objects.values())
            return [key for key, is_written in zip(objects, written, strict=True) if not is_written]

    def _put_new(self, key: str, data: bytes) -> bool:
        place = {"Bucket": self.bucket, "Key": self._key(key)}
        for _ in range(_CREATE_ROUNDS):
            try:
                self.filesystem.call_s3("put_object", **place, Body=data, IfNoneMatch="*")
            except OSError as error:
                if _http_status(error) == 412:
                    return False
                if _http_status(error) != 409:
                    raise
            else:
                return True
        raise OSError(errno.EAGAIN, "the store answers 409 again and again; run the command again")

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, over an older one where there is one."""
        self.filesystem.call_s3("put_object", Bucket=self.bucket, Key=self._key(key), Body=data)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        self.filesystem.call_s3("delete_object", Bucket=self.bucket, Key=self._key(key))

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key


def s3_arguments(options: StorageOptions, environ: Mapping[str, str]) -> dict[str, Any]:
    """Translate the options for s3fs; credentials are left to the AWS chain.

    Listings are never cached, since other processes write too; requests are tried three times by botocore; a server of
    one's own is addressed by path, since it seldom has a name per bucket.
    """
    endpoint, region = _endpoint(options, environ), _region(options, environ)
    config: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": 3},
        "connect_timeout": 5,
        "read_timeout": 30,
    }
    if endpoint:
        config["s3"] = {"addressing_style": "path"}
    return {
        "anon": options.anon,
        "endpoint_url": endpoint,
        "client_kwargs": {"region_name": region} if region else {},
        "config_kwargs": config,
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }


def delta_arguments(options: StorageOptions, environ: Mapping[str, str]) -> dict[str, str]:
    """Translate the options for deltalake, which reads credentials from the environment by itself."""
    endpoint, region = _endpoint(options, environ), _region(options, environ)
    arguments = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": region}
    if endpoint and endpoint.startswith("http://"):
        arguments["AWS_ALLOW_HTTP"] = "true"
    if options.anon:
        arguments["AWS_SKIP_SIGNATURE"] = "true"
    return {name: value for name, value in arguments.items() if value}


@lru_cache(maxsize=8)
def _filesystem(
    process: int,  # noqa: ARG001 - a part of the cache's key
    options: StorageOptions,
    environ: tuple[tuple[str, str], ...],
) -> "S3FileSystem":
    """Make the connection of one process: its loop thread does not survive a fork, and settings may change in between."""
    from s3fs import S3FileSystem

    filesystem = S3FileSystem(**s3_arguments(options, dict(environ)))
    filesystem.retries = 2  # s3fs's own loop, around botocore's: one more try for a body that broke off
    return filesystem


def _endpoint(options: StorageOptions, environ: Mapping[str, str]) -> str | None:
    return options.endpoint_url or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None


def _region(options: StorageOptions, environ: Mapping[str, str]) -> str | None:
    """Choose the region; botocore reads only AWS_DEFAULT_REGION, and a server of one's own takes any."""
    known = options.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return known or ("us-east-1" if _endpoint(options, environ) else None)


def _http_status(error: BaseException) -> int | None:
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None) or {}
    status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status
