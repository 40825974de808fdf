"""A key names the same bytes for everyone: written once and whole, listed in order, never outside of the root."""

import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import cloudpickle
import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardioclarity.config import StorageOptions
from cardioclarity.errors import ConflictError, ExitCode, StorageError, UsageError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.storage.bucket import Bucket, delta_arguments, s3_arguments
from cardioclarity.storage.folder import Folder

names = st.text(st.sampled_from("ab.-0/äZ~ \U0001f493"), min_size=1, max_size=6)


def is_key(text: str) -> bool:
    return not {"", ".", ".."} & set(text.split("/"))


@st.composite
def trees(draw) -> list[str]:
    """Keys of which none is a folder of another."""
    keys = draw(st.sets(names.filter(is_key), max_size=12))
    return [key for key in keys if not any(other.startswith(f"{key}/") for other in keys)]


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "root"))


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return [listed.key for listed in storage.list(prefix)]


def files(storage: Storage) -> list[str]:
    """Name all that lies at the top of a folder, listed or not."""
    return [path.name for path in Path(storage.url).iterdir()]


# ---------------------------------------------------------------- names


def test_every_spelling_of_a_folder_gives_one_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    spellings = ["./a b", "a b", "a b/", "x/../a b", str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"]

    assert {open_storage(name).url for name in spellings} == {str(tmp_path / "a b")}
    assert [open_storage(name).name for name in spellings] == spellings


def test_a_folder_below_home_may_be_given_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert open_storage("~/ecg").url == str(tmp_path / "ecg")


@pytest.mark.parametrize("name", ["s3://bucket", "s3://bucket/"])
def test_a_bucket_may_be_given_without_a_prefix(name):
    assert open_storage(name).url == "s3://bucket"
    assert open_storage(name).join("tables/x") == "s3://bucket/tables/x"


def test_a_prefix_loses_its_last_slash():
    assert open_storage("s3://bucket/a/b/").url == "s3://bucket/a/b"


@pytest.mark.parametrize(
    "name", ["", "gs://bucket", "s3://", "http://host/x", "file://relative", "s3://bucket/../other"]
)
def test_a_place_that_we_cannot_store_in_is_a_usage_error(name):
    with pytest.raises(UsageError, match="give a folder or s3://bucket/prefix"):
        open_storage(name)


@pytest.mark.parametrize("name", ["s3://KEY:hush@bucket/x", "s3://hush@bucket"])
def test_credentials_in_a_url_are_refused_and_not_repeated(name):
    with pytest.raises(UsageError, match="never holds credentials") as caught:
        open_storage(name)

    assert "hush" not in str(caught.value)


def test_naming_a_place_touches_nothing(tmp_path):
    storage = open_storage(str(tmp_path / "absent"))

    assert not storage.exists()
    assert list(storage.list()) == []
    assert not (tmp_path / "absent").exists()


def test_a_storage_travels_to_another_process(folder):
    folder.put_new("k", b"bytes")

    again = cloudpickle.loads(cloudpickle.dumps(folder))

    assert again == folder
    assert again.fetch("k") == b"bytes"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\0b", "a\udc80"])
def test_a_key_that_leaves_its_place_is_our_own_mistake(folder, key):
    calls = (
        folder.fetch,
        folder.delete,
        folder.join,
        lambda k: folder.put_new(k, b""),
        lambda k: folder.replace(k, b""),
    )

    for call in calls:
        with pytest.raises(AssertionError):
            call(key)


# ---------------------------------------------------------------- a folder: listing


@given(tree=trees(), prefix=st.text(st.sampled_from("ab.-0/ä"), max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_listing_is_all_keys_with_the_prefix_in_utf8_byte_order(tmp_path_factory, tree, prefix):
    storage = open_storage(str(tmp_path_factory.mktemp("tree")))
    for key in tree:
        path = Path(storage.url, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())

    assert keys(storage) == sorted(tree, key=str.encode)
    if not prefix or is_key(prefix.removesuffix("/")):
        assert keys(storage, prefix) == sorted((k for k in tree if k.startswith(prefix)), key=str.encode)


def test_a_listing_gives_size_and_a_version_that_changes_with_the_file(folder):
    folder.put_new("a", b"123")
    os.utime(folder.join("a"), ns=(1, 1_700_000_000_123_456_789))

    (listed,) = folder.list()

    assert (listed.key, listed.size, listed.version) == ("a", 3, "1700000000123456789")


def test_a_listing_under_a_file_or_nothing_is_empty(folder):
    folder.put_new("a", b"")

    assert keys(folder, "a/") == []
    assert keys(folder, "b/c") == []


def test_a_link_out_of_the_root_is_neither_listed_nor_read(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    folder.put_new("inside", b"1")
    Path(folder.url, "file").symlink_to(outside / "secret")
    Path(folder.url, "folder").symlink_to(outside)

    assert keys(folder) == ["inside"]
    assert keys(folder, "folder/") == []
    for key in ("file", "folder/secret"):
        with pytest.raises(FileNotFoundError):
            folder.fetch(key)


def test_a_link_inside_of_the_root_is_followed_but_never_in_a_circle(folder):
    folder.put_new("a/x", b"1")
    Path(folder.url, "b").symlink_to("a")
    Path(folder.url, "a/up").symlink_to("..")
    Path(folder.url, "self").symlink_to("self")
    Path(folder.url, "dangling").symlink_to("nowhere")

    assert keys(folder) == ["a/x", "b/x"]
    assert folder.fetch("b/x") == b"1"


def test_a_root_that_is_itself_a_link_is_followed(folder, tmp_path):
    folder.put_new("a/x", b"1")
    (tmp_path / "link").symlink_to(folder.url)

    linked = open_storage(str(tmp_path / "link"))

    assert keys(linked) == ["a/x"]
    assert linked.fetch("a/x") == b"1"


def test_names_that_are_no_keys_are_passed_over_with_one_warning_that_names_none(folder, caplog):
    folder.put_new("good", b"")
    for name in (b"Miller\xff", b"Miller\\1950"):
        Path(os.fsdecode(os.fsencode(folder.url) + b"/" + name)).write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        assert keys(folder) == ["good"]

    (message,) = caplog.messages
    assert "2 objects" in message
    assert "Miller" not in message


def test_pipes_and_sockets_are_no_objects(folder):
    folder.put_new("a", b"")
    os.mkfifo(folder.join("pipe"))

    assert keys(folder) == ["a"]
    with pytest.raises(FileNotFoundError):  # without waiting for somebody who writes into it
        folder.fetch("pipe")


# ---------------------------------------------------------------- a folder: reading and writing


def test_what_was_written_is_read_back(folder):
    assert folder.put_new("deep/er/key", b"bytes") is True

    assert folder.fetch("deep/er/key") == b"bytes"
    assert folder.exists()
    assert Path(folder.join("deep/er/key")).read_bytes() == b"bytes"


def test_a_second_write_of_equal_bytes_says_so(folder):
    folder.put_new("k", b"bytes")

    assert folder.put_new("k", b"bytes") is False


def test_other_bytes_are_a_conflict_and_change_nothing(folder):
    folder.put_new("k", b"first")

    with pytest.raises(ConflictError, match="k is there with other content"):
        folder.put_new("k", b"second")

    assert folder.fetch("k") == b"first"


def test_of_many_writers_exactly_one_wins_and_its_bytes_stand_whole(folder):
    bodies = [bytes([i]) * 100_000 for i in range(12)]
    start = threading.Barrier(len(bodies))

    def write(body: bytes) -> bool:
        start.wait()
        try:
            return folder.put_new("raced", body)
        except ConflictError:
            return False

    with ThreadPoolExecutor(len(bodies)) as pool:
        won = list(pool.map(write, bodies))

    assert sum(won) == 1
    assert folder.fetch("raced") == bodies[won.index(True)]


def test_no_temporary_name_is_left_or_listed(folder):
    folder.put_new("a", b"1")
    folder.put_new("a", b"1")
    with pytest.raises(ConflictError):
        folder.put_new("a", b"2")
    folder.replace("a", b"3")
    assert files(folder) == ["a"]

    Path(folder.url, ".tmp-0123").write_bytes(b"left by a crash")

    assert keys(folder) == ["a"]


def test_many_objects_go_out_together(folder):
    objects = {f"{i % 3}/{i}": str(i).encode() for i in range(20)}

    folder.put_all_new(objects)
    folder.put_all_new(objects)

    assert {key: folder.fetch(key) for key in keys(folder)} == objects


def test_one_conflict_among_many_is_told(folder):
    folder.put_new("b", b"other")

    with pytest.raises(ConflictError, match="b is there"):
        folder.put_all_new({"a": b"1", "b": b"2", "c": b"3"})

    assert folder.fetch("b") == b"other"


def test_a_replacement_is_whole_for_every_reader(folder):
    bodies = [b"a" * 300_000, b"b" * 200_000]
    folder.replace("page", bodies[0])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for body in bodies:
                folder.replace("page", body)

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = {folder.fetch("page") for _ in range(200)}
    stop.set()
    writer.join()

    assert seen <= set(bodies)


def test_deleting_twice_is_fine(folder):
    folder.put_new("a", b"1")

    folder.delete("a")
    folder.delete("a")
    folder.delete("a/b/c")

    assert keys(folder) == []


@pytest.mark.parametrize("key", ["absent", "file/below", "x" * 5000, "circle"])
def test_what_is_not_there_is_file_not_found(folder, key):
    folder.put_new("file", b"1")
    Path(folder.join("circle")).symlink_to("circle")

    with pytest.raises(FileNotFoundError):
        folder.fetch(key)


def test_a_folder_is_no_object(folder):
    folder.put_new("a/x", b"")

    with pytest.raises(FileNotFoundError):
        folder.fetch("a")


@pytest.mark.parametrize("write", ["put_new", "replace"])
def test_a_folder_is_not_overwritten_by_an_object(folder, write):
    folder.put_new("a/x", b"")

    with pytest.raises(StorageError, match=r"cannot write a: .*folder"):
        getattr(folder, write)("a", b"")

    assert keys(folder) == ["a/x"]


def test_a_file_is_no_root(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    storage = open_storage(str(tmp_path / "file"))

    assert not storage.exists()
    for call in (lambda: list(storage.list()), lambda: storage.put_new("k", b"")):
        with pytest.raises(StorageError, match="a part of the path is a file; give a folder"):
            call()


def test_a_file_is_refused_as_a_root_in_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"bytes")
    name = str(tmp_path / "file")

    with pytest.raises(StorageError) as caught:
        open_storage(name).make_root()

    assert str(caught.value) == f"{name} is a file, not a folder; give a folder or URL as --root"
    with pytest.raises(StorageError, match="cannot make the folder: a part of the path is a file; give a folder"):
        open_storage(f"{name}/below").make_root()
    assert (tmp_path / "file").read_bytes() == b"bytes"


def test_a_root_is_made_once_with_what_is_above_it(tmp_path):
    root = open_storage(str(tmp_path / "a/b"))

    root.make_root()
    root.make_root()

    assert root.exists()
    assert files(root) == []


@contextmanager
def somebody_else() -> Iterator[None]:
    """Give up the rights of root, to whom nothing is denied."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_denied_permission_is_one_sentence_with_the_remedy(folder):
    folder.put_new("a/x", b"1")
    Path(folder.url, "a").chmod(0)

    try:
        with somebody_else():
            below = open_storage(folder.join("a/b"))
            for call in (
                lambda: folder.fetch("a/x"),
                lambda: keys(folder),
                lambda: folder.put_new("a/y", b""),
                below.make_root,
            ):
                with pytest.raises(StorageError, match="permission denied; give this user access") as caught:
                    call()
                assert caught.value.exit_code is ExitCode.FAILED
                assert "\n" not in str(caught.value)
    finally:
        Path(folder.url, "a").chmod(0o755)


def test_a_disk_that_takes_no_more_leaves_no_half_file(folder):
    script = (
        "import resource, sys; from cardioclarity.storage import open_storage;"
        "from cardioclarity.errors import StorageError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); s = open_storage(sys.argv[1])\n"
        "try: s.put_new('big', b'x' * 5000)\n"
        "except StorageError as error: print(error)"
    )

    ran = subprocess.run([sys.executable, "-c", script, folder.url], capture_output=True, text=True, check=True)

    assert "cannot write big: the file is larger than allowed here" in ran.stdout
    assert files(folder) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EBADF, "Bad file descriptor")],
)
def test_each_trouble_of_a_disk_has_its_words(number, said):
    assert said in Folder.trouble(OSError(number, os.strerror(number)))


# ---------------------------------------------------------------- a bucket: options


def test_the_environment_alone_is_enough_for_s3():
    environ = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "k"}

    arguments = s3_arguments(StorageOptions(), environ)

    assert arguments["endpoint_url"] == "http://127.0.0.1:9000"
    assert arguments["client_kwargs"] == {"region_name": "eu-central-1"}
    assert arguments["config_kwargs"]["s3"] == {"addressing_style": "path"}
    assert delta_arguments(StorageOptions(), environ) == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_REGION": "eu-central-1",
        "AWS_ALLOW_HTTP": "true",
    }


def test_an_option_stands_above_the_environment():
    options = StorageOptions(endpoint_url="https://mine", region="here", anon=True)
    environ = {"AWS_ENDPOINT_URL": "http://other", "AWS_ENDPOINT_URL_S3": "http://third", "AWS_REGION": "there"}

    arguments = s3_arguments(options, environ)

    assert (arguments["endpoint_url"], arguments["anon"]) == ("https://mine", True)
    assert arguments["client_kwargs"] == {"region_name": "here"}
    assert delta_arguments(options, environ) == {
        "AWS_ENDPOINT_URL": "https://mine",
        "AWS_REGION": "here",
        "AWS_SKIP_SIGNATURE": "true",
    }


def test_plain_aws_needs_no_option_and_keeps_its_own_host_names():
    arguments = s3_arguments(StorageOptions(), {})

    assert arguments["endpoint_url"] is None
    assert arguments["client_kwargs"] == {}
    assert "s3" not in arguments["config_kwargs"]
    assert delta_arguments(StorageOptions(), {}) == {}


def test_listings_are_never_cached_and_one_layer_retries():
    arguments = s3_arguments(StorageOptions(), {})

    assert arguments["use_listings_cache"] is False
    assert arguments["skip_instance_cache"] is True
    assert arguments["config_kwargs"]["retries"] == {"mode": "standard", "total_max_attempts": 3}


def test_no_argument_carries_a_secret():
    environ = {"AWS_ACCESS_KEY_ID": "SECRET-ID", "AWS_SECRET_ACCESS_KEY": "SECRET-KEY", "AWS_SESSION_TOKEN": "SECRET-T"}

    for translate in (s3_arguments, delta_arguments):
        assert "SECRET" not in repr(translate(StorageOptions(), environ))


def test_a_server_of_ones_own_takes_any_region():
    options = StorageOptions(endpoint_url="http://127.0.0.1:9000")

    assert s3_arguments(options, {})["client_kwargs"] == {"region_name": "us-east-1"}
    assert s3_arguments(options, {"AWS_DEFAULT_REGION": "x"})["client_kwargs"] == {"region_name": "x"}


def test_a_folder_needs_no_options(folder):
    assert folder.delta_options() == {}
    assert folder.fsspec_options() == {}


# ---------------------------------------------------------------- a bucket: what the store answers


class Script(BaseHTTPRequestHandler):
    """The few S3 calls that are used, over a dict, with answers that a test may put first."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def scripted(self) -> bool:
        """Answer as the test told; True where it did."""
        self.server.asked.append(f"{self.command} {urlsplit(self.path).path}")
        if not self.server.first:
            return False
        self.refuse(*self.server.first.pop(0))
        return True

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        if self.scripted():
            return
        if self.headers.get("If-None-Match") == "*" and path in self.server.objects:
            self.refuse(412, "PreconditionFailed")
            return
        self.server.objects[path] = body
        self.answer(200, ETag='"e"')

    def do_DELETE(self) -> None:
        if not self.scripted():
            self.server.objects.pop(unquote(urlsplit(self.path).path), None)
            self.answer(204)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.scripted():
            return
        if "list-type" in parse_qs(url.query):
            self.list_page({name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()})
        elif (body := self.server.objects.get(unquote(url.path))) is None:
            self.refuse(404, "NoSuchKey")
        else:
            self.answer(200, body, ETag='"e"')

    def list_page(self, query: dict[str, str]) -> None:
        """Answer pages of two keys each."""
        found = sorted(path.removeprefix("/bucket/") for path in self.server.objects)
        after = query.get("continuation-token", "")
        found = [key for key in found if key.startswith(query["prefix"]) and key > after]
        page, more = found[:2], len(found) > 2
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[f'/bucket/{key}'])}</Size>"
            "<ETag>&quot;e&quot;</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        head = f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
        self.answer(200, f"<ListBucketResult>{head}{contents}{token}</ListBucketResult>".encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """The store behind `Script`.

    Attributes:
        objects: Path → bytes.
        first: (status, code) of the answers that come before any other.
        asked: What was asked, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Script)
        self.objects: dict[str, bytes] = {}
        self.first: list[tuple[int, str]] = []
        self.asked: list[str] = []


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    with Server() as server:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def bucket(server) -> Storage:
    return open_storage("s3://bucket/pre/fix")


def test_a_bucket_keeps_the_law_of_a_folder(bucket, server):
    assert not bucket.exists()
    assert bucket.put_new("a/b", b"first") is True
    assert bucket.put_new("a/b", b"first") is False
    with pytest.raises(ConflictError, match="a/b is there with other content"):
        bucket.put_new("a/b", b"second")
    assert bucket.fetch("a/b") == b"first"
    bucket.replace("a/b", b"third")
    assert server.objects == {"/bucket/pre/fix/a/b": b"third"}
    assert bucket.exists()
    bucket.delete("a/b")
    bucket.delete("a/b")
    with pytest.raises(FileNotFoundError):
        bucket.fetch("a/b")


def test_an_object_is_read_by_one_request(bucket, server):
    bucket.put_new("k", b"x" * 100)
    server.asked.clear()

    bucket.fetch("k")

    assert server.asked == ["GET /bucket/pre/fix/k"]


def test_a_listing_goes_through_all_pages_and_leaves_out_what_is_no_key(bucket, server, caplog):
    objects = {f"{i}/ä b": b"12" for i in range(5)}
    bucket.put_all_new(objects)
    server.objects |= {"/bucket/pre/fix/empty/": b"", "/bucket/pre/fix/a//b": b"", "/bucket/pre/fixed": b""}

    listed = list(bucket.list())

    assert [(item.key, item.size, item.version) for item in listed] == [(key, 2, "e") for key in objects]
    assert keys(bucket, "3") == ["3/ä b"]
    assert "1 objects have names that are no plain keys" in caplog.text


def test_what_another_process_wrote_is_listed_at_once(bucket, server):
    assert keys(bucket) == []

    server.objects["/bucket/pre/fix/new"] = b""

    assert keys(bucket) == ["new"]


def test_a_create_that_meets_a_delete_is_asked_again(bucket, server):
    server.first = [(409, "ConditionalRequestConflict")] * 2

    assert bucket.put_new("k", b"1") is True

    assert server.objects == {"/bucket/pre/fix/k": b"1"}


def test_a_create_that_meets_deletes_for_ever_gives_up(bucket, server):
    server.first = [(409, "ConditionalRequestConflict")] * 100

    with pytest.raises(StorageError, match="cannot write k"):
        bucket.put_new("k", b"1")

    assert len(server.asked) < 20


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", "check the credentials .* clock; a public bucket needs --anon"),
        (403, "RequestTimeTooSkewed", "this machine's clock"),
        (404, "NoSuchBucket", "no such bucket; make it first"),
        (400, "AuthorizationHeaderMalformed", "check AWS_REGION"),
        (501, "NotImplemented", "the store answers 501"),
    ],
)
def test_each_refusal_of_a_store_is_one_sentence_with_a_remedy(bucket, server, status, code, said):
    server.first = [(status, code)] * 20

    for call in (lambda: keys(bucket), lambda: bucket.put_new("k", b"1")):
        with pytest.raises(StorageError, match=said) as caught:
            call()
        assert str(caught.value).startswith("s3://bucket/pre/fix: cannot ")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_store_that_recovers_is_asked_again(bucket, server):
    server.first = [(503, "SlowDown")]

    assert bucket.put_new("k", b"1") is True
    assert len(server.asked) == 2


def test_a_store_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    with pytest.raises(StorageError, match=r"cannot read 'xxx': the store cannot be reached .* AWS_ENDPOINT_URL"):
        open_storage("s3://bucket/x").fetch("key")


def test_missing_credentials_have_their_own_words():
    assert "or give --anon" in Bucket.trouble(NoCredentialsError())
