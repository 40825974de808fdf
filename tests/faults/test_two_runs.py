"""R7: two runs at once, a run repeated, records delivered twice: the same rows, one winner, nothing doubled."""

import shutil

import pytest

from cardioclarity.errors import StorageError
from cardioclarity.storage import open_storage
from cardioclarity.work import RunState
from faults.crash import Operations, crash_after
from faults.road import FOLLOWING, age, copy, write_archive
from faults.state import check_segments, look
from faults.zygote import Zygote

RACES = 5


@pytest.fixture(scope="module")
def zygotes():
    with Zygote() as one, Zygote() as other:
        yield one, other


@pytest.fixture
def fresh(before, fast):
    """Give a copy of the root as it is before a step; the copy before goes."""
    folder = fast / "two-runs"

    def make(step):
        shutil.rmtree(folder, ignore_errors=True)
        return before[step].to(copy(before[step].root, folder))

    yield make
    shutil.rmtree(folder, ignore_errors=True)


def turning_points(names):
    """Operations before which another run makes a difference; of the objects of a segment only the first and the last."""
    inner = [".zarr/" in name for name in names]
    return [at for at, hidden in enumerate(inner, start=1) if not (hidden and all(inner[at - 2 : at + 1]))]


@pytest.mark.parametrize("step", ["convert", "score", "judge_again"])
def test_a_run_that_another_one_overtakes_at_any_operation_changes_nothing(step, fresh, undisturbed, tell):
    new = undisturbed[FOLLOWING[step]]
    with Operations() as undone:
        fresh(step).go((step,))
    points = turning_points(undone.names)
    for at in points:
        road = fresh(step)
        here = f"{step}, before operation {at} ({undone.names[at - 1]})"
        with Operations(at=at, meanwhile=getattr(road, step)):
            mine = getattr(road, step)()
        seen = look(road.place)
        assert seen == new, here
        assert seen.leftovers == {}, here
        check_segments(road.place)
        if step != "convert":
            already_seen = "scores" in {name.partition(" ")[2] for name in undone.names[: at - 1] if "write" in name}
            assert mine.state == (RunState.COMPLETED if already_seen else RunState.SUPERSEDED), here
    tell(f"{step}: overtaken at {len(points)} operations")


def test_gc_at_any_operation_of_convert_costs_at_most_a_repetition(before, undisturbed, fast, tmp_path, tell):
    """The segments lie there from a run that crashed a month ago: gc may take them while convert counts on them."""
    old = before["convert"].to(copy(before["convert"].root, tmp_path / "old"))
    crash_after(old, "convert", "put_new tables/records")
    age(old.root)

    def converting(**fault):
        shutil.rmtree(fast / "gc-meanwhile", ignore_errors=True)
        road = old.to(copy(old.root, fast / "gc-meanwhile"))
        with Operations(**fault | ({"meanwhile": road.collect} if fault else {})) as operations:
            try:
                road.convert()
            except StorageError as error:
                return road, operations.names, error
        return road, operations.names, None

    _, names, _ = converting()
    repeated = 0
    for at in turning_points(names):
        road, _, ended = converting(at=at)
        if ended is not None:
            assert "run the same command again" in str(ended), names[at - 1]
            road.convert()
            repeated += 1
        assert look(road.place) == undisturbed["train"], names[at - 1]
        assert road.verify() == (), names[at - 1]
    tell(f"gc beside convert at {len(turning_points(names))} operations: repeated {repeated} times")


def test_of_two_runs_with_unlike_levels_the_results_of_one_stand_whole(fresh):
    """The one that comes in between saw all that the other had published by then, so its results are the ones."""
    other = {"tachycardia_bpm": 70.0, "alarms_per_hour": 20.0}
    alone = fresh("judge_again")
    alone.score(**other)
    expected = look(alone.place).results
    with Operations() as undone:
        fresh("judge_again").judge_again()
    for at in range(1, len(undone.names) + 1):
        road = fresh("judge_again")
        with Operations(at=at, meanwhile=lambda road=road: road.score(**other)):
            road.judge_again()
        seen = look(road.place)
        assert (seen.results, seen.leftovers) == (expected, {}), undone.names[at - 1]


@pytest.mark.parametrize("step", ["convert", "score", "judge_again"])
def test_two_processes_at_once_leave_one_result(step, zygotes, fresh, undisturbed):
    new = undisturbed[FOLLOWING[step]]
    for race in range(RACES):
        road = fresh(step)
        for zygote in zygotes:
            zygote.start(road, (step,))
        while_they_run = look(road.place)
        ended = [zygote.wait() for zygote in zygotes]
        assert ended == [{"code": 0, "error": ""}] * 2, race
        assert while_they_run.results in {undisturbed[step].results, new.results}, race
        seen = look(road.place)
        assert seen == new, race
        assert seen.leftovers == {}, race


def test_a_reader_who_keeps_looking_while_two_runs_publish_sees_one_result_or_the_other(zygotes, fresh, undisturbed):
    road = fresh("score")
    looks = set()
    for zygote, steps in zip(zygotes, [("score", "judge_again") * 3, ("judge_again", "score") * 3], strict=True):
        zygote.start(road, steps)
    for _ in range(40):
        looks.add(look(road.place).results)  # fails where a verdict and its events do not belong together
    for zygote in zygotes:
        assert zygote.wait() == {"code": 0, "error": ""}
    assert looks <= {undisturbed[step].results for step in ("score", "judge_again", "report")}
    assert len(looks) > 1


@pytest.mark.parametrize("step", ["convert", "score", "judge_again"])
def test_a_step_that_is_repeated_finds_nothing_new(step, fresh, undisturbed):
    road = fresh(step)
    getattr(road, step)()

    assert getattr(road, step)().state == RunState.NOTHING_NEW
    assert look(road.place) == undisturbed[FOLLOWING[step]]


def test_records_that_another_archive_delivers_again_are_catalogued_once(fresh, undisturbed, fast, tmp_path):
    road = fresh("train")
    write_archive(open_storage(str(tmp_path)))

    again = type(road)(archive=str(tmp_path), root=road.root).convert()

    assert (again.done, again.quarantined) == (5, 1)
    seen = look(road.place)
    assert seen.records == undisturbed["train"].records
    assert seen.sources.startswith("12:")
