"""Whatever is wrong with a store, a command says it in one sentence with the URL and the remedy, and writes nothing."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from s3_places import SECRETS, as_a_user, convert_train_score, objects, write
from servers import BUCKET, Server

from cardioclarity.__main__ import run
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import Scene
from cardioclarity.tables.schemas import SCHEMA_VERSION
from cardioclarity.tables.snapshot import VERSION_PROPERTY

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

HUSH = "do-not-say-this"
SCENES = tuple(Scene(name=f"{n}", seed=n, duration_s=30.0, rate_hz=360.0) for n in range(3))
VERBS = ("convert", "train", "score", "report", "runs")
EVERY_VERB = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture(scope="module")
def place(seaweed):
    """A prefix with an archive, a delivery that was not converted yet, and a root that went the whole road."""
    with pytest.MonkeyPatch.context() as patched:
        seaweed.set_environment(patched)
        place = f"s3://{BUCKET}/refusals-{os.getpid()}"
        write(open_storage(f"{place}/archive"), SCENES)
        convert_train_score(f"{place}/archive", f"{place}/root")
        write(open_storage(f"{place}/archive"), [Scene(name="new", seed=9, duration_s=30.0, rate_hz=360.0)])
        yield place


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")


@pytest.fixture
def new(place):
    """A place for a root of one's own."""
    return f"{place}/{uuid.uuid4().hex}"


@pytest.fixture
def everything(place, seaweed):
    """What the server holds, asked by a client that shares nothing with ours."""

    def everything():
        client, found = seaweed.client(), {}
        for bucket in client.list_buckets()["Buckets"]:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                found |= {(bucket["Name"], listed["Key"]): listed["ETag"] for listed in page.get("Contents", ())}
        prefix = place.removeprefix(f"s3://{BUCKET}/")
        return {key for key in found.items() if key[0][0] != BUCKET or key[0][1].startswith(prefix)}

    return everything


@pytest.fixture
def refused(capfd, everything):
    """Give a command that must fail, and hear its one sentence; everything around it is checked here."""

    def refused(verb, root, archive=None, *, url=None):
        before = everything()
        capfd.readouterr()

        code = run(arguments(verb, root, archive))

        said, sentence = capfd.readouterr()
        assert code == 1, sentence
        assert said == ""
        assert sentence.startswith("error: ")
        assert sentence.count("\n") == 1, "one sentence, no traceback"
        assert (url or root) in sentence
        assert not [secret for secret in (HUSH, *SECRETS) if secret in sentence]
        assert everything() == before, "nothing is written"
        return sentence

    return refused


def arguments(verb, root, archive=None):
    more = {"convert": [archive], "train": ["--detector", "template"], "score": ["--alarms-per-hour", "7"]}.get(
        verb, []
    )
    return [verb, *more, "--root", root, "--quiet"]


@EVERY_VERB
def test_a_bucket_that_is_not_there(refused, place, verb):
    sentence = refused(verb, "s3://no-such-bucket/root", f"{place}/archive")

    assert "no such bucket; make it first, or correct its name" in sentence


def test_an_archive_in_a_bucket_that_is_not_there(refused, place):
    sentence = refused("convert", f"{place}/root", "s3://no-such-bucket/ecg", url="s3://no-such-bucket/ecg")

    assert "no such bucket; make it first, or correct its name" in sentence
    assert "does not exist" not in sentence


@EVERY_VERB
@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("AWS_ACCESS_KEY_ID", "check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "check AWS_SECRET_ACCESS_KEY"),
        ("AWS_SESSION_TOKEN", "AWS_"),
    ],
)
def test_keys_that_the_store_does_not_know(refused, place, monkeypatch, verb, variable, remedy):
    monkeypatch.setenv(variable, HUSH)

    sentence = refused(verb, f"{place}/root", f"{place}/archive", url=place)

    assert remedy in sentence
    assert "(403)" in sentence


def test_an_archive_that_needs_other_keys(refused, place, tmp_path, monkeypatch):
    (tmp_path / "aws").write_text(f"[guest]\naws_access_key_id = guest\naws_secret_access_key = {HUSH}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))

    assert run(["convert", f"{place}/archive", "--archive-profile", "guest", "--root", f"{place}/root"]) == 1


@pytest.mark.parametrize("verb", ["convert", "train", "score", "report"])
def test_one_who_may_only_read(refused, place, seaweed, monkeypatch, verb):
    seaweed.reader().set_environment(monkeypatch)

    sentence = refused(verb, f"{place}/root", f"{place}/archive")

    assert "cannot write" in sentence
    assert "their rights on the bucket" in sentence


def test_one_who_may_only_read_makes_no_root(refused, place, seaweed, monkeypatch, new):
    seaweed.reader().set_environment(monkeypatch)

    assert "cannot write" in refused("convert", new, f"{place}/archive")


def test_one_who_may_only_read_may_look_at_the_runs(place, seaweed, monkeypatch, capfd):
    seaweed.reader().set_environment(monkeypatch)

    assert run(["runs", "--root", f"{place}/root"]) == 0
    assert "completed" in capfd.readouterr().out


@EVERY_VERB
def test_an_address_where_nobody_listens(refused, place, monkeypatch, verb):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")

        sentence = refused(verb, f"{place}/root", f"{place}/archive", url=place)

    assert "cannot be reached; check the network and the endpoint" in sentence


@EVERY_VERB
def test_https_where_the_store_speaks_http(refused, place, seaweed, monkeypatch, verb):
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint.replace("http://", "https://"))

    sentence = refused(verb, f"{place}/root", f"{place}/archive", url=place)

    assert "does not speak https; correct the endpoint" in sentence


ANSWERS_TO_PLAIN_HTTP = {
    "an alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "a page": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 51\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.    ",
}


@contextlib.contextmanager
def speaks_tls_only(answer):
    """A port that hangs up on plain HTTP, as servers of https do."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    link, _ = server.accept()
                    with link, contextlib.suppress(OSError):
                        link.recv(65536)
                        link.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@EVERY_VERB
@pytest.mark.parametrize("answer", ANSWERS_TO_PLAIN_HTTP)
def test_http_where_the_store_speaks_https(refused, place, monkeypatch, verb, answer):
    with speaks_tls_only(ANSWERS_TO_PLAIN_HTTP[answer]) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

        sentence = refused(verb, f"{place}/root", f"{place}/archive", url=place)

    assert "https" in sentence


@pytest.fixture(scope="module")
def newer(place):
    """The root, as a newer version would have left it."""
    ours, theirs = open_storage(f"{place}/root"), open_storage(f"{place}/newer")
    for key in objects(ours.url):
        data = ours.fetch(key)
        if key.startswith("tables/") and key.endswith("/_delta_log/00000000000000000000.json"):
            old, new = (
                f'"{VERSION_PROPERTY}":"{version}"'.encode() for version in (SCHEMA_VERSION, SCHEMA_VERSION + 1)
            )
            assert old in data
            data = data.replace(old, new)
        theirs.put_new(key, data)
    return theirs.url


@EVERY_VERB
def test_a_root_of_a_newer_version(refused, place, newer, verb):
    sentence = refused(verb, newer, f"{place}/archive")

    assert "was written by a newer CardioClarity" in sentence
    assert "update CardioClarity" in sentence


@pytest.fixture(scope="module", params=["", "/tables/records"], ids=["the root itself", "a table of it"])
def foreign(request, place):
    """A root in whose place, or below which, somebody else keeps a Delta table."""
    root = f"{place}/foreign-{uuid.uuid4().hex}"
    options = open_storage(place).delta_options()
    write_deltalake(f"{root}{request.param}", pa.table({"price": [1.0]}), storage_options=options)
    return root


@EVERY_VERB
def test_a_root_that_is_somebody_elses_delta_table(refused, place, foreign, verb):
    sentence = refused(verb, foreign, f"{place}/archive")

    assert "Delta table" in sentence or "no CardioClarity root" in sentence


def test_nothing_is_made_below_somebody_elses_delta_table(refused, place, foreign):
    sentence = refused("convert", foreign, f"{place}/archive")

    assert "Delta table" in sentence
    assert "give another folder or URL as --root" in sentence


STORE = """
import sys
from scripted_store import running
with running() as store:
    store.overwrites = True
    print(store.endpoint, flush=True)
    sys.stdin.read()
    print(*store.objects, *{word for word in store.asked if word.startswith("PUT")}, sep="\\n", flush=True)
"""


@pytest.fixture
def overwriting():
    """A store without conditional writes, in a process of its own; gives its address and, ended, what was put there."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        endpoint = process.stdout.readline().strip()

        def put():
            process.stdin.close()
            return process.stdout.read().splitlines()

        yield endpoint, put


def test_a_store_without_conditional_writes(refused, place, overwriting, tmp_path):
    endpoint, put = overwriting
    write(open_storage(str(tmp_path)), SCENES[:1])
    environ = Server(endpoint=endpoint).environment() | {"CARDIOCLARITY_RETRY_S": "0"}

    ended = as_a_user(environ, "convert", str(tmp_path), "--root", "s3://bucket/root", "--quiet")

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: s3://bucket/root: this store overwrites an object where it must refuse")
    assert "cardioclarity doctor --root s3://bucket/root" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not [key for key in put() if "/.doctor/" not in key], "nothing but the probe was put"


@EVERY_VERB
def test_debug_shows_a_traceback_and_still_no_secret(place, monkeypatch, capfd, verb):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", HUSH)

    assert run([*arguments(verb, f"{place}/root", f"{place}/archive"), "--debug"]) == 1

    said = "".join(capfd.readouterr())
    assert "Traceback" in said
    assert HUSH not in said
