"""What every run vouches for: the digests of the objects that decide what is visible, which carry none themselves.

A commit or a checkpoint of Delta has no checksum and no digest in its name. The last thing that a run does is to write
down the digests of all of them in one object, whose own digest is in its name.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cardioclarity.storage import Listed, Storage
from cardioclarity.tables import checked, log_names
from cardioclarity.tables.schemas import SCHEMAS

FOLDER: Final = "lineage"
"""The folder below the root."""

FORMAT_VERSION: Final = 1

KEPT: Final = 20
"""So many champions and files of lineage upkeep leaves, however old."""

_NAME: Final = re.compile(rf"{FOLDER}/([^/]+)-([0-9a-f]{{64}})\.json")
_LOG: Final = re.compile(rf"(tables/[^/]+/_delta_log)/(?:{log_names.ENTRY.pattern})")
_CHAMPION: Final = re.compile(r"models/champion/(\d{8})\.json")
_NEIGHBOURS: Final = 10
"""Other files of lineage that each one names, so that the loss of one is noticed."""
_CARRIED_FROM: Final = 3
"""Newest files of lineage whose entries are carried over; runs at once may each have missed one of the other's."""

Entry = tuple[int, str]
"""Size in bytes and SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What the runs of a root have vouched for.

    Attributes:
        objects: Key → size and SHA-256.
        problems: Key of a file of lineage that is damaged, lost, or contradicts another → what is wrong with it.
    """

    objects: Mapping[str, Entry]
    problems: Mapping[str, str]

    def missing(self, listed: Collection[str]) -> list[str]:
        """Name what was vouched for and is gone, sorted.

        What upkeep may take away is not missing: commits and checkpoints before the newest checkpoint of their table,
        and champions before the last twenty.

        Args:
            listed: Keys that are there; at least all under `tables/*/_delta_log/` and `models/champion/`.
        """
        there = set(listed)
        bounds = _bounds(there)
        return sorted(key for key in self.objects if key not in there and not _expendable(key, bounds))


def vouch(root: Storage, run_id: str, *, withdrawn: Sequence[str] = ()) -> str:
    """Write down the digests of all commits, checkpoints and champions; the last act of a run.

    An entry of an earlier run is carried over and its object not read again: what it vouched for stays the truth, also
    where the object has been damaged since.

    Args:
        root: The deployment.
        run_id: The run.
        withdrawn: Objects that a repair has taken out for good: what earlier runs vouched for of them counts no more.

    Returns:
        The key of what was written; where nothing has changed since, it was there already.

    Raises:
        StorageError: The store did not answer.
    """
    earlier = sorted((listed.key for listed in root.list(f"{FOLDER}/") if _NAME.fullmatch(listed.key)), reverse=True)
    known: dict[str, Entry] = {}
    for key in reversed(earlier[:_CARRIED_FROM]):
        known |= _objects(_read(root, key) or {})
    listed = list(watched(root))
    new = [found for found in listed if found.key not in known]
    known |= {
        key: entry for key, entry in checked.ahead(lambda found: _entry(root, found.key), new) if entry is not None
    }
    document: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "run_id": run_id,
        "earlier": [key for key in earlier if not key.startswith(f"{FOLDER}/{run_id}-")][:_NEIGHBOURS],
        "objects": {found.key: known[found.key] for found in listed if found.key in known},
    }
    if withdrawn:
        document["withdrawn"] = sorted(withdrawn)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    key = f"{FOLDER}/{run_id}-{hashlib.sha256(data).hexdigest()}.json"
    root.put_new(key, data)
    return key


def vouched(root: Storage) -> Vouched:
    """Collect what all runs have vouched for, each file of lineage checked against its name.

    Raises:
        StorageError: The store did not answer.
    """
    objects: dict[str, Entry] = {}
    problems: dict[str, str] = {}
    names = [listed.key for listed in root.list(f"{FOLDER}/")]
    newest: dict[str, Any] = {}
    withdrawn: set[str] = set()
    for key, document in checked.ahead(lambda key: (key, _read(root, key)), names):
        if document is None:
            problems[key] = "differs from the digest in its name"
            continue
        newest = document or newest
        withdrawn |= set(document.get("withdrawn", ()))
        for name, entry in _objects(document).items():
            if objects.setdefault(name, entry) != entry:
                problems[key] = f"vouches for other bytes of {name} than an earlier file of lineage"
    problems |= {key: "is missing" for key in newest.get("earlier", ()) if key not in set(names)}
    kept = {name: entry for name, entry in objects.items() if name not in withdrawn}
    return Vouched(objects=kept, problems=problems)


def watched(root: Storage) -> Iterator[Listed]:
    """List the objects that a run vouches for: commits and checkpoints of all tables, and the champions.

    Raises:
        StorageError: The store did not answer.
    """
    for prefix in (*(f"tables/{table}/_delta_log/" for table in sorted(SCHEMAS)), "models/champion/"):
        for listed in root.list(prefix):
            if _LOG.fullmatch(listed.key) or _CHAMPION.fullmatch(listed.key):
                yield listed


def _entry(root: Storage, key: str) -> tuple[str, Entry | None]:
    """Digest an object; None where upkeep took it away since it was listed."""
    try:
        data = root.fetch(key)
    except FileNotFoundError:
        return key, None
    return key, (len(data), hashlib.sha256(data).hexdigest())


def _read(root: Storage, key: str) -> dict[str, Any] | None:
    """Read a file of lineage; None where its bytes are not those that its name says, empty where it is gone by now."""
    name = _NAME.fullmatch(key)
    try:
        data = root.fetch(key)
    except FileNotFoundError:
        return {}
    if name is None or hashlib.sha256(data).hexdigest() != name[2]:
        return None
    document: dict[str, Any] = json.loads(data)
    return document


def _objects(document: Mapping[str, Any]) -> dict[str, Entry]:
    return {key: (int(size), str(sha256)) for key, (size, sha256) in document.get("objects", {}).items()}


def _bounds(listed: Collection[str]) -> dict[str, int]:
    """Give per table's log its newest checkpoint, and for the champions the last number that may be taken away."""
    bounds: dict[str, int] = {}
    numbers = sorted(int(found[1]) for key in listed if (found := _CHAMPION.fullmatch(key)))
    if len(numbers) >= KEPT:
        bounds["models/champion"] = numbers[-KEPT] - 1
    for key in listed:
        if (found := _LOG.fullmatch(key)) and log_names.is_checkpoint(key):
            bounds[found[1]] = max(bounds.get(found[1], -1), int(found[3]))
    return bounds


def _expendable(key: str, bounds: Mapping[str, int]) -> bool:
    if found := _CHAMPION.fullmatch(key):
        return int(found[1]) <= bounds.get("models/champion", 0)
    log = _LOG.fullmatch(key)
    return log is not None and int(log[2] or log[3]) < bounds.get(log[1], -1)
