"""Real S3 servers on loopback, and what a test says to them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

BUCKET = "tests"
"""One bucket for all tests, a prefix for each: every bucket of SeaweedFS takes volumes of its own."""

ACCESS_KEY, SECRET_KEY, REGION = "test-access-key", "test-secret-key", "us-east-1"
READER_KEY, READER_SECRET = "reader-access-key", "reader-secret-key"
"""Who may read and list, and nothing else; only SeaweedFS knows these."""

_OTHER_SOURCES = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running S3 server.

    Attributes:
        endpoint: Its address.
        access_key: Half of a credential that it accepts.
        secret_key: The other half.
    """

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def at(self, endpoint: str) -> "Server":
        """Name the same server by another address, such as that of a proxy in front of it."""
        return replace(self, endpoint=endpoint)

    def reader(self) -> "Server":
        """Name the same server with credentials that may only read and list."""
        return replace(self, access_key=READER_KEY, secret_key=READER_SECRET)

    def environment(self) -> dict[str, str]:
        """Give the variables with which every client finds this server and nothing else of this machine."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def set_environment(self, monkeypatch: Any) -> None:
        """Set these variables for a test, and clear those that would win over them."""
        for name in _OTHER_SOURCES:
            monkeypatch.delenv(name, raising=False)
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)

    def client(self, *, tries: int = 1) -> Any:
        """Make a plain botocore client, the referee that shares no code with our own storage."""
        return Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": tries},
                connect_timeout=5,
                read_timeout=30,
            ),
        )


def status(error: ClientError) -> int:
    """Give the HTTP status of a refusal."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def wait_for_first_write(server: Server, is_alive: Callable[[], bool], timeout_s: float) -> bool:
    """Make the bucket and write into it; a server answers HTTP seconds before it can store anything."""
    client = server.client()
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and is_alive():
        with contextlib.suppress(ClientError, BotoCoreError):
            with contextlib.suppress(ClientError):  # it is there already, from an earlier round
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            return True
        time.sleep(0.2)
    return False


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a server and all its children at once; what it stored is thrown away."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
