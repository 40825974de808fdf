"""A folder keeps the law of every store by the means of a file system, and lets nobody out through a link."""

import datetime as dt
import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cardioclarity.errors import ConflictError, ExitCode, StorageError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.storage.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "root"))


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return [listed.key for listed in storage.list(prefix)]


def files(storage: Storage) -> list[str]:
    """Name all that lies at the top of a folder, listed or not."""
    return [path.name for path in Path(storage.url).iterdir()]


# ---------------------------------------------------------------- a folder: listing


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


def test_no_temporary_name_is_left_or_listed(folder):
    folder.put_new("a", b"1")
    folder.put_new("a", b"1")
    with pytest.raises(ConflictError):
        folder.put_new("a", b"2")
    folder.replace("a", b"3")
    assert files(folder) == ["a"]

    Path(folder.url, ".tmp-0123").write_bytes(b"left by a crash")

    assert keys(folder) == ["a"]


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


def test_what_killed_writers_left_is_told_apart_and_can_be_removed(folder, tmp_path):
    folder.put_all_new({"a/b/x": b"", "y": b""})
    (tmp_path / "outside").mkdir()
    left = ["a/b/.tmp-0123", ".tmp-0456"]
    for path in (*map(folder.join, left), str(tmp_path / "outside/.tmp-0789")):
        Path(path).write_bytes(b"123")
        os.utime(path, ns=(1, 1_700_000_000_000_000_000))
    Path(folder.url, "a/.tmp-link").symlink_to("../y")
    Path(folder.url, "link").symlink_to(tmp_path / "outside")

    found = list(folder.leftovers())

    assert sorted(item.key for item in found) == sorted(left)
    assert {(item.size, item.modified) for item in found} == {(3, dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC))}
    folder.delete_all(left)
    assert list(folder.leftovers()) == []
    assert keys(folder) == ["a/b/x", "y"]


def test_a_place_that_was_never_made_has_no_leftovers(folder):
    assert list(folder.leftovers()) == []


def test_the_right_to_delete_is_not_needed_to_publish(folder, monkeypatch, caplog):
    def refused(_folder: Folder, _key: str) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(Folder, "delete", refused)

    folder.require_create_only()

    assert "cannot delete .doctor/" in caplog.text
    assert "permission denied" in caplog.text


# ---------------------------------------------------------------- a folder: its clock


def test_a_listing_gives_size_version_and_time_from_the_file(folder):
    folder.put_new("a", b"123")
    os.utime(folder.join("a"), ns=(1, 1_700_000_000_123_456_789))

    (listed,) = folder.list()

    assert (listed.key, listed.size, listed.version) == ("a", 3, "1700000000123456789")
    assert listed.modified.replace(microsecond=0) == dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)


def test_the_clock_of_a_folder_that_cannot_be_written_is_our_own(tmp_path):
    before = dt.datetime.now(dt.UTC)

    assert before <= open_storage(str(tmp_path / "absent")).now() <= dt.datetime.now(dt.UTC)
    assert not (tmp_path / "absent").exists()
