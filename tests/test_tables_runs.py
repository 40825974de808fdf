"""A run leaves one line with its settings, code and libraries, and a digest of its rows that no split can change."""

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity import config as configuration
from cardioclarity.config import ScoreConfig
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, publish, runs
from cardioclarity.tables.staging import Staged
from cardioclarity.work import Plan, RunState, Summary

CONFIG = ScoreConfig(root="r")
SUMMARY = Summary(verb="score", run_id="run", state=RunState.COMPLETED, done=3, quarantined=1, already_done=2)
PLAN = Plan(run_id="run", started_at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), already_done=2, units=())


def staged(table, digest):
    return Staged(table=table, path="p", size=1, sha256="0", n_rows=1, row_digest=f"{digest:032x}", partition=())


@given(st.lists(st.tuples(st.sampled_from(["beats", "events"]), st.integers(0, 2**128 - 1)), max_size=6), st.randoms())
def test_the_digest_of_rows_does_not_depend_on_their_order(files, random):
    shuffled = random.sample(files, len(files))

    digests = runs.row_digests(staged(*file) for file in files)

    assert digests == runs.row_digests(staged(*file) for file in shuffled)
    for table, digest in digests.items():
        assert int(digest, 16) == sum(value for name, value in files if name == table) % 2**128


@pytest.fixture
def root(tmp_path):
    storage = open_storage(str(tmp_path / "root"))
    publish.create_tables(storage)
    return storage


def test_a_run_is_written_down_once_with_all_that_it_rests_on(root):
    runs.log_run(root, CONFIG, PLAN, SUMMARY)
    runs.log_run(root, CONFIG, PLAN, SUMMARY)

    (row,) = catalog.runs(root)
    assert (row["verb"], row["inputs"], row["done"], row["quarantined"], row["already_done"]) == ("score", 6, 3, 1, 2)
    assert row["started_at"] == PLAN.started_at <= row["finished_at"]
    assert json.loads(row["config"]) == json.loads(configuration.as_json(CONFIG))
    assert row["config_digest"] == configuration.digest(CONFIG)
    assert {"python", "torch", "zarr"} <= json.loads(row["versions"]).keys()
    assert json.loads(row["table_versions"]).keys() >= {"scores", "events"}


def test_the_settings_that_judge_are_read_from_a_run_and_are_the_defaults_where_it_has_none():
    assert runs.judgement({"pause_s": 3.0, "root": "x"})["pause_s"] == 3.0
    assert runs.judgement({})["tachycardia_bpm"] == 100.0
    assert runs.judgement({}).keys() == set(configuration.JUDGEMENT)
