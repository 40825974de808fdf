"""A key names the same bytes for everyone, in a folder and in a bucket: written once and whole, listed in order."""

import datetime as dt
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import SECRET_KEY

from cardioclarity.errors import ConflictError, StorageError, UsageError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.storage.bucket import Bucket

names = st.text(st.sampled_from("ab.-0/äZ~ %+?#\U0001f493"), min_size=1, max_size=6)


def is_key(text: str) -> bool:
    return not {"", ".", ".."} & set(text.split("/"))


@st.composite
def trees(draw) -> list[str]:
    """Keys of which none is a folder of another."""
    keys = draw(st.sets(names.filter(is_key), max_size=12))
    return [key for key in keys if not any(other.startswith(f"{key}/") for other in keys)]


@pytest.fixture(
    params=[
        "folder",
        pytest.param("s3fs", marks=pytest.mark.service),
        pytest.param("obstore", marks=pytest.mark.service),
    ]
)
def storage(request, tmp_path, monkeypatch) -> Storage:
    """An empty folder, and an empty prefix of a real S3 server through each of the two clients."""
    if request.param == "folder":
        return open_storage(str(tmp_path / "root"))
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", request.param)
    return open_storage(request.getfixturevalue("s3"))


def fresh(storage: Storage) -> Storage:
    """An empty place of the same kind."""
    return open_storage(storage.join(uuid.uuid4().hex), storage.options)


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return [listed.key for listed in storage.list(prefix)]


# ---------------------------------------------------------------- names


def test_every_spelling_of_a_folder_gives_one_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    spellings = ["./a b", "a b", "a b/", "x/../a b", str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"]
    spellings += [f"/{tmp_path}/a b", f"file:///{tmp_path}/a%20b/"]

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


# ---------------------------------------------------------------- the laws of every store


def test_what_was_written_is_read_back(storage):
    assert storage.put_new("deep/er/key", b"bytes") is True

    assert storage.fetch("deep/er/key") == b"bytes"
    assert storage.exists()


@pytest.mark.parametrize("size", [0, 1, 9_000_000])
def test_an_object_of_any_size_comes_back_whole(storage, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    storage.put_new("k", data)

    assert storage.fetch("k") == data
    assert [listed.size for listed in storage.list()] == [size]


def test_a_place_where_nothing_is_does_not_exist_and_lists_nothing(storage):
    empty = fresh(storage)

    assert not empty.exists()
    assert keys(empty) == []


def test_a_second_write_of_equal_bytes_says_so(storage):
    storage.put_new("k", b"bytes")

    assert storage.put_new("k", b"bytes") is False


def test_other_bytes_are_a_conflict_and_change_nothing(storage):
    storage.put_new("k", b"first")

    with pytest.raises(ConflictError, match="k is there with other content"):
        storage.put_new("k", b"second")

    assert storage.fetch("k") == b"first"


def test_of_many_writers_exactly_one_wins_and_its_bytes_stand_whole(storage):
    bodies = [bytes([i]) * 100_000 for i in range(12)]
    start = threading.Barrier(len(bodies))

    def write(body: bytes) -> bool:
        start.wait()
        try:
            return storage.put_new("raced", body)
        except ConflictError:
            return False

    with ThreadPoolExecutor(len(bodies)) as pool:
        won = list(pool.map(write, bodies))

    assert sum(won) == 1
    assert storage.fetch("raced") == bodies[won.index(True)]


def test_many_objects_go_out_together(storage):
    objects = {f"{i % 3}/{i}": str(i).encode() for i in range(20)}

    storage.put_all_new(objects)
    storage.put_all_new(objects)

    assert {key: storage.fetch(key) for key in keys(storage)} == objects


def test_one_conflict_among_many_is_told(storage):
    storage.put_new("b", b"other")

    with pytest.raises(ConflictError, match="b is there"):
        storage.put_all_new({"a": b"1", "b": b"2", "c": b"3"})

    assert storage.fetch("b") == b"other"


def test_a_replacement_is_whole_for_every_reader(storage):
    bodies = [b"a" * 300_000, b"b" * 200_000]
    storage.replace("page", bodies[0])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for body in bodies:
                storage.replace("page", body)

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = {storage.fetch("page") for _ in range(100)}
    stop.set()
    writer.join()

    assert seen <= set(bodies)


def test_deleting_twice_is_fine(storage):
    storage.put_new("a", b"1")

    storage.delete("a")
    storage.delete("a")
    storage.delete("a/b/c")

    assert keys(storage) == []


def test_many_are_deleted_as_a_stream_whether_they_are_there_or_not(storage):
    storage.put_all_new({f"a/{i}": b"" for i in range(30)} | {"b": b""})

    storage.delete_all(f"a/{i}" for i in range(40))

    assert keys(storage) == ["b"]


def test_what_is_not_there_is_file_not_found(storage):
    storage.put_new("file", b"1")

    for key in ("absent", "deep/absent", "file/below"):
        with pytest.raises(FileNotFoundError):
            storage.fetch(key)


@given(tree=trees(), prefix=st.text(st.sampled_from("ab.-0/ä"), max_size=3))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_listing_is_all_keys_with_the_prefix_in_utf8_byte_order(storage, tree, prefix):
    place = fresh(storage)
    place.put_all_new({key: key.encode() for key in tree})

    assert keys(place) == sorted(tree, key=str.encode)
    assert {key: place.fetch(key) for key in tree} == {key: key.encode() for key in tree}
    if not prefix or is_key(prefix.removesuffix("/")):
        assert keys(place, prefix) == sorted((k for k in tree if k.startswith(prefix)), key=str.encode)


@pytest.mark.parametrize("key", ["tab\tin", "line\nend", "\x01", "delete\x7f"])
def test_a_key_with_control_characters_is_a_key(storage, key):
    storage.put_new(key, b"1")

    assert storage.fetch(key) == b"1"
    storage.replace(key, b"2")
    assert (keys(storage), storage.fetch(key)) == ([key], b"2")
    storage.delete(key)
    assert keys(storage) == []


def test_a_version_changes_with_the_object(storage):
    storage.put_new("a", b"123")
    (before,) = storage.list()
    storage.replace("a", b"124")
    (after,) = storage.list()

    assert (before.key, before.size) == (after.key, after.size) == ("a", 3)
    assert before.version != after.version


def test_the_age_of_an_object_is_told_by_the_clock_of_the_store(storage):
    storage.put_new("a", b"1")
    (listed,) = storage.list()

    now = storage.now()

    assert now.utcoffset() == listed.modified.utcoffset() == dt.timedelta(0)
    assert abs(now - listed.modified) < dt.timedelta(minutes=5)


def test_reading_the_clock_leaves_nothing_behind(storage):
    storage.put_new("a", b"1")
    place = fresh(storage)

    place.now()
    storage.now()

    assert keys(storage) == ["a"]
    assert not place.exists()


def test_a_store_that_refuses_to_overwrite_may_be_published_to_and_keeps_no_trace(storage):
    storage.make_root()

    storage.require_create_only()

    assert keys(storage) == []
    assert not Path(storage.url, ".doctor").exists()


def test_making_a_root_twice_is_fine_and_writes_no_object(storage):
    storage.make_root()
    storage.make_root()

    assert keys(storage) == []


def test_a_storage_travels_to_another_process_without_a_secret(storage, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    storage.put_new("k", b"bytes")

    sent = cloudpickle.dumps(storage)
    again = cloudpickle.loads(sent)

    assert again == storage
    assert again.fetch("k") == b"bytes"
    for shown in (sent, repr(storage).encode()):
        assert SECRET_KEY.encode() not in shown


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\0b", "a\udc80"])
def test_a_key_that_leaves_its_place_is_our_own_mistake(storage, key):
    calls = (
        storage.fetch,
        storage.delete,
        storage.join,
        lambda k: storage.put_new(k, b""),
        lambda k: storage.replace(k, b""),
        lambda k: storage.delete_all([k]),
    )

    for call in calls:
        with pytest.raises(AssertionError):
            call(key)


# ---------------------------------------------------------------- a real store that says no


@pytest.fixture(params=["s3fs", "obstore"])
def bucket(request, s3, monkeypatch) -> Storage:
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", request.param)
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")
    return open_storage(s3)


def everything(storage: Storage) -> list:
    return [
        lambda: keys(storage),
        lambda: storage.fetch("k"),
        lambda: storage.put_new("k", b""),
        lambda: storage.replace("k", b""),
        lambda: storage.delete("k"),
        lambda: storage.delete_all(["k"]),
        storage.exists,
        storage.now,
        storage.make_root,
        storage.require_create_only,
    ]


@pytest.mark.service
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "does not know the access key .* AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "hush", "the secret does not fit .* AWS_SECRET_ACCESS_KEY"),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:9",
            "the store at http://127.0.0.1:9 cannot be reached; check the network",
        ),
        ("AWS_ENDPOINT_URL", "http://absent.invalid:80", "the store at http://absent.invalid:80 cannot be reached"),
    ],
)
def test_wrong_settings_are_one_sentence_with_the_url_and_the_remedy(bucket, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)

    for call in everything(bucket):
        with pytest.raises(StorageError, match=said) as caught:
            call()
        assert str(caught.value).startswith(f"{bucket.name}: cannot ")
        assert "\n" not in str(caught.value)
        assert not any(secret in str(caught.value) for secret in ("hush", SECRET_KEY))


@pytest.mark.service
def test_https_where_the_store_speaks_http_is_told(bucket, seaweed, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint.replace("http:", "https:"))

    for call in everything(bucket):
        with pytest.raises(StorageError, match="does not speak https; correct the endpoint"):
            call()


@pytest.mark.service
def test_a_bucket_that_is_not_there_is_told_before_anything_is_written(bucket):
    absent = open_storage("s3://no-such-bucket/root")

    for call in (absent.exists, lambda: keys(absent), lambda: absent.fetch("k"), absent.make_root, absent.now) * 2:
        with pytest.raises(StorageError, match="no such bucket; make it first, or correct its name"):
            call()


@pytest.mark.service
def test_a_part_of_an_object_is_read_by_itself(bucket):
    bucket.put_new("k", bytes(range(100)))
    place = Bucket.at(bucket.url, bucket.options)

    assert place.fetch_range("k", 10, 20) == bytes(range(10, 20))
    with pytest.raises(FileNotFoundError):
        place.fetch_range("absent", 0, 1)


@pytest.mark.service
def test_a_table_is_made_and_read_with_the_options_for_deltalake(bucket):
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    url = bucket.join("tables/t")
    write_deltalake(url, pa.table({"a": [1, 2]}), storage_options=bucket.delta_options())
    write_deltalake(url, pa.table({"a": [3]}), mode="append", storage_options=bucket.delta_options())

    table = DeltaTable(url, storage_options=bucket.delta_options())

    assert sorted(table.to_pyarrow_table().column("a").to_pylist()) == [1, 2, 3]
    assert table.version() == 1
    assert [key for key in keys(bucket) if "_delta_log" in key] == [
        f"tables/t/_delta_log/{version:020d}.json" for version in range(2)
    ]


@pytest.mark.service
def test_a_library_opens_a_url_with_the_options_for_fsspec(bucket):
    import fsspec

    bucket.put_new("a/b", b"bytes")
    options = bucket.fsspec_options()

    with fsspec.open(bucket.join("a/b"), **options) as opened:
        assert opened.read() == b"bytes"
    assert SECRET_KEY not in repr(options)


def test_a_folder_needs_no_options(tmp_path):
    folder = open_storage(str(tmp_path))

    assert folder.delta_options() == {}
    assert folder.fsspec_options() == {}
