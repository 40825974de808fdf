"""The limit of segments: the same samples through the same codec into durable files, and nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numcodecs.blosc
import numpy as np

from cardioclarity.record import Record
from cardioclarity.segments import layout

_SIZE_BYTES = 4


def write(groups: Sequence[Sequence[Record]], folder: Path) -> None:
    """Encode each record in tiles, with checksums, one durable file per group: no format, no index, no metadata."""
    codec = _codec()
    for number, records in enumerate(groups):
        with Path(folder, str(number)).open("wb") as file:
            for record in records:
                for start in range(0, record.n_samples, layout.TILE_SAMPLES):
                    tile = np.ascontiguousarray(record.signal[:, start : start + layout.TILE_SAMPLES])
                    encoded = codec.encode(tile)
                    file.write(len(encoded).to_bytes(_SIZE_BYTES, "little"))
                    file.write(encoded)
                    file.write(google_crc32c.value(encoded).to_bytes(_SIZE_BYTES, "little"))
            file.flush()
            os.fsync(file.fileno())


def read(folder: Path) -> None:
    """Decode the files and check their checksums."""
    codec = _codec()
    for path in folder.iterdir():
        data, at = memoryview(path.read_bytes()), 0
        while at < len(data):
            start = at + _SIZE_BYTES
            stop = start + int.from_bytes(data[at:start], "little")
            at = stop + _SIZE_BYTES
            assert google_crc32c.value(bytes(data[start:stop])) == int.from_bytes(data[stop:at], "little")
            codec.decode(data[start:stop])


def _codec() -> numcodecs.blosc.Blosc:
    return numcodecs.blosc.Blosc("zstd", clevel=3, shuffle=numcodecs.blosc.BITSHUFFLE)
