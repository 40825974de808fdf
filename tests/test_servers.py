"""The servers that the other tests trust: they refuse what S3 refuses, and the proxy does what it counts."""

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from servers import BUCKET, Server, status
from servers.proxy import LOST_ACKNOWLEDGEMENT, TRANSIENT, Faults, Kind, Request, faulty

pytestmark = pytest.mark.service

SERVERS = ["seaweed", pytest.param("ceph", marks=pytest.mark.soak)]


@pytest.fixture
def server(request) -> Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def key() -> str:
    return f"{uuid.uuid4().hex}/object"


def refused(call, **arguments) -> int:
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **arguments)
    return status(caught.value)


def body(server: Server, key: str) -> bytes:
    return server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()


# ---------------------------------------------------------------- the servers


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_what_is_put_is_got_and_listed(server, key):
    server.client().put_object(Bucket=BUCKET, Key=key, Body=b"bytes")

    listed = server.client().list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"]

    assert body(server, key) == b"bytes"
    assert [(found["Key"], found["Size"]) for found in listed] == [(key, 5)]


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize("wrong", [{"secret_key": "wrong"}, {"access_key": "unknown"}], ids=["secret", "key"])
def test_wrong_credentials_are_refused(server, key, wrong):
    stranger = replace(server, **wrong).client()

    assert refused(stranger.put_object, Key=key, Body=b"") == 403
    assert refused(stranger.get_object, Key="ready") == 403
    assert refused(stranger.list_objects_v2) == 403


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_second_create_is_refused_and_changes_nothing(server, key):
    server.client().put_object(Bucket=BUCKET, Key=key, Body=b"first", IfNoneMatch="*")

    assert refused(server.client().put_object, Key=key, Body=b"other", IfNoneMatch="*") == 412
    assert body(server, key) == b"first"


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_of_many_that_create_at_once_exactly_one_wins(server, key):
    def create(n: int) -> bool:
        try:
            server.client().put_object(Bucket=BUCKET, Key=key, Body=b"%d" % n, IfNoneMatch="*")
        except ClientError as error:
            return {409: False, 412: False}[status(error)]
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))

    assert won.count(True) == 1
    assert body(server, key) == b"%d" % won.index(True)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_an_upload_that_does_not_match_its_md5_is_refused(server, key):
    assert refused(server.client().put_object, Key=key, Body=b"bytes", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==") == 400


def test_the_prefix_of_a_test_is_empty_and_reached_by_the_environment(s3, seaweed):
    assert os.environ["AWS_ENDPOINT_URL"] == seaweed.endpoint
    assert seaweed.client().list_objects_v2(Bucket=BUCKET, Prefix=s3.removeprefix(f"s3://{BUCKET}/"))["KeyCount"] == 0


USER = """
import sys, pathlib
from servers import seaweed
with seaweed.shared(pathlib.Path(sys.argv[1])) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def test_several_processes_use_one_server_and_it_ends_with_the_last_however_that_ends(tmp_path):
    start = [sys.executable, "-c", USER, str(tmp_path / "shared")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    users = [
        subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True)
        for _ in range(2)
    ]
    try:
        endpoints = {user.stdout.readline().decode().strip() for user in users}
        server = Server(endpoint=endpoints.pop())
        assert not endpoints

        users[0].communicate()  # closes its input: it leaves in order
        assert body(server, "ready") == b"ready"
    finally:
        for user in users:
            os.killpg(user.pid, signal.SIGKILL) if user.poll() is None else None
            user.communicate()

    for _ in range(300):  # a minute
        if not (left := left_of(server, tmp_path / "shared")):
            break
        time.sleep(0.2)
    assert not left


def left_of(server: Server, folder: Path) -> list[object]:
    """Name what remains of a server: itself, its sockets, its data."""
    sockets = Path("/tmp").glob(f"seaweedfs-*-{server.endpoint.rpartition(':')[2]}.sock")
    remains = [*sockets, *folder.glob("data")]
    with contextlib.suppress(BotoCoreError):
        remains.append(body(server, "ready"))
    return remains


# ---------------------------------------------------------------- the proxy


def outcome(server: Server, key: str, data: bytes = b"bytes") -> int | str:
    """Put an object once, without a second try; give the status of the answer, or that there was none."""
    try:
        return server.client().put_object(Bucket=BUCKET, Key=key, Body=data)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return status(error)
    except BotoCoreError:
        return "none"


def test_without_faults_it_changes_nothing(seaweed, key):
    data = bytes(range(256)) * 5000
    with faulty(seaweed.endpoint, share=0.0) as proxy:
        client = seaweed.at(proxy.url).client()
        client.put_object(Bucket=BUCKET, Key=key, Body=data, IfNoneMatch="*")
        got = client.get_object(Bucket=BUCKET, Key=key, Range="bytes=1000-200000")["Body"].read()
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"]
        again = refused(client.put_object, Key=key, Body=b"", IfNoneMatch="*")
        client.delete_object(Bucket=BUCKET, Key=key)
        gone = refused(client.head_object, Key=key)

    assert got == data[1000:200001]
    assert [found["Size"] for found in listed] == [len(data)]
    assert (again, gone) == (412, 404)
    assert [request.method for request in proxy.seen] == ["PUT", "GET", "GET", "PUT", "DELETE", "HEAD"]
    assert not proxy.counts


@pytest.mark.parametrize(
    ("kind", "answer", "is_stored"),
    [
        (Kind.ERROR, 500, False),
        (Kind.SLOW_DOWN, 503, False),
        (Kind.RESET, "none", False),
        (Kind.STORED_ERROR, 500, True),
        (Kind.STORED_CUT, "none", True),
        (Kind.DELAY, 200, True),
    ],
)
def test_a_fault_of_a_write_is_what_its_name_says(seaweed, key, kind, answer, is_stored):
    with faulty(seaweed.endpoint, share=1.0, kinds=[kind], delay_s=0.01) as proxy:
        assert outcome(seaweed.at(proxy.url), key) == answer

    found = seaweed.client().list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"]
    assert bool(found) is is_stored
    assert proxy.counts == {kind: 1}


def test_a_body_that_is_cut_short_still_names_its_full_length(seaweed, key):
    seaweed.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(1000))
    with faulty(seaweed.endpoint, share=1.0, kinds=[Kind.TRUNCATED]) as proxy:
        answer = seaweed.at(proxy.url).client().get_object(Bucket=BUCKET, Key=key)
        assert answer["ContentLength"] == 1000
        with pytest.raises(BotoCoreError):
            answer["Body"].read()

    assert proxy.counts == {Kind.TRUNCATED: 1}


def test_exactly_one_bit_of_an_object_is_flipped_and_none_of_a_listing(seaweed, key):
    seaweed.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(1000))
    with faulty(seaweed.endpoint, share=1.0, kinds=[Kind.FLIPPED]) as proxy:
        client = seaweed.at(proxy.url).client()
        # Of a part of an object the client has no checksum, so it hands the bytes out.
        got = client.get_object(Bucket=BUCKET, Key=key, Range="bytes=0-899")["Body"].read()
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"]

    assert sum(byte.bit_count() for byte in got) == 1
    assert [found["Key"] for found in listed] == [key]
    assert proxy.counts == {Kind.FLIPPED: 1}


def test_from_the_revoked_request_on_everything_is_refused(seaweed, key):
    with faulty(seaweed.endpoint, share=0.0, revoked_after=2) as proxy:
        answers = [outcome(seaweed.at(proxy.url), f"{key}{n}") for n in range(4)]

    assert answers == [200, 200, 403, 403]
    assert proxy.counts == {Kind.REVOKED: 2}


@pytest.mark.parametrize("skew_s", [-600.0, 600.0])
def test_a_store_whose_clock_is_a_little_off_says_so_in_its_dates(seaweed, skew_s):
    with faulty(seaweed.endpoint, share=0.0, skew_s=skew_s) as proxy:
        answer = seaweed.at(proxy.url).client().head_object(Bucket=BUCKET, Key="ready")

    date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    assert abs((date - dt.datetime.now(dt.UTC)).total_seconds() - skew_s) < 300


def test_a_store_whose_clock_is_far_off_refuses(seaweed, key):
    with faulty(seaweed.endpoint, share=0.0, skew_s=1200.0) as proxy:
        with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
            seaweed.at(proxy.url).client().put_object(Bucket=BUCKET, Key=key, Body=b"")

        assert proxy.counts == {Kind.SKEWED: 1}


def requests(n: int) -> list[Request]:
    methods = ("GET", "PUT", "HEAD", "DELETE")
    return [Request(method=methods[i % 4], path=f"/b/{i}", attempt=0, number=i) for i in range(n)]


def test_the_same_seed_gives_the_same_faults_in_any_order_and_about_the_share_asked_for():
    chosen = [Faults(seed=1, share=0.15).choose(request) for request in requests(4000)]
    moved = [Faults(seed=1, share=0.15).choose(replace(request, number=0)) for request in requests(4000)]

    assert chosen == moved
    assert chosen != [Faults(seed=2, share=0.15).choose(request) for request in requests(4000)]
    assert 0.12 < sum(kind is not None for kind in chosen) / 4000 < 0.18
    assert set(chosen) == {None, *TRANSIENT}


def test_only_a_write_loses_its_acknowledgement_and_only_where_faults_are_wanted():
    faults = Faults(share=1.0, kinds=LOST_ACKNOWLEDGEMENT, where=lambda request: request.number >= 100)

    hit = [request for request in requests(200) if faults.choose(request)]

    assert {request.method for request in hit} == {"PUT", "DELETE"}
    assert min(request.number for request in hit) >= 100


def test_a_script_puts_one_fault_in_one_place(seaweed, key):
    def first_try_of_a_write(request: Request) -> Kind | None:
        return Kind.STORED_CUT if request.writes and request.attempt == 0 else None

    with faulty(seaweed.endpoint, script=first_try_of_a_write) as proxy:
        client = seaweed.at(proxy.url).client(tries=3)
        # The write stands although its answer was lost, so the second try finds it in its way.
        assert refused(client.put_object, Key=key, Body=b"bytes", IfNoneMatch="*") == 412

    assert body(seaweed, key) == b"bytes"
    assert proxy.counts == {Kind.STORED_CUT: 1}


def test_a_client_that_tries_again_gets_through_and_every_fault_is_counted(seaweed):
    key = "again"  # the same on each run, and so are the faults
    with faulty(seaweed.endpoint, seed=3, share=0.25, delay_s=0.01) as proxy:
        client = seaweed.at(proxy.url).client(tries=9)
        for n in range(20):
            client.put_object(Bucket=BUCKET, Key=f"{key}/{n}", Body=b"%d" % n)

    found = seaweed.client().list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"]
    failed = proxy.counts.total() - proxy.counts[Kind.DELAY]
    assert found == 20
    assert failed > 0
    assert len(proxy.seen) == 20 + failed
