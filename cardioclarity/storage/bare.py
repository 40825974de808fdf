"""The questions about a bucket that no verb asks: does it check uploads, keep versions, let objects expire."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from cardioclarity.storage import Storage, credentials
from cardioclarity.storage.arguments import for_botocore

_READ_S: Final = 10
"""A question that is not answered by then stays open."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A plain S3 client beside the one that the verbs use; where the store does not say, the answer is None.

    Attributes:
        client: Of botocore.
        bucket: Name of the bucket.
        prefix: What all keys of the storage begin with; a slash at its end where it is not empty.
    """

    client: Any
    bucket: str
    prefix: str

    @classmethod
    def of(cls, storage: Storage) -> Self | None:
        """Ask the bucket of a storage; None for a folder.

        Raises:
            StoreError: There are no credentials.
        """
        from botocore.session import Session  # type: ignore[import-untyped]  # ships no types

        scheme, _, place = storage.url.partition("://")
        if scheme != "s3":
            return None
        bucket, _, prefix = place.partition("/")
        access = credentials.resolve(storage.options)
        client = Session().create_client("s3", **for_botocore(access, read_s=_READ_S))
        return cls(client, bucket, f"{prefix}/" if prefix else "")

    def creates(self, key: str, data: bytes) -> bool | None:
        """Create an object over a connection of one's own, once; False where the store refuses because it is there."""
        status, _ = self._ask("put_object", Key=self.prefix + key, Body=data, IfNoneMatch="*")
        return {200: True, 409: False, 412: False}.get(status)

    def checks_uploads(self, key: str) -> bool | None:
        """Upload bytes that differ from their stated sha256, and tell whether they are refused."""
        stated = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()
        status, _ = self._ask("put_object", Key=self.prefix + key, Body=b"bytes", ChecksumSHA256=stated)
        return {200: False, 400: True}.get(status)

    def keeps_versions(self) -> bool | None:
        """Tell whether an object that was deleted or overwritten can be had back."""
        status, answer = self._ask("get_bucket_versioning")
        return answer.get("Status") == "Enabled" if status == 200 else None

    def expiring(self) -> Sequence[str] | None:
        """Name the lifecycle rules that let objects of the storage expire."""
        status, answer = self._ask("get_bucket_lifecycle_configuration")
        if status == 404:
            return ()
        if status != 200:
            return None
        return [rule.get("ID") or "without a name" for rule in answer.get("Rules", ()) if self._expires(rule)]

    def _expires(self, rule: dict[str, Any]) -> bool:
        """Tell whether a rule removes current objects below the prefix, or above it; its tags are not looked at."""
        condition = rule.get("Filter", {})
        prefix = rule.get("Prefix") or condition.get("Prefix") or condition.get("And", {}).get("Prefix") or ""
        touches = prefix.startswith(self.prefix) or self.prefix.startswith(prefix)
        return (
            touches and rule.get("Status") == "Enabled" and bool({"Days", "Date"} & rule.get("Expiration", {}).keys())
        )

    def _ask(self, operation: str, **arguments: object) -> tuple[int, dict[str, Any]]:
        """Call an operation; gives the HTTP status, 0 where nobody answered, and what was answered."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # ships no types

        try:
            answer = getattr(self.client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as refused:
            answer = refused.response
        except (BotoCoreError, OSError):
            return 0, {}
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), answer
