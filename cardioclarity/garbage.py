"""gc: deletes what nobody can need, in batches, each looked at again right before."""

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from cardioclarity.config import StorageOptions
from cardioclarity.errors import UsageError
from cardioclarity.segments import freeing
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, lineage, upkeep
from cardioclarity.tables.upkeep import Needs
from cardioclarity.waste import KINDS, Amount, Waste, find, needed
from cardioclarity.work import new_run_id

log = logging.getLogger(__name__)

SHORTEST: Final = dt.timedelta(days=1)
"""A shorter grace needs --force: what a running night has staged, hours ago, would count as left behind."""

ALWAYS_ALLOWED: Final = 1000
"""Up to so many objects the share below does not matter: most of a small root can rightly be garbage."""
SHARE: Final = 10
"""One object in so many of the root goes per run, so that a mistake is noticed before it has cost much."""

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class GcConfig:
    """Settings of `gc`.

    Attributes:
        root: URL or folder of the deployment.
        root_storage: How to reach it.
        older_than: The grace period: longer than any run and any reader takes.
        dry_run: Only count.
        force: Accept a short grace period and free more than the share that one run may; no other command may be running.
    """

    root: str
    root_storage: StorageOptions = field(default_factory=StorageOptions)
    older_than: dt.timedelta = dt.timedelta(days=7)
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """What came of it.

    Attributes:
        classes: Per class of `KINDS` what was freed; in a dry run, what can be.
        withdrawn: Live files of `events` and `beats` that readers pass over for good: taken out of the tables, freed once
            they have been out for the grace period.
        left: What stays until the next run, since one run frees at most `allowed` objects.
        allowed: That many; None where there was no limit.
        refusal: Of a dry run, why the same without it is refused; empty where it is not.
    """

    classes: Mapping[str, Amount]
    withdrawn: Amount
    left: Amount
    allowed: int | None
    refusal: str = ""

    @property
    def total(self) -> Amount:
        """All classes together."""
        return Amount(
            sum(amount.objects for amount in self.classes.values()),
            sum(amount.size for amount in self.classes.values()),
        )


def collect(config: GcConfig) -> Freed:
    """Free what nobody can need; killed at any point, the next run goes on.

    Whatever is found is old: no object of it has changed for the grace period. Right before each batch is deleted,
    tables and history are read again, and what they need by now stays.

    Raises:
        NotFoundError: There is no such root.
        UsageError: The grace period is too short for the runs of this root.
        DamageError: The log of a table is damaged: what it needs cannot be told.
        StorageError: The store did not answer.
    """
    root = open_storage(config.root, config.root_storage)
    catalog.require_root(root)
    refusal = "" if config.force else _impatience(root, config.older_than)
    if refusal and not config.dry_run:
        raise UsageError(refusal)
    needs = Needs(root, root.now() - config.older_than)
    unpublished = upkeep.unpublished(needs)
    withdrawn = [file for gone in unpublished for file in (*gone.events, *gone.beats)]
    if not config.dry_run:
        run_id = new_run_id()
        for gone in unpublished:
            upkeep.withdraw(root, gone, run_id=run_id)
        if unpublished:
            lineage.vouch(root, run_id)
    allowance = _Allowance(root, unlimited=config.force)
    classes, left = _free(needs, allowance, delete=not config.dry_run)
    return Freed(
        classes=classes,
        withdrawn=Amount(len(withdrawn), sum(file.size for file in withdrawn)),
        left=left,
        allowed=allowance.limit,
        refusal=refusal,
    )


def _impatience(root: Storage, older_than: dt.timedelta) -> str:
    """Say why a grace period is refused, which a run of this root may outlast; empty where none may."""
    longest = max((run["finished_at"] - run["started_at"] for run in catalog.runs(root)), default=dt.timedelta())
    least = max(SHORTEST, 2 * longest)
    if older_than >= least:
        return ""
    return (
        f"--older-than {_hours(older_than)}: give at least {_hours(least)} (a day, and twice the longest run of this"
        " root), since a shorter time would count what a running command has staged as left behind; with --force it is"
        " taken, when no other command is running"
    )


def _hours(length: dt.timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours:.0f}h" if hours == round(hours) else f"{hours:.2f}h"


class _Allowance:
    """How many objects one run may free; the root is counted only where that matters.

    Attributes:
        limit: That many; None without a limit.
        deleted: Objects of the root that are gone by now.
    """

    def __init__(self, root: Storage, *, unlimited: bool) -> None:
        self.limit: int | None = None if unlimited else ALWAYS_ALLOWED
        self.deleted = 0
        self._root = root
        self._taken = 0
        self._is_counted = False

    def admits(self, n_objects: int) -> bool:
        """Take so many more objects, if they all may go."""
        if self.limit is not None and self._taken + n_objects > self.limit and not self._is_counted:
            self.limit = max(self.limit, (self.deleted + sum(1 for _ in self._root.list())) // SHARE)
            self._is_counted = True
        if self.limit is not None and self._taken + n_objects > self.limit:
            return False
        self._taken += n_objects
        return True


def _free(needs: Needs, allowance: _Allowance, *, delete: bool) -> tuple[dict[str, Amount], Amount]:
    """Delete batch by batch, or only count; returns what went and what stays for the next run."""
    classes, left = dict.fromkeys(KINDS, Amount()), Amount()
    for kind, batch in _batches(find(needs)):
        taken: list[Waste] = []
        for waste in batch:
            if allowance.admits(len(waste.objects)):
                taken.append(waste)
            else:
                left = left.plus(waste.amount)
        gone = _delete(needs, kind, taken) if delete else taken
        for waste in gone:
            classes[kind] = classes[kind].plus(waste.amount)
        allowance.deleted += sum(len(waste.objects) for waste in gone) if delete else 0
    return classes, left


def _delete(needs: Needs, kind: str, batch: Sequence[Waste]) -> Sequence[Waste]:
    """Look a last time whether anything needs it by now, and delete the rest; returns what went."""
    if not batch:
        return ()
    root = needs.root
    is_segment = kind == "segments"
    with freeing.announced(root, [waste.name for waste in batch]) if is_segment else nullcontext() as said:
        is_needed = needed(needs, kind, {waste.name for waste in batch})
        gone = [waste for waste in batch if not is_needed(waste.name)]
        if said is not None:
            freeing.require_valid(root, said)
        # Before the others: the requests of one call run side by side, in any order.
        root.delete_all(waste.objects[0].key for waste in gone)
        root.delete_all(listed.key for waste in gone for listed in waste.objects[1:])
    if gone:
        log.info("%s: freed %d objects of class %s", root.name, sum(len(waste.objects) for waste in gone), kind)
    return gone


def _batches(wastes: Iterable[Waste]) -> Iterator[tuple[str, list[Waste]]]:
    """Gather what one request deletes: of one class, and what goes together in one batch."""
    for kind, alike in groupby(wastes, key=lambda waste: waste.kind):
        batch: list[Waste] = []
        n_objects = 0
        for waste in alike:
            if batch and n_objects + len(waste.objects) > _BATCH:
                yield kind, batch
                batch, n_objects = [], 0
            batch.append(waste)
            n_objects += len(waste.objects)
        yield kind, batch
