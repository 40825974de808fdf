"""The tiny archive, and a root as it stands before and after each step of the road, made once."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cardioclarity.storage import open_storage
from cardioclarity.synthetic import FINE, Scene, ecg, wfdb_files
from faults.crash import crash_after
from faults.road import FOLLOWING, Road, age, copy, write_archive
from faults.state import Seen, look


@pytest.fixture(scope="session")
def road(fast) -> Road:
    """The archive with a root that nothing has been done to yet."""
    write_archive(open_storage(str(fast / "archive")))
    return Road(archive=str(fast / "archive"), root=str(fast / "before-convert"))


@pytest.fixture(scope="session")
def before(road, fast) -> dict[str, Road]:
    """Step → the road with a root on which all steps before it were done without a fault; "end" after the last."""
    (fast / "before-convert").mkdir()
    roads = {"convert": road}
    for step, following in FOLLOWING.items():
        roads[following] = road.to(copy(roads[step].root, fast / f"before-{following}")).go((step,))
    return roads


@pytest.fixture(scope="session")
def littered(before, fast) -> Road:
    """A root with all that crashed runs leave behind, a month old: segments, staged files, rows that nobody reads."""
    road = before["end"].to(copy(before["end"].root, fast / "littered"))
    other = open_storage(str(fast / "other-archive"))
    for key, data in wfdb_files(ecg(Scene(name="z", seed=9, duration_s=12.0, rate_hz=300.0)), FINE).items():
        other.put_new(key, data)
    for archive, step, at in ((other.url, "convert", "put_new segments/"), (road.archive, "train", "put_new models/")):
        crash_after(replace(road, archive=archive), step, at)
    crash_after(road, "score", "create_write_transaction events")
    age(road.root)
    return road


@pytest.fixture(scope="session")
def undisturbed(before) -> dict[str, Seen]:
    """Step → what a reader sees before it; "end" after the last."""
    return {step: look(road.place) for step, road in before.items()}


@pytest.fixture
def tell(record_property) -> Callable[[str], None]:
    """Say at the end of the test run how much was tried."""

    def say(line: str) -> None:
        record_property("told", line)

    return say
