"""A change of a table happens exactly once: run again, raced, or with its acknowledgement lost, the rows are the same."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from table_rows import (
    NIGHT,
    current,
    new_root,
    of_beats,
    of_events,
    of_quarantine,
    of_records,
    of_run,
    of_sources,
    opened,
    rows,
    scores_of,
    stage,
    version,
)

from cardioclarity.config import StorageOptions
from cardioclarity.errors import CardioClarityError, DamageError, NotFoundError, StorageError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, commit, publish, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.vocabulary import Head


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.service)])
def root(request, tmp_path):
    """A new root in a folder, and one on a real S3 server."""
    return new_root(tmp_path if request.param == "folder" else request.getfixturevalue("s3"))


def test_making_the_tables_again_changes_nothing(root):
    publish.create_tables(root)

    assert {version(root, table) for table in SCHEMAS} == {0}


@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.service)])
def test_tables_made_by_many_at_once_are_made_once(request, tmp_path, store):
    url = str(tmp_path) if store == "folder" else request.getfixturevalue("s3")
    start = threading.Barrier(6)

    def make(_):
        start.wait()
        publish.create_tables(open_storage(url))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))

    root = open_storage(url)
    assert {version(root, table) for table in SCHEMAS} == {0}
    assert all(len(opened(root, table).history()) == 1 for table in SCHEMAS)


def test_tables_in_a_file_are_refused_before_any_is_tried(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError, match=r"file is a file, not a folder; give a folder or URL as --root$"):
        publish.create_tables(open_storage(str(tmp_path / "file")))


def test_a_store_that_overwrites_where_it_must_refuse_gets_no_table(tmp_path):
    class Lax(Storage):
        def require_create_only(self):
            raise StorageError("overwrites")

    root = Lax(str(tmp_path), "here", StorageOptions())

    with pytest.raises(StorageError, match="overwrites"):
        publish.create_tables(root)
    assert list(root.list()) == []

    whole = new_root(tmp_path)
    assert whole.url == root.url
    publish.create_tables(root)  # a root that has tables was probed when they were made


def newer(root, table):
    """Let a table say that a later version of the software made it."""
    key = f"tables/{table}/_delta_log/{0:020d}.json"
    log = root.fetch(key).replace(b'"cardioclarity.schema_version":"1"', b'"cardioclarity.schema_version":"2"')
    root.replace(key, log)


@pytest.mark.parametrize("table", ["sources", "records"])
def test_a_root_of_a_newer_version_is_refused_with_a_sentence_and_left_alone(tmp_path, table):
    root = new_root(tmp_path)
    newer(root, table)
    before = [(listed.key, listed.version) for listed in root.list()]

    with pytest.raises(CardioClarityError, match=rf"tables/{table}/ was written by a newer CardioClarity .*update"):
        publish.create_tables(root)

    assert [(listed.key, listed.version) for listed in root.list()] == before


@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.service)])
def test_a_table_of_other_software_is_refused_with_a_sentence_and_nothing_is_written(request, tmp_path, store):
    root = open_storage(str(tmp_path) if store == "folder" else request.getfixturevalue("s3"))
    foreign = root.join("tables/events")
    write_deltalake(foreign, pa.table({"day": ["monday"]}), storage_options=root.delta_options())
    before = [(listed.key, listed.version) for listed in root.list()]

    with pytest.raises(
        CardioClarityError, match=r"tables/events/ is a Delta table that CardioClarity did not make .*--"
    ):
        publish.create_tables(root)

    assert [(listed.key, listed.version) for listed in root.list()] == before


@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.service)])
def test_a_place_that_is_itself_a_delta_table_gets_no_table(request, tmp_path, store):
    root = open_storage(str(tmp_path / "lake") if store == "folder" else request.getfixturevalue("s3"))
    write_deltalake(root.url, pa.table({"day": ["monday"]}), storage_options=root.delta_options())
    before = [(listed.key, listed.version) for listed in root.list()]

    with pytest.raises(
        CardioClarityError, match=rf"^{root.name} is itself a Delta table, .* give another folder or URL as --root$"
    ):
        publish.create_tables(root)

    assert [(listed.key, listed.version) for listed in root.list()] == before


def test_a_root_that_has_its_tables_is_a_plain_place_for_new_ones(tmp_path):
    snapshot.require_plain_place(new_root(tmp_path))


def test_a_table_that_is_missing_is_named_with_the_command_and_the_root(tmp_path):
    root = open_storage(str(tmp_path))

    with pytest.raises(NotFoundError) as raised:
        snapshot.open_table(root, "events")

    assert str(raised.value).endswith(f"make it with: cardioclarity convert ARCHIVE --root {tmp_path}")


def test_what_other_software_keeps_beside_the_tables_does_not_matter(tmp_path):
    write_deltalake(str(tmp_path / "tables/invoices"), pa.table({"day": ["monday"]}))

    publish.create_tables(open_storage(str(tmp_path)))

    assert {version(open_storage(str(tmp_path)), table) for table in SCHEMAS} == {0}


@pytest.mark.parametrize("table", ["events", "beats"])
def test_adding_again_changes_nothing(root, table):
    columns = of_events("ef") if table == "events" else of_beats(2)
    staged = [stage(root, table, columns, model_id="m", segment_id=segment) for segment in "st"]

    for _ in range(3):
        publish.add(root, table, [*staged, staged[0]], run_id="run")

    assert len(rows(root, table)) == 4
    assert version(root, table) == 1


def test_a_file_that_has_vanished_or_is_cut_short_is_never_published(root):
    lost, short = (stage(root, "events", of_events("e"), model_id="m", segment_id=segment) for segment in "st")
    root.delete(lost.key)
    root.replace(short.key, root.fetch(short.key)[:-1])

    for staged in (lost, short):
        with pytest.raises(DamageError, match=r"1 of 1 staged files .* nothing was published"):
            publish.add(root, "events", [staged], run_id="run")

    assert version(root, "events") == 0


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"there is no table tables/\w+/; make it with"):
        publish.record_run(open_storage(str(tmp_path)), of_run("r"))


def test_the_log_holds_no_statistics_but_the_number_of_rows(root):
    publish.upsert(root, "sources", [stage(root, "sources", of_sources(["patient 7.dat"]))], run_id="run")

    log = root.fetch("tables/sources/_delta_log/00000000000000000001.json").decode()

    assert "patient 7" not in log
    assert '{\\"numRecords\\": 1}' in log


# ---------------------------------------------------------------- lost acknowledgements


@pytest.fixture
def lost_acknowledgements(monkeypatch):
    """Every commit succeeds, and nobody is told."""
    written = []
    write = DeltaTable.create_write_transaction

    def lossy(self, *args, **kwargs):
        write(self, *args, **kwargs)
        written.append(self.version())
        raise CommitFailedError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lossy)
    monkeypatch.setattr(commit, "_PAUSE_S", 0.0)
    return written


def test_a_commit_whose_acknowledgement_is_lost_is_recognised(root, lost_acknowledgements):
    publish.add(root, "events", [stage(root, "events", of_events("e"), model_id="m", segment_id="s")], run_id="run")
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("k"))], run_id="run")
    publish.add_new(root, [stage(root, "records", of_records("aa"), segment_id="s")], run_id="run")
    switched = publish.switch_scores(root, scores_of(root, "run"), run_id="run", model_id="m", replaces={})
    publish.sweep(root, model_id="m", run_id="run", gone_events={("s", "run")}, gone_beats=())

    assert len(lost_acknowledgements) == 5
    assert [len(rows(root, table)) for table in ("events", "sources", "records", "scores")] == [0, 1, 1, 4]
    assert switched == publish.Switched(published=("s",), superseded=(), replaced=())


def test_a_commit_that_never_succeeds_says_that_its_outcome_is_unknown(root, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(f"cannot write {root.url}/tables")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse)
    monkeypatch.setattr(commit, "_PAUSE_S", 0.0)
    staged = stage(root, "events", of_events("e"), model_id="m", segment_id="s")
    with pytest.raises(
        StorageError, match=r"unknown whether run run was published .*run the same command again"
    ) as info:
        publish.add(root, "events", [staged], run_id="run")

    assert f"(OSError: cannot write {root.name}/tables)" in str(info.value)


def test_a_run_is_recognised_however_many_commits_and_checkpoints_ago_it_was(root):
    staged = [
        stage(root, "events", of_events([run]), run_id=run, model_id="m", segment_id="s") for run in "abcdefghijklm"
    ]
    for file, run_id in zip(staged, "abcdefghijklm", strict=True):
        publish.add(root, "events", [file], run_id=run_id)
    logs = [listed.key for listed in root.list("tables/events/_delta_log/")]

    publish.add(root, "events", staged[:1], run_id="a")

    assert any(key.endswith(".checkpoint.parquet") for key in logs), (
        "opening the table reads a bounded number of commits"
    )
    assert version(root, "events") == len(staged)
    assert sorted(row["event_id"] for row in rows(root, "events")) == list("abcdefghijklm")


# ---------------------------------------------------------------- records


def test_a_record_is_catalogued_once(root):
    staged = [
        stage(root, "records", of_records("abc"), unit_id="1", segment_id="s"),
        stage(root, "records", of_records("cd"), unit_id="2", segment_id="t"),
        stage(root, "records", of_records("ad"), unit_id="3", segment_id="u"),
    ]

    for order in (list(reversed(staged)), staged):
        publish.add_new(root, order, run_id="run")

        found = [(row["record_id"], row["segment_id"]) for row in rows(root, "records")]
        assert found == [*zip("abcd", "ssst", strict=True)]
        assert version(root, "records") == 1


def test_a_record_that_an_earlier_run_has_catalogued_is_dropped(root):
    publish.add_new(root, [stage(root, "records", of_records("ab"), run_id="r1", segment_id="s")], run_id="r1")

    again = stage(root, "records", of_records("ab"), run_id="r2", segment_id="s")
    more = stage(root, "records", of_records("bc"), run_id="r2", segment_id="t")
    publish.add_new(root, [again, more], run_id="r2")

    assert [(row["record_id"], row["run_id"]) for row in rows(root, "records")] == [
        ("a", "r1"),
        ("b", "r1"),
        ("c", "r2"),
    ]
    assert rows(root, "records")[2]["notes"] == ["checksum wrong"]


def test_converters_at_once_catalogue_each_record_once(root):
    start = threading.Barrier(4)

    def convert(i):
        staged = stage(root, "records", of_records(["shared", f"own {i}"]), run_id=f"r{i}", segment_id=f"s{i}")
        start.wait()
        publish.add_new(root, [staged], run_id=f"r{i}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(convert, range(4)))

    assert [row["record_id"] for row in rows(root, "records")] == sorted([*(f"own {i}" for i in range(4)), "shared"])


# ---------------------------------------------------------------- scores


def test_scores_replace_those_that_the_plan_saw_in_one_commit(root):
    publish.switch_scores(root, scores_of(root, "r1", "stu"), run_id="r1", model_id="m", replaces={})

    switched = publish.switch_scores(
        root, scores_of(root, "r2", "st", evidence="r1"), run_id="r2", model_id="m", replaces={"s": "r1", "t": "r1"}
    )

    assert switched == publish.Switched(
        published=("s", "t"), superseded=(), replaced=(("s", "r1", "r1"), ("t", "r1", "r1"))
    )
    assert current(root) == {"s": "r2", "t": "r2", "u": "r1"}
    assert version(root, "scores") == 2
    assert len(rows(root, "scores")) == 12


def test_what_gave_way_names_the_evidence_that_it_rested_on(root):
    publish.switch_scores(root, scores_of(root, "r2", evidence="r1"), run_id="r2", model_id="m", replaces={})

    switched = publish.switch_scores(root, scores_of(root, "r3"), run_id="r3", model_id="m", replaces={"s": "r2"})

    assert switched.replaced == (("s", "r2", "r1"),)


def test_switching_again_tells_the_same_and_changes_nothing(root):
    publish.switch_scores(root, scores_of(root, "r1"), run_id="r1", model_id="m", replaces={})
    staged = scores_of(root, "r2", "st")

    told = [
        publish.switch_scores(root, staged, run_id="r2", model_id="m", replaces={"s": "r1", "t": "lost"})
        for _ in range(3)
    ]

    assert told == [publish.Switched(published=("s",), superseded=("t",), replaced=(("s", "r1", "r1"),))] * 3
    assert version(root, "scores") == 2


@pytest.mark.parametrize("seen", [None, "another", "r0"])
def test_scores_that_another_run_has_changed_since_the_plan_stay(root, seen):
    publish.switch_scores(root, scores_of(root, "r1"), run_id="r1", model_id="m", replaces={})

    switched = publish.switch_scores(root, scores_of(root, "r2"), run_id="r2", model_id="m", replaces={"s": seen})

    assert switched == publish.Switched(published=(), superseded=("s",), replaced=())
    assert current(root) == {"s": "r1"}
    assert version(root, "scores") == 1


def test_another_models_scores_are_another_matter(root):
    publish.switch_scores(
        root, scores_of(root, "r1", model_id="other"), run_id="r1", model_id="other", replaces={"s": None}
    )

    switched = publish.switch_scores(root, scores_of(root, "r2"), run_id="r2", model_id="m", replaces={"s": None})

    assert switched.published == ("s",)
    assert len(rows(root, "scores")) == 8


@pytest.mark.parametrize("round_", range(3))
def test_of_runs_at_once_one_wins_each_segment_and_nothing_is_doubled(root, round_):
    publish.switch_scores(root, scores_of(root, "r", "st"), run_id="r", model_id="m", replaces={})
    start = threading.Barrier(4)

    def score(i):
        segments = "stu" if i % 2 else "su"
        staged = scores_of(root, f"r{i}", segments)
        start.wait()
        return publish.switch_scores(
            root, staged, run_id=f"r{i}", model_id="m", replaces={"s": "r", "t": "r", "u": None}
        )

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(score, range(4)))

    winners = {segment: [i for i in range(4) if segment in told[i].published] for segment in "stu"}
    assert all(len(runs) == 1 for runs in winners.values())
    assert current(root) == {segment: f"r{runs[0]}" for segment, runs in winners.items()}
    assert len(rows(root, "scores")) == 3 * len(Head)
    assert sorted(gone for switched in told for gone in switched.replaced) == [("s", "r", "r"), ("t", "r", "r")]


def test_a_reader_never_sees_two_runs_or_a_run_in_halves(root):
    """Runs follow each other; run number n has n + 1 events in each segment, of which every score tells."""
    segments, n_runs, done, seen = "stu", 12, threading.Event(), set()

    def read():
        while not done.is_set():
            events = catalog.events(root, model_id="m")
            seen.add(tuple(sorted((row["run_id"], row["segment_id"]) for row in events)))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for n in range(n_runs):
            run_id, before = f"r{n}", f"r{n - 1}" if n else None
            events = [
                stage(
                    root,
                    "events",
                    of_events([f"{run_id}{s}{i}" for i in range(n + 1)]),
                    run_id=run_id,
                    model_id="m",
                    segment_id=s,
                )
                for s in segments
            ]
            publish.add(root, "events", events, run_id=run_id)
            publish.switch_scores(
                root,
                scores_of(root, run_id, segments),
                run_id=run_id,
                model_id="m",
                replaces=dict.fromkeys(segments, before),
            )
            gone = {(s, before) for s in segments} if before else set()
            publish.sweep(root, model_id="m", run_id=run_id, gone_events=gone, gone_beats=())
        done.set()
        reader.result()

    whole = {tuple(sorted((f"r{n}", s) for s in segments for _ in range(n + 1))) for n in range(n_runs)}
    assert seen - {()} <= whole
    assert len(seen) > 1, "the reader has watched"
    assert len(rows(root, "events")) == n_runs * len(segments)


# ---------------------------------------------------------------- runs, outside readers


def test_a_run_is_written_down_once_with_the_state_of_the_tables(root):
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("a"))], run_id="run")

    for _ in range(3):
        publish.record_run(root, of_run("run", row_digests='{"sources": "1"}'))
    publish.record_run(root, of_run("later"))

    first, second = sorted(catalog.runs(root), key=lambda row: row["run_id"] == "later")
    assert (first["run_id"], second["run_id"]) == ("run", "later")
    assert json.loads(first["table_versions"]) == {table: int(table == "sources") for table in SCHEMAS}
    assert json.loads(second["table_versions"])["runs"] == 1
    assert first["row_digests"] == '{"sources": "1"}'
    assert first["started_at"] == NIGHT


def test_duckdb_and_pandas_read_every_table(root):
    publish.add_new(root, [stage(root, "records", of_records("a"), segment_id="s")], run_id="run")
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("a"))], run_id="run")
    publish.upsert(root, "quarantine", [stage(root, "quarantine", of_quarantine(source_key=["b"]))], run_id="run")
    publish.add(root, "beats", [stage(root, "beats", of_beats(3), model_id="m", segment_id="s")], run_id="run")
    publish.add(root, "events", [stage(root, "events", of_events("e"), model_id="m", segment_id="s")], run_id="run")
    publish.switch_scores(root, scores_of(root, "run"), run_id="run", model_id="m", replaces={})
    publish.record_run(root, of_run("run"))
    expected = {"records": 1, "sources": 1, "quarantine": 1, "beats": 3, "events": 1, "scores": 4, "runs": 1}

    with duckdb.connect() as connection:
        for table, n_rows in expected.items():
            found = opened(root, table)
            connection.register(table, found.to_pyarrow_dataset())
            assert connection.sql(f"select count(*) from {table}").fetchall() == [(n_rows,)]
            frame = found.to_pandas()
            assert isinstance(frame, pd.DataFrame)
            assert list(frame.columns) == SCHEMAS[table].names
            assert len(frame) == n_rows
        statement = "select e.event_id from events e semi join scores s using (segment_id, model_id, run_id)"
        assert connection.sql(statement).fetchall() == [("e",)]
        joined = (
            "select count(*) from beats b semi join scores s"
            " on (b.segment_id, b.model_id, b.run_id) = (s.segment_id, s.model_id, s.evidence_run_id)"
        )
        assert connection.sql(joined).fetchall() == [(3,)]
