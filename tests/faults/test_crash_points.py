"""R1: wherever a run is cut off, a reader sees all of it or nothing, and running it again gives what no fault gives."""

import shutil

import pytest

from cardioclarity.errors import CardioClarityError
from faults.crash import OF_ONE_RUN, Crash, How, Operations
from faults.road import FOLLOWING, copy
from faults.state import check_between, look, switched_runs

FEWEST = {"convert": 55, "train": 11, "score": 12, "judge_again": 10, "report": 1}
FEWEST_OF_GC = 24
"""Operations that each step has at least: fewer would mean that some are no longer seen."""


@pytest.fixture
def cut_off(before, fast):
    """Do a step on a copy of its root with one operation going wrong."""
    folder = fast / "cut-off"

    def cut(step, **fault):
        shutil.rmtree(folder, ignore_errors=True)
        road, ended = before[step].to(copy(before[step].root, folder)), None
        with Operations(**fault) as operations:
            try:
                road.go((step,))
            except (Crash, CardioClarityError) as error:
                ended = error
        return road, operations.names, ended

    yield cut
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("step", FEWEST)
def test_a_step_cut_off_anywhere_is_unseen_or_whole_and_repeats_to_the_same_rows(step, cut_off, undisturbed, tell):
    old, new = undisturbed[step], undisturbed[FOLLOWING[step]]
    _, whole, _ = cut_off(step)
    assert len(whole) >= FEWEST[step]
    left = None
    for at, operation in enumerate(whole, start=1):
        for how in How:
            road, names, ended = cut_off(step, at=at, how=how)
            here = f"{step}, operation {at} ({operation}), {how}"
            assert names[:at] == whole[:at], here
            assert isinstance(ended, Crash) == (how is not How.LOST_ACK), f"{here}: {ended!r}"
            check_between(road.place, old, new, here)
            if how is How.BEFORE and left is not None:
                assert objects(road) == left, here  # the very state that was followed up after the operation before
                continue
            left = objects(road) if how is How.AFTER else left
            road.go((step,))
            check_after(road, new, here)
    tell(f"{step}: {len(whole)} operations, {len(whole) * len(How)} crash points")


def objects(road):
    """Name all objects, without what differs from run to run."""
    return sorted(OF_ONE_RUN.sub("…", listed.key) for listed in road.place.list())


def test_gc_cut_off_anywhere_takes_nothing_that_counts_and_ends_as_whole(littered, fast, tell):
    before = look(littered.place)

    def cut(**fault):
        shutil.rmtree(fast / "collected", ignore_errors=True)
        road, ended = littered.to(copy(littered.root, fast / "collected")), None
        with Operations(**fault) as operations:
            try:
                road.collect()
            except (Crash, CardioClarityError) as error:
                ended = error
        return road, operations.names, ended

    road, whole, _ = cut()
    assert len(whole) >= FEWEST_OF_GC
    assert road.collect(dry_run=True).total.objects == 0
    left = None
    for at, operation in enumerate(whole, start=1):
        for how in How:
            road, _, ended = cut(at=at, how=how)
            here = f"gc, operation {at} ({operation}), {how}"
            assert isinstance(ended, Crash) == (how is not How.LOST_ACK), f"{here}: {ended!r}"
            assert look(road.place) == before, here
            if how is How.BEFORE and left is not None:
                assert objects(road) == left, here
                continue
            left = objects(road) if how is How.AFTER else left
            road.collect()
            assert look(road.place) == before, here
            assert road.collect(dry_run=True).total.objects == 0, here
            assert road.verify() == (), here
    tell(f"gc: {len(whole)} operations, {len(whole) * len(How)} crash points")


def check_after(road, new, here):
    """Look when the step was repeated without a fault."""
    seen = look(road.place)
    assert seen == new, here
    assert road.verify() == (), here
    assert not switched_runs(road.place) & seen.leftovers.keys(), f"{here}: what was replaced is swept"
    for listed in road.place.list("reports/"):
        assert road.place.fetch(listed.key).rstrip().endswith(b"</html>"), here
