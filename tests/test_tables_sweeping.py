"""A sweep takes exactly what no scores name any more, also after a run that was killed in the middle of its own."""

import pytest
from deltalake import DeltaTable
from table_rows import new_root, of_beats, of_events, rows, scores_of, stage, version

from cardioclarity.tables import publish


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


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


# ---------------------------------------------------------------- leftovers


def add_results(root, run_id, segments="s", *, with_evidence=True, model_id="m"):
    """Publish what a run found, up to the switch."""
    for table, columns in (("beats", of_beats(2)), ("events", of_events([run_id]))):
        if table == "events" or with_evidence:
            place = {"run_id": run_id, "model_id": model_id}
            staged = [stage(root, table, columns, segment_id=segment, **place) for segment in segments]
            publish.add(root, table, staged, run_id=run_id + model_id)


def switch(root, run_id, segments="s", *, replaces=None, evidence=None):
    staged = scores_of(root, run_id, segments, evidence=evidence)
    return publish.switch_scores(root, staged, run_id=run_id, model_id="m", replaces=dict.fromkeys(segments, replaces))


def left(root, table):
    return {(row["segment_id"], row["run_id"]) for row in rows(root, table)}


def test_what_a_run_replaced_before_it_was_killed_goes_with_the_next_one(root):
    add_results(root, "r1", "st")
    switch(root, "r1", "st")
    add_results(root, "r2", "s")
    switch(root, "r2", "s", replaces="r1")  # and dies before its sweep
    versions = {table: version(root, table) for table in ("events", "beats")}

    for _ in range(2):
        publish.sweep_leftovers(root, "m", "r3")

    assert left(root, "events") == left(root, "beats") == {("s", "r2"), ("t", "r1")}
    assert {table: version(root, table) for table in versions} == {table: n + 1 for table, n in versions.items()}


def test_evidence_that_was_judged_again_stays_and_goes_once_there_is_newer_evidence(root):
    add_results(root, "r1")
    switch(root, "r1")
    add_results(root, "r2", with_evidence=False)
    switch(root, "r2", replaces="r1", evidence="r1")

    publish.sweep_leftovers(root, "m", "r3")
    assert (left(root, "events"), left(root, "beats")) == ({("s", "r2")}, {("s", "r1")})

    add_results(root, "r4")
    switch(root, "r4", replaces="r2")
    publish.sweep_leftovers(root, "m", "r5")
    assert left(root, "events") == left(root, "beats") == {("s", "r4")}


def test_what_a_killed_run_could_not_publish_goes(root):
    add_results(root, "r1", "st")
    switch(root, "r1", "st")
    add_results(root, "r2", "s")
    switch(root, "r2", "s", replaces="r1")
    publish.sweep(root, model_id="m", run_id="r2", gone_events={("s", "r1")}, gone_beats={("s", "r1")})
    add_results(root, "r3", "st")
    told = switch(root, "r3", "st", replaces="r1")  # too late for s; dies before its sweep
    assert (told.published, told.superseded) == (("t",), ("s",))

    publish.sweep_leftovers(root, "m", "r4")

    assert left(root, "events") == left(root, "beats") == {("s", "r2"), ("t", "r3")}


def test_what_a_live_run_has_added_and_not_switched_on_stays(root):
    add_results(root, "r1")
    switch(root, "r1")
    add_results(root, "r2")
    add_results(root, "r1", model_id="other")

    publish.sweep_leftovers(root, "m", "r3")
    assert left(root, "events") == left(root, "beats") == {("s", "r1"), ("s", "r2")}

    switch(root, "r2", replaces="r1")
    publish.sweep_leftovers(root, "m", "r4")
    assert left(root, "events") == left(root, "beats") == {("s", "r2"), ("s", "r1")}
    assert {row["model_id"]: row["run_id"] for row in rows(root, "events")} == {"m": "r2", "other": "r1"}


def test_where_nothing_is_left_over_no_log_is_searched(root, monkeypatch):
    add_results(root, "r1", "stu")
    switch(root, "r1", "stu")

    def searched(*_):
        raise AssertionError("history")

    monkeypatch.setattr(DeltaTable, "history", searched)
    publish.sweep_leftovers(root, "m", "r2")
    publish.sweep_leftovers(root, "unknown", "r2")

    assert left(root, "events") == {(segment, "r1") for segment in "stu"}
