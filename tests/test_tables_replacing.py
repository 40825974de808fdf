"""A row gives way to one of equal key, or goes; every other row stays, and so does every file without such a row."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable
from table_rows import new_root, of_events, of_quarantine, of_records, of_sources, rows, stage, version

from cardioclarity.storage import Storage
from cardioclarity.tables import catalog, commit, publish, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.schemas import SCHEMAS


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


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

    publish.add_new(root, [], run_id="run")
    publish.remove_files(root, "sources", [], run_id="run")
    publish.remove_files(root, "sources", ["run-unit-unknown.parquet"], run_id="run")
    publish.remove_rows(root, "sources", {"source_key": ["unknown"]}, run_id="run")

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


# ---------------------------------------------------------------- removal


def upsert(root, run_id, keys, **columns):
    publish.upsert(root, "sources", [stage(root, "sources", of_sources(keys, **columns), run_id=run_id)], run_id=run_id)


def test_rows_that_vanish_leave_their_neighbours_and_other_files_as_they_are(root):
    upsert(root, "r1", "abc")
    upsert(root, "r2", "de")
    other = next(file for file in snapshot.live_files(snapshot.open_table(root, "sources")) if file.run_id == "r2")

    for _ in range(2):
        publish.remove_rows(root, "sources", {"source_key": ["a", "c", "unknown"]}, run_id="r3")

    assert [(row["source_key"], row["run_id"]) for row in rows(root, "sources")] == [
        ("b", "r1"),
        ("d", "r2"),
        ("e", "r2"),
    ]
    live = snapshot.live_files(snapshot.open_table(root, "sources"))
    assert other in live
    assert {file.run_id for file in live} == {"r1", "r2"}, "what is left of a file is still of its run"
    assert version(root, "sources") == 3


def test_a_row_vanishes_only_where_every_named_column_says_so(root):
    upsert(root, "r1", "ab", archive=["s3://one", "s3://two"])

    publish.remove_rows(root, "sources", {"source_key": ["a", "b"], "archive": ["s3://two"]}, run_id="r2")

    assert [row["source_key"] for row in rows(root, "sources")] == ["a"]


def test_a_row_without_a_value_is_never_meant(root):
    upsert(root, "r1", "ab", record_id=["x", None])

    publish.remove_rows(root, "sources", {"record_id": ["x"]}, run_id="r2")

    assert [row["source_key"] for row in rows(root, "sources")] == ["b"]


def test_records_leave_the_catalog_one_by_one_or_by_the_segment(root):
    for segment, ids in (("s", "ab"), ("t", "cd"), ("u", "e")):
        staged = stage(root, "records", of_records(ids), run_id=segment, segment_id=segment)
        publish.add_new(root, [staged], run_id=segment)

    publish.remove_rows(root, "records", {"record_id": ["b"]}, run_id="repair")
    publish.remove_rows(root, "records", {"segment_id": ["t"]}, run_id="repair")

    found = [(record.segment_id, record.record_id) for record in catalog.records(root)]
    assert found == [("s", "a"), ("u", "e")]


def test_whole_files_go_without_being_read(root):
    upsert(root, "r1", "ab")
    upsert(root, "r2", "c")
    lost = next(file for file in snapshot.live_files(snapshot.open_table(root, "sources")) if file.run_id == "r1")
    root.delete(lost.key)

    for _ in range(2):
        publish.remove_files(root, "sources", [lost.path], run_id="repair")

    assert [row["source_key"] for row in rows(root, "sources")] == ["c"]
    assert version(root, "sources") == 3


def test_removing_without_saying_what_is_our_own_mistake(root):
    with pytest.raises(AssertionError, match="by accident"):
        publish.remove_rows(root, "sources", {}, run_id="r")


def test_a_round_that_lost_its_race_decides_on_what_is_there_now(root, monkeypatch):
    """Between the look at the table and the commit, another run replaces a row that was about to stay."""
    upsert(root, "r1", "abc")
    write, nights = DeltaTable.create_write_transaction, iter(["r2"])

    def overtaken(self, *args, **kwargs):
        if run_id := next(nights, None):
            upsert(root, run_id, "bd", source_version="v2")
        write(self, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", overtaken)

    upsert(root, "r3", "ad", source_version="v3")

    found = {row["source_key"]: row["source_version"] for row in rows(root, "sources")}
    assert found == {"a": "v3", "b": "v2", "c": "v1", "d": "v3"}
    assert len(rows(root, "sources")) == 4


@pytest.mark.parametrize(("n_folders", "n_listings"), [(2, 2), (65, 1)])
def test_files_that_are_to_be_published_are_looked_for_where_they_lie_and_once(
    root, monkeypatch, n_folders, n_listings
):
    segments = [f"s{n}" for n in range(n_folders)]
    staged = [stage(root, "events", of_events([s]), model_id="m", segment_id=s) for s in segments]
    stage(root, "events", of_events("x"), model_id="m", segment_id="other")
    listed, asked, write, nights = Storage.list, [], DeltaTable.create_write_transaction, iter(["r2"])

    def listing(self, prefix=""):
        asked.append(prefix)
        return listed(self, prefix)

    def overtaken(self, *args, **kwargs):
        if run_id := next(nights, None):
            commit.commit(root, "events", lambda _: Change(), run_id=run_id)
        write(self, *args, **kwargs)

    monkeypatch.setattr(Storage, "list", listing)
    monkeypatch.setattr(DeltaTable, "create_write_transaction", overtaken)

    publish.add(root, "events", staged, run_id="run")

    assert len(rows(root, "events")) == n_folders
    assert len(asked) == n_listings
    places = {f"tables/events/model_id=m/segment_id={segment}/" for segment in segments}
    assert n_listings == 1 or all(any(prefix.startswith(place) for place in places) for prefix in asked)
