"""Every object of a segment held against its manifest, and every record against the id that its samples give."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import zarr
from zarr.core.buffer import Buffer, cpu
from zarr.storage import MemoryStore

from cardioclarity.errors import CardioClarityError, DamageError, StorageError
from cardioclarity.record import Record, content_id, is_constant
from cardioclarity.segments import layout
from cardioclarity.segments.layout import Manifest, Stored
from cardioclarity.segments.read import Header, array
from cardioclarity.storage import Storage
from cardioclarity.vocabulary import Problem

_SHARDS: Final = f"/{layout.SIGNAL}/c/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One object of a segment that is not as it was written.

    Attributes:
        key: The object.
        problem: What is wrong with it.
        record_ids: The catalogued records that cannot be read without it, sorted.
        expected: The sha256 that it should have; empty where that is not what is wrong.
        found: The sha256 that it has, where it was read.
    """

    key: str
    problem: Problem
    record_ids: tuple[str, ...]
    expected: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What became of the check of one segment.

    Attributes:
        named: The keys that the segment consists of, missing ones too.
        flaws: What is wrong.
    """

    named: frozenset[str]
    flaws: tuple[Flaw, ...]


def check(
    root: Storage,
    segment_id: str,
    *,
    digest: str,
    wanted: Collection[str],
    listed: Mapping[str, int],
    read_data: bool,
) -> Checked:
    """Check one segment; at most one shard is in memory.

    A shard that holds no catalogued record any more may be missing: a repair takes damaged ones away.

    Args:
        root: Where the deployment lives.
        segment_id: Which segment.
        digest: sha256 of its manifest, from the catalog.
        wanted: Ids of its catalogued records.
        listed: Key → bytes of all objects of the segment that are there.
        read_data: Read every byte, and name every record anew from its samples.

    Raises:
        StorageError: An object could not be read.
    """
    key, everyone = layout.manifest_key(segment_id), tuple(sorted(wanted))

    def hopeless(problem: Problem, found: str = "") -> Checked:
        expected = digest if problem in {Problem.MISSING, Problem.DIGEST} else ""
        flaw = Flaw(key=key, problem=problem, record_ids=everyone, expected=expected, found=found)
        return Checked(named=frozenset({key, *listed}), flaws=(flaw,))

    try:
        data = root.fetch(key)
    except FileNotFoundError:
        return hopeless(Problem.MISSING)
    if (sha256 := Stored.of(data).sha256) != digest:
        return hopeless(Problem.DIGEST, sha256)
    try:
        manifest = Manifest.from_bytes(data)
    except DamageError:
        return hopeless(Problem.UNREADABLE)
    except CardioClarityError:
        return hopeless(Problem.UNKNOWN_VERSION)
    if manifest.segment_id != segment_id or not set(wanted) <= set(manifest.record_ids):
        return hopeless(Problem.INCONSISTENT)
    segment = _Segment(root, manifest, frozenset(wanted), listed)
    flaws = segment.read() if read_data else segment.compare_sizes()
    return Checked(named=frozenset({key, *manifest.objects}), flaws=tuple(flaws))


def check_spare(root: Storage, segment_id: str, *, listed: Mapping[str, int]) -> tuple[Flaw, ...]:
    """Check a segment that the catalog does not name by its own manifest; one that has none yet has nothing to check.

    A bad object in it touches no record, but it stands in the way of a convert that writes the same segment.

    Args:
        root: Where the deployment lives.
        segment_id: Which segment.
        listed: Key → bytes of all objects of the segment that are there.

    Raises:
        StorageError: An object could not be read.
    """
    key = layout.manifest_key(segment_id)
    try:
        manifest = Manifest.from_bytes(root.fetch(key)) if key in listed else None
    except FileNotFoundError:
        return ()
    except DamageError:
        return (Flaw(key=key, problem=Problem.UNREADABLE, record_ids=()),)
    except CardioClarityError:
        return ()  # whoever wrote it knows it
    if manifest is None:
        return ()
    if manifest.segment_id != segment_id:
        return (Flaw(key=key, problem=Problem.UNREADABLE, record_ids=()),)
    return tuple(_Segment(root, manifest, frozenset(), listed).read())


def rebuild_manifest(root: Storage, segment_id: str, *, digest: str) -> bytes | None:
    """Make a lost manifest again from the objects that it listed.

    Args:
        root: Where the deployment lives.
        segment_id: Which segment.
        digest: sha256 of the manifest, from the catalog.

    Returns:
        Its bytes; None where they would not be those that the catalog names, since an object is not as it was either.

    Raises:
        StorageError: An object could not be read.
    """
    folder = f"{layout.folder_key(segment_id)}/"
    objects: dict[str, Stored] = {}
    held: dict[str, Buffer] = {}
    try:
        for listed in root.list(folder):
            data = root.fetch(listed.key)
            objects[listed.key] = Stored.of(data)
            if _SHARDS not in listed.key:
                held[listed.key.removeprefix(folder)] = cpu.Buffer.from_bytes(data)
        header = Header.of(zarr.open_group(MemoryStore(held, read_only=True), mode="r", zarr_format=3))
    except StorageError:
        raise
    except Exception:  # noqa: BLE001 - damaged bytes make Zarr and its codecs raise anything
        return None
    data = Manifest(segment_id=segment_id, record_ids=header.record_ids, objects=objects).to_bytes()
    return data if Stored.of(data).sha256 == digest else None


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment whose manifest is sound."""

    root: Storage
    manifest: Manifest
    wanted: frozenset[str]
    listed: Mapping[str, int]

    def compare_sizes(self) -> Iterator[Flaw]:
        """Compare names and sizes with the listing."""
        wrong = [key for key, stored in self.manifest.objects.items() if self.listed.get(key) != stored.size]
        n_rows = self._rows_per_shard() if any(_SHARDS in key for key in wrong) else 0
        for key in wrong:
            problem = Problem.SIZE if key in self.listed else Problem.MISSING
            yield from self._flaw(key, problem, n_rows)

    def read(self) -> Iterator[Flaw]:
        """Read every object once: the small ones first, then the signal shard by shard."""
        held: dict[str, Buffer] = {}
        n_rows = self._rows_per_shard()
        shards: dict[int, list[str]] = {}
        for key in self.manifest.objects:
            if _SHARDS in key:
                shards.setdefault(_row(key), []).append(key)
            else:
                yield from self._hold(held, key, n_rows)
        n_small = len(self.manifest.objects) - sum(map(len, shards.values()))
        for row, keys in sorted(shards.items()):
            for key in keys:
                yield from self._hold(held, key, n_rows)
            if len(held) == n_small + len(keys):  # whatever else is wrong has been said
                yield from self._name_again(held, keys, range(row * n_rows, (row + 1) * n_rows))
            for key in keys:
                held.pop(self._name(key), None)

    def _hold(self, held: dict[str, Buffer], key: str, n_rows: int) -> Iterator[Flaw]:
        """Fetch an object and keep it where it is sound."""
        try:
            data = self.root.fetch(key)
        except FileNotFoundError:
            yield from self._flaw(key, Problem.MISSING, n_rows)
            return
        stored, found = self.manifest.objects[key], Stored.of(data)
        if found != stored:
            problem = Problem.SIZE if found.size != stored.size else Problem.DIGEST
            yield from self._flaw(key, problem, n_rows, found.sha256)
        else:
            held[self._name(key)] = cpu.Buffer.from_bytes(data)

    def _flaw(self, key: str, problem: Problem, n_rows: int, found: str = "") -> Iterator[Flaw]:
        """Say which catalogued records a bad object touches; a shard that nobody needs may be missing."""
        ids: Collection[str] = self.manifest.record_ids
        if _SHARDS in key and n_rows:
            ids = self.manifest.record_ids[_row(key) * n_rows : (_row(key) + 1) * n_rows]
        touched = tuple(sorted(self.wanted & set(ids)))
        if touched or problem != Problem.MISSING:
            expected = self.manifest.objects[key].sha256
            yield Flaw(key=key, problem=problem, record_ids=touched, expected=expected, found=found)

    def _name_again(self, held: dict[str, Buffer], keys: list[str], rows: range) -> Iterator[Flaw]:
        """Compute the ids of a shard's records from their samples: no checksum of ours or of Zarr's has a part in it."""
        group = zarr.open_group(MemoryStore(held, read_only=True), mode="r", zarr_format=3)
        header, signal = Header.of(group), array(group, layout.SIGNAL)
        there = [row for row in rows if row < len(self.manifest.record_ids)]
        wrong = [
            self.manifest.record_ids[row]
            for _, in_chunk in groupby(there, key=lambda row: row // signal.chunks[0])
            for row, record in header.records(signal, list(in_chunk))
            if record.record_id != self.manifest.record_ids[row] or not _is_itself(record)
        ]
        if wrong:
            touched = tuple(sorted(self.wanted & set(wrong)))
            yield Flaw(key=keys[0], problem=Problem.INCONSISTENT, record_ids=touched)

    def _rows_per_shard(self) -> int:
        """Read how many records a shard holds; 0 where that is lost, so that a bad shard touches all of them."""
        try:
            described = json.loads(self.root.fetch(f"{self._folder}{layout.SIGNAL}/zarr.json"))
            return int(described["chunk_grid"]["configuration"]["chunk_shape"][0])
        except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
            return 0

    def _name(self, key: str) -> str:
        return key.removeprefix(self._folder)

    @property
    def _folder(self) -> str:
        return f"{layout.folder_key(self.manifest.segment_id)}/"


def _row(key: str) -> int:
    """Read off a shard's key which row of shards it belongs to: ``…/signal/c/<row>/0/<column>``."""
    return int(key.rpartition(_SHARDS)[2].partition("/")[0])


def _is_itself(record: Record) -> bool:
    """Tell whether samples give the record's id; that of a constant recording rests on its delivery and is no proof."""
    if is_constant(signal=record.signal, leads=record.leads):
        return True
    content = content_id(signal=record.signal, rate_hz=record.rate_hz, leads=record.leads, salt="")
    return content == record.record_id
