"""From the listing of an archive to the ECG records in it, and from a name inside a file to a key."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from cardioclarity.errors import UnreadableFileError, shape
from cardioclarity.readers.protocol import Listed, Source
from cardioclarity.vocabulary import Reason

RECORD_SUFFIXES: Final = {"hea": "wfdb"}
"""Suffix of the file that names a record → format. The match is exact, as WFDB names are case-sensitive."""

NO_SUFFIX: Final = "none"
OTHER_SUFFIX: Final = "other"

_SUFFIX: Final = re.compile(r"[a-z][a-z0-9]{0,7}")
_KEY_PART: Final = re.compile(r"[A-Za-z0-9._~+-]{1,128}")


@dataclass(frozen=True, slots=True)
class Census:
    """What else lies in an archive, so that nothing is passed over in silence.

    Attributes:
        ignored: Number of files that belong to no record, by suffix in lower case; `OTHER_SUFFIX` stands for suffixes
            that are no short word, `NO_SUFFIX` for none.
    """

    ignored: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:  # type: ignore[explicit-override]  # typing.override is 3.12
        """List the counts, the largest first."""
        counts = sorted(self.ignored.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{n} x {suffix}" for suffix, n in counts) or "no other file"


def group(listing: Iterable[Listed], census: Census | None = None) -> Iterator[Source]:
    """Group the files of an archive into ECG records.

    The files of a record share folder and stem, the name up to its last dot: ``x.hea``, ``x.dat``, ``x.atr``. Such
    files need not be neighbours in the listing (``x.dat``, ``x.v2.hea``, ``x.hea``; ``x.d/1.hea`` too lies between
    ``x.atr`` and ``x.hea``), but everything below one stem is one range of it, and two ranges nest or are apart. So a
    stack of open stems is enough: memory grows with the depth of the nesting, not with the archive. Only records that
    lie inside another record's range behind its header wait until that range ends.

    Args:
        listing: Objects sorted by key in UTF-8 byte order, each key once.
        census: Gets the files that belong to no record; complete once the iterator is exhausted.

    Yields:
        One `Source` per record, sorted by key in UTF-8 byte order.

    Raises:
        AssertionError: The listing is not sorted.
    """
    opened: list[_Stem] = []
    ignored = (census or Census()).ignored
    previous = ""
    for listed in listing:
        # Code points sort as their UTF-8 bytes do.
        assert previous < listed.key, "the listing of an archive must be sorted by key"
        previous = listed.key
        while opened and not listed.key.startswith(opened[-1].prefix):
            yield from _close(opened, ignored)
        folder, slash, name = listed.key.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            ignored[_counted(suffix) if dot else NO_SUFFIX] += 1
            continue
        prefix = f"{folder}{slash}{stem}."
        if not opened or opened[-1].prefix != prefix:
            opened.append(_Stem(prefix=prefix))
        opened[-1].add(listed, suffix)
    while opened:
        yield from _close(opened, ignored)


def safe_key(reference: str, *, header_key: str) -> str:
    """Turn a file name found inside a file into a key beside that file: never upward, never a path or URL.

    Args:
        reference: The name as found, such as ``100.dat`` or ``p01/100.dat``.
        header_key: Key of the file that holds the name.

    Returns:
        The key, in the folder of `header_key` or below.

    Raises:
        UnreadableFileError: With reason `BAD_KEY`: an empty part, ``.``, ``..``, a backslash, a drive, a scheme, or
            any character but letters, digits and ``._~+-``.
    """
    for part in reference.split("/"):
        if _KEY_PART.fullmatch(part) is None or part in {".", ".."}:
            raise UnreadableFileError.because(
                Reason.BAD_KEY,
                f"the header names a file {shape(reference)!r}, which is no plain name in its own folder; "
                "nothing was fetched and the record is set aside",
            )
    folder, slash, _ = header_key.rpartition("/")
    return f"{folder}{slash}{reference}"


@dataclass(slots=True, kw_only=True)
class _Stem:
    """The files of one stem while its range of the listing passes by."""

    prefix: str
    source_key: str | None = None
    source_format: str = ""
    size: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    suffixes: Counter[str] = field(default_factory=Counter)
    waiting: list[Source] = field(default_factory=list)

    def add(self, listed: Listed, suffix: str) -> None:
        """Take in one file."""
        self.size += listed.size
        self.digest.update(f"{listed.key}\0{listed.size}\0{listed.version}\n".encode())
        self.suffixes[_counted(suffix)] += 1
        if suffix in RECORD_SUFFIXES:
            self.source_key, self.source_format = listed.key, RECORD_SUFFIXES[suffix]

    def sources(self, key: str) -> list[Source]:
        """Name the record and those that waited for it, sorted by key."""
        version = self.digest.hexdigest()[:16]
        own = Source(format=self.source_format, key=key, version=version, size=self.size)
        return [own, *self.waiting]


def _close(opened: list[_Stem], ignored: Counter[str]) -> Iterator[Source]:
    """End the innermost range: its records go out, or wait for the record around them that sorts before them."""
    stem = opened.pop()
    if stem.source_key is None:
        ignored.update(stem.suffixes)
        return
    sources = stem.sources(stem.source_key)
    around = next((outer for outer in reversed(opened) if outer.source_key is not None), None)
    if around is None:
        yield from sources
    else:
        around.waiting.extend(sources)


def _counted(suffix: str) -> str:
    """Fold suffixes that are no short word, which keeps the census small and patients' names out of it."""
    return suffix.lower() if _SUFFIX.fullmatch(suffix.lower()) else OTHER_SUFFIX
