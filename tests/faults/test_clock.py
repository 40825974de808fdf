"""A clock that is a day off, or goes back between two runs, changes no row but the times in it."""

import datetime as dt
import shutil
import time

import pytest

from cardioclarity import convert, score, train, work
from cardioclarity.tables import catalog, commit, runs
from faults.road import STEPS, copy
from faults.state import look

HOURS = {"slow": -26, "fast": 26}


@pytest.fixture
def clock(monkeypatch):
    """Set the clock that the verbs read, so many hours off."""
    real, offset_s = dt.datetime, 0.0
    real_ns = time.time_ns

    class Shifted(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + dt.timedelta(seconds=offset_s)

    def off(hours):
        nonlocal offset_s
        offset_s = hours * 3600.0

    class Dates:
        datetime = Shifted

        def __getattr__(self, name):
            return getattr(dt, name)

    for module in (convert, train, score, work, runs):
        monkeypatch.setattr(module, "dt", Dates())
    monkeypatch.setattr(commit.time, "time_ns", lambda: real_ns() + int(offset_s * 1e9))
    return off


@pytest.mark.parametrize("first", HOURS)
def test_a_clock_that_is_wrong_and_then_wrong_the_other_way_changes_no_row(clock, first, road, undisturbed, fast):
    shutil.rmtree(fast / "clock", ignore_errors=True)
    here = road.to(copy(road.root, fast / "clock"))
    for number, step in enumerate(STEPS):
        clock(HOURS[first] * (-1) ** number)
        here.go((step,))

    clock(0)
    assert look(here.place) == undisturbed["end"]
    started = [row["started_at"] for row in catalog.runs(here.place)]
    assert max(started) - min(started) > dt.timedelta(days=2)
    assert here.verify() == ()
