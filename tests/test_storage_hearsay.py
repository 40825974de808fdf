"""What deltalake says of a failure is told in our own words: the store's answer, the disk's number, or nothing."""

import subprocess
import sys

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from faults.proxied import Proxied
from servers.proxy import Kind

from cardioclarity.storage import open_storage
from cardioclarity.storage.hearsay import heard, is_refused

COLUMNS = pa.schema([pa.field("a", pa.int64())])


def complaint(storage) -> str:
    """What deltalake says when it cannot make a table."""
    with pytest.raises(OSError, match="Generic S3 error") as caught:
        DeltaTable.create(storage.join("t"), COLUMNS, storage_options=storage.delta_options())
    return str(caught.value)


@pytest.fixture(scope="module")
def proxied(seaweed):
    with Proxied(seaweed.endpoint) as proxied:
        yield proxied


@pytest.mark.service
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.ERROR, "answers 500 (InternalError)"),
        (Kind.SLOW_DOWN, "asks for fewer requests"),
        (Kind.REVOKED, "refuses access (403)"),
        (Kind.SKEWED, "clock and the store's differ"),
        (Kind.RESET, "broke off"),
        (Kind.TRUNCATED, "broke off"),
    ],
)
def test_what_a_store_answers_is_told_as_our_own_requests_tell_it(s3, seaweed, proxied, monkeypatch, kind, words):
    seaweed.at(proxied.url).set_environment(monkeypatch)
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "1")
    proxied.set(kinds=[kind], share=1.0)

    said = complaint(open_storage(s3))

    assert words in heard(said, s3)
    assert is_refused(said) == (kind in {Kind.REVOKED, Kind.SKEWED})


@pytest.mark.service
def test_a_store_that_is_not_there_is_named_as_such(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "1")

    assert "cannot be reached" in heard(complaint(open_storage(s3)), s3)


LIMITED = """
import resource, sys
import pyarrow as pa
from deltalake import DeltaTable
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    DeltaTable.create(sys.argv[1], pa.schema([pa.field("a", pa.int64())]))
except OSError as error:
    print(error)
"""


def test_a_number_of_the_operating_system_is_told_as_the_folder_tells_it(tmp_path):
    table = str(tmp_path / "t")
    said = subprocess.run([sys.executable, "-c", LIMITED, table], capture_output=True, text=True, check=True).stdout

    assert heard(said, str(tmp_path)) == "the file is larger than allowed here; raise the limit (ulimit -f)"
    assert heard(said, "s3://bucket/root") is None  # there a number is the connection's


@pytest.mark.parametrize("url", ["/root", "s3://bucket/root"])
def test_of_what_is_no_answer_of_a_store_nothing_is_told(url):
    assert heard("Kernel error: Json error: Encountered non-UTF-8 data", url) is None


def test_credentials_that_have_expired_are_no_refusal_since_fresh_ones_may_come():
    expired = "Generic S3 error\n ↳ 403 Forbidden\n  ↳ <Error><Code>ExpiredToken</Code></Error>"

    assert not is_refused(expired)
    assert is_refused(expired.replace("ExpiredToken", "AccessDenied"))
