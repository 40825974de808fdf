"""What a root holds that no reader and no running writer can need. Age is the store's time, never ours."""

import datetime as dt
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Final, NamedTuple

from cardioclarity import models
from cardioclarity.segments import freeing, layout
from cardioclarity.storage import Listed, Storage
from cardioclarity.tables import catalog, lineage, upkeep
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.tables.upkeep import Needs

log = logging.getLogger(__name__)

KINDS: Final[Mapping[str, str]] = {
    "probes": "left behind by doctor and gc",
    "temporary": "files that were being written, in a folder, when the writer was killed",
    "training": "examples staged by trainings that died",
    "files": "table files: staged and never published, or replaced",
    "log": "entries of table logs before a checkpoint older than 30 days",
    "lineage": "digests that newer files of lineage repeat",
    "champions": "entries of the champion's history before the last 20",
    "models": "half written, or named neither by a run nor by scores nor by the champion's history",
    "segments": "without a row in the catalog",
}
"""What gc frees, in this order: what is made again most easily comes first. Pages in `reports/` are never freed."""

KEPT: Final = lineage.KEPT
"""So many champions and files of lineage stay, however old."""

_RESULTS: Final = ("scores", "events", "beats")


class Amount(NamedTuple):
    """Objects and their bytes."""

    objects: int = 0
    size: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """Add up."""
        return Amount(self.objects + other.objects, self.size + other.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """Objects that go together or stay together.

    Attributes:
        kind: The class, a key of `KINDS`.
        name: What would need it: the id of a segment or model, else the key of the one object.
        objects: All of it. The first one is deleted before the others: where one describes the rest, it is that one, so
            that what a killed gc leaves behind is nothing whole that lacks a part.
    """

    kind: str
    name: str
    objects: tuple[Listed, ...]

    @property
    def amount(self) -> Amount:
        """How much it is."""
        return Amount(len(self.objects), sum(listed.size for listed in self.objects))


def find(needs: Needs) -> Iterator[Waste]:
    """Find what has had its time, class by class in the order of `KINDS`.

    Raises:
        DamageError: The log of a table is damaged: what it needs cannot be told.
        StorageError: The store did not answer.
    """
    root, before = needs.root, needs.before
    single = {
        "probes": chain(root.list(".doctor/"), root.list(freeing.FOLDER)),
        "temporary": root.leftovers(),
        "training": root.list("models/staged-"),
        "files": _files(needs),
        "log": _log(root, before),
        "lineage": _lineage(root),
        "champions": _champions(root, before),
    }
    for kind, listing in single.items():
        for listed in listing:
            if listed.modified <= before:
                yield Waste(kind=kind, name=listed.key, objects=(listed,))
    yield from _whole(needs, "models", models.model_of)
    yield from _whole(needs, "segments", layout.segment_of)


def needed(needs: Needs, kind: str, names: Collection[str] = ()) -> Callable[[str], bool]:
    """Read afresh what is needed of a class. Of the other classes, what was once too old is never needed again."""
    if kind == "files":
        tables = {name.split("/")[1] for name in names} or set(SCHEMAS)
        return set[str]().union(*map(needs.files, tables)).__contains__
    if kind == "segments":
        return needs.values("segment_id", ["records"]).__contains__
    if kind == "models":
        return _models_needed(needs)
    return lambda _: False


def _models_needed(needs: Needs) -> Callable[[str], bool]:
    """Tell which models a run trained or used, scores or the champion's history name, or a running training may be at.

    What a person trained stays: nobody but that person knows what it is worth. Looked at in the order in which a training
    goes: it names its model before it deletes what it has staged.
    """
    root = needs.root
    if any(listed.modified > needs.before for listed in root.list("models/staged-")):
        return lambda _: True
    history = models.history(root)
    if None in history.values():
        log.warning("%s: no model is freed, since an entry of the champion's history cannot be read", root.name)
        return lambda _: True
    kept = {history[number] for number in _kept_champions(root, needs.before)}
    run = {row["model_id"] for row in catalog.runs(root)}
    return (kept | run | needs.values("model_id", _RESULTS)).__contains__


def _files(needs: Needs) -> Iterator[Listed]:
    for table in SCHEMAS:
        # What is needed is asked before the listing: a file that is staged after it is young.
        named = needs.files(table)
        yield from (listed for listed in upkeep.staged(needs.root, table) if listed.key not in named)


def _log(root: Storage, before: dt.datetime) -> Iterator[Listed]:
    vouched = lineage.vouched(root).objects
    end = min(before, root.now() - upkeep.LOG_RETENTION)
    for table in SCHEMAS:
        yield from upkeep.old_log(root, table, end, vouched)


def _lineage(root: Storage) -> Iterator[Listed]:
    """Give the files of lineage before the last ones, each of which repeats all that is still there."""
    listed = list(root.list(f"{lineage.FOLDER}/"))
    if len(listed) > KEPT and lineage.vouched(root).problems:
        log.warning("%s: no lineage is freed, since a file of it is damaged; see: cardioclarity verify", root.name)
        return
    yield from sorted(listed, key=lambda found: found.key)[:-KEPT]  # a run's id, and so the name, begins with its time


def _champions(root: Storage, before: dt.datetime) -> Iterator[Listed]:
    kept = _kept_champions(root, before)
    yield from (listed for number, listed in models.champion_files(root).items() if number not in kept)


def _kept_champions(root: Storage, before: dt.datetime) -> set[int]:
    """Number the entries that stay: the last ones, and the young ones."""
    listed = models.champion_files(root)
    return set(sorted(listed)[-KEPT:]) | {number for number, found in listed.items() if found.modified > before}


def _whole(needs: Needs, kind: str, owner: Callable[[str], str | None]) -> Iterator[Waste]:
    """Find folders that nothing names and of which no object is young: a run that is at it may have found the others there."""
    is_needed = needed(needs, kind)
    owned = ((whose, listed) for listed in needs.root.list(f"{kind}/") if (whose := owner(listed.key)))
    for name, group in groupby(owned, key=lambda pair: pair[0]):
        described = {f"models/{name}/{models.MODEL_JSON}", f"segments/{name}.json"}
        objects = tuple(sorted((listed for _, listed in group), key=lambda listed: listed.key not in described))
        if not is_needed(name) and all(listed.modified <= needs.before for listed in objects):
            yield Waste(kind=kind, name=name, objects=objects)
