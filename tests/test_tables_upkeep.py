"""What the tables need is kept, and old entries of a log go only where a checkpoint that is whole stands in for them."""

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
import table_rows
from leavings import pass_time, sizes

from cardioclarity.errors import DamageError
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, lineage, publish, snapshot, upkeep
from cardioclarity.tables.upkeep import Needs

GRACE = dt.timedelta(days=7)
LOG = "tables/runs/_delta_log"


@pytest.fixture
def root(tmp_path):
    return table_rows.new_root(tmp_path / "root")


def needs(root):
    return Needs(root, root.now() - GRACE)


def add(root, table, rows, run_id, **partition):
    file = table_rows.stage(root, table, rows, run_id=run_id, **partition)
    publish.add(root, table, [file], run_id=run_id)
    return file


def add_runs(root, numbers):
    for number in numbers:
        add(root, "runs", table_rows.of_run(f"run{number}") | {"table_versions": "{}"}, f"run{number}")


@pytest.fixture
def old_log(root):
    """Versions 0 to 8 of `runs`, of 40 days before, with a checkpoint of version 5; then 9 and 10, of now."""
    add_runs(root, range(1, 6))
    snapshot.open_table(root, "runs").create_checkpoint()
    add_runs(root, range(6, 9))
    pass_time(root.url, 40)
    add_runs(root, (9, 10))
    lineage.vouch(root, "run10")
    return root


def listed(root, days=30, vouched=None):
    told = lineage.vouched(root).objects if vouched is None else vouched
    return [entry.key for entry in upkeep.old_log(root, "runs", root.now() - dt.timedelta(days=days), told)]


def test_entries_before_the_newest_checkpoint_that_is_old_itself_go_and_the_table_stays_what_it_is(old_log):
    before = catalog.runs(old_log)
    files = snapshot.live_files(snapshot.open_table(old_log, "runs"))

    keys = listed(old_log)
    old_log.delete_all(keys)

    assert keys == [f"{LOG}/{version:020d}.json" for version in range(5)]
    opened = snapshot.open_table(old_log, "runs")
    assert catalog.runs(old_log) == before
    assert snapshot.live_files(opened) == files
    assert [opened.transaction_version(f"run:run{number}") for number in (1, 5, 8, 10)] == [1, 1, 1, 1]
    assert lineage.vouched(old_log).missing(sizes(old_log)) == []
    for version in range(5, 11):
        opened.load_as_version(version)
    add_runs(old_log, [11])
    assert len(catalog.runs(old_log)) == len(before) + 1


def test_deltalake_would_clear_the_same_entries_and_more(old_log, tmp_path):
    """The referee, whose own clock and ours are the same here; it takes away versions of the last 30 days too."""
    other = open_storage(str(shutil.copytree(old_log.url, tmp_path / "other")))
    snapshot.open_table(other, "runs").cleanup_metadata()

    assert set(listed(old_log)) < sizes(old_log).keys() - sizes(other).keys()
    assert f"{LOG}/{8:020d}.json" in sizes(old_log).keys() - sizes(other).keys()


def test_entries_within_the_retention_stay(old_log):
    assert listed(old_log, days=41) == []


def test_a_checkpoint_that_nobody_vouched_for_or_that_is_damaged_stands_in_for_nothing(old_log):
    assert listed(old_log, vouched={}) == []

    path = Path(old_log.url, LOG, f"{5:020d}.checkpoint.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    pass_time(old_log.url, 40, only=path.name)

    assert listed(old_log) == []


@pytest.mark.parametrize("hint", [None, b"{", b'{"version": 4}'])
def test_nothing_goes_where_readers_are_not_sent_to_that_checkpoint_or_a_newer_one(old_log, hint):
    path = Path(old_log.url, LOG, "_last_checkpoint")
    path.unlink() if hint is None else path.write_bytes(hint)

    assert listed(old_log) == []


@pytest.mark.parametrize(
    "name",
    ["_commit_0b8be0f5-6fd6-4a77-8b4f-2a3f4f6e7a11.json.tmp", f"{1:020d}.json#1", f"{0:020d}.checkpoint.parquet#2"],
)
def test_a_commit_that_a_killed_process_left_half_written_goes(root, name):
    half = f"{LOG}/{name}"
    root.put_new(half, b"{")
    assert listed(root) == []

    pass_time(root.url, 31)
    assert listed(root) == [half]


def test_a_file_is_needed_while_a_snapshot_names_it_and_for_the_grace_after_it(root):
    first = add(root, "events", table_rows.of_events(["a"]), "first", model_id="m", segment_id="s")
    staged = table_rows.stage(root, "events", table_rows.of_events(["b"]), run_id="b", model_id="m", segment_id="s")
    pass_time(root.url, 100)
    assert needs(root).files("events") == {first.key}

    publish.sweep(root, model_id="m", run_id="sweep", gone_events=[("s", "first")], gone_beats=[])
    assert needs(root).files("events") == {first.key}
    pass_time(root.url, 6.9)
    assert needs(root).files("events") == {first.key}
    pass_time(root.url, 0.2)
    assert needs(root).files("events") == set()
    assert {file.key for file in upkeep.staged(root, "events")} == {first.key, staged.key}


def test_a_part_is_needed_while_a_file_of_it_is_or_was_lately_staged(root):
    add(root, "events", table_rows.of_events(["a"]), "live", model_id="live", segment_id="s")
    add(root, "events", table_rows.of_events(["a"]), "gone", model_id="gone", segment_id="s")
    pass_time(root.url, 100)
    publish.sweep(root, model_id="gone", run_id="sweep", gone_events=[("s", "gone")], gone_beats=[])
    table_rows.stage(root, "beats", table_rows.of_beats(1), run_id="b", model_id="staged", segment_id="s")

    assert needs(root).values("model_id", ["scores", "events", "beats"]) == {"live", "gone", "staged"}
    pass_time(root.url, 8)
    assert needs(root).values("model_id", ["scores", "events", "beats"]) == {"live"}


def test_an_unreadable_commit_stops_the_search_and_says_how_to_find_out(root):
    add_runs(root, [1])
    commit = Path(root.url, LOG, f"{1:020d}.json")
    opened = needs(root)
    commit.write_text(json.dumps({"add": {}}) + "\n")

    with pytest.raises(DamageError, match=r"_delta_log/0+1\.json is no commit .* cardioclarity verify"):
        opened.lately_named("runs")


def publish_scores(root, run_id, *, evidence_run_id=None, with_beats=True):
    place = {"model_id": "m", "segment_id": "s"}
    if with_beats:
        add(root, "beats", table_rows.of_beats(1), run_id, **place)
    add(root, "events", table_rows.of_events([f"e{run_id}"]), run_id, **place)
    rows = table_rows.of_scores(["a"], evidence_run_id=evidence_run_id or run_id)
    file = table_rows.stage(root, "scores", rows, run_id=run_id, **place)
    live = {f.segment_id: f.run_id for f in snapshot.live_files(snapshot.open_table(root, "scores"))}
    publish.switch_scores(root, [file], run_id=run_id, model_id="m", replaces={"s": live.get("s")})


def test_rows_are_unpublished_when_neither_scores_nor_their_evidence_name_the_run(root):
    publish_scores(root, "first")
    publish_scores(root, "again", evidence_run_id="first", with_beats=False)
    add(root, "beats", table_rows.of_beats(1), "dead", model_id="m", segment_id="s")
    add(root, "beats", table_rows.of_beats(1), "dead2", model_id="other", segment_id="s")
    assert upkeep.unpublished(needs(root)) == []

    pass_time(root.url, 8)
    found = upkeep.unpublished(needs(root))

    named = [(gone.model_id, [f.run_id for f in gone.events], [f.run_id for f in gone.beats]) for gone in found]
    assert named == [("m", ["first"], ["dead"]), ("other", [], ["dead2"])]
    for gone in found:
        upkeep.withdraw(root, gone, run_id="gc")
    assert upkeep.unpublished(needs(root)) == []
    assert [file.run_id for file in snapshot.live_files(snapshot.open_table(root, "events"))] == ["again"]
    assert [file.run_id for file in snapshot.live_files(snapshot.open_table(root, "beats"))] == ["first"]


def test_old_rows_that_were_added_lately_are_left_to_their_run(root):
    place = {"model_id": "m", "segment_id": "s"}
    file = table_rows.stage(root, "events", table_rows.of_events(["a"]), run_id="slow", **place)
    pass_time(root.url, 8)
    publish.add(root, "events", [file], run_id="slow")

    assert upkeep.unpublished(needs(root)) == []
