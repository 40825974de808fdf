"""One access in the words of each library that talks to a store: s3fs, obstore, deltalake and botocore."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cardioclarity.storage.credentials import Access
from cardioclarity.storage.retries import AT_ONCE, deadline_s

CONNECT_S: Final = 5
READ_S: Final = 60
"""Silence of a store until a request counts as lost; obstore counts the time of an upload too (64 MB at 9 Mbit/s)."""

WHOLE_S: Final = 600


def for_s3fs(access: Access) -> dict[str, Any]:
    """Translate for our own requests through s3fs, which are sent once: `retries` sends them again.

    Listings are never cached, since other processes write too.
    """
    signed = {} if access.anon else {"key": access.key, "secret": access.secret, "token": access.token}
    return _s3fs(access, total_max_attempts=1) | signed


def for_fsspec(access: Access) -> dict[str, Any]:
    """Translate for a library that opens a URL by itself; s3fs reads the AWS chain there, so this holds no secret."""
    return _s3fs(access, total_max_attempts=5) | ({"profile": access.profile} if access.profile else {})


def for_botocore(access: Access, *, read_s: float) -> dict[str, Any]:
    """Translate for a client of botocore that judges what ours rest on: it signs, addresses and checks alike."""
    from botocore import UNSIGNED  # type: ignore[import-untyped]  # ships no types
    from botocore.config import Config  # type: ignore[import-untyped]  # ships no types

    config = _config(access, total_max_attempts=1) | {"read_timeout": read_s}
    return {
        "region_name": access.region,
        "endpoint_url": access.endpoint,
        "verify": access.authority,
        "aws_access_key_id": access.key,
        "aws_secret_access_key": access.secret,
        "aws_session_token": access.token,
        "config": Config(**config, signature_version=UNSIGNED if access.anon else None),
    }


def _config(access: Access, *, total_max_attempts: int) -> dict[str, Any]:
    # The sha256 of the body in the signature guards an upload on every store; botocore's own checksum would go in a
    # trailer behind the body, which older stores do not know.
    s3: dict[str, Any] = {"payload_signing_enabled": True}
    if access.addressing_style:
        s3["addressing_style"] = access.addressing_style
    return {
        "s3": s3,
        "request_checksum_calculation": "when_required",
        "retries": {"mode": "standard", "total_max_attempts": total_max_attempts},
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "max_pool_connections": AT_ONCE,
    }


def _s3fs(access: Access, *, total_max_attempts: int) -> dict[str, Any]:
    return {
        "anon": access.anon,
        "endpoint_url": access.endpoint,
        "client_kwargs": {
            "region_name": access.region,
            **({"verify": access.authority} if access.authority else {}),
        },
        "config_kwargs": _config(access, total_max_attempts=total_max_attempts),
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }


def for_obstore(access: Access, bucket: str) -> dict[str, Any]:
    """Translate for obstore, which sends once too.

    Keys go through a provider: as plain arguments they would be mixed with a session token of the environment.
    """
    client: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": f"{CONNECT_S}s",
        "read_timeout": f"{READ_S}s",
        "timeout": f"{WHOLE_S}s",
    }
    if access.authority:
        client["root_certificate"] = Path(access.authority).read_bytes()
    arguments: dict[str, Any] = {
        "bucket": bucket,
        "region": access.region,
        "virtual_hosted_style_request": access.addressing_style == "virtual",
        "client_options": client,
        "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
    }
    if access.endpoint:
        arguments["endpoint"] = _addressed(access, bucket)
    if access.anon:
        return arguments | {"skip_signature": True}
    keys = {"access_key_id": access.key, "secret_access_key": access.secret, "token": access.token, "expires_at": None}
    return arguments | {"credential_provider": lambda: keys}


def for_deltalake(access: Access, bucket: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Translate for deltalake, which sends its own requests and so has bounded retries of its own.

    It adds AWS_* variables of the environment to what it is given; those that would break a promise are overruled.
    """
    arguments: dict[str, str | None] = {
        "AWS_REGION": access.region,
        "AWS_ENDPOINT_URL": _addressed(access, bucket) if access.endpoint else None,
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true" if access.addressing_style == "virtual" else "false",
        "AWS_ALLOW_HTTP": "true" if access.endpoint and access.endpoint.startswith("http://") else None,
        # A commit is one PUT that creates: never a rename, never unconditional.
        "AWS_CONDITIONAL_PUT": "etag",
        "AWS_S3_ALLOW_UNSAFE_RENAME": "false",
        "OBJECT_STORE_CONCURRENCY_LIMIT": str(AT_ONCE),
        "max_retries": "10",
        "retry_timeout": f"{max(deadline_s(), 1):.0f}s",
        "connect_timeout": f"{CONNECT_S}s",
        "timeout": f"{READ_S}s",
    }
    if access.anon:
        arguments["AWS_SKIP_SIGNATURE"] = "true"
    else:
        token = access.token or ("" if environ.get("AWS_SESSION_TOKEN") else None)
        arguments |= {
            "AWS_ACCESS_KEY_ID": access.key,
            "AWS_SECRET_ACCESS_KEY": access.secret,
            "AWS_SESSION_TOKEN": token,
        }
    return {name: value for name, value in arguments.items() if value is not None}


def _addressed(access: Access, bucket: str) -> str:
    """Put the bucket's name before the host where it is addressed so: object_store wants it in the endpoint."""
    assert access.endpoint
    if access.addressing_style != "virtual":
        return access.endpoint
    parts = urlsplit(access.endpoint)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
