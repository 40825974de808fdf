"""A lost or doubled unit or input stops the run before its commit."""

import datetime as dt
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.vocabulary import Reason, Stage
from cardioclarity.work import Plan, Quarantined, Receipt, RunState, Summary, Verb, complete, drive, new_run_id


@dataclass(frozen=True)
class Numbered:
    id: str
    inputs: tuple[str, ...]


class Published(list):
    """What a run committed."""


def receipt_of(unit, n_quarantined=0):
    rows = tuple(
        Quarantined(input=name, stage=Stage.CONVERT, reason=Reason.MALFORMED, message="bad")
        for name in unit.inputs[:n_quarantined]
    )
    return Receipt(unit_id=unit.id, done=len(unit.inputs) - len(rows), quarantined=rows, output=unit.id)


def verb_over(units, published, run=receipt_of, already_done=0):
    def plan(_):
        return Plan(run_id="run", started_at=dt.datetime.now(dt.UTC), already_done=already_done, units=iter(units))

    def finish(_, plan, receipts):
        taken = list(receipts)
        published.extend(receipt.output for receipt in taken)
        return Summary(
            verb="count",
            run_id=plan.run_id,
            state=RunState.COMPLETED,
            done=sum(receipt.done for receipt in taken),
            quarantined=sum(len(receipt.quarantined) for receipt in taken),
            already_done=plan.already_done,
        )

    return Verb(name="count", plan=plan, run=run, finish=finish)


units_of = st.lists(st.integers(0, 5), max_size=8).map(
    lambda sizes: [Numbered(f"u{i}", tuple(f"{i}-{j}" for j in range(n))) for i, n in enumerate(sizes)]
)


@given(units_of, st.integers(0, 5), st.randoms(use_true_random=False))
def test_receipts_in_any_order_publish_everything_once(units, already_done, random):
    published = Published()

    def shuffled(run, units):
        receipts = [run(unit) for unit in units]
        random.shuffle(receipts)
        return receipts

    summary = drive(verb_over(units, published, already_done=already_done), None, shuffled)

    assert sorted(published) == sorted(unit.id for unit in units)
    assert summary.inputs == sum(len(unit.inputs) for unit in units) + already_done


@given(units_of.filter(bool), st.data())
def test_a_lost_or_doubled_unit_stops_the_run_before_its_commit(units, data):
    victim = data.draw(st.integers(0, len(units) - 1))
    copies = data.draw(st.sampled_from([0, 2]))
    published = Published()

    def careless(run, units):
        for i, unit in enumerate(list(units)):
            yield from [run(unit)] * (copies if i == victim else 1)

    with pytest.raises(AssertionError, match=r"no receipt for 1 units|handed out"):
        drive(verb_over(units, published), None, careless)
    assert not published


def test_a_unit_that_forgets_an_input_stops_the_run_before_its_commit():
    published = Published()
    forgetful = verb_over(
        [Numbered("u", ("a", "b"))], published, run=lambda unit: Receipt(unit_id=unit.id, done=1, output=None)
    )

    with pytest.raises(AssertionError, match="2 inputs handed out, 1 accounted for"):
        drive(forgetful, None, map)
    assert not published


def test_two_units_of_one_name_are_refused_while_the_first_is_out():
    twice = [Numbered("u", ("a",)), Numbered("u", ("b",))]

    with pytest.raises(AssertionError, match="planned twice"):
        drive(verb_over(twice, Published()), None, lambda run, units: [run(unit) for unit in list(units)])


def test_quarantined_inputs_count_as_accounted_for():
    verb = verb_over([Numbered("u", ("a", "b", "c"))], Published(), run=lambda unit: receipt_of(unit, 2))

    summary = drive(verb, None, map)

    assert (summary.done, summary.quarantined, summary.inputs) == (1, 2, 3)
    assert "2 set aside" in summary.lines()[0]


def test_progress_hears_of_each_receipt():
    heard = []
    verb = verb_over([Numbered("a", ("1",)), Numbered("b", ("2",))], Published())

    complete(verb, None, verb.plan(None), map, lambda receipt: heard.append(receipt.unit_id))

    assert heard == ["a", "b"]


def test_run_ids_sort_by_time_and_do_not_repeat():
    ids = [new_run_id() for _ in range(50)]

    assert len(set(ids)) == 50
    assert [name[:15] for name in ids] == sorted(name[:15] for name in ids)


def test_the_json_of_a_summary_holds_the_promised_names():
    summary = Summary(verb="score", run_id="r", state=RunState.NOTHING_NEW, done=0, quarantined=0, already_done=7)

    assert summary.as_json() == {
        "verb": "score",
        "run_id": "r",
        "state": "nothing_new",
        "inputs": 7,
        "done": 0,
        "quarantined": 0,
        "already_done": 7,
    }
    assert summary.lines() == ["score: nothing new, 7 records already done"]
