"""Zip files: the central directory at the end, then one ranged read per member.

Format: PKWARE APPNOTE.TXT 6.3. Parsed here, since the standard library wants a file to seek in and makes an object of
each entry of a hostile directory before a cap can hold.
"""

import struct
import zlib
from collections.abc import Iterator
from stat import S_IFMT, S_ISLNK, S_ISREG
from typing import Final

from cardioclarity.errors import UnsupportedFileError, shape
from cardioclarity.storage.members import ENTRIES, BrokenArchiveError, Member, Read, Skip
from cardioclarity.vocabulary import Reason

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR_WIDE: Final = struct.Struct("<4sLQL")
_END_WIDE: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_HEADER: Final = struct.Struct("<4s5H3L2H")

_TAIL_BYTES: Final = _END_WIDE.size + _LOCATOR_WIDE.size + _END.size + 0xFFFF
"""All that can stand behind the directory, with the longest comment."""

_DIRECTORY_BYTES: Final = 64 << 20
_SLACK_BYTES: Final = 512
"""A member's own header may have longer extra fields than its entry in the directory; with this it is still one read."""

_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNIX: Final = 3
_STORED, _DEFLATED = 0, 8
_WIDE: Final = 0xFFFFFFFF
"""Stands for a number that is in the extra field, with 64 bits."""


def index(read: Read, size: int) -> Iterator[Member]:
    """Yield the members of a zip file in the order of its directory, folders left out.

    Args:
        read: Reads the file.
        size: Its bytes.

    Raises:
        BrokenArchiveError: It is no zip file, is cut short, or has more members than allowed.
    """
    directory, offset = _directory(read, size)
    at = n = 0
    while at < len(directory):
        if n == ENTRIES:
            raise BrokenArchiveError.too_large(f"it holds more than {ENTRIES} files")
        n += 1
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\1\2":
            raise BrokenArchiveError.damaged(f"entry {n} of its directory is damaged")
        fields = _ENTRY.unpack_from(directory, at)
        n_name, n_extra, n_comment = fields[10:13]
        at += _ENTRY.size
        name, extra = directory[at : at + n_name], directory[at + n_name : at + n_name + n_extra]
        at += n_name + n_extra + n_comment
        if not name.endswith(b"/"):
            yield _member(fields, name, extra, offset)


def _directory(read: Read, size: int) -> tuple[bytes, int]:
    """Read the directory; also tells how many bytes stand before the zip file proper, as in a program that unpacks itself."""
    tail_start = max(0, size - _TAIL_BYTES)
    tail = read(tail_start, size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise BrokenArchiveError.damaged("it is no zip file, or its end is missing")
    *_, length, begins, _ = _END.unpack_from(tail, at)
    wide = at - _LOCATOR_WIDE.size
    if wide >= _END_WIDE.size and tail[wide : wide + 4] == b"PK\6\7":
        at = wide - _END_WIDE.size
        if tail[at : at + 4] != b"PK\6\6":
            raise BrokenArchiveError.damaged("its end record is damaged")
        *_, length, begins = _END_WIDE.unpack_from(tail, at)
    stop = tail_start + at
    start = stop - length
    if start < begins:
        raise BrokenArchiveError.damaged("its beginning is missing")
    if length > _DIRECTORY_BYTES:
        raise BrokenArchiveError.too_large(f"its directory has {length} bytes, above {_DIRECTORY_BYTES}")
    return tail[start - tail_start : at] if start >= tail_start else read(start, stop), start - begins


def _member(fields: tuple[int, ...], name: bytes, extra: bytes, offset: int) -> Member:
    flags, method, crc, mode = fields[3], fields[4], fields[7], fields[15] >> 16
    packed, size, start = _numbers(fields, extra)
    skip = None
    if flags & _ENCRYPTED:
        skip = Skip.ENCRYPTED
    elif fields[1] >> 8 == _UNIX and S_IFMT(mode) and not S_ISREG(mode):
        skip = Skip.LINK if S_ISLNK(mode) else Skip.SPECIAL
    return Member(
        name=_decoded(name, flags),
        size=size,
        packed=packed,
        version=f"{crc:08x}-{size}",
        start=start + offset,
        header=_HEADER.size + len(name) + len(extra),
        crc=crc,
        method=method,
        skip=skip,
    )


def _decoded(name: bytes, flags: int) -> str:
    """Read a name; where none is said to be UTF-8, Unix tools write it all the same, and old DOS ones code page 437."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")


def _numbers(fields: tuple[int, ...], extra: bytes) -> tuple[int, int, int]:
    """Give packed size, size and start; what does not fit 32 bits stands in the extra field, in this order: size first."""
    packed, size, start = fields[8], fields[9], fields[16]
    if _WIDE not in {packed, size, start}:
        return packed, size, start
    at = 0
    while len(extra) - at >= 4:
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            size, packed, start = (next(numbers, n) if n == _WIDE else n for n in (size, packed, start))
            return packed, size, start
        at += 4 + length
    return packed, size, start


def fetch(read: Read, member: Member) -> bytes:
    """Read and unpack one member.

    Raises:
        LimitExceededError: It is too large, or packed too well or too badly to be sound.
        UnsupportedFileError: It is compressed in another way than deflated.
        UnreadableFileError: Its bytes are damaged.
    """
    if member.method == _STORED and member.packed != member.size:
        raise member.damaged("it is not compressed and yet has another size in the archive")
    member.check_size()
    if member.method not in {_STORED, _DEFLATED}:
        raise UnsupportedFileError.because(
            Reason.UNSUPPORTED_COMPRESSION,
            f"{shape(member.name)!r} is compressed by zip's method {member.method}, and only stored (0) and deflated (8) "
            "members are read; pack the archive again",
        )
    data = read(member.start, member.start + member.header + _SLACK_BYTES + member.packed)
    if len(data) < _HEADER.size or data[:4] != b"PK\3\4":
        raise member.damaged("its header is not where the directory says")
    fields = _HEADER.unpack_from(data)
    n_name, n_extra = fields[-2:]
    begins = _HEADER.size + n_name + n_extra
    if _decoded(data[_HEADER.size :][:n_name], fields[2]) != member.name:
        raise member.damaged("its header has another name than the directory")
    packed = data[begins : begins + member.packed]
    if len(packed) < member.packed and begins > member.header + _SLACK_BYTES:
        packed = read(member.start + begins, member.start + begins + member.packed)
    data = packed if member.method == _STORED else _inflate(packed, member)
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise member.damaged("it does not match its size and CRC-32")
    return data


def _inflate(packed: bytes, member: Member) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
    except zlib.error:
        raise member.damaged("it cannot be unpacked") from None
