"""How gc and a converter keep out of each other's way, though no store deletes on the condition that nobody objects.

A converter that finds the objects of an earlier run in place, which never published, relies on what gc is free to delete.

- The converter stages its catalog rows, THEN looks for announcements and whether all objects are there, THEN commits.
- gc announces, THEN reads the catalog and lists the staged rows, THEN deletes what neither names.

Whichever came first, either gc sees the staged row and spares the segment, or the converter sees the announcement or the
gap, and says so before its commit: the catalog never names what is gone.
"""

import datetime as dt
import json
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from cardioclarity.errors import DamageError, StorageError
from cardioclarity.segments import layout
from cardioclarity.segments.layout import Manifest
from cardioclarity.storage import Storage

FOLDER: Final = ".gc/"
VALID: Final = dt.timedelta(hours=1)
"""An announcement stands so long by the store's clock: one that a killed gc left behind holds nobody up for ever."""

ONE_BY_ONE: Final = 200
"""Up to so many segments are looked at each by itself: their ids are random, so that several need a listing of all."""


@contextmanager
def announced(root: Storage, segment_ids: Collection[str]) -> Iterator[dt.datetime]:
    """Announce for the time of a block that these segments are about to be freed; hands out when it was said.

    Raises:
        StorageError: The store refused.
    """
    key = f"{FOLDER}{secrets.token_hex(16)}.json"
    said = root.now()
    root.put_new(key, json.dumps(sorted(segment_ids)).encode())
    try:
        yield said
    finally:
        root.delete(key)


def require_valid(root: Storage, said: dt.datetime) -> None:
    """Refuse to delete on an announcement that converters may soon pass over: this process was held up for long.

    Raises:
        StorageError: Half of its time is over.
    """
    if root.now() - said > VALID / 2:
        raise StorageError(
            f"{root.name}: more than {VALID / 2} passed between two steps of gc; nothing more was deleted, run it again"
        )


def being_freed(root: Storage) -> frozenset[str]:
    """Name the segments that a running gc may be about to delete.

    Raises:
        StorageError: The store did not answer.
    """
    listed = list(root.list(FOLDER))
    if not listed:
        return frozenset()
    now = root.now()
    named: set[str] = set()
    for notice in listed:
        if now - notice.modified <= VALID:
            try:
                named.update(map(str, json.loads(root.fetch(notice.key))))
            except FileNotFoundError:  # that gc has finished meanwhile: what it deleted is missing from now on
                continue
    return frozenset(named)


def require_whole(root: Storage, n_bytes: Mapping[str, int]) -> None:
    """Check that no object of these segments has vanished since it was written, and that gc is not at them.

    The manifest of a segment tells what is missing. Of many segments, it is asked only where a listing of all segments
    does not show as many bytes as the writer counted; objects that nobody knows do no harm. No signal is read.

    Args:
        root: Where the deployment lives.
        n_bytes: Segment → stored bytes of all its objects, the manifest included; their rows are staged.

    Raises:
        StorageError: An object is missing, or the store did not answer.
    """
    if not n_bytes:
        return
    # Asked before the listing: a gc that has ended by then has left its gaps.
    if going := being_freed(root) & n_bytes.keys():
        raise StorageError(
            f"{root.name}: a gc that is running may be about to free {len(going)} segments of this run, first"
            f" {min(going)}; wait until it has ended and run the same command again"
        )
    suspects = n_bytes if len(n_bytes) <= ONE_BY_ONE else _unlike(root, n_bytes)
    lost = {segment_id: key for segment_id in suspects if (key := _missing(root, segment_id))}
    if lost:
        raise StorageError(
            f"{root.name}: {len(lost)} of {len(n_bytes)} segments of this run are not whole any more, first"
            f" {min(lost.values())} is missing; another process, such as gc, removed it meanwhile: run the same command"
            " again, it writes the segment anew"
        )


def _unlike(root: Storage, n_bytes: Mapping[str, int]) -> list[str]:
    """Name the segments below which other than the counted bytes lie, by one listing."""
    found: Counter[str] = Counter()
    for listed in root.list(layout.FOLDER):
        if segment_id := layout.segment_of(listed.key):
            found[segment_id] += listed.size
    return [segment_id for segment_id, size in n_bytes.items() if found[segment_id] != size]


def _missing(root: Storage, segment_id: str) -> str | None:
    """Name the first object of a segment that is not there in full."""
    key = layout.manifest_key(segment_id)
    try:
        objects = Manifest.from_bytes(root.fetch(key)).objects
    except (FileNotFoundError, DamageError):
        return key
    sizes = {listed.key: listed.size for listed in root.list(f"{layout.folder_key(segment_id)}/")}
    return min((key for key, stored in objects.items() if sizes.get(key) != stored.size), default=None)
