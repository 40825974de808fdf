"""What a reader is: one call from the bytes of a source to a Record; and the caps that hold for all formats."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cardioclarity.record import Record

Fetch = Callable[[str], bytes]
"""The only way in: key in the archive → bytes; raises FileNotFoundError where the key does not exist."""


class Listed(Protocol):
    """One object of a listing."""

    @property
    def key(self) -> str:
        """Key relative to the archive, parts joined by `/`."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def version(self) -> str:
        """Changes whenever the object does: an ETag, or a modification time in nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files of one ECG record in an archive, known from the listing alone.

    Attributes:
        format: Name in the registry of readers.
        key: The key that names the record, for WFDB its header.
        version: Short hash of key, size and version of all files that share the record's name.
        size: Bytes of those files together.
    """

    format: str
    key: str
    version: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps that hold before anything is allocated.

    Attributes:
        file_bytes: Largest file.
        header_bytes: Largest text header.
        line_bytes: Longest line of a text header.
        signals: Most signals in a file.
        ecg_leads: Most ECG leads kept.
        rate_min_hz: Lowest sampling rate.
        rate_max_hz: Highest sampling rate.
        gain_min: Smallest absolute gain, ADC units per millivolt.
        gain_max: Largest absolute gain.
    """

    file_bytes: int = 2 << 30
    header_bytes: int = 1 << 20
    line_bytes: int = 4096
    signals: int = 256
    ecg_leads: int = 32
    rate_min_hz: float = 10.0
    rate_max_hz: float = 20_000.0
    gain_min: float = 1e-6
    gain_max: float = 1e9


class Reader(Protocol):
    """Reads one record of one format."""

    def __call__(self, source: Source, fetch: Fetch, limits: Limits, /) -> Record:
        """Read the record.

        Raises:
            DataError: The bytes cannot be read; nothing else is raised for bad data.
        """
