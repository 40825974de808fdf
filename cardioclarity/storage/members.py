"""What zip and tar have in common: members, ranged reads, caps, and why a member is passed over."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from cardioclarity.errors import LimitExceededError, UnreadableFileError, shape
from cardioclarity.vocabulary import Reason

Read = Callable[[int, int], bytes]
"""Reads bytes [start, stop) of the archive file; fewer where it ends."""

ENTRIES: Final = 100_000
"""Most members of an archive: their index stands in the memory of each worker."""

TOTAL_BYTES: Final = 64 << 30
"""Most bytes that an archive may unpack to."""

NAMES_BYTES: Final = 64 << 20
"""Most characters that the names of all members have together."""

MEMBER_BYTES: Final = 2 << 30
"""Largest member, since it is handed out whole."""

RATIO: Final = 100
RATIO_FREE_BYTES: Final = 1 << 20
"""Beyond its first MiB nothing may unpack to more than a hundred times its packed size."""

_GROWN_FREE_BYTES: Final = 1 << 20
"""Deflating what cannot be made smaller adds five bytes in 16 KiB at most; whatever is above that is no packed file."""


class Skip(StrEnum):
    """Why a member is passed over."""

    ENCRYPTED = "encrypted"
    LINK = "links"
    SPECIAL = "no regular files"
    SPARSE = "sparse files"
    OUTSIDE = "named as places outside of the archive"


class BrokenArchiveError(Exception):
    """The archive file as a whole cannot be used; says what is wrong with it and what to do."""

    @classmethod
    def damaged(cls, what: str) -> Self:
        """Say what to do about a file that is cut short or damaged."""
        return cls(f"{what}; copy the file again, or unpack it into a folder and give that")

    @classmethod
    def too_large(cls, what: str) -> Self:
        """Say what to do about a file that is above a cap."""
        return cls(f"{what}; unpack it into a folder and give that")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file in an archive.

    Attributes:
        name: As it stands in the archive.
        size: Bytes when unpacked.
        packed: Bytes in the archive.
        version: Changes when the member does.
        start: Where its own header begins in the archive file.
        header: Bytes of that header; in a zip file about.
        crc: CRC-32 of the unpacked bytes in a zip file, of the header in a tar file.
        method: How it is compressed; 0 is not at all.
        skip: Why it is passed over.
    """

    name: str
    size: int
    packed: int
    version: str
    start: int
    header: int
    crc: int
    method: int = 0
    skip: Skip | None = None

    def check_size(self) -> None:
        """Refuse to read or unpack what is above the caps.

        Raises:
            LimitExceededError: It is.
        """
        if self.size > MEMBER_BYTES or self.size > most_unpacked(self.packed):
            raise LimitExceededError(
                f"{shape(self.name)!r} unpacks from {self.packed} to {self.size} bytes; at most {MEMBER_BYTES} bytes and "
                f"{RATIO} times its packed size are read: unpack the archive into a folder if that is sound"
            )
        if self.packed > self.size + self.size // 1000 + _GROWN_FREE_BYTES:
            raise LimitExceededError(
                f"{shape(self.name)!r} takes {self.packed} bytes in the archive file and would unpack to {self.size}, "
                "which is not read: pack the archive again if that is sound"
            )

    def damaged(self, what: str) -> UnreadableFileError:
        """Say that this member, and no other, cannot be read."""
        message = f"{shape(self.name)!r} is damaged in the archive file: {what}; the record is set aside"
        return UnreadableFileError.because(Reason.CHECKSUM_MISMATCH, message)


def most_unpacked(packed: int) -> int:
    """Give the most bytes that so many packed ones may become."""
    return RATIO_FREE_BYTES + RATIO * packed


def pread(descriptor: int, start: int, stop: int) -> bytes:
    """Read bytes [start, stop) of an open file, fewer where it ends; threads may do so at once."""
    parts = []
    while start < stop and (part := os.pread(descriptor, stop - start, start)):  # one call gives less than 2 GiB
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
