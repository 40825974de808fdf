"""Records → one immutable Zarr segment, create-only, its manifest last."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import google_crc32c
import numpy as np
import zarr
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from cardioclarity.record import Record, Samples
from cardioclarity.segments import layout
from cardioclarity.segments.layout import Manifest, SegmentRef, Stored
from cardioclarity.storage import Storage

_BATCH_BYTES: Final = 2**25
_CHECKSUM_BYTES: Final = 4
_SMALL: Final[tuple[BytesBytesCodec, ...]] = (ZstdCodec(level=3), Crc32cCodec())
_WRITE_ALL: Final[ArrayConfigParams] = {"write_empty_chunks": True}
"""Zarr leaves out chunks that hold nothing but the fill value; here a missing object always means a lost one."""


def write(records: Sequence[Record], root: Storage) -> SegmentRef:
    """Write one group of records as one segment.

    It is encoded in memory, a shard at a time, and leaves in batches; each is durable before the next is made, and the
    manifest comes last. So a crash leaves objects without a manifest, which nobody sees, and whatever the catalog will
    name is on the disk. Writing the same records again changes nothing.

    Args:
        records: In the order of the rows; same rate, leads and dtype (see `layout.group`).
        root: Where the deployment lives.

    Returns:
        What the catalog needs to know.

    Raises:
        ConflictError: Other bytes stand under one of the keys: damage, since the segment's name covers its content.
        StorageError: An object could not be written.
    """
    _check(records)
    segment_id = layout.segment_id(records)
    objects: dict[str, Stored] = {}
    for batch in _batches(_encode(records), folder=layout.folder_key(segment_id)):
        root.put_all_new(batch)
        objects |= {key: Stored.of(data) for key, data in batch.items()}
    record_ids = tuple(record.record_id for record in records)
    data = Manifest(segment_id=segment_id, record_ids=record_ids, objects=objects).to_bytes()
    root.put_new(layout.manifest_key(segment_id), data)
    stored = Stored.of(data)
    n_bytes = stored.size + sum(size for size, _ in objects.values())
    return SegmentRef(segment_id=segment_id, digest=stored.sha256, record_ids=record_ids, n_bytes=n_bytes)


def _check(records: Sequence[Record]) -> None:
    assert records, "a segment needs a record"
    kinds = {(record.rate_hz, record.leads, record.signal.dtype) for record in records}
    assert len(kinds) == 1, f"one segment, one kind of record: {sorted(map(str, kinds))}"
    assert len({record.record_id for record in records}) == len(records), "a record stands once in a segment"


def _batches(objects: Iterable[tuple[str, bytes]], *, folder: str) -> Iterator[dict[str, bytes]]:
    """Gather objects, key → bytes, to go out together, which costs a store little more than one."""
    batch: dict[str, bytes] = {}
    for name, data in objects:
        batch[f"{folder}/{name}"] = data
        if sum(map(len, batch.values())) >= _BATCH_BYTES:
            yield batch
            batch = {}
    if batch:
        yield batch


def _encode(records: Sequence[Record]) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of a segment, name in the group and bytes: the small ones, then shard by shard."""
    held: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(held), zarr_format=3, attributes=_attributes(records[0]))
    for name, (dimensions, values) in _columns(records).items():
        _add_column(group, name, values, dimensions=dimensions)
    signal = _add_signal(group, records)
    yield from ((name, data.to_bytes()) for name, data in held.items())
    yield from _shards(signal, records)


def _attributes(record: Record) -> dict[str, Any]:
    return {
        "rate_hz": float(record.rate_hz),
        "format_version": layout.FORMAT_VERSION,
        "encoding": layout.ENCODING,
        "producer": layout.producer(),
        "intended_use": layout.INTENDED_USE,
    }


def _columns(records: Sequence[Record]) -> Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """Lay out everything but the signal: variable → dimensions and values."""
    columns: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        "gain": (("record", "lead"), np.array([record.gain for record in records], np.float64)),
        "baseline": (("record", "lead"), np.array([record.baseline for record in records], np.float64)),
        "n_samples": (("record",), np.array([record.n_samples for record in records], np.int64)),
        "record_id": (("record",), _texts(record.record_id for record in records)),
        "lead": (("lead",), _texts(records[0].leads)),
    }
    counts = [len(record.annotations.sample) for record in records]
    if any(counts):
        values = (
            np.repeat(np.arange(len(records), dtype=np.int64), counts),
            np.concatenate([record.annotations.sample for record in records]).astype(np.int64),
            _texts(chain.from_iterable(record.annotations.symbol for record in records)),
            _texts(chain.from_iterable(record.annotations.aux for record in records)),
        )
        columns |= {name: (("annotation",), column) for name, column in zip(layout.ANNOTATIONS, values, strict=True)}
    return columns


def _texts(values: Iterable[str]) -> NDArray[np.object_]:
    return np.fromiter(values, dtype=object)


def _add_column(group: zarr.Group, name: str, values: NDArray[Any], *, dimensions: tuple[str, ...]) -> None:
    """Write a small variable as one chunk."""
    array = group.create_array(
        name,
        shape=values.shape,
        dtype="string" if values.dtype == object else values.dtype,
        chunks=values.shape,
        compressors=_SMALL,
        dimension_names=dimensions,
        attributes=dict(layout.DESCRIPTIONS[name]),
        config=_WRITE_ALL,
    )
    array[...] = values


def _add_signal(group: zarr.Group, records: Sequence[Record]) -> zarr.Array[Any]:
    """Make the empty signal."""
    dtype = records[0].signal.dtype
    shape = (len(records), len(records[0].leads), max(record.n_samples for record in records))
    tiling = layout.tiling(n_records=shape[0], n_leads=shape[1], n_samples=shape[2], itemsize=dtype.itemsize)
    missing = int(np.iinfo(dtype).min)
    compressor = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=dtype.itemsize)
    return group.create_array(
        layout.SIGNAL,
        shape=shape,
        dtype=dtype,
        chunks=tiling.chunk,
        shards=tiling.shard,
        compressors=(compressor, Crc32cCodec()),
        fill_value=missing,
        dimension_names=("record", "lead", "sample"),
        # Readers mask by the attribute; in Zarr v3 the fill value alone is no mask.
        attributes={**layout.DESCRIPTIONS[layout.SIGNAL], "_FillValue": missing},
        config=_WRITE_ALL,
    )


def _shards(signal: zarr.Array[Any], records: Sequence[Record]) -> Iterator[tuple[str, bytes]]:
    """Encode the signal shard by shard: name in the group, bytes."""
    assert signal.shards is not None
    n_records, _, n_samples = signal.shape
    rows, _, samples = signal.shards
    codec = Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)
    for first in range(0, n_records, rows):
        for start in range(0, n_samples, samples):
            key = signal.metadata.encode_chunk_key((first // rows, 0, start // samples))
            grid = _chunks(records[first : first + rows], signal, slice(start, min(start + samples, n_samples)))
            yield (
                f"{layout.SIGNAL}/{key}",
                _shard(grid, codec, shape=(rows // signal.chunks[0], samples // signal.chunks[2])),
            )


def _chunks(
    records: Sequence[Record], signal: zarr.Array[Any], samples: slice
) -> Iterator[tuple[tuple[int, int], Samples]]:
    """Cut a shard into chunks: position in the shard (record, time), samples padded to the shape of a chunk."""
    rows, _, tile = signal.chunks
    for row, first in enumerate(range(0, len(records), rows)):
        for column, start in enumerate(range(samples.start, samples.stop, tile)):
            chunk: Samples = np.full(signal.chunks, signal.fill_value, signal.dtype)
            for padded, record in zip(chunk, records[first : first + rows], strict=False):
                piece = record.signal[:, start : start + tile]
                padded[:, : piece.shape[1]] = piece
            yield (row, column), chunk


def _shard(chunks: Iterable[tuple[tuple[int, int], Samples]], codec: Blosc, *, shape: tuple[int, int]) -> bytes:
    """Join chunks as Zarr's sharding codec does: each with its checksum, then the index of offsets and lengths.

    zarr-python would do the same, but copies each shard twice: 1.3 times the bare codec's time, against 1.05 here.

    Source: Zarr v3, codec sharding_indexed 1.0; positions outside of the array stay empty there: all bits set.
    """
    index = np.full((*shape, 2), np.iinfo(np.uint64).max, "<u8")
    pieces, offset = [], 0
    for position, chunk in chunks:
        piece = codec.encode(chunk)
        pieces += [piece, _checksum(piece)]
        index[position] = offset, len(piece) + _CHECKSUM_BYTES
        offset += len(piece) + _CHECKSUM_BYTES
    table = index.tobytes()
    return b"".join([*pieces, table, _checksum(table)])


def _checksum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CHECKSUM_BYTES, "little")
