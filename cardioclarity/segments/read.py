"""A segment → Records, every byte checked against the manifest; or an xarray Dataset."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, cpu
from zarr.storage import MemoryStore

from cardioclarity.errors import DamageError, NotFoundError
from cardioclarity.record import Annotations, Record, Samples
from cardioclarity.segments import layout
from cardioclarity.segments.layout import Manifest, Stored
from cardioclarity.storage import Storage


def manifest(root: Storage, segment_id: str, *, digest: str) -> Manifest:
    """Fetch the manifest of a segment and check it.

    Args:
        root: Where the deployment lives.
        segment_id: Which segment.
        digest: sha256 of the manifest, from the catalog.

    Raises:
        DamageError: It is missing or not the one that the catalog means.
        CardioClarityError: A newer version of this program wrote it.
    """
    key = layout.manifest_key(segment_id)
    data = _fetch(root, segment_id, key)
    if Stored.of(data).sha256 != digest:
        raise DamageError(f"segment {segment_id}: {key} is not the manifest that the catalog names; {_mend(root)}")
    found = Manifest.from_bytes(data)
    if found.segment_id != segment_id:
        raise DamageError(f"segment {segment_id}: {key} is the manifest of {found.segment_id}; {_mend(root)}")
    return found


def read(
    root: Storage, segment_id: str, *, digest: str, only: Collection[str] | None = None
) -> Iterator[tuple[int, Record]]:
    """Read records exactly as they were written, one shard in memory at a time.

    Every object that is used is fetched whole and compared with the manifest, since Zarr reads a lost shard as missing
    samples and cannot tell one shard from another.

    Args:
        root: Where the deployment lives.
        segment_id: Which segment.
        digest: sha256 of its manifest, from the catalog.
        only: Ids of the records to read; all where None. Shards that hold none of them are not fetched.

    Yields:
        Row in the segment and record, in the order of the rows.

    Raises:
        DamageError: An object is missing or differs from the manifest.
        CardioClarityError: A newer version of this program wrote the segment.
    """
    found = manifest(root, segment_id, digest=digest)
    rows = [row for row, record_id in enumerate(found.record_ids) if only is None or record_id in only]
    held: dict[str, Buffer] = {}
    shards = f"{layout.folder_key(segment_id)}/{layout.SIGNAL}/c/"
    _hold(held, root, found, (key for key in found.objects if not key.startswith(shards)))
    group = zarr.open_group(MemoryStore(held, read_only=True), mode="r", zarr_format=3)
    header = Header.of(group)
    signal = array(group, layout.SIGNAL)
    rows_per_shard, rows_per_chunk = (signal.shards or signal.chunks)[0], signal.chunks[0]
    for shard, in_shard in groupby(rows, key=lambda row: row // rows_per_shard):
        names = shard_names(signal, shard)
        _hold(held, root, found, (f"{layout.folder_key(segment_id)}/{name}" for name in names))
        for _, in_chunk in groupby(in_shard, key=lambda row: row // rows_per_chunk):
            yield from header.records(signal, list(in_chunk))
        for name in names:
            del held[name]


def open_dataset(root: Storage, segment_id: str) -> xr.Dataset:
    """Open a segment lazily for a notebook; a missing sample is NaN. Its bytes are not checked against the manifest.

    Raises:
        NotFoundError: There is no such segment.
    """
    try:
        root.fetch(layout.manifest_key(segment_id))
    except FileNotFoundError:
        raise NotFoundError(
            f"{root.name} has no segment {segment_id}; the table records names those there are"
        ) from None
    url = root.join(layout.folder_key(segment_id))
    # Without consolidated=False xarray looks for metadata that Zarr v3 does not define, and warns.
    dataset: xr.Dataset = xr.open_zarr(
        url, consolidated=False, chunks=None, storage_options=root.fsspec_options() or None
    )
    return dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """All that a segment says of its records beside the signal."""

    rate_hz: float
    leads: tuple[str, ...]
    record_ids: tuple[str, ...]
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]
    n_samples: NDArray[np.int64]
    annotation_starts: NDArray[np.int64]  # (record + 1,): those of row i lie from its entry to the next
    annotations: Annotations

    @classmethod
    def of(cls, group: zarr.Group) -> Self:
        """Read it out of an opened segment."""

        def texts(name: str) -> tuple[str, ...]:
            return tuple(map(str, np.asarray(array(group, name)[...])))

        n_samples: NDArray[np.int64] = np.asarray(array(group, "n_samples")[...])
        annotations, owners = Annotations.none(), np.zeros(0, np.int64)
        owner, sample, symbol, aux = layout.ANNOTATIONS
        if owner in group:
            owners = np.asarray(array(group, owner)[...])
            samples = np.asarray(array(group, sample)[...])
            annotations = Annotations(sample=samples, symbol=texts(symbol), aux=texts(aux))
        return cls(
            rate_hz=float(str(group.attrs["rate_hz"])),
            leads=texts("lead"),
            record_ids=texts("record_id"),
            gain=np.asarray(array(group, "gain")[...]),
            baseline=np.asarray(array(group, "baseline")[...]),
            n_samples=n_samples,
            annotation_starts=np.searchsorted(owners, np.arange(len(n_samples) + 1)),
            annotations=annotations,
        )

    def records(self, signal: zarr.Array[Any], rows: Sequence[int]) -> Iterator[tuple[int, Record]]:
        """Decode neighbouring rows in one go and cut off their padding."""
        first, longest = rows[0], int(self.n_samples[rows].max())
        block: Samples = np.asarray(signal[first : rows[-1] + 1, :, :longest])
        for row in rows:
            samples = block[row - first, :, : self.n_samples[row]]
            # A long record has its block for itself; among short ones a copy lets go of the others.
            yield row, self._record(row, samples if len(rows) == 1 else samples.copy())

    def _record(self, row: int, samples: Samples) -> Record:
        start, stop = self.annotation_starts[row : row + 2]
        return Record(
            record_id=self.record_ids[row],
            rate_hz=self.rate_hz,
            leads=self.leads,
            source_leads=self.leads,
            signal=samples,
            gain=self.gain[row].copy(),
            baseline=self.baseline[row].copy(),
            annotations=Annotations(
                sample=self.annotations.sample[start:stop].copy(),
                symbol=self.annotations.symbol[start:stop],
                aux=self.annotations.aux[start:stop],
            ),
        )


def array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Take a variable out of an opened segment."""
    found = group[name]
    assert isinstance(found, zarr.Array), name
    return found


def shard_names(signal: zarr.Array[Any], shard: int) -> list[str]:
    """Name the objects that hold one row of shards: only very long records need more than one."""
    along_time = -(-signal.shape[2] // (signal.shards or signal.chunks)[2])
    return [f"{layout.SIGNAL}/{signal.metadata.encode_chunk_key((shard, 0, k))}" for k in range(along_time)]


def _hold(held: dict[str, Buffer], root: Storage, found: Manifest, keys: Iterable[str]) -> None:
    """Fetch objects, compare them with the manifest, and hand them to Zarr under their name in the group."""
    folder = f"{layout.folder_key(found.segment_id)}/"
    for key in keys:
        if key not in found.objects:
            raise DamageError(f"segment {found.segment_id}: its manifest does not list {key}; {_mend(root)}")
        data = _fetch(root, found.segment_id, key)
        listed = found.objects[key]
        if len(data) != listed.size:
            raise DamageError(
                f"segment {found.segment_id}: {key} has {len(data)} bytes, its manifest says {listed.size}; {_mend(root)}"
            )
        if Stored.of(data) != listed:
            raise DamageError(f"segment {found.segment_id}: {key} differs from its manifest (sha256); {_mend(root)}")
        held[key.removeprefix(folder)] = cpu.Buffer.from_bytes(data)


def _mend(root: Storage) -> str:
    return f"find and mend the damage with: cardioclarity verify --root {root.name} --read-data"


def _fetch(root: Storage, segment_id: str, key: str) -> bytes:
    try:
        return root.fetch(key)
    except FileNotFoundError:
        raise DamageError(f"segment {segment_id}: {key} is missing; {_mend(root)}") from None
