"""Readers of ECG files: found by name, imported when first used."""

from importlib import import_module
from typing import Final

from cardioclarity.errors import UnsupportedFileError
from cardioclarity.readers.protocol import Fetch, Limits, Reader, Source
from cardioclarity.record import Record
from cardioclarity.vocabulary import Reason

REGISTRY: Final = {"wfdb": "cardioclarity.readers.wfdb:read"}
"""Format, as in `Source.format` → "module:function" of its reader."""

_DEFAULT_LIMITS: Final = Limits()


def reader(name: str) -> Reader:
    """Import the reader of a format.

    Raises:
        UnsupportedFileError: No reader has this name.
    """
    if name not in REGISTRY:
        known = ", ".join(sorted(REGISTRY))
        message = f"there is no reader for the format {name!r}, only for: {known}; the record is set aside"
        raise UnsupportedFileError.because(Reason.UNKNOWN_FORMAT, message)
    module, _, function = REGISTRY[name].partition(":")
    found: Reader = getattr(import_module(module), function)
    return found


def read(
    source: Source,
    fetch: Fetch,
    limits: Limits = _DEFAULT_LIMITS,
) -> Record:
    """Read one ECG record of any registered format.

    Args:
        source: Which record, from `archive.group`.
        fetch: The only way to bytes.
        limits: Caps that hold before anything is allocated.

    Returns:
        The record.

    Raises:
        DataError: The bytes cannot be read, for whatever reason; nothing else is raised for bad data.
    """
    return reader(source.format)(source, fetch, limits)
