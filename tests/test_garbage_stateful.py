"""Whatever order of runs, kills and time: gc changes nothing that a reader sees, and in the end nothing is left over."""

import datetime as dt
import re
from pathlib import Path

import leavings
import pytest
from faults.crash import Crash, How, Operations
from faults.road import Road, fast_folder
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cardioclarity.garbage import GcConfig, collect
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, Scene, ecg, wfdb_files
from cardioclarity.tables import catalog, snapshot
from cardioclarity.tables.schemas import SCHEMAS

RECORDS = [
    wfdb_files(ecg(Scene(name=f"{n}/ecg", seed=n, duration_s=24.0, rate_hz=360.0, pvc_per_hour=300.0)), MIT)
    for n in range(4)
]
LEVELS = st.sampled_from([60.0, 100.0])


class Nights(RuleBasedStateMachine):
    """A deployment over some weeks; `seen` is what a reader sees, by the last run that was not gc."""

    @initialize()
    def begin(self):
        self.stack = fast_folder()
        folder = self.stack.__enter__()
        self.archive = open_storage(str(folder / "archive"))
        self.road = Road(archive=self.archive.url, root=str(folder / "root"))
        self.delivered = 0
        self.deliver()
        self.road.go(("convert", "train", "score"))
        self.look()

    def teardown(self):
        if not hasattr(self, "road"):
            return
        try:
            self.finish_all()
        finally:
            self.stack.__exit__(None, None, None)

    def look(self):
        self.seen = leavings.check(self.road.place)

    @rule()
    def deliver(self):
        for key, data in RECORDS[self.delivered % len(RECORDS)].items():
            self.archive.replace(key, data)
        self.delivered += 1

    @rule()
    def convert(self):
        self.road.convert()
        self.look()

    @rule(seed=st.integers(0, 1))
    def train(self, seed):
        self.road.train()
        self.look()

    @rule(level=LEVELS)
    def score(self, level):
        self.road.score(tachycardia_bpm=level)
        self.look()

    @rule(
        step=st.sampled_from(["convert", "train", "score"]),
        at=st.integers(1, 40),
        how=st.sampled_from([How.BEFORE, How.AFTER]),
    )
    def die(self, step, at, how):
        if step == "convert":
            self.deliver()
        try:
            with Operations(at=at, how=how):
                getattr(self.road, step)()
        except Crash:
            pass
        self.look()

    @rule()
    def leave_all(self):
        leavings.leave_all(self.road.place)

    @rule(days=st.sampled_from([0.5, 3.0, 8.0, 40.0]))
    def pass_time(self, days):
        leavings.pass_time(self.road.root, days)

    @rule(days=st.sampled_from([1, 7]))
    def gc(self, days):
        would = self.collect(days, dry_run=True)
        assert self.collect(days) == would

    @rule(at=st.integers(1, 60), how=st.sampled_from([How.BEFORE, How.AFTER]))
    def die_in_gc(self, at, how):
        try:
            with Operations(at=at, how=how):
                self.collect(1)
        except Crash:
            pass

    @invariant()
    def a_reader_sees_what_the_last_run_left(self):
        if hasattr(self, "seen"):
            assert leavings.check(self.road.place) == self.seen

    def collect(self, days, **settings):
        return collect(GcConfig(root=self.road.root, older_than=dt.timedelta(days=days), **settings))

    def finish_all(self):
        """The next night mends all, and after two graces every object is one that something names."""
        self.convert()
        self.score(100.0)
        for _ in range(2):  # rows that nobody publishes leave the tables first, their files after another grace
            leavings.pass_time(self.road.root, 8)
            self.collect(7)
        self.a_reader_sees_what_the_last_run_left()
        assert self.collect(7).total.objects == 0
        root = self.road.place
        live = [f for table in SCHEMAS for f in snapshot.live_files(snapshot.open_table(root, table))]
        segments = {file.segment_id for file in live if file.table == "records"}
        models = {file.partition["model_id"] for file in live if "model_id" in file.partition}
        models |= {row["model_id"] for row in catalog.runs(root)}
        champions = {p.read_text().split('"model_id":"')[1][:32] for p in Path(root.url, "models/champion").iterdir()}
        for key in leavings.sizes(root):
            top, name = key.split("/")[:2]
            if key.endswith(".parquet") and "_delta_log" not in key:
                assert key in {file.key for file in live}
            elif top == "segments":
                assert name[:32] in segments
            elif top == "models" and name != "champion":
                assert name in models | champions
            else:
                assert re.match(r"tables/|lineage/|models/champion/", key), key


TestNights = Nights.TestCase
TestNights.settings = settings(max_examples=8, stateful_step_count=10)


@pytest.mark.soak
def test_many_nights():
    run_state_machine_as_test(Nights, settings=settings(max_examples=500, stateful_step_count=40, derandomize=False))
