"""Small ECG archives as dictionaries: one maker per format in the registry of readers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardioclarity.readers import wfdb_annotations, wfdb_signal
from cardioclarity.readers.archive import group
from cardioclarity.readers.protocol import Fetch, Source
from cardioclarity.record import Annotations


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int = 1
    version: str = "1"


def listing(files: dict[str, bytes]) -> list[Listed]:
    return [Listed(key, len(data)) for key, data in sorted(files.items())]


def sources(files: dict[str, bytes]) -> list[Source]:
    return list(group(listing(files)))


def fetch_from(files: dict[str, bytes]) -> Fetch:
    def fetch(key: str) -> bytes:
        if key not in files:
            raise FileNotFoundError(key)
        return files[key]

    return fetch


def checksum(row: NDArray[np.int16]) -> int:
    return int(row.sum(dtype=np.int64)) % 65536


def wfdb_header(
    signal: NDArray[np.int16],
    *,
    name: str = "p1",
    wfdb_format: int = 212,
    leads: tuple[str, ...] = ("MLII", "V1"),
    rate: str = "360",
    gain: str = "200(1024)/mV",
    n_samples: str | None = None,
    comments: str = "",
) -> bytes:
    """Write the header of a group file; (lead, sample) signal as stored."""
    count = str(signal.shape[1]) if n_samples is None else n_samples
    lines = [f"{name} {len(signal)} {rate} {count}"]
    lines += [
        f"{name}.dat {wfdb_format} {gain} 12 0 {row[0]} {checksum(row)} 0 {lead}"
        for row, lead in zip(signal, leads, strict=True)
    ]
    return ("\n".join(lines) + "\n" + comments).encode()


def ramp(n_leads: int = 2, n_samples: int = 25) -> NDArray[np.int16]:
    """Make samples that differ everywhere: a lead, a sample or a sign that is mixed up shows."""
    return (np.arange(n_leads * n_samples, dtype=np.int16).reshape(n_leads, n_samples) * 37) % 4001 - 2000


def wfdb_record(folder: str = "", signal: NDArray[np.int16] | None = None, **header: object) -> dict[str, bytes]:
    """Write a WFDB record with two annotations."""
    signal = ramp() if signal is None else signal
    name, wfdb_format = str(header.get("name", "p1")), int(str(header.get("wfdb_format", 212)))
    marks = Annotations(sample=np.array([3, 20]), symbol=("+", "N"), aux=("(AFIB", ""))
    return {
        f"{folder}{name}.hea": wfdb_header(signal, **header),  # type: ignore[arg-type]  # keywords of the header
        f"{folder}{name}.dat": wfdb_signal.encode(signal, wfdb_format),
        f"{folder}{name}.atr": wfdb_annotations.encode(marks),
    }


SAMPLES: dict[str, Callable[[], dict[str, bytes]]] = {"wfdb": wfdb_record}
"""Format → maker of an archive with one record; `test_reader_laws` fails for a format without one."""
