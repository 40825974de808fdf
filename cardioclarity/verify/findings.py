"""What a verification finds: damage with what it touches and how it is mended, and objects that nothing names."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cardioclarity.vocabulary import Problem

_SHOWN: Final = 20
"""A damaged shard can touch a thousand records: so many are named, the others counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One object that is not as it was written.

    Attributes:
        key: The object, relative to the root.
        problem: What is wrong with it.
        affects: What cannot be used until it is mended: ids of records, or a table, a model, …
        mend: One sentence: how, with the very command.
        segment_id: The segment whose signal or rows are touched, where it is one's.
        model_id: The model whose folder or rows are touched, where it is one's.
        table: The table that it is a live file of, where it is one's.
        is_signal: It belongs to a segment, and `affects` names records.
        is_spare: The catalog does not name its segment, so that nobody reads it.
        expected: The sha256 that it should have; empty where that is not what is wrong.
        found: The sha256 that it has, where it was read.
    """

    key: str
    problem: Problem
    affects: tuple[str, ...]
    mend: str
    segment_id: str | None = None
    model_id: str | None = None
    table: str | None = None
    is_signal: bool = False
    is_spare: bool = False
    expected: str = ""
    found: str = ""

    def as_json(self) -> dict[str, object]:
        """Lay it out for the command line's JSON object."""
        return {
            "key": self.key,
            "problem": self.problem,
            "affects": list(self.affects[:_SHOWN]),
            "n_affected": len(self.affects),
            "mend": self.mend,
        }

    def line(self) -> str:
        """Say it in one line, for people."""
        more = f" and {len(self.affects) - 3} more" if len(self.affects) > 3 else ""
        return (
            f"{self.problem}: {self.key}; affects {', '.join(self.affects[:3]) or 'nothing in use'}{more}; {self.mend}"
        )


class Spares:
    """Counts of objects that nothing names, per kind: what a crash left behind, or what gc has not taken yet."""

    __slots__ = ("_bytes", "_objects")

    def __init__(self) -> None:
        """Begin with none."""
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, kind: str, size: int) -> None:
        """Count one object."""
        self._objects[kind] += 1
        self._bytes[kind] += size

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Give kind → objects and bytes."""
        return {kind: (n, self._bytes[kind]) for kind, n in sorted(self._objects.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result of a verification.

    Attributes:
        objects: Objects that were checked.
        damaged: What is wrong, by key.
        unreferenced: Kind → number and bytes of the objects that nothing names; legal after a crash.
        repaired: What a repair did, a sentence each.
        models: Models whose scores a repair removed: they score those segments again.
    """

    objects: int
    damaged: tuple[Damage, ...]
    unreferenced: dict[str, tuple[int, int]]
    repaired: tuple[str, ...] = ()
    models: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, object]:
        """Lay it out for the command line's JSON object, without the seconds."""
        return {
            "verb": "verify",
            "objects": self.objects,
            "damaged": [damage.as_json() for damage in self.damaged],
            "unreferenced": {kind: {"objects": n, "bytes": size} for kind, (n, size) in self.unreferenced.items()},
            "repaired": list(self.repaired),
        }

    def lines(self) -> list[str]:
        """Say it for people."""
        lines = [damage.line() for damage in self.damaged]
        lines += [
            f"verify: {n} objects ({size} bytes) of {kind} are named by nothing: left by a run that broke off, or replaced;"
            " no harm, gc removes them"
            for kind, (n, size) in self.unreferenced.items()
        ]
        lines += [f"verify: repaired: {what}" for what in self.repaired]
        return [*lines, f"verify: {self.objects} objects checked, {len(self.damaged)} damaged"]


def settled(found: Iterable[Damage]) -> tuple[Damage, ...]:
    """Order findings by key, and call those swapped whose bytes are another finding's."""
    damaged = sorted(found, key=lambda damage: (damage.key, damage.problem))
    wanted = {damage.expected for damage in damaged if damage.expected}
    return tuple(
        replace(damage, problem=Problem.SWAPPED)
        if damage.found in wanted and damage.problem in {Problem.DIGEST, Problem.SIZE}
        else damage
        for damage in damaged
    )


def record_ids(damaged: Sequence[Damage]) -> list[str]:
    """Name the records whose signal is damaged, sorted."""
    return sorted({record_id for damage in damaged if damage.is_signal for record_id in damage.affects})
