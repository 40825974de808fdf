"""The loop around a commit: it ends by its mark or by a deadline that counts from the last time the table got on."""

import itertools
import time
from types import SimpleNamespace

import pytest
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError
from table_rows import new_root, version

from cardioclarity.config import StorageOptions
from cardioclarity.errors import StorageError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import commit, publish, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.schemas import PARTITIONS, SCHEMAS

SCHEMA = Schema.from_arrow(SCHEMAS["events"])


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


@pytest.fixture
def out_of_time(monkeypatch):
    """Every round takes longer than the deadline."""
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")
    monkeypatch.setattr(commit, "_PAUSE_S", 0.0)


def nothing(_):
    return Change()


@pytest.mark.parametrize("name", [f"{0:020d}.json#1", "_commit_0b8be0f5-6fd6-4a77-8b4f-2a3f4f6e7a11.json.tmp"])
def test_a_table_that_a_killed_process_left_half_made_is_made(tmp_path, name):
    half = tmp_path / "tables" / "scores" / "_delta_log" / name
    half.parent.mkdir(parents=True)
    half.write_bytes(b"")
    root = open_storage(str(tmp_path))
    assert not snapshot.exists(root, "scores")

    publish.create_tables(root)

    assert {snapshot.open_table(root, table).version() for table in SCHEMAS} == {0}


def test_a_log_that_does_not_open_is_no_table_that_was_made(tmp_path):
    root = open_storage(str(tmp_path))
    root.put_new(f"tables/scores/_delta_log/{0:020d}.json", b"")

    with pytest.raises(StorageError, match="cannot open tables/scores/"):
        commit.create(root, "scores")


def test_each_try_to_make_a_table_has_the_credentials_of_the_moment(tmp_path, monkeypatch):
    moments, told = itertools.count(), []

    def refused(*args, storage_options, **kwargs):
        told.append(storage_options)
        raise CommitFailedError("expired")

    monkeypatch.setattr(Storage, "delta_options", lambda _: {"moment": str(next(moments))})
    monkeypatch.setattr(DeltaTable, "create", refused)
    monkeypatch.setattr(commit, "_PAUSE_S", 0.0)
    with pytest.raises(StorageError, match="cannot make the table events"):
        commit.create(open_storage(str(tmp_path)), "events")

    assert len({options["moment"] for options in told}) == len(told) > 1


def test_who_loses_to_others_goes_on_however_long_a_round_takes(root, out_of_time):
    others = iter("abcde")

    def overtaken(_):
        if other := next(others, None):
            commit.commit(root, "events", nothing, run_id=other)
        return Change()

    assert commit.commit(root, "events", overtaken, run_id="run")
    assert version(root, "events") == 6


def test_the_deadline_counts_from_the_last_time_that_the_table_got_on(root, monkeypatch):
    """Each round takes 700 of 1000 s; the first loses to another run, the second fails for no reason."""
    write, fates, now_s = DeltaTable.create_write_transaction, iter(["overtaken", "failed"]), [0.0]

    def slow(_):
        now_s[0] += 700.0
        return Change()

    def unlucky(self, *args, **kwargs):
        fate = next(fates, None)
        if fate == "overtaken":
            write(snapshot.open_table(root, "events"), [], "append", SCHEMA, partition_by=list(PARTITIONS["events"]))
        if fate == "failed":
            raise CommitFailedError("connection reset")
        write(self, *args, **kwargs)

    clock = SimpleNamespace(monotonic=lambda: now_s[0], sleep=lambda _: None, time_ns=time.time_ns)
    monkeypatch.setattr(commit, "time", clock)
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "1000")
    monkeypatch.setattr(DeltaTable, "create_write_transaction", unlucky)

    assert commit.commit(root, "events", slow, run_id="run")
    assert now_s == [2100.0]


def test_a_commit_is_looked_for_once_more_when_the_time_is_over(root, out_of_time, monkeypatch):
    """The first round loses to another run, the acknowledgement of the second is lost."""
    write, others = DeltaTable.create_write_transaction, iter("a")

    def overtaken_then_lossy(self, *args, **kwargs):
        if other := next(others, None):
            with monkeypatch.context() as patch:
                patch.setattr(DeltaTable, "create_write_transaction", write)
                commit.commit(root, "events", nothing, run_id=other)
        write(self, *args, **kwargs)
        raise CommitFailedError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", overtaken_then_lossy)

    assert commit.commit(root, "events", nothing, run_id="run")
    assert version(root, "events") == 2


def test_a_store_that_is_not_reached_is_asked_no_longer_than_one_deadline(out_of_time, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "x")
    opened, asked = DeltaTable, []
    monkeypatch.setattr(snapshot, "DeltaTable", lambda *args, **kwargs: asked.append(args) or opened(*args, **kwargs))
    root = open_storage("s3://bucket/root", StorageOptions(endpoint_url="http://127.0.0.1:9"))

    with pytest.raises(StorageError, match="cannot be reached"):
        commit.commit(root, "events", nothing, run_id="run")

    assert len(asked) == 1


def test_a_round_of_the_loop_has_no_retries_inside_it(root, monkeypatch):
    monkeypatch.setattr(snapshot, "patiently", lambda *_: pytest.fail("a loop in a loop"))

    assert commit.commit(root, "events", nothing, run_id="run")


def test_of_the_history_no_more_is_read_than_is_needed(root, monkeypatch):
    for n in range(12):
        commit.commit(root, "events", lambda _, n=n: Change(notes={"n": n}), run_id=f"r{n}")
    read, asked = DeltaTable.history, []
    monkeypatch.setattr(DeltaTable, "history", lambda self, limit=None: asked.append(limit) or read(self, limit))

    assert commit.notes_of(root, "events", run_id="r11") == {"n": 11}
    assert asked == [8]
    assert commit.notes_of(root, "events", run_id="r0") == {"n": 0}
    assert asked == [8, 8, 64]
    with pytest.raises(StorageError, match="no longer holds the commit of run r99"):
        commit.notes_of(root, "events", run_id="r99")
