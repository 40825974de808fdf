"""Where a store is and what signs a request: one reading of the options, the environment and the AWS files for all."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cardioclarity.config import StorageOptions, check_endpoint
from cardioclarity.storage.answers import Silence, StoreError

_ANY_REGION: Final = "us-east-1"
"""A server of one's own takes any, and AWS answers there where the bucket really lies."""

_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach and sign, resolved; held in memory only, and its secrets are in no representation.

    Attributes:
        endpoint: Address of an S3-like store; None for AWS itself.
        region: Region name.
        addressing_style: ``path``, ``virtual``, or None where either works.
        authority: File of the certificates that are trusted; None for the usual ones.
        profile: Name of the AWS profile; None for the chain's own choice.
        anon: Send unsigned requests.
        key: Access key; None where `anon`.
        secret: Its secret.
        token: Session token of temporary credentials.
    """

    endpoint: str | None
    region: str
    addressing_style: str | None
    authority: str | None
    profile: str | None
    anon: bool
    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def resolve(options: StorageOptions) -> Access:
    """Read the AWS chain (environment, profiles, web identity, container, instance); cheap when repeated.

    A profile that the options name goes before the environment, since archive and root may each have one; otherwise the
    environment goes before the files, as AWS has it. Temporary credentials are renewed before they expire.

    Raises:
        StoreError: There are no credentials, or no such profile.
    """
    with _translated(), _lock:  # botocore's chain is not made for several threads
        session = _session(options.profile, _settings())
        settings = _scoped(session)
        keys = None if options.anon else session.get_credentials()
        if keys is None and not options.anon:
            raise StoreError(None, Silence.NO_CREDENTIALS)
        frozen = keys.get_frozen_credentials() if keys else None  # renews what is about to expire
    named = settings if options.profile else {}
    endpoint = options.endpoint_url or _first(
        named.get("endpoint_url"),
        os.environ.get("AWS_ENDPOINT_URL_S3"),
        os.environ.get("AWS_ENDPOINT_URL"),
        settings.get("endpoint_url"),
    )
    if endpoint:
        check_endpoint(shown(endpoint) or "")
    authority = _first(os.environ.get("AWS_CA_BUNDLE"), settings.get("ca_bundle"), os.environ.get("SSL_CERT_FILE"))
    if authority and not Path(authority).is_file():
        raise StoreError(None, Silence.NO_AUTHORITY)
    region = options.region or _first(
        named.get("region"),
        os.environ.get("AWS_REGION"),
        os.environ.get("AWS_DEFAULT_REGION"),
        settings.get("region"),
    )
    return Access(
        endpoint=endpoint.rstrip("/") if endpoint else None,
        region=region or _ANY_REGION,
        # A server of one's own seldom has a name per bucket.
        addressing_style=options.addressing_style or settings.get("addressing_style") or ("path" if endpoint else None),
        authority=authority,
        profile=options.profile,
        anon=options.anon,
        key=frozen.access_key if frozen else None,
        secret=frozen.secret_key if frozen else None,
        token=frozen.token or None if frozen else None,
    )


def renewed(options: StorageOptions, refused: Access) -> bool:
    """Read the chain afresh after a store called credentials expired; False where they are still the same."""
    _session.cache_clear()
    now = resolve(options)
    return (now.key, now.secret, now.token) != (refused.key, refused.secret, refused.token)


def shown(endpoint: str | None) -> str | None:
    """Give an endpoint for a message: without whatever stands before an @."""
    return (
        urlsplit(endpoint)._replace(netloc=urlsplit(endpoint).netloc.rpartition("@")[2]).geturl() if endpoint else None
    )


@lru_cache(maxsize=8)
def _session(profile: str | None, settings: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401, ARG001 - untyped; settings may change in between
    from botocore.session import Session  # type: ignore[import-untyped]  # ships no types

    return Session(profile=profile)


def _settings() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


def _scoped(session: Any) -> Mapping[str, str]:  # noqa: ANN401 - untyped
    """Read what the profile says of the endpoint, the region, the style and the authority."""
    scoped = session.get_scoped_config()
    service = session.full_config.get("services", {}).get(scoped.get("services"), {}).get("s3", {})
    s3 = scoped.get("s3") if isinstance(scoped.get("s3"), dict) else {}
    style = s3.get("addressing_style")
    found = {
        "endpoint_url": service.get("endpoint_url") or scoped.get("endpoint_url"),
        "region": scoped.get("region"),
        "addressing_style": style if style in {"path", "virtual"} else None,
        "ca_bundle": scoped.get("ca_bundle"),
    }
    return {name: value for name, value in found.items() if value}


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value), None)


@contextmanager
def _translated() -> Iterator[None]:
    from botocore import exceptions as said  # type: ignore[import-untyped]  # ships no types

    try:
        yield
    except said.ProfileNotFound:
        raise StoreError(None, Silence.NO_PROFILE) from None
    except (said.NoCredentialsError, said.PartialCredentialsError, said.ConfigParseError, said.ConfigNotFound) as error:
        raise StoreError(None, Silence.NO_CREDENTIALS) from error
    except (said.BotoCoreError, said.ClientError) as error:  # an identity service that is away, or says no for now
        raise StoreError(None, Silence.CREDENTIALS_LATER) from error
