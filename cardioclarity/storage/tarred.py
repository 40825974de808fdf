"""Tar files: one scan of the headers, then one ranged read per member; a gzipped one is unpacked first.

Formats: POSIX.1-2001 (ustar, pax) and GNU's long names. Parsed here, forward only, since each step through a hostile file
must be bounded: some versions of the standard library follow negative sizes for ever and recurse along chains of headers.
"""

import gzip
import io
import os
import re
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cardioclarity.storage.members import (
    ENTRIES,
    TOTAL_BYTES,
    BrokenArchiveError,
    Member,
    Read,
    Skip,
    most_unpacked,
    pread,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK: Final = 512
_AHEAD_BYTES: Final = 1 << 20
"""Read at once while scanning: over a network as long as a round trip takes."""

_HEADERS: Final = 4 * ENTRIES
"""A member may have headers of its own for a long name, a long link and pax records."""

_LONG_BYTES: Final = 1 << 20
_VERSION_CHARS: Final = 32
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_DECIMAL: Final = re.compile(r"\d{1,18}")
_PAX_RECORD: Final = re.compile(rb"(\d{1,8}) ([^=\n]*)=")

_SKIPS: Final = {
    b"1": Skip.LINK,
    b"2": Skip.LINK,
    b"3": Skip.SPECIAL,
    b"4": Skip.SPECIAL,
    b"6": Skip.SPECIAL,
    b"S": Skip.SPARSE,
}
_REGULAR: Final = {b"0", b"\0", b"7"}
_HARD_LINK, _FOLDER, _SPARSE = b"1", b"5", b"S"
_WITHOUT_DATA: Final = {b"1", b"2", b"3", b"4", b"5", b"6"}
"""Whatever size their header names."""

_PAX: Final = {b"x", b"X"}
_LONG: Final = {b"L": "path", b"K": "linkpath"}
_OF_ALL: Final = b"g"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """A member's header block, with what the headers before it say of the same member."""

    block: bytes
    start: int
    size: int
    pax: dict[str, str]

    @property
    def kind(self) -> bytes:
        return self.block[156:157]

    @property
    def name(self) -> str:
        """Give the name; one from a header of its own wins over the short one."""
        name = _text(self.block[:100])
        if self.block[257:263] == b"ustar\0" and self.block[345]:
            name = f"{_text(self.block[345:500])}/{name}"
        return self.pax.get("path") or name

    @property
    def link(self) -> str:
        return self.pax.get("linkpath") or _text(self.block[157:257])

    def member(self) -> Member:
        is_sparse = any(key.startswith("GNU.sparse.") for key in self.pax)
        skip = Skip.SPARSE if is_sparse else _SKIPS.get(self.kind)
        return Member(
            name=self.name,
            size=self.size,
            packed=self.size,
            version=f"{self.pax.get('mtime', '')[:_VERSION_CHARS] or self.block[136:148].hex()}-{self.size}",
            start=self.start,
            header=_BLOCK,
            crc=zlib.crc32(self.block),
            skip=skip or (None if self.kind in _REGULAR else Skip.SPECIAL),
        )


def index(read: Read, size: int) -> Iterator[Member]:
    """Yield the members of a tar file in its order, folders left out; a hard link is the member that it names.

    Args:
        read: Reads the file.
        size: Its bytes.

    Raises:
        BrokenArchiveError: It is no tar file, is cut short, or has more headers than allowed.
    """
    known: dict[str, Member] = {}
    for header in _headers(_Window(read), size):
        member = header.member()
        if header.kind == _HARD_LINK and (target := known.get(header.link)) is not None:
            member = replace(target, name=member.name)
        if header.kind != _FOLDER and not member.name.endswith("/"):  # so old writers mark a folder
            known[member.name] = member
            yield member


def _headers(read: Read, size: int) -> Iterator[_Header]:
    """Go from header to header, at least one block forward with each."""
    at, pax = 0, dict[str, str]()
    for n in range(_HEADERS):
        block = read(at, at + _BLOCK)
        if len(block) < _BLOCK:
            raise BrokenArchiveError.damaged("it ends without the mark of its end" if n else "it is no tar file")
        if not any(block):
            return
        _check(block, n)
        start, at, kind = at, at + _BLOCK, block[156:157]
        is_own = kind not in {*_PAX, *_LONG, _OF_ALL}
        length = 0 if kind in _WITHOUT_DATA else _number(block[124:136], n)
        if is_own and _DECIMAL.fullmatch(wanted := pax.get("size", "")):
            length = int(wanted)
        if kind == _SPARSE:
            at = _behind_sparse_map(read, at, block[482])
        data, at = at, at + -(-length // _BLOCK) * _BLOCK
        if data + length > size:  # no step leads to where no file can be read
            raise BrokenArchiveError.damaged("its end is missing")
        if is_own:
            yield _Header(block=block, start=start, size=length, pax=pax)
            pax = {}
        elif kind != _OF_ALL:
            if length > _LONG_BYTES:
                raise BrokenArchiveError.damaged(f"header {n} has {length} bytes, above {_LONG_BYTES}")
            content = read(data, data + length)
            pax |= _records(content, n) if kind in _PAX else {_LONG[kind]: _text(content)}
    raise BrokenArchiveError.too_large(f"it holds more than {ENTRIES} files")


def _behind_sparse_map(read: Read, at: int, more: int) -> int:
    """Step over the blocks in which a GNU sparse file goes on to name its holes."""
    while more:
        block = read(at, at + _BLOCK)
        if len(block) < _BLOCK:
            raise BrokenArchiveError.damaged("its end is missing")
        at, more = at + _BLOCK, block[504]
    return at


def _check(block: bytes, n: int) -> None:
    """Compare a header with its checksum, a sum of its bytes in which the checksum itself counts as spaces."""
    if _number(block[148:156], n) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise BrokenArchiveError.damaged(f"header {n} is damaged" if n else "it is no tar file")


def _number(field: bytes, n: int) -> int:
    """Read a number in octal digits, or in binary where the first bit is set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise BrokenArchiveError.damaged(f"header {n} is damaged" if n else "it is no tar file")
    return int(match[1] or b"0", 8)


def _records(content: bytes, n: int) -> dict[str, str]:
    """Read pax records: length, key and value in each."""
    records, at = {}, 0
    while at < len(content):
        match = _PAX_RECORD.match(content, at)
        stop = at + int(match[1]) if match else 0
        if match is None or stop <= match.end() or content[stop - 1 : stop] != b"\n":
            raise BrokenArchiveError.damaged(f"header {n} is damaged")
        records[match[2].decode("utf-8", "replace")] = _text(content[match.end() : stop - 1])
        at = stop
    return records


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


class _Window:
    """Reads ahead, since headers of small members lie close together."""

    def __init__(self, read: Read) -> None:
        self.read, self.start, self.bytes = read, 0, b""

    def __call__(self, start: int, stop: int) -> bytes:
        if not self.start <= start <= stop <= self.start + len(self.bytes):
            self.start, self.bytes = start, self.read(start, max(stop, start + _AHEAD_BYTES))
        return self.bytes[start - self.start : stop - self.start]


def fetch(read: Read, member: Member) -> bytes:
    """Read one member.

    Raises:
        LimitExceededError: It is too large.
        UnreadableFileError: Its header is not the one that the index was made from.
    """
    member.check_size()
    data = read(member.start, member.start + member.header + member.size)
    if len(data) < member.header + member.size or zlib.crc32(data[: member.header]) != member.crc:
        raise member.damaged("its header is not where it was")
    return data[member.header :]


class Unpacked:
    """The tar file in a gzipped one, in a temporary file without a name: gone with this object or with the process."""

    def __init__(self, read: Read, size: int) -> None:
        """Unpack it.

        Raises:
            BrokenArchiveError: It is damaged, unpacks to more than allowed, or does not fit the disk.
        """
        self.size = 0
        with tempfile.TemporaryFile(buffering=0) as file:
            for part in _inflated(read, size):
                try:
                    file.write(part)
                except OSError as error:
                    raise BrokenArchiveError(
                        f"it cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}; free some space there, or "
                        "set TMPDIR to a folder on a larger disk"
                    ) from error
                self.size += len(part)
            self.descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) of it."""
        return pread(self.descriptor, start, stop)


def _inflated(read: Read, size: int) -> Iterator[bytes]:
    packed = _Stream(read)
    n_bytes = 0
    with gzip.GzipFile(fileobj=io.BufferedReader(packed, _AHEAD_BYTES)) as stream:
        while True:
            try:
                part = stream.read(_AHEAD_BYTES)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                what = "it is no gzip file" if not n_bytes else "it cannot be unpacked to its end"
                raise BrokenArchiveError.damaged(what) from None
            if not part:
                return
            n_bytes += len(part)
            if n_bytes > min(TOTAL_BYTES, most_unpacked(min(packed.at, size))):
                raise BrokenArchiveError.too_large(f"it unpacks to more than {n_bytes} bytes, which is not read")
            yield part


class _Stream(io.RawIOBase):
    """The archive file as a stream, for the standard library."""

    def __init__(self, read: Read) -> None:
        self._read, self.at = read, 0

    def readable(self) -> bool:  # type: ignore[explicit-override]  # typing.override is 3.12
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:  # type: ignore[explicit-override]  # typing.override is 3.12
        view = memoryview(buffer)
        part = self._read(self.at, self.at + len(view))
        view[: len(part)] = part
        self.at += len(part)
        return len(part)
