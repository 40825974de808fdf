"""A change of a table happens exactly once: run again, raced, or with its acknowledgement lost, the rows are the same."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import (
    NIGHT,
    new_root,
    of_beats,
    of_events,
    of_quarantine,
    of_records,
    of_run,
    of_scores,
    of_sources,
    stage,
)

from cardioclarity.errors import DamageError, NotFoundError, StorageError
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, commit, publish, snapshot, staging
from cardioclarity.tables.schemas import IDENTIFYING, MEMBERS, SCHEMAS, file_schema
from cardioclarity.vocabulary import Head, Reason


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


def rows(root, table):
    found = DeltaTable(root.join(f"tables/{table}")).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def version(root, table):
    return DeltaTable(root.join(f"tables/{table}")).version()


def scores_of(root, run_id, segments="s", *, evidence=None, model_id="m"):
    """Stage the scores of one record in each segment."""
    return [
        stage(
            root,
            "scores",
            of_scores([f"record in {segment}"], evidence_run_id=evidence or run_id),
            run_id=run_id,
            model_id=model_id,
            segment_id=segment,
        )
        for segment in segments
    ]


def current(root):
    return {segment: scores.run_id for segment, scores in catalog.current_scores(root, "m").items()}


# ---------------------------------------------------------------- staging


def test_a_staged_file_is_seen_by_nobody(root):
    staged = stage(root, "records", of_records("ab"), segment_id="s")

    assert (staged.n_rows, staged.size) == (2, len(root.fetch(staged.key)))
    assert staged.path == f"segment_id=s/run-unit-{staged.sha256}.parquet"
    assert rows(root, "records") == []
    assert version(root, "records") == 0


def test_a_repeated_unit_stages_the_same_bytes_under_the_same_name(root):
    first, second = (stage(root, "records", of_records("ab"), segment_id="s") for _ in range(2))

    assert first == second
    assert len(list(root.list("tables/records/segment_id=s/"))) == 1


def test_a_run_and_unit_of_any_name_can_be_told_from_a_path(root):
    run_id, unit_id = "20261126T020000-1a2b3c4d", "unit-7/a b"

    staged = stage(root, "sources", of_sources("a"), run_id=run_id, unit_id=unit_id)

    assert staging.run_of(staged.path) == run_id


@pytest.mark.parametrize("change", [{"age": None, "extra": 1}, {"record_id": ["a"]}, {"rate_hz": None}])
def test_wrong_columns_lengths_and_nulls_are_our_own_mistake(root, change):
    with pytest.raises(AssertionError, match=r"extra|unlike length|rate_hz must not be null"):
        stage(root, "records", of_records("ab") | change, segment_id="s")


def test_a_missing_column_is_our_own_mistake(root):
    columns = of_records("ab")
    del columns["notes"]

    with pytest.raises(AssertionError, match=r"columns missing \['notes'\]"):
        stage(root, "records", columns, segment_id="s")


def test_a_partition_that_the_table_does_not_have_is_our_own_mistake(root):
    with pytest.raises(AssertionError, match="partitioned by"):
        stage(root, "records", of_records("ab"), model_id="m")


@pytest.mark.parametrize("value", ["a/b", "a%b", "", "ä"])
def test_a_name_that_the_log_would_have_to_escape_is_our_own_mistake(root, value):
    with pytest.raises(AssertionError):
        stage(root, "records", of_records("ab"), segment_id=value)


def test_all_that_producers_have_becomes_exact_columns(root):
    columns = of_beats(
        2,
        record_index=np.array([0, 1], np.int64),
        kind=np.array(["beat", "window"], np.dtypes.StringDType()),
        reason=[Reason.MEMORY, None],
        rr_s=np.array([0.8, np.nan]),
        template=[np.float32(1.5), None],
        p_value=[0.1, float("nan")],
    )

    table = staging.arrow_table("beats", columns)

    assert table.schema.equals(file_schema("beats"))
    found = table.to_pylist()
    assert [row["kind"] for row in found] == ["beat", "window"]
    assert [row["reason"] for row in found] == ["memory", None]
    assert [row["rr_s"] for row in found] == [pytest.approx(0.8), None]
    assert [row["template"] for row in found] == [1.5, None]
    assert [row["p_value"] for row in found] == [pytest.approx(0.1), None]
    assert {row["lead"] for row in found} == {"MLII"}


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(pa.ArrowInvalid):
        staging.arrow_table("beats", of_beats(1, record_index=np.array([2**40])))


@pytest.mark.parametrize(
    ("table", "columns"), [("records", of_records("")), ("events", of_events("")), ("beats", of_beats(0))]
)
def test_no_rows_are_a_file_too(root, table, columns):
    partition = {"segment_id": "s"} | ({} if table == "records" else {"model_id": "m"})

    staged = stage(root, table, columns, **partition)
    publish.add(root, table, [staged], run_id="run")

    assert (staged.n_rows, staged.row_digest) == (0, "0" * 32)
    assert rows(root, table) == []


def test_pages_have_checksums_and_identifying_columns_no_statistics(root):
    staged = stage(root, "sources", of_sources(["patient 7.dat"]))
    data = root.fetch(staged.key)
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)

    for i in range(group.num_columns):
        column = group.column(i)
        assert (column.statistics is None) == (column.path_in_schema in IDENTIFYING), column.path_in_schema
        assert column.compression == "ZSTD"
    start = group.column(1).dictionary_page_offset
    damaged = bytearray(data)
    damaged[start + group.column(1).total_compressed_size // 2] ^= 1
    with pytest.raises(OSError, match=r"crc|CRC|checksum|corrupt"):
        pq.ParquetFile(pa.BufferReader(bytes(damaged)), page_checksum_verification=True).read()


# ---------------------------------------------------------------- row digest

ROWS = st.lists(
    st.tuples(
        st.integers(-5, 5),
        st.sampled_from(["", "a", "b", "ab"]),
        st.sampled_from([0.0, 1.0, 1.5, None]),
    ),
    max_size=8,
)


def digest(rows, *, segment="s"):
    columns = of_beats(
        len(rows),
        start_sample=[row[0] for row in rows],
        kind=[row[1] for row in rows],
        score=[row[2] for row in rows],
        p_value=None,
    )
    return staging._digest(staging.arrow_table("beats", columns), (("segment_id", segment),))


@settings(max_examples=60)
@given(rows=ROWS, seed=st.integers(0, 99), cut=st.integers(0, 8))
def test_the_row_digest_does_not_depend_on_order_or_on_the_division_into_files(rows, seed, cut):
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]

    assert digest(shuffled) == digest(rows)
    assert (digest(rows[:cut]) + digest(rows[cut:])) % 2**128 == digest(rows)


@settings(max_examples=60)
@given(first=ROWS, second=ROWS)
def test_other_rows_have_another_digest(first, second):
    same = sorted(first, key=repr) == sorted(second, key=repr)

    assert (digest(first) == digest(second)) == same


def test_the_row_digest_leaves_out_what_names_the_run_and_nothing_else(root):
    columns = of_scores(["a"])
    base = stage(root, "scores", columns, model_id="m", segment_id="s").row_digest
    changes = {
        "run_id": "other",
        "evidence_run_id": "other",
        "scored_at": NIGHT.replace(hour=3),
        "state": "anomalous",
        "reasons": [("noise",)] * 4,
        "coverage": 0.5,
        "n_beats": 21,
        "heart_rate_min_bpm": 50.0,
        "patient_id": "p",
    }

    same = {
        name
        for name, value in changes.items()
        if publish.stage(
            root,
            "scores",
            columns | {name: value},
            run_id="run",
            unit_id="u",
            partition={"model_id": "m", "segment_id": "s"},
        ).row_digest
        == base
    }

    assert same == {"run_id", "evidence_run_id", "scored_at"}
    assert stage(root, "scores", columns, model_id="m", segment_id="t").row_digest != base


def test_minus_zero_is_zero_and_null_is_neither_empty_nor_zero():
    assert digest([(0, "a", 0.0)]) == digest([(0, "a", -0.0)])
    assert digest([(0, "a", None)]) != digest([(0, "a", 0.0)])


# ---------------------------------------------------------------- create, add


def test_making_the_tables_again_changes_nothing(root):
    publish.create_tables(root)

    assert {version(root, table) for table in SCHEMAS} == {0}


def test_tables_made_by_many_at_once_are_made_once(tmp_path):
    start = threading.Barrier(6)

    def make(_):
        start.wait()
        publish.create_tables(open_storage(str(tmp_path)))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))

    root = open_storage(str(tmp_path))
    assert {version(root, table) for table in SCHEMAS} == {0}
    assert all(len(DeltaTable(root.join(f"tables/{table}")).history()) == 1 for table in SCHEMAS)


def test_tables_in_a_file_are_refused_before_any_is_tried(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError, match=r"file is a file, not a folder; give a folder or URL as --root$"):
        publish.create_tables(open_storage(str(tmp_path / "file")))


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

    log = (Path(root.url) / "tables/sources/_delta_log/00000000000000000001.json").read_text()

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
    dropped = publish.add_new(root, [stage(root, "records", of_records("aa"), segment_id="s")], run_id="run")
    switched = publish.switch_scores(root, scores_of(root, "run"), run_id="run", model_id="m", replaces={})
    publish.sweep(root, model_id="m", run_id="run", gone_events={("s", "run")}, gone_beats=())

    assert len(lost_acknowledgements) == 5
    assert [len(rows(root, table)) for table in ("events", "sources", "records", "scores")] == [0, 1, 1, 4]
    assert dropped == ()
    assert switched == publish.Switched(published=("s",), superseded=(), replaced=())


def test_a_commit_that_never_succeeds_says_that_its_outcome_is_unknown(root, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(f"cannot write {root.url}/tables")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse)
    monkeypatch.setattr(commit, "_PAUSE_S", 0.0)
    staged = stage(root, "events", of_events("e"), model_id="m", segment_id="s")
    root = open_storage(f"file://{root.url}")

    with pytest.raises(
        StorageError, match=r"unknown whether run run was published .*run the same command again"
    ) as info:
        publish.add(root, "events", [staged], run_id="run")

    assert "(OSError: cannot write file://" in str(info.value)


# ---------------------------------------------------------------- records


def test_a_record_is_catalogued_once(root):
    staged = [
        stage(root, "records", of_records("abc"), unit_id="1", segment_id="s"),
        stage(root, "records", of_records("cd"), unit_id="2", segment_id="t"),
        stage(root, "records", of_records("ad"), unit_id="3", segment_id="u"),
    ]

    dropped = publish.add_new(root, list(reversed(staged)), run_id="run")

    assert dropped == ("a", "c", "d")
    assert [(row["record_id"], row["segment_id"]) for row in rows(root, "records")] == [
        *zip("abcd", "ssst", strict=True)
    ]
    assert publish.add_new(root, staged, run_id="run") == dropped
    assert version(root, "records") == 1


def test_a_record_that_an_earlier_run_has_catalogued_is_dropped(root):
    publish.add_new(root, [stage(root, "records", of_records("ab"), run_id="r1", segment_id="s")], run_id="r1")

    again = stage(root, "records", of_records("ab"), run_id="r2", segment_id="s")
    more = stage(root, "records", of_records("bc"), run_id="r2", segment_id="t")
    dropped = publish.add_new(root, [again, more], run_id="r2")

    assert dropped == ("a", "b")
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
        return publish.add_new(root, [staged], run_id=f"r{i}")

    with ThreadPoolExecutor(4) as pool:
        dropped = list(pool.map(convert, range(4)))

    assert sorted(dropped) == [(), ("shared",), ("shared",), ("shared",)]
    assert [row["record_id"] for row in rows(root, "records")] == sorted([*(f"own {i}" for i in range(4)), "shared"])


# ---------------------------------------------------------------- sources, quarantine


def test_rows_replace_the_rows_of_equal_key_and_leave_the_others(root):
    for run_id, keys in (("r1", "abc"), ("r2", "def"), ("r3", "bx")):
        publish.upsert(root, "sources", [stage(root, "sources", of_sources(keys), run_id=run_id)], run_id=run_id)
    untouched = [file.path for file in snapshot.live_files(snapshot.open_table(root, "sources")) if file.run_id == "r2"]

    publish.upsert(
        root, "sources", [stage(root, "sources", of_sources("ac", source_version="v2"), run_id="r4")], run_id="r4"
    )

    found = {row["source_key"]: (row["run_id"], row["source_version"]) for row in rows(root, "sources")}
    assert found == {
        "a": ("r4", "v2"),
        "b": ("r3", "v1"),
        "c": ("r4", "v2"),
        **dict.fromkeys("def", ("r2", "v1")),
        "x": ("r3", "v1"),
    }
    assert len(rows(root, "sources")) == 7
    live = {file.path for file in snapshot.live_files(snapshot.open_table(root, "sources"))}
    assert set(untouched) < live
    assert len(live) == 3, "a file whose rows are all replaced goes"


def test_the_same_key_in_another_archive_is_another_row(root):
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("a"), run_id="r1")], run_id="r1")

    other = stage(root, "sources", of_sources("a", archive="s3://other"), run_id="r2")
    publish.upsert(root, "sources", [other], run_id="r2")

    assert [row["archive"] for row in rows(root, "sources")] == ["s3://ecg", "s3://other"]


def test_a_key_staged_twice_in_one_run_is_our_own_mistake(root):
    staged = [stage(root, "sources", of_sources("a"), unit_id=unit) for unit in "12"]

    with pytest.raises(AssertionError, match="staged a key twice"):
        publish.upsert(root, "sources", staged, run_id="run")


def test_a_quarantined_file_is_named_by_its_source_and_a_record_without_one_by_its_id(root):
    nights = (
        ("r1", of_quarantine(source_key=["a", "b"], record_id=[None, "x"])),
        ("r2", of_quarantine(source_key=["a", "b"], record_id=["y", None], reason="truncated")),
        ("r3", of_quarantine(stage="score", archive=None, record_id=["x", "y"])),
        ("r4", of_quarantine(stage="score", archive=None, record_id=["x"], reason="poisoned")),
    )

    for run_id, columns in nights:
        publish.upsert(root, "quarantine", [stage(root, "quarantine", columns, run_id=run_id)], run_id=run_id)

    found = [(row["stage"], row["source_key"] or row["record_id"], row["reason"]) for row in rows(root, "quarantine")]
    assert sorted(found) == [
        ("convert", "a", "truncated"),
        ("convert", "b", "truncated"),
        ("score", "x", "poisoned"),
        ("score", "y", "malformed"),
    ]


def test_no_row_is_no_commit(root):
    publish.upsert(root, "quarantine", [], run_id="run")
    publish.add(root, "events", [], run_id="run")
    publish.sweep(root, model_id="m", run_id="run", gone_events=(), gone_beats={("s", "nobody")})

    assert publish.add_new(root, [], run_id="run") == ()
    assert {version(root, table) for table in SCHEMAS} == {0}


def test_writers_at_once_leave_one_row_per_key(root):
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("abcd"), run_id="r")], run_id="r")
    start = threading.Barrier(4)

    def see(i):
        staged = stage(root, "sources", of_sources(["a", "b", f"own {i}"]), run_id=f"r{i}")
        start.wait()
        publish.upsert(root, "sources", [staged], run_id=f"r{i}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(see, range(4)))

    keys = [row["source_key"] for row in rows(root, "sources")]
    assert sorted(keys) == ["a", "b", "c", "d", *(f"own {i}" for i in range(4))]


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


def test_a_sweep_removes_exactly_what_is_named(root):
    for run_id in ("r1", "r2", "r1-longer"):
        for model_id in ("m", "other"):
            events = [
                stage(root, "events", of_events([run_id + s]), run_id=run_id, model_id=model_id, segment_id=s)
                for s in "st"
            ]
            beats = [stage(root, "beats", of_beats(2), run_id=run_id, model_id=model_id, segment_id=s) for s in "st"]
            publish.add(root, "events", events, run_id=run_id + model_id)
            publish.add(root, "beats", beats, run_id=run_id + model_id)

    for _ in range(2):
        publish.sweep(root, model_id="m", run_id="r2", gone_events={("s", "r1")}, gone_beats={("t", "r1"), ("s", "r2")})

    every = {(m, s, r) for m in ("m", "other") for s in "st" for r in ("r1", "r2", "r1-longer")}
    left = {
        table: {(row["model_id"], row["segment_id"], row["run_id"]) for row in rows(root, table)}
        for table in ("events", "beats")
    }
    assert left["events"] == every - {("m", "s", "r1")}
    assert left["beats"] == every - {("m", "t", "r1"), ("m", "s", "r2")}


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
            opened = DeltaTable(root.join(f"tables/{table}"))
            connection.register(table, opened.to_pyarrow_dataset())
            assert connection.sql(f"select count(*) from {table}").fetchall() == [(n_rows,)]
            frame = opened.to_pandas()
            assert isinstance(frame, pd.DataFrame)
            assert list(frame.columns) == SCHEMAS[table].names
            assert len(frame) == n_rows
        current = "select e.event_id from events e semi join scores s using (segment_id, model_id, run_id)"
        assert connection.sql(current).fetchall() == [("e",)]
        joined = (
            "select count(*) from beats b semi join scores s"
            " on (b.segment_id, b.model_id, b.run_id) = (s.segment_id, s.model_id, s.evidence_run_id)"
        )
        assert connection.sql(joined).fetchall() == [(3,)]


def test_members_are_single_precision_and_verdicts_double():
    assert {SCHEMAS["beats"].field(name).type for name in MEMBERS} == {pa.float32()}
    assert SCHEMAS["scores"].field("score").type == pa.float64()
