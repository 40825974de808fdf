"""What a segment looks like: groups, chunks and shards, names, attributes, manifest."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import groupby
from typing import Final, NamedTuple, Self

import numpy as np

from cardioclarity.errors import CardioClarityError, DamageError
from cardioclarity.record import Record
from cardioclarity.vocabulary import DERIVED_LEADS

FORMAT_VERSION: Final = 1
ENCODING: Final = "sharding, blosc zstd 3 bitshuffle, crc32c"
INTENDED_USE: Final = "Research use only, not for diagnostic use"

TILE_SAMPLES: Final = 2**17
"""Samples per chunk of a long record: a power of two, so that windows of any rate align; 0.5 MB for two leads."""
CHUNK_BYTES: Final = 2**20
"""A chunk of short records is at most so large; below 64 kB blosc splits its blocks too small (0.62 for 0.51)."""
SHARD_BYTES: Final = 2**27
"""A shard is at most so large before compression: the writer holds one, raw and encoded."""
LONGEST_SHARE: Final = (9, 10)
"""Each record of a group is at least so long as this share of the longest: padding is 10 % at most."""

FOLDER: Final = "segments/"
_KEY: Final = re.compile(rf"{FOLDER}([0-9a-f]{{32}})(?:\.json|\.zarr/.+)")

SIGNAL: Final = "signal"
ANNOTATIONS: Final = ("annotation_record", "annotation_sample", "annotation_symbol", "annotation_aux")

DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "signal": {
        "long_name": "ECG, digital samples as in the source",
        "units": "1",
        "millivolts": "(signal - baseline) / gain",
    },
    "gain": {"long_name": "ADC units per millivolt", "units": "1/mV"},
    "baseline": {"long_name": "ADC value at 0 mV", "units": "1"},
    "n_samples": {"long_name": "number of valid samples; the rest of the row is padding", "units": "1"},
    "record_id": {"long_name": "content id of the record"},
    "lead": {"long_name": "ECG lead"},
    "annotation_record": {"long_name": "index of the annotated record", "units": "1"},
    "annotation_sample": {"long_name": "index of the annotated sample", "units": "1"},
    "annotation_symbol": {"long_name": "MIT annotation symbol"},
    "annotation_aux": {"long_name": "rhythm word of the annotation, or empty"},
}
"""Variable → its attributes, as far as they are the same in every segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """What the catalog needs to know of a segment.

    Attributes:
        segment_id: Its name.
        digest: sha256 of its manifest, hexadecimal; with it, every byte of the segment is vouched for.
        record_ids: In the order of the rows.
        n_bytes: Stored bytes of all its objects, the manifest included.
    """

    segment_id: str
    digest: str
    record_ids: tuple[str, ...]
    n_bytes: int


class Stored(NamedTuple):
    """Size in bytes and sha256, hexadecimal, of one object."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Measure an object."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The list of a segment's objects, written last.

    Attributes:
        segment_id: Whose list it is.
        record_ids: In the order of the rows.
        objects: Key, relative to the root → size and sha256.
        format_version: Of the segment's layout.
    """

    segment_id: str
    record_ids: tuple[str, ...]
    objects: Mapping[str, Stored]
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Encode; equal manifests give equal bytes."""
        fields = {
            "format_version": self.format_version,
            "segment_id": self.segment_id,
            "record_ids": self.record_ids,
            "objects": self.objects,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode.

        Raises:
            DamageError: The bytes are no manifest.
            CardioClarityError: A newer version of this program wrote it.
        """
        try:
            fields = json.loads(data)
            format_version = int(fields["format_version"])
            if format_version > FORMAT_VERSION:
                raise CardioClarityError(
                    f"segment format {format_version} was written by a newer version of CardioClarity; this one reads "
                    f"up to {FORMAT_VERSION}: update it"
                )
            return cls(
                segment_id=str(fields["segment_id"]),
                record_ids=tuple(map(str, fields["record_ids"])),
                objects={key: Stored(int(size), str(sha256)) for key, (size, sha256) in fields["objects"].items()},
                format_version=format_version,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamageError(f"the bytes are no segment manifest ({type(error).__name__})") from error


def manifest_key(segment_id: str) -> str:
    """Name the manifest of a segment, relative to the root."""
    return f"{FOLDER}{segment_id}.json"


def folder_key(segment_id: str) -> str:
    """Name the Zarr group of a segment, relative to the root."""
    return f"{FOLDER}{segment_id}.zarr"


def segment_of(key: str) -> str | None:
    """Name the segment that an object belongs to, by its key alone; None for an object of somebody else's."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


@cache
def producer() -> str:
    """Name the programs whose versions decide the bytes of a segment."""
    return ", ".join(f"{name} {version(name)}" for name in ("cardioclarity", "zarr", "numcodecs"))


def segment_id(records: Sequence[Record]) -> str:
    """Name a segment by all that decides its bytes, so that equal names mean equal objects.

    A record's own id covers rate and samples. What it leaves out is added here: the leads computed from others, dtype,
    gain, baseline, annotations. Else a first attempt that never came into the catalog, with an annotation since
    corrected, would stand in the way of the second for ever.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(f"cardioclarity segment {FORMAT_VERSION}|{ENCODING}|{producer()}".encode())
    for record in records:
        annotations = record.annotations
        texts = (record.record_id, record.leads, record.signal.dtype.name, annotations.symbol, annotations.aux)
        digest.update(json.dumps([*texts, record.n_samples, len(annotations.sample)]).encode())
        digest.update(np.ascontiguousarray(annotations.sample, "<i8").data)
        for array in (record.gain, record.baseline):
            digest.update(np.ascontiguousarray(array, "<f8").data)
        for lead, row in zip(record.leads, record.signal, strict=True):
            if lead in DERIVED_LEADS:
                digest.update(np.ascontiguousarray(row).data)
    return digest.hexdigest()[:32]


def group(records: Iterable[Record]) -> list[list[Record]]:
    """Sort records into groups that may share a segment: same rate, leads and dtype, padding of 10 % at most.

    Returns:
        Groups in a fixed order, each in the order of the record ids, whatever the order of the input.
    """

    def kind(record: Record) -> tuple[float, tuple[str, ...], str]:
        return record.rate_hz, record.leads, record.signal.dtype.name

    groups: list[list[Record]] = []
    share, whole = LONGEST_SHARE
    for _, alike in groupby(sorted(records, key=lambda r: (kind(r), -r.n_samples, r.record_id)), key=kind):
        longest = -1
        for record in alike:
            if longest < 0 or record.n_samples * whole < longest * share:
                groups.append([])
                longest = record.n_samples
            groups[-1].append(record)
    return [sorted(members, key=lambda r: r.record_id) for members in groups]


class Tiling(NamedTuple):
    """Shapes over (record, lead, sample) of the chunks and of the shards; a shard is whole chunks."""

    chunk: tuple[int, int, int]
    shard: tuple[int, int, int]


def tiling(*, n_records: int, n_leads: int, n_samples: int, itemsize: int) -> Tiling:
    """Choose chunks that decode fast and shards that make few objects.

    Args:
        n_records: Rows of the segment.
        n_leads: Leads of each.
        n_samples: Samples of the longest.
        itemsize: Bytes per sample.

    Returns:
        Chunks of 2^17 samples of one long record, or of as many whole short records as make a megabyte; shards of as
        many chunks as make 128 MiB. Numbers are evened out, so that the last chunk and shard are hardly smaller than
        the others: what they lack is encoded as padding.
    """
    sample_bytes = n_leads * itemsize
    if n_samples > TILE_SAMPLES:
        rows, tile = 1, TILE_SAMPLES
    else:
        rows, tile = _even(n_records, CHUNK_BYTES // (max(n_samples, 1) * sample_bytes)), max(n_samples, 1)
    chunk_bytes = rows * tile * sample_bytes
    along_time = _even(-(-max(n_samples, 1) // tile), SHARD_BYTES // chunk_bytes)
    along_records = _even(-(-n_records // rows), SHARD_BYTES // (chunk_bytes * along_time))
    return Tiling((rows, n_leads, tile), (along_records * rows, n_leads, along_time * tile))


def _even(total: int, most: int) -> int:
    """Divide a total into the fewest parts of at most `most` (but at least 1); returns the size of the larger part."""
    return -(-total // -(-total // max(most, 1)))
