"""Whatever is wrong with a table is found and named; of a sound one nothing is said."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
import table_rows
from deltalake import write_deltalake
from table_rows import (
    new_root,
    of_beats,
    of_events,
    of_records,
    of_run,
    of_scores,
    of_sources,
    opened,
    stage,
)

from cardioclarity.tables import audit, commit, publish, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.schemas import SCHEMAS

PLACE = {"model_id": "m", "segment_id": "s"}


def score(root, run_id, *, evidence=None, replaces=None, with_beats=True):
    if with_beats:
        publish.add(root, "beats", [stage(root, "beats", of_beats(3), run_id=run_id, **PLACE)], run_id=run_id)
    table_rows.score(root, run_id, ids="ab", events=of_events("ef"), evidence=evidence, replaces=replaces)


@pytest.fixture
def root(tmp_path):
    root = new_root(tmp_path)
    publish.add_new(root, [stage(root, "records", of_records("ab"), segment_id="s")], run_id="run")
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("ab"))], run_id="run")
    score(root, "run")
    publish.record_run(root, of_run("run"))
    return root


def found(root, *, read_data=False):
    return [(problem.table, problem.kind) for problem in audit.problems(root, read_data=read_data)]


def force(root, table, *staged, run_id="forged"):
    """Commit what publishing would never commit."""
    commit.commit(root, table, lambda _: Change(adds=staged), run_id=run_id)


def test_of_sound_tables_nothing_is_said(root):
    score(root, "r2", replaces="run")
    score(root, "r3", replaces="r2", evidence="r2", with_beats=False)

    assert audit.problems(root, read_data=True) == []


def test_new_tables_and_tables_with_many_checkpoints_are_sound(tmp_path):
    root = new_root(tmp_path)
    assert audit.problems(root, read_data=True) == []

    for n in range(23):
        publish.add(root, "events", [stage(root, "events", of_events("e"), run_id=f"r{n}", **PLACE)], run_id=f"r{n}")

    assert audit.problems(root, read_data=True) == []
    for n in range(15):
        root.delete(f"tables/events/_delta_log/{n:020d}.json")
    assert audit.problems(root, read_data=True) == [], "what a checkpoint stands for may go"


def test_a_root_without_tables_lacks_them_all(tmp_path):
    (tmp_path / "reports").mkdir()
    root = new_root(tmp_path / "other")
    empty = replace(root, url=str(tmp_path), name=str(tmp_path))

    assert sorted(found(empty)) == [(table, "missing") for table in sorted(SCHEMAS)]


def test_a_commit_that_is_missing_between_others_is_named(root):
    score(root, "r2", replaces="run")
    key = f"tables/events/_delta_log/{1:020d}.json"
    root.delete(key)

    gap, unreadable = audit.problems(root)

    assert (gap.key, gap.kind) == (key, "gap")
    assert (unreadable.table, unreadable.kind) == ("events", "unreadable")


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda data: b"\xff" + data])
def test_a_log_that_cannot_be_read_is_named(root, change):
    key = f"tables/beats/_delta_log/{1:020d}.json"
    root.replace(key, change(root.fetch(key)))

    assert found(root) == [("beats", "unreadable")]


def test_a_hint_to_a_checkpoint_that_is_not_there_is_named_with_its_remedy(root):
    root.put_new("tables/runs/_delta_log/_last_checkpoint", b'{"version":7,"size":3}')

    hint, unreadable = audit.problems(root)

    assert hint.key == unreadable.key + "_last_checkpoint"
    assert "delete this object" in hint.text
    root.delete(hint.key)
    assert audit.problems(root) == []


@pytest.mark.parametrize("hint", [b"", b"{", b"[]", b'{"version":"7"}', b"\xff"])
def test_a_hint_that_says_nothing_does_no_harm(root, hint):
    root.put_new("tables/runs/_delta_log/_last_checkpoint", hint)

    assert found(root) == []


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (b'"cardioclarity.schema_version":"1"', b'"cardioclarity.schema_version":"2"', "unknown_version"),
        (b"cardioclarity.schema_version", b"cardioclarity.schema_versiom", "foreign"),
        (b'\\"name\\":\\"n_events\\"', b'\\"name\\":\\"n_eventz\\"', "schema"),
        (b'"minWriterVersion":2', b'"minWriterVersion":1', "schema"),
    ],
)
def test_a_table_that_is_not_what_this_version_makes_is_named(root, old, new, kind):
    key = f"tables/scores/_delta_log/{0:020d}.json"
    data = root.fetch(key)
    assert old in data
    root.replace(key, data.replace(old, new))

    assert ("scores", kind) in found(root)


def test_a_table_of_other_software_is_foreign(tmp_path):
    root = new_root(tmp_path / "whole")
    other = replace(root, url=str(tmp_path / "other"))
    write_deltalake(other.join("tables/events"), pa.table({"day": ["monday"]}))

    assert ("events", "foreign") in found(other)


def test_a_file_under_another_partition_than_its_place_is_named(root):
    staged = stage(root, "records", of_records("z"), run_id="r2", segment_id="t")
    force(root, "records", replace(staged, partition=(("segment_id", "u"),)))

    assert found(root) == [("records", "misplaced")]


def test_a_file_that_other_software_wrote_is_named(root):
    write_deltalake(opened(root, "sources"), pa.table(opened(root, "sources").to_pyarrow_table()), mode="append")

    assert found(root) == [("sources", "unnamed")]


def test_scores_that_stand_twice_are_named(root):
    again = stage(root, "scores", of_scores("ab"), run_id="run", unit_id="again", **PLACE)
    force(root, "scores", again)

    assert found(root) == [("scores", "doubled")]
    assert found(root, read_data=True) == [("scores", "doubled")] * 2, "the files, and their keys"


def test_events_of_one_run_that_stand_twice_are_named_and_those_of_two_runs_are_not(root):
    again = stage(root, "events", of_events("gh"), run_id="run", unit_id="again", **PLACE)
    other = stage(root, "events", of_events("ef"), run_id="other", **PLACE)
    force(root, "events", other, run_id="other")
    assert found(root, read_data=True) == []

    force(root, "events", again)

    assert found(root, read_data=True) == [("events", "doubled")]


@pytest.mark.parametrize("said", [1, 3])
def test_a_number_of_rows_that_is_not_the_files_is_found_where_the_data_is_read(root, said):
    staged = stage(root, "sources", of_sources("xy"), run_id="r2")
    force(root, "sources", replace(staged, n_rows=said))

    assert found(root) == []
    assert found(root, read_data=True) == [("sources", "rows")]


@pytest.mark.parametrize(
    ("table", "columns", "place"),
    [
        ("records", of_records("a"), {"segment_id": "t"}),
        ("sources", of_sources("bz"), {}),
        ("runs", of_run("run") | {"table_versions": "{}", "run_id": ["run"]}, {}),
    ],
)
def test_a_key_that_stands_in_two_files_is_found_where_the_data_is_read(root, table, columns, place):
    staged = publish.stage(root, table, columns, run_id="r2", unit_id="u", partition=place)
    force(root, table, staged)

    assert found(root) == []
    assert found(root, read_data=True) == [(table, "doubled")]


def test_a_key_that_stands_twice_in_one_file_of_evidence_is_found_where_the_data_is_read(root):
    staged = stage(root, "beats", of_beats(2, start_sample=[7, 7]), run_id="r2", **PLACE)
    force(root, "beats", staged)

    assert found(root, read_data=True) == [("beats", "doubled")]


def test_a_file_whose_bytes_are_wrong_is_a_matter_of_its_digest_and_not_told_twice(root):
    for file in [file for table in SCHEMAS for file in snapshot.live_files(opened(root, table))]:
        root.replace(file.key, root.fetch(file.key)[::-1])

    assert found(root, read_data=True) == []


def test_scores_without_their_events_or_their_evidence_are_named(root):
    for table in ("events", "beats"):
        (file,) = snapshot.live_files(snapshot.open_table(root, table))
        publish.remove_files(root, table, [file.path], run_id="careless")

    assert found(root) == [("scores", "missing")]
    assert [problem.text for problem in audit.problems(root, read_data=True)] == [
        "has no file of events beside it from its run run",
        "rests on evidence of run run that is not in tables/beats/",
    ]


def test_a_run_that_publishes_between_two_looks_is_no_damage(root, monkeypatch):
    """`scores` is opened before `events`; a whole run goes by in between, and sweeps."""
    open_any, nights = snapshot.open_any, iter(["r2"])

    def interrupted(root, table, **how):
        if table == "events" and looks and (run_id := next(nights, None)):
            score(root, run_id, replaces="run")
            publish.sweep(root, model_id="m", run_id=run_id, gone_events={("s", "run")}, gone_beats={("s", "run")})
        if table == "scores":
            looks.append(table)
        return open_any(root, table, **how)

    looks = []
    monkeypatch.setattr(snapshot, "open_any", interrupted)

    assert audit.problems(root) == []
    assert next(nights, None) is None, "the run went by"


def test_problems_can_be_told_in_json(root):
    root.delete(f"tables/events/_delta_log/{0:020d}.json")

    assert json.dumps([problem.text for problem in audit.problems(root)])
