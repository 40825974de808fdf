"""The one loop of the product: plan, run each unit anywhere, account for every input, publish once."""

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from cardioclarity.vocabulary import Reason, Stage


class Unit(Protocol):
    """A small, frozen, picklable piece of work that names its inputs; equal inputs give equal units."""

    @property
    def id(self) -> str:
        """The unit's name, unique within its run."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """One name per ECG record that the unit must account for."""


C = TypeVar("C")
U = TypeVar("U", bound=Unit)
O = TypeVar("O")  # noqa: E741 - the output of a unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One input that was set aside, and why.

    Attributes:
        input: The name under which the unit listed it in `inputs`.
        stage: Where it was set aside.
        reason: A word of the closed vocabulary.
        message: One sentence: what, where, the shape of the offending value.
        record_id: The record, where one came to be.
    """

    input: str
    stage: Stage
    reason: Reason
    message: str
    record_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Generic[O]):
    """What became of one unit: counts and references, never arrays.

    Attributes:
        unit_id: The unit it answers.
        done: Number of inputs that were done.
        quarantined: The inputs that were set aside; `done + len(quarantined)` is the number of inputs.
        output: References to what the unit wrote, still invisible; None where the unit died or wrote nothing.
    """

    unit_id: str
    done: int
    quarantined: tuple[Quarantined, ...] = ()
    output: O | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[U]):
    """What a run will do.

    Attributes:
        run_id: Fixed before anything is written, kept by a retry of the same run.
        started_at: Start of the run, UTC; every `*_at` column holds it, so that a repeated unit writes equal bytes.
        already_done: Number of inputs that an earlier run has done.
        units: The new work, lazily; read once.
        expected_units: How many units there will be, where that is known beforehand; for progress only.
        model_id: The model that the units use, where they use one.
        is_light: All units together take seconds, so no cluster is worth its start.
    """

    run_id: str
    started_at: dt.datetime
    already_done: int
    units: Iterable[U]
    expected_units: int | None = None
    model_id: str | None = None
    is_light: bool = False


class RunState(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    NOTHING_NEW = "nothing_new"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did; `inputs = done + quarantined + already_done` holds by construction of `complete`.

    Attributes:
        verb: convert, train or score.
        run_id: The run.
        state: How it ended.
        done: Inputs done by this run.
        quarantined: Inputs set aside by this run.
        already_done: Inputs that earlier runs had done.
        model_id: The model that was used or made.
        champion: The root's champion after a training run.
        events: Number of events per head, from a scoring run.
        warnings: Sentences that a person should read.
    """

    verb: str
    run_id: str
    state: RunState
    done: int
    quarantined: int
    already_done: int
    model_id: str | None = None
    champion: str | None = None
    events: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def inputs(self) -> int:
        """Number of ECG records that the run looked at."""
        return self.done + self.quarantined + self.already_done

    def as_json(self) -> dict[str, object]:
        """Lay the summary out as the command line's JSON object, without the seconds."""
        counts: dict[str, object] = {
            "verb": self.verb,
            "run_id": self.run_id,
            "state": self.state,
            "inputs": self.inputs,
            "done": self.done,
            "quarantined": self.quarantined,
            "already_done": self.already_done,
        }
        if self.model_id is not None:
            counts["model_id"] = self.model_id
        if self.champion is not None:
            counts["champion"] = self.champion
        if self.events:
            counts["events"] = dict(self.events)
        return counts

    def lines(self) -> list[str]:
        """Say what the run did, for people."""
        counts = (
            f"{self.inputs} records: {self.done} done, {self.quarantined} set aside, {self.already_done} already done"
        )
        if self.state == RunState.NOTHING_NEW:
            counts = f"nothing new, {self.already_done} records already done"
        if self.state == RunState.SUPERSEDED:
            counts = "superseded: another run published the same records first; nothing is doubled"
        lines = [f"{self.verb}: {counts}"]
        if self.champion is not None:
            lines.append(f"{self.verb}: model {self.model_id}, champion {self.champion}")
        if self.events and self.state != RunState.NOTHING_NEW:
            found = ", ".join(f"{n} {head}" for head, n in self.events.items())
            lines.append(f"{self.verb}: events found: {found}; model {self.model_id}")
        if self.quarantined:
            lines.append(f"{self.verb}: what was set aside, and why, stands in the table quarantine and on the report")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[C, U, O]):
    """A verb of the product as three functions.

    Attributes:
        name: The word of the command line.
        plan: Cheap; decides what is new.
        run: Does one unit; idempotent; what it writes is invisible; bad data never raises.
        finish: The one step that readers see.
    """

    name: str
    plan: Callable[[C], Plan[U]]
    run: Callable[[U], Receipt[O]]
    finish: Callable[[C, Plan[U], Iterator[Receipt[O]]], Summary]


Mapper = Callable[[Callable[[U], Receipt[O]], Iterable[U]], Iterable[Receipt[O]]]
"""Applies a function to units and yields the receipts in any order: the builtin `map`, or a cluster's."""


def complete(
    verb: Verb[C, U, O], config: C, plan: Plan[U], mapper: Mapper[U, O], told: Callable[[Receipt[O]], object] = id
) -> Summary:
    """Run the units of a plan and publish.

    Args:
        verb: What to run.
        config: Its settings.
        plan: From `verb.plan(config)`.
        mapper: Where the units run.
        told: Called with each receipt, for progress.

    Returns:
        The summary of the run.

    Raises:
        AssertionError: A unit or an input was lost or doubled. Nothing has been published.
    """
    outstanding: dict[str, int] = {}

    def handed_out() -> Iterator[U]:
        for unit in plan.units:
            if unit.id in outstanding:
                raise AssertionError(f"run {plan.run_id}: unit {unit.id} was planned twice")
            outstanding[unit.id] = len(unit.inputs)
            yield unit

    def accounted() -> Iterator[Receipt[O]]:
        for receipt in (map if plan.is_light else mapper)(verb.run, handed_out()):
            expected, found = outstanding.pop(receipt.unit_id, None), receipt.done + len(receipt.quarantined)
            if found != expected:
                raise AssertionError(f"unit {receipt.unit_id}: {expected} inputs handed out, {found} accounted for")
            told(receipt)
            yield receipt
        if outstanding:
            raise AssertionError(
                f"run {plan.run_id}: no receipt for {len(outstanding)} units, first {min(outstanding)}"
            )

    return verb.finish(config, plan, accounted())


def drive(verb: Verb[C, U, O], config: C, mapper: Mapper[U, O]) -> Summary:
    """Plan and complete in one call, with no display."""
    return complete(verb, config, verb.plan(config), mapper)


def new_run_id() -> str:
    """Make a run id that sorts by time: `20261126T020000-1a2b3c4d`."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
