"""An archive file is the folder that was packed, read in place; a damaged or hostile one gives a sentence, never wrong bytes."""

import gzip
import io
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import deltalake
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from servers.proxy import Faults, Kind, faulty

from cardioclarity.config import ConvertConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import (
    DataError,
    LimitExceededError,
    NotFoundError,
    StorageError,
    UnreadableFileError,
    UnsupportedFileError,
)
from cardioclarity.storage import members, open_storage, packed, tarred, zipped
from cardioclarity.synthetic import MIT, Scene, ecg, wfdb_files
from cardioclarity.vocabulary import Reason
from cardioclarity.work import drive

PLAIN = st.text(st.sampled_from("ab.-0/äZ~ \U0001f493"), min_size=1, max_size=6)
LONG = PLAIN.map(lambda name: name + "/" + "x" * 120 + "/" + "y" * 150)
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_key(text):
    return not {"", ".", ".."} & set(text.split("/"))


@st.composite
def trees(draw):
    """Files of a folder: content by key, where no key is a folder of another."""
    keys = draw(st.sets((PLAIN | LONG).filter(is_key), max_size=8))
    keys = [key for key in keys if not any(other.startswith(f"{key}/") for other in keys)]
    return {key: draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 100])) for key in keys}


def zip_file(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for key, data in files.items():
            archive.writestr(key, data)
    return buffer.getvalue()


def tar_file(files, mode="w", **options):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:
        for key, data in files.items():
            archive.addfile(tar_info(key, len(data)), io.BytesIO(data))
    return buffer.getvalue()


def tar_info(name, size=0, **fields):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info


PACKERS = {
    "stored.zip": lambda files: zip_file(files, zipfile.ZIP_STORED),
    "deflated.ZIP": zip_file,
    "gnu.tar": lambda files: tar_file(files, format=tarfile.GNU_FORMAT),
    "pax.tar": lambda files: tar_file(files, format=tarfile.PAX_FORMAT),
    "packed.tar.gz": lambda files: tar_file(files, "w:gz"),
    "packed.tgz": lambda files: tar_file(files, "w:gz"),
}
KINDS = ["deflated.ZIP", "pax.tar", "packed.tgz"]


def place(folder, name, data):
    """Write an archive file and open it."""
    path = Path(folder, name)
    path.write_bytes(data)
    return open_storage(str(path))


def content(storage, prefix=""):
    return {listed.key: storage.fetch(listed.key) for listed in storage.list(prefix)}


# ---------------------------------------------------------------- as the folder


@pytest.mark.parametrize("name", PACKERS)
@given(tree=trees(), prefix=st.text(st.sampled_from("ab.-0/ä"), max_size=3))
@FEW
def test_packing_a_folder_changes_neither_keys_nor_order_nor_bytes(tmp_path_factory, name, tree, prefix):
    folder = tmp_path_factory.mktemp("tree")
    for key, data in tree.items():
        Path(folder, "tree", key).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, "tree", key).write_bytes(data)
    unpacked = open_storage(str(folder / "tree"))

    archive = place(folder, name, PACKERS[name](tree))

    assert list(content(archive).items()) == list(content(unpacked).items())
    assert [(found.key, found.size) for found in archive.list()] == [(f.key, f.size) for f in unpacked.list()]
    if not prefix or is_key(prefix.removesuffix("/")):
        assert list(content(archive, prefix)) == list(content(unpacked, prefix))


@pytest.mark.parametrize(
    "command",
    [
        ["zip", "-qr", "../a.zip", "."],
        ["tar", "-cf", "../a.tar", "."],
        ["tar", "-cf", "../a.tar", "--format=ustar", "."],
        ["tar", "-cf", "../a.tar", "--format=posix", "."],
        ["tar", "-czf", "../a.tar.gz", "."],
    ],
    ids=" ".join,
)
def test_what_the_usual_tools_pack_is_read(tmp_path, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    files = {"100.hea": b"header", "p1/ä b.dat": bytes(3000), f"p1/{'deep/' * 20}x.dat": b"1", "p1/empty": b""}
    for key, data in files.items():
        Path(tmp_path, "tree", key).parent.mkdir(parents=True, exist_ok=True)
        Path(tmp_path, "tree", key).write_bytes(data)
    subprocess.run(command, cwd=tmp_path / "tree", check=True)

    assert content(open_storage(str(tmp_path / Path(command[2]).name))) == files


def test_a_name_in_an_old_code_page_is_read_too(tmp_path):
    data = zip_file({"xxx": b"1"}).replace(b"xxx", "pä1".encode("cp437"))

    assert content(place(tmp_path, "a.zip", data)) == {"pä1": b"1"}


@pytest.mark.parametrize("name", KINDS)
def test_a_version_stays_with_the_member_and_changes_with_it(tmp_path, name):
    first, again, other = (
        {found.key: found.version for found in place(tmp_path, f"{n}{name}", PACKERS[name](files)).list()}
        for n, files in enumerate([{"a": b"1", "b": b"22"}, {"b": b"22", "a": b"1"}, {"a": b"1", "b": b"333"}])
    )

    assert first == again
    assert first["a"] == other["a"]
    assert first["b"] != other["b"]


@pytest.mark.parametrize("name", ["twice.zip", "twice.tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_with_one_name_the_last_counts(tmp_path, name):
    path = tmp_path / name
    for data in (b"old", b"newer"):
        if name == "twice.zip":
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("k", data)
        else:
            with tarfile.open(path, "a") as archive:
                archive.addfile(tar_info("k", len(data)), io.BytesIO(data))

    assert content(open_storage(str(path))) == {"k": b"newer"}


def test_a_hard_link_in_a_tar_file_is_the_file_that_it_names(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tar_info("a", 5), io.BytesIO(b"bytes"))
        archive.addfile(tar_info("b", type=tarfile.LNKTYPE, linkname="a"))

    assert content(place(tmp_path, "a.tar", buffer.getvalue())) == {"a": b"bytes", "b": b"bytes"}


def test_an_old_tar_file_marks_a_folder_by_a_slash(tmp_path, caplog):
    data = tar_header(name=b"old/", kind=b"\0") + tar_header(name=b"old/k", kind=b"\0") + bytes(1024)

    assert content(place(tmp_path, "a.tar", data)) == {"old/k": b""}
    assert not caplog.records


def test_a_tar_folder_takes_no_data_and_a_pax_size_wins(tmp_path):
    folder = tar_header(name=b"d", kind=b"5", size=b"00000001000\0")
    pax = tar_header(kind=b"x", size=b"00000000011\0") + b"9 size=5\n".ljust(512, b"\0")
    data = folder + pax + tar_header(name=b"k") + b"bytes".ljust(512, b"\0") + bytes(1024)

    assert content(place(tmp_path, "a.tar", data)) == {"k": b"bytes"}


def test_what_a_gnu_sparse_file_says_of_its_holes_is_stepped_over(tmp_path):
    more = bytearray(tar_header(name=b"sparse", kind=b"S", size=b"00000000005\0"))
    more[482] = 1
    more[148:156] = b"%06o\0 " % (sum(more) - sum(more[148:156]) + 8 * 32)
    holes = bytes(more) + bytes(512) + b"bytes".ljust(512, b"\0")

    assert content(place(tmp_path, "a.tar", holes + tar_header(name=b"k") + bytes(1024))) == {"k": b""}


def test_times_in_a_gnu_header_are_no_part_of_its_name(tmp_path):
    block = bytearray(tar_header(name=b"k"))
    block[257:265], block[345:357] = b"ustar  \0", b"14000000000\0"
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)

    assert content(place(tmp_path, "a.tar", bytes(block) + bytes(1024))) == {"k": b""}


def test_a_link_that_takes_the_place_of_a_file_hides_it(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tar_info("k", 5), io.BytesIO(b"bytes"))
        archive.addfile(tar_info("k", type=tarfile.SYMTYPE, linkname="/etc/passwd"))

    assert content(place(tmp_path, "a.tar", buffer.getvalue())) == {}


def test_of_the_numbers_of_a_zip_member_only_one_may_be_wide(tmp_path):
    data = zip_file({"k": bytes(1000)})
    entry, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    wide = bytearray(data[:end] + struct.pack("<2HQ", 1, 8, 1000) + data[end:])
    struct.pack_into("<L", wide, entry + 24, 0xFFFFFFFF)
    struct.pack_into("<H", wide, entry + 30, 12)
    struct.pack_into("<L", wide, end + 12 + 12, end - entry + 12)

    assert content(place(tmp_path, "a.zip", bytes(wide))) == {"k": bytes(1000)}


def test_an_archive_in_an_archive_is_a_file_like_any_other(tmp_path):
    inner = zip_file({"100.hea": b"header"})

    assert content(place(tmp_path, "outer.zip", zip_file({"inner.zip": inner}))) == {"inner.zip": inner}


@pytest.mark.parametrize("counts_from", ["the file's beginning", "its own beginning"])
def test_a_zip_file_may_have_wide_numbers_a_comment_and_a_program_before_it(tmp_path, monkeypatch, counts_from):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 500)  # so some numbers of a member are wide and others are not
    program = b"#!program" * 99
    buffer = io.BytesIO(program if counts_from == "the file's beginning" else b"")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"comment " * 1000
        for key in ("a", "b", "c"):
            archive.writestr(key, key * 1000)
    data = buffer.getvalue() if buffer.getvalue().startswith(program) else program + buffer.getvalue()

    assert b"PK\6\6" in data
    assert content(place(tmp_path, "a.zip", data)) == {key: key.encode() * 1000 for key in ("a", "b", "c")}


def test_a_member_may_have_a_longer_header_than_its_entry_in_the_directory(tmp_path):
    data = zip_file({"k": b"bytes" * 999}, zipfile.ZIP_STORED)
    extra = struct.pack("<2H", 0x7777, 5000) + bytes(5000)
    end = data.index(b"PK\5\6")
    (begins,) = struct.unpack_from("<L", data, end + 16)
    longer = bytearray(data[:31] + extra + data[31:])  # behind the fixed header and the name of one letter
    struct.pack_into("<H", longer, 28, len(extra))
    struct.pack_into("<L", longer, end + len(extra) + 16, begins + len(extra))

    assert content(place(tmp_path, "a.zip", bytes(longer))) == {"k": b"bytes" * 999}


def test_the_directory_of_a_zip_file_may_be_longer_than_its_tail(tmp_path):
    files = {f"{n}{'x' * 200}": b"%d" % n for n in range(600)}

    assert content(place(tmp_path, "a.zip", zip_file(files))) == files


def test_an_empty_archive_holds_nothing(tmp_path):
    for name, pack in PACKERS.items():
        assert content(place(tmp_path, name, pack({}))) == {}


def test_what_a_mac_adds_is_no_file_of_the_archive(tmp_path):
    files = {"a.hea": b"1", "__MACOSX/._a.hea": b"resource fork"}

    assert content(place(tmp_path, "a.zip", zip_file(files))) == {"a.hea": b"1"}


def test_a_bucket_may_be_called_like_an_archive_file():
    assert packed.is_packed("s3://bucket/ecg.zip")
    assert not packed.is_packed("s3://ecg.2026.zip")


def test_a_folder_may_be_called_like_an_archive_file(tmp_path):
    folder = open_storage(str(tmp_path / "ecg.zip"))
    Path(folder.url).mkdir()

    folder.put_new("k", b"bytes")

    assert content(folder) == {"k": b"bytes"}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_replaced_is_read_anew_at_once(tmp_path, name):
    archive = place(tmp_path, name, PACKERS[name]({"a": b"old" * 1000, "b": b"old"}))
    assert archive.fetch("a") == b"old" * 1000

    place(tmp_path, name, PACKERS[name]({"0": b"new", "a": b"newer" * 1000}))

    assert [found.key for found in archive.list()] == ["0", "a"]
    assert archive.fetch("a") == b"newer" * 1000


@pytest.mark.parametrize("name", ["deflated.ZIP", "pax.tar"])
def test_a_process_that_did_not_list_the_new_file_notices_that_the_old_member_is_gone(tmp_path, name):
    archive = place(tmp_path, name, PACKERS[name]({"a": b"old" * 1000}))
    assert archive.fetch("a") == b"old" * 1000

    place(tmp_path, name, PACKERS[name]({"0": b"moves the others", "a": b"newer" * 1000}))

    assert archive.fetch("a") == b"newer" * 1000


def test_even_a_process_that_unpacked_the_old_file_reads_the_new_one_after_a_while(tmp_path, monkeypatch):
    archive = place(tmp_path, "a.tgz", tar_file({"a": b"old"}, "w:gz"))
    assert archive.fetch("a") == b"old"

    place(tmp_path, "a.tgz", tar_file({"a": b"newer"}, "w:gz"))
    monkeypatch.setattr(packed, "_FRESH_S", 0.0)

    assert archive.fetch("a") == b"newer"


def test_a_process_keeps_few_indexes(tmp_path):
    for n in range(10):
        assert content(place(tmp_path, f"{n}.tgz", tar_file({f"{n}": b""}, "w:gz"))) == {f"{n}": b""}

    assert len(packed._indexes) <= 4


# ---------------------------------------------------------------- only read


def test_nothing_is_written_into_an_archive_file(tmp_path):
    archive = place(tmp_path, "a.zip", zip_file({"k": b"1"}))
    before = Path(archive.url).read_bytes()

    for write in (
        lambda: archive.put_new("n", b""),
        lambda: archive.put_all_new({"n": b""}),
        lambda: archive.replace("k", b""),
        lambda: archive.delete("k"),
        lambda: archive.delete_all(["k"]),
        archive.make_root,
        archive.require_create_only,
    ):
        with pytest.raises(StorageError, match=r"a\.zip is an archive file and is only read"):
            write()
    assert Path(archive.url).read_bytes() == before


def test_an_archive_file_that_is_not_there_does_not_exist(tmp_path):
    archive = open_storage(str(tmp_path / "a.zip"))

    assert not archive.exists()
    for read in (lambda: list(archive.list()), lambda: archive.fetch("k")):
        with pytest.raises(StorageError, match=r"a\.zip: the archive file is no longer there"):
            read()
    with pytest.raises(NotFoundError, match="does not exist"):
        drive(CONVERT, ConvertConfig(archive=archive.url, root=str(tmp_path / "root")), map)


def test_a_member_that_is_not_there_is_no_such_file(tmp_path):
    for name in KINDS:
        with pytest.raises(FileNotFoundError):
            place(tmp_path, name, PACKERS[name]({"a/b": b""})).fetch("a")


def test_a_gzipped_tar_leaves_no_file_behind_even_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    assert content(place(tmp_path, "a.tgz", tar_file({"k": b"bytes"}, "w:gz"))) == {"k": b"bytes"}
    assert list(Path(tmp_path / "tmp").iterdir()) == []


def test_a_gzipped_tar_that_the_disk_cannot_hold_is_told_with_the_way_out(tmp_path):
    archive = place(tmp_path, "a.tgz", tar_file({"k": os.urandom(3 << 20)}, "w:gz"))
    read = "import sys; from cardioclarity.storage import open_storage; list(open_storage(sys.argv[1]).list())"

    done = subprocess.run(
        [sys.executable, "-c", read, archive.url],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )

    assert "StorageError" in done.stderr
    assert "cannot be unpacked into" in done.stderr
    assert "set TMPDIR" in done.stderr


# ---------------------------------------------------------------- passed over


def with_flag(data, key, flag):
    """Set a flag of a zip member in its own header and in the directory."""
    changed = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        changed[archive.getinfo(key).header_offset + 6] |= flag
    changed[data.index(b"PK\1\2") + 8] |= flag
    return bytes(changed)


def zip_info(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def test_what_is_no_plain_file_in_a_zip_is_passed_over_with_one_warning(tmp_path, caplog):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("secret", b"x")
        archive.writestr(zip_info("link", 0o120777), "/etc/passwd")
        archive.writestr(zip_info("pipe", 0o010644), b"")
        archive.writestr(zip_info("folder/", 0o040755), b"")
        for name in ("/etc/passwd", "../up", "a/../../up", "..", "C:/x", "C:\\x", "a/.."):
            archive.writestr(name, b"outside")
        archive.writestr("back\\slash", b"x")
        archive.writestr("good", b"good")
    archive = place(tmp_path, "a.zip", with_flag(buffer.getvalue(), "secret", 1))

    assert content(archive) == {"good": b"good"}
    caplog.clear()
    list(archive.list())
    passed_over = [record.getMessage() for record in caplog.records if "passed over: " in record.getMessage()]
    counts = "1 encrypted, 1 links, 7 named as places outside of the archive, 1 no regular files"
    assert passed_over == [f"{archive.name}: 10 files in it were passed over: {counts}"]
    for key in ("secret", "link", "pipe"):
        with pytest.raises(FileNotFoundError):
            archive.fetch(key)


def test_what_is_no_plain_file_in_a_tar_is_passed_over_with_one_warning(tmp_path, caplog):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tar_info("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
        archive.addfile(tar_info("hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"))
        archive.addfile(tar_info("device", type=tarfile.CHRTYPE))
        archive.addfile(tar_info("pipe", type=tarfile.FIFOTYPE))
        archive.addfile(tar_info("folder", type=tarfile.DIRTYPE))
        sparse = tar_info("sparse", 3, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        archive.addfile(sparse, io.BytesIO(b"map"))
        for name in ("/etc/passwd", "../up", "a/../../up"):
            archive.addfile(tar_info(name))
        archive.addfile(tar_info("good", 4), io.BytesIO(b"good"))
    archive = place(tmp_path, "a.tar", buffer.getvalue())

    assert content(archive) == {"good": b"good"}
    assert "8 files in it were passed over: 2 links, 3 named as places" in caplog.text
    assert "2 no regular files, 1 sparse files" in caplog.text


# ---------------------------------------------------------------- damaged


def outcome(storage):
    """Read all that is listed: bytes, or that this member or the whole file is damaged. Anything else is a defect."""
    try:
        sizes = {listed.key: listed.size for listed in storage.list()}
    except StorageError:
        return None
    found = {}
    for key, size in sizes.items():
        try:
            found[key] = storage.fetch(key)
            assert len(found[key]) == size
        except (DataError, StorageError) as error:
            found[key] = type(error)
    return found


GOOD = {"a.hea": b"header", "p/b.dat": bytes(range(256)) * 8, "p/c.dat": b"c" * 700}


@pytest.mark.parametrize("name", PACKERS)
@given(part=st.floats(0, 1, exclude_max=True))
@FEW
def test_a_file_that_is_cut_short_gives_nothing_or_all_of_it(tmp_path_factory, name, part):
    whole = PACKERS[name](GOOD)

    found = outcome(place(tmp_path_factory.mktemp("cut"), name, whole[: int(part * len(whole))]))

    assert found in (None, GOOD)  # what follows the end mark of a tar file is padding


@given(part=st.floats(0, 1, exclude_min=True, exclude_max=True))
@FEW
def test_a_zip_file_without_its_beginning_gives_nothing(tmp_path_factory, part):
    whole = zip_file(GOOD)

    assert outcome(place(tmp_path_factory.mktemp("cut"), "a.zip", whole[max(1, int(part * len(whole))) :])) is None


@pytest.mark.parametrize("name", ["stored.zip", "deflated.ZIP", "packed.tgz"])
@given(place_=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(FEW, max_examples=200)
def test_a_flipped_bit_never_gives_wrong_bytes(tmp_path_factory, name, place_, bit):
    changed = bytearray(PACKERS[name](GOOD))
    changed[int(place_ * len(changed))] ^= 1 << bit

    found = outcome(place(tmp_path_factory.mktemp("flip"), name, bytes(changed))) or {}

    assert {key: data for key, data in found.items() if isinstance(data, bytes)}.items() <= GOOD.items()


@given(place_=st.integers(0, 511), bit=st.integers(0, 7), n=st.integers(0, 1))
@FEW
def test_a_flipped_bit_in_a_tar_header_gives_nothing(tmp_path_factory, place_, bit, n):
    changed = bytearray(tar_file({"a": b"first", "b": b"second"}))
    changed[n * 1024 + place_] ^= 1 << bit

    assert outcome(place(tmp_path_factory.mktemp("flip"), "a.tar", bytes(changed))) is None


def test_a_zip_directory_with_a_damaged_entry_gives_nothing(tmp_path):
    assert outcome(place(tmp_path, "a.zip", zip_file(GOOD).replace(b"PK\1\2", b"PK\0\0"))) is None


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@given(data=st.binary(max_size=3000))
@FEW
def test_a_file_that_is_no_archive_is_told_so(tmp_path_factory, name, data):
    assume(any(data[:512]))
    archive = place(tmp_path_factory.mktemp("noise"), name, data)

    with pytest.raises(StorageError, match="cannot be read as an archive: it is no "):
        list(archive.list())


def tar_header(name=b"x", size=b"00000000000\0", kind=b"0", mtime=b"00000000000\0"):
    block = bytearray(512)
    block[: len(name)], block[124:136], block[136:148], block[156:157] = name, size, mtime, kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "data",
    [
        tar_header(size=b"\xff" * 12),
        tar_header(size=b"\x80" + b"\xff" * 11),
        tar_header(size=b"77777777777\0"),
        tar_header(size=b"-0000000512\0"),
        tar_header(kind=b"x", size=b"00000000005\0") + b"9 a=b".ljust(512, b"\0"),
        tar_header(kind=b"x", size=b"00000000005\0") + b"0 a=b".ljust(512, b"\0"),
        tar_header(kind=b"L", size=b"00010000000\0") + bytes(1 << 22),
        tar_header(kind=b"S") + b"\1" * 512,
        tar_header() + b"damaged".ljust(512, b"\0"),
        tar_header(kind=b"x") * 2000,
        tar_header(kind=b"g", size=b"\x80" + b"\xff" * 11),
        tar_header(kind=b"x", size=b"00000000014\0") + b"6 a=b\n0 a=b\n".ljust(512, b"\0"),
    ],
    ids=["negative", "endless", "huge", "signed", "long", "short", "none", "sparse", "second", "chain", "all", "still"],
)
def test_a_hostile_tar_header_ends_the_scan(tmp_path, data):
    for name, packed_ in (("a.tar", data), ("a.tgz", gzip.compress(data))):
        with pytest.raises(StorageError, match="cannot be read as an archive"):
            list(place(tmp_path, name, packed_).list())


def test_a_lying_zip_directory_costs_no_more_than_it_says(tmp_path):
    data = bytearray(zip_file({"bomb": bytes(50 << 20)}))
    entry = data.index(b"PK\1\2")
    packed_size, _ = struct.unpack_from("<2L", data, entry + 20)
    struct.pack_into("<L", data, entry + 24, 100)

    tracemalloc.start()
    with pytest.raises(DataError, match="does not match its size"):
        place(tmp_path, "a.zip", bytes(data)).fetch("bomb")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert packed_size < 100_000
    assert peak < 4 << 20


# ---------------------------------------------------------------- caps


def test_a_member_that_unpacks_to_far_more_than_its_size_is_refused_and_the_others_are_read(tmp_path):
    archive = place(tmp_path, "a.zip", zip_file({"bomb": bytes(20 << 20), "good": b"good"}))

    assert archive.fetch("good") == b"good"
    with pytest.raises(LimitExceededError, match="'xxxx' unpacks from") as caught:
        archive.fetch("bomb")
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("method", "refused", "said"),
    [(8, LimitExceededError, "would unpack to 10, which is not read"), (0, UnreadableFileError, "another size")],
)
def test_a_member_that_is_packed_into_far_more_than_its_size_is_refused_before_it_is_read(
    tmp_path, method, refused, said
):
    size, body, name = 50 << 20, b"x" * 10, b"a.dat"
    fields = (0, 0, zlib.crc32(body), size, len(body), len(name), 0)
    header = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, method, *fields) + name
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, method, *fields, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(header) + size, 0)
    archive = place(tmp_path, "a.zip", header + body.ljust(size, b"\0") + entry + end)

    tracemalloc.start()
    with pytest.raises(refused, match=said):
        archive.fetch("a.dat")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_what_cannot_be_made_smaller_is_read(tmp_path, method, size):
    data = random.Random(1).randbytes(size)

    assert place(tmp_path, "a.zip", zip_file({"k": data}, method)).fetch("k") == data


def test_a_gzipped_tar_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    with pytest.raises(StorageError, match="unpacks to more than"):
        list(place(tmp_path, "a.tgz", tar_file({"bomb": bytes(20 << 20)}, "w:gz")).list())


@pytest.mark.parametrize("name", KINDS)
def test_too_many_members_or_bytes_are_refused(tmp_path, monkeypatch, name):
    archive = place(tmp_path, name, PACKERS[name]({f"{n}": b"ten bytes." for n in range(20)}))
    caps = [(packed, "ENTRIES"), (packed, "TOTAL_BYTES"), (packed, "NAMES_BYTES")]
    for module, cap in [*caps, (zipped, "_DIRECTORY_BYTES")] if name.endswith("ZIP") else caps:
        with monkeypatch.context() as patch:
            patch.setattr(packed, "_indexes", type(packed._indexes)())
            patch.setattr(module, cap, 19)
            with pytest.raises(StorageError, match="unpack it into a folder"):
                list(archive.list())

    assert len(content(archive)) == 20


def test_folders_and_headers_of_headers_count_too(tmp_path, monkeypatch):
    monkeypatch.setattr(zipped, "ENTRIES", 10)
    monkeypatch.setattr(tarred, "_HEADERS", 10)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for n in range(20):
            archive.addfile(tar_info(f"{n}", type=tarfile.DIRTYPE))

    for name, data in (("a.zip", zip_file({f"{n}/": b"" for n in range(20)})), ("a.tar", buffer.getvalue())):
        with pytest.raises(StorageError, match=f"more than {members.ENTRIES}|more than 10"):
            list(place(tmp_path, name, data).list())


def test_a_compression_that_is_not_read_sets_aside_its_member_alone(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("other", b"x" * 99, zipfile.ZIP_BZIP2)
        archive.writestr("good", b"good")
    archive = place(tmp_path, "a.zip", buffer.getvalue())

    with pytest.raises(UnsupportedFileError, match=r"method 12.*pack the archive again") as caught:
        archive.fetch("other")
    assert caught.value.reason is Reason.UNSUPPORTED_COMPRESSION
    assert archive.fetch("good") == b"good"


# ---------------------------------------------------------------- convert


def convert(archive, root):
    return drive(CONVERT, ConvertConfig(archive=archive, root=str(root)), map)


def record_ids(root):
    return sorted(deltalake.DeltaTable(f"{root}/tables/records").to_pyarrow_table()["record_id"].to_pylist())


@pytest.fixture(scope="module")
def ecgs():
    scenes = [Scene(name=f"p{n}/{n}", seed=n, duration_s=20.0, rate_hz=360.0) for n in range(3)]
    return {key: data for scene in scenes for key, data in wfdb_files(ecg(scene), MIT).items()}


@pytest.fixture(scope="module")
def known_ids(ecgs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    archive = open_storage(str(folder / "archive"))
    for key, data in ecgs.items():
        archive.put_new(key, data)
    assert convert(archive.url, folder / "root").done == 3
    return record_ids(folder / "root")


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_file_converts_to_the_records_of_the_folder(tmp_path, ecgs, known_ids, name):
    archive = place(tmp_path, name, PACKERS[name](ecgs))

    first, second = convert(archive.url, tmp_path / "root"), convert(archive.url, tmp_path / "root")

    assert (first.done, first.quarantined) == (3, 0)
    assert record_ids(tmp_path / "root") == known_ids
    assert (second.done, second.already_done) == (0, 3)


def test_a_damaged_member_sets_aside_its_record_and_no_other(tmp_path, ecgs, known_ids):
    data = bytearray(zip_file(ecgs, zipfile.ZIP_STORED))
    data[data.index(ecgs["p1/1.dat"]) + 1000] ^= 1

    summary = convert(place(tmp_path, "a.zip", bytes(data)).url, tmp_path / "root")

    quarantine = deltalake.DeltaTable(str(tmp_path / "root/tables/quarantine")).to_pyarrow_table().to_pylist()
    assert (summary.done, summary.quarantined) == (2, 1)
    assert [(row["source_key"], row["reason"]) for row in quarantine] == [("p1/1.hea", "checksum_mismatch")]
    assert len(record_ids(tmp_path / "root")) == 2
    assert set(record_ids(tmp_path / "root")) < set(known_ids)


# ---------------------------------------------------------------- from a bucket


@pytest.fixture(params=["s3fs", "obstore"])
def bucket(request, s3, monkeypatch):
    """An empty prefix of a real S3 server, through each of the two clients."""
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", request.param)
    return open_storage(s3)


@pytest.mark.service
@pytest.mark.parametrize("name", KINDS)
def test_an_archive_file_in_a_bucket_is_read_as_one_on_disk(bucket, name):
    bucket.put_new(name, PACKERS[name](GOOD))
    bucket.put_new(f"{name}.later", b"sorts behind it")
    archive = open_storage(bucket.join(name))

    assert archive.exists()
    assert content(archive) == GOOD
    assert [found.modified for found in archive.list()] == [next(bucket.list()).modified] * 3
    assert not open_storage(bucket.join(f"absent-{name}")).exists()


@pytest.mark.service
@pytest.mark.parametrize("name", ["deflated.ZIP", "packed.tgz"])
def test_an_archive_file_in_a_bucket_converts_to_the_records_of_the_folder(s3, tmp_path, ecgs, known_ids, name):
    open_storage(s3).put_new(name, PACKERS[name](ecgs))

    assert convert(f"{s3}/{name}", tmp_path / "root").done == 3
    assert record_ids(tmp_path / "root") == known_ids


@pytest.mark.service
@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_member_costs_one_request_and_the_index_two(seaweed, bucket, monkeypatch, name):
    files = {f"{n:03}": os.urandom(5000) for n in range(50)}
    bucket.put_new(name, zip_file(files) if name == "a.zip" else tar_file(files))
    monkeypatch.setattr(packed, "_FRESH_S", 1000.0)
    with faulty(seaweed.endpoint, share=0.0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        archive = open_storage(bucket.join(name))

        assert content(archive) == files
        assert len(proxy.seen) == 2 + len(files)  # the listing of the file, its directory, its members


@pytest.mark.service
def test_a_bit_that_flips_on_the_way_is_noticed_and_the_member_asked_for_again(seaweed, bucket, monkeypatch):
    bucket.put_new("a.zip", zip_file({"a": bytes(100_000)}, zipfile.ZIP_STORED))
    with faulty(seaweed.endpoint, share=0.0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        archive = open_storage(bucket.join("a.zip"))
        assert [found.key for found in archive.list()] == ["a"]
        before = len(proxy.seen)
        proxy.faults = Faults(script=lambda request: Kind.FLIPPED if request.number == before else None)

        assert archive.fetch("a") == bytes(100_000)
        assert proxy.counts == {Kind.FLIPPED: 1}


@pytest.mark.service
def test_an_archive_file_that_is_removed_meanwhile_is_told_so(bucket):
    bucket.put_new("a.zip", zip_file(GOOD))
    archive = open_storage(bucket.join("a.zip"))
    assert len(list(archive.list())) == 3

    bucket.delete("a.zip")

    with pytest.raises(StorageError, match="the archive file is no longer there"):
        archive.fetch("a.hea")
