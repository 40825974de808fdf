"""The segments of a root: every one that the catalog names, held against its manifest."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from threading import BoundedSemaphore
from typing import Final

from cardioclarity.errors import DamageError
from cardioclarity.segments import layout
from cardioclarity.segments.check import Checked, Flaw, check, check_spare
from cardioclarity.storage import Storage
from cardioclarity.tables.checked import ahead, parse
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.verify.files import damaged_file, read_file
from cardioclarity.verify.findings import Damage, Spares
from cardioclarity.vocabulary import Problem

_READING: Final = BoundedSemaphore(3)
"""Segments that are read at a time, each with a shard in memory: two cores are busy, and a store has time to answer."""

Chosen = Callable[[str], bool]
"""Tells whether a key belongs to the part whose bytes are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What became of one segment.

    Attributes:
        segment_id: Its name.
        is_spare: The catalog does not name it.
        listed: Key → bytes of its objects that are there.
        checked: The outcome.
        damaged: Files of the catalog that say of it what cannot be read.
    """

    segment_id: str
    is_spare: bool
    listed: Mapping[str, int]
    checked: Checked
    damaged: tuple[Damage, ...]


def in_part(part: tuple[int, int], key: str) -> bool:
    """Tell whether a key belongs to the k-th of n parts, which a hash of the key alone decides."""
    k, n = part
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % n == k - 1


def check_segments(
    root: Storage, files: Iterable[LiveFile], *, chosen: Chosen, spares: Spares
) -> Iterator[tuple[int, list[Damage]]]:
    """Check all segments, a few at once; the listing and the catalog pass by, sorted alike.

    In memory are the list of the catalog's files and the rows of the segments that are being checked.

    Args:
        root: The deployment.
        files: The files of the catalog that are there; listed from its log before the objects are, since a run writes
            them in the other order.
        chosen: Which segments are read byte by byte.
        spares: Counts the objects that no catalogued segment consists of.

    Yields:
        Number of objects and damage, per segment; that of its files in the catalog too.

    Raises:
        StorageError: An object could not be read.
    """
    for found in ahead(partial(_check, root, chosen), _joined(root, files)):
        for key, size in found.listed.items():
            if key not in found.checked.named:
                spares.add("segments", size)
        flaws = [_damage(root, found.segment_id, flaw, is_spare=found.is_spare) for flaw in found.checked.flaws]
        yield len(found.checked.named), [*found.damaged, *flaws]


def _joined(root: Storage, files: Iterable[LiveFile]) -> Iterator[tuple[str, tuple[LiveFile, ...], dict[str, int]]]:
    """Join the catalog with the listing, by segment; what either of them lacks is empty."""
    ordered = sorted(files, key=lambda file: (file.segment_id, file.path))
    catalog = ((name, tuple(of)) for name, of in groupby(ordered, key=lambda file: file.segment_id))
    waiting = next(catalog, None)
    for segment_id, objects in groupby(root.list(layout.FOLDER), key=lambda listed: _owner(listed.key)):
        listed = {found.key: found.size for found in objects}
        while waiting is not None and waiting[0] < segment_id:
            yield *waiting, {}
            waiting = next(catalog, None)
        if waiting is not None and waiting[0] == segment_id:
            yield *waiting, listed
            waiting = next(catalog, None)
        else:
            yield segment_id, (), listed
    while waiting is not None:
        yield *waiting, {}
        waiting = next(catalog, None)


def _owner(key: str) -> str:
    """Name the segment of a key, else what is there instead; ``<id>.json`` stands right before ``<id>.zarr/`` in a listing."""
    return layout.segment_of(key) or key.removeprefix(layout.FOLDER)


def _check(root: Storage, chosen: Chosen, joined: tuple[str, tuple[LiveFile, ...], Mapping[str, int]]) -> _Found:
    segment_id, files, listed = joined
    digest, record_ids, damaged = _rows(root, files)
    reads = chosen(segment_id)
    with _READING if reads else nullcontext():
        if record_ids:
            result = check(root, segment_id, digest=digest, wanted=record_ids, listed=listed, read_data=reads)
        else:
            flaws = check_spare(root, segment_id, listed=listed) if reads else ()
            result = Checked(named=frozenset(), flaws=flaws)
    return _Found(segment_id=segment_id, is_spare=not record_ids, listed=listed, checked=result, damaged=tuple(damaged))


def _rows(root: Storage, files: Iterable[LiveFile]) -> tuple[str, list[str], list[Damage]]:
    """Read from the catalog the manifest's digest and the records of a segment; and which files are damaged."""
    digest, record_ids, damaged = "", list[str](), list[Damage]()
    for file in files:
        data = read_file(root, file)
        if isinstance(data, Damage):
            damaged.append(data)
            continue
        try:
            rows = parse(root, file, data, ["segment_digest", "record_id"])
        except DamageError:
            damaged.append(damaged_file(root, file, Problem.INCONSISTENT))
            continue
        if len(rows):
            digest = str(rows["segment_digest"][0])
            record_ids += rows["record_id"].to_pylist()
    return digest, record_ids, damaged


def _damage(root: Storage, segment_id: str, flaw: Flaw, *, is_spare: bool) -> Damage:
    mend = (
        f"set the records aside and make them again with: cardioclarity verify --root {root.name} --read-data --repair,"
        f" then cardioclarity convert ARCHIVE --root {root.name}, then cardioclarity score --root {root.name}"
    )
    if is_spare:
        mend = (
            "the catalog does not name its segment, but it stands in the way of the convert that writes it: remove it with:"
            f" cardioclarity verify --root {root.name} --read-data --repair"
        )
    if flaw.problem == Problem.UNKNOWN_VERSION:
        mend = f"a newer CardioClarity wrote it: update, then cardioclarity verify --root {root.name} --read-data"
    return Damage(
        key=flaw.key,
        problem=flaw.problem,
        affects=flaw.record_ids,
        mend=mend,
        segment_id=segment_id,
        is_signal=True,
        is_spare=is_spare,
        expected=flaw.expected,
        found=flaw.found,
    )
