"""Scores are published once, judged again without signals, and the same wherever the units ran."""

import shutil

import deltalake
import numpy as np
import pytest

from cardioclarity import models, parallel
from cardioclarity.config import ParallelConfig, ScoreConfig
from cardioclarity.errors import DamageError, NotFoundError
from cardioclarity.score import SCORE
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, publish, snapshot
from cardioclarity.vocabulary import Head, Reason, State
from cardioclarity.work import Quarantined, Receipt, RunState, drive

LINEAGE = ("run_id", "evidence_run_id", "scored_at", "seen_at")


@pytest.fixture
def unscored(root):
    """A root with records and a model, and no scores yet."""
    for table in ("scores", "events", "beats"):
        shutil.rmtree(root / "tables" / table)
    publish.create_tables(open_storage(str(root)))
    return root


def score(root, mapper=map, **settings):
    return drive(SCORE, ScoreConfig(root=str(root), **settings), mapper)


def rows(root, name):
    table = deltalake.DeltaTable(str(root / "tables" / name)).to_pyarrow_table()
    kept = [column for column in table.column_names if column not in LINEAGE]
    return sorted(map(repr, table.select(kept).to_pylist()))


def test_a_second_run_has_nothing_to_do(root):
    before = {name: rows(root, name) for name in ("scores", "events", "beats")}

    summary = score(root)

    assert (summary.state, summary.done) == (RunState.NOTHING_NEW, 0)
    assert summary.inputs == summary.already_done > 0
    assert {name: rows(root, name) for name in before} == before


def test_every_record_has_the_four_heads_in_the_four_states(root):
    found = catalog.scores(open_storage(str(root)), model_id=score(root).model_id)

    heads = {}
    for row in found:
        heads.setdefault(row["record_id"], []).append(row["head"])
    assert all(sorted(of_one) == sorted(Head) for of_one in heads.values())
    assert {row["state"] for row in found} <= set(State)


def test_a_unit_names_its_records_and_their_digest_only_when_its_turn_comes(unscored):
    storage = open_storage(str(unscored))
    plan = SCORE.plan(ScoreConfig(root=str(unscored)))

    units = list(plan.units)

    segments = catalog.segments(storage)
    assert [(unit.id, unit.digest, len(unit.inputs)) for unit in units] == [
        (segment.segment_id, segment.digest, segment.n_records) for segment in segments
    ]
    assert plan.expected_units == len(segments)
    assert units == list(plan.units)


def test_what_a_killed_run_left_to_sweep_the_next_one_sweeps(root, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish, "sweep", killed)
        with pytest.raises(KeyboardInterrupt):
            score(root, alarms_per_hour=500.0)
    storage = open_storage(str(root))
    model_id = models.champion(storage)
    assert len(rows(root, "events")) > len(catalog.events(storage, model_id=model_id))

    score(root, alarms_per_hour=500.0)

    assert len(rows(root, "events")) == len(catalog.events(storage, model_id=model_id))


def test_another_level_judges_the_stored_evidence_again_and_reads_no_signal(root):
    evidence = rows(root, "beats")
    n_before = len(rows(root, "events"))
    shutil.rmtree(next((root / "segments").glob("*.zarr")))

    summary = score(root, alarms_per_hour=500.0)

    assert summary.state == RunState.COMPLETED
    assert rows(root, "beats") == evidence
    assert summary.events[Head.BEAT] > 0
    assert len(rows(root, "events")) > n_before


def test_the_level_asked_for_first_gives_the_first_events_again(root):
    before = {name: rows(root, name) for name in ("scores", "events", "beats")}

    score(root, alarms_per_hour=500.0)
    assert rows(root, "events") != before["events"]
    score(root)

    assert {name: rows(root, name) for name in before} == before


def test_another_rate_limit_changes_the_rate_events_alone(root):
    model_id = score(root).model_id
    before = catalog.events(open_storage(str(root)), model_id=model_id)

    score(root, tachycardia_bpm=60.0)

    after = catalog.events(open_storage(str(root)), model_id=model_id)

    def others(events):
        return sorted(event["event_id"] for event in events if event["kind"] != Head.RATE)

    assert others(after) == others(before)
    assert sum(event["label"] == "tachycardia" for event in after) > sum(
        event["label"] == "tachycardia" for event in before
    )


@pytest.mark.service
def test_inline_workers_and_a_running_scheduler_give_equal_rows(unscored, tmp_path):
    found = []
    for name, where in (("inline", ParallelConfig(workers=0)), ("workers", ParallelConfig(workers=2))):
        root = shutil.copytree(unscored, tmp_path / name)
        with parallel.mapper(where) as mapper:
            score(root, mapper)
        found.append([rows(root, table) for table in ("scores", "events", "beats")])
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        root = shutil.copytree(unscored, tmp_path / "scheduler")
        with parallel.mapper(ParallelConfig(scheduler=cluster.scheduler_address)) as mapper:
            score(root, mapper)
        found.append([rows(root, table) for table in ("scores", "events", "beats")])

    assert found[0] == found[1] == found[2]
    assert all(found[0])


def test_damaged_signal_is_never_scored(unscored):
    shard = max((unscored / "segments").rglob("c/*/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))

    n_records = len(catalog.records(open_storage(str(unscored))))

    summary = score(unscored)

    aside = [row for row in catalog.quarantine(open_storage(str(unscored))) if row["stage"] == "score"]
    assert summary.quarantined == len(aside) > 0
    assert {row["reason"] for row in aside} == {Reason.DAMAGED}
    assert summary.done == n_records - summary.quarantined
    assert len(rows(unscored, "scores")) == 4 * summary.done


def test_a_run_that_was_overtaken_ends_superseded_and_doubles_nothing(unscored):
    config = ScoreConfig(root=str(unscored))
    late = SCORE.plan(config)
    score(unscored)
    before = {name: rows(unscored, name) for name in ("scores", "events", "beats")}

    summary = SCORE.finish(config, late, (SCORE.run(unit) for unit in late.units))

    assert summary.state == RunState.SUPERSEDED
    assert {name: rows(unscored, name) for name in before} == before


@pytest.mark.parametrize("settings", [{}, {"alarms_per_hour": 500.0}])
def test_a_plan_reads_no_file_of_scores(root, monkeypatch, settings):
    fetch, fetched = Storage.fetch, []
    monkeypatch.setattr(Storage, "fetch", lambda self, key: fetched.append(key) or fetch(self, key))

    plan = SCORE.plan(ScoreConfig(root=str(root), **settings))

    assert plan.is_light
    assert [key for key in fetched if key.startswith("tables/scores/")] == []


def take_out(root, *tables):
    """As a repair does."""
    storage = open_storage(str(root))
    for table in tables:
        paths = [file.path for file in snapshot.live_files(snapshot.open_table(storage, table))]
        publish.remove_files(storage, table, paths, run_id=f"repair-{table}")


def judge_again_late(root, meanwhile):
    config = ScoreConfig(root=str(root), alarms_per_hour=500.0)
    plan = SCORE.plan(config)
    units = list(plan.units)
    meanwhile()
    return SCORE.finish(config, plan, map(SCORE.run, units))


def test_evidence_that_another_run_replaced_before_it_was_judged_again_ends_superseded(root, caplog):
    def scored_anew():
        take_out(root, "scores", "events", "beats")
        score(root)
        before.update({name: rows(root, name) for name in ("scores", "events", "beats")})

    before = {}
    caplog.set_level("INFO")
    summary = judge_again_late(root, scored_anew)

    assert "superseded, it has other scores since the plan" in caplog.text, "no signal is scored for nothing"
    assert summary.state == RunState.SUPERSEDED
    assert {name: rows(root, name) for name in before} == before


def test_where_the_evidence_to_judge_again_is_gone_the_signals_are_scored(root):
    evidence = rows(root, "beats")

    summary = judge_again_late(root, lambda: take_out(root, "beats"))

    assert (summary.state, summary.quarantined) == (RunState.COMPLETED, 0)
    assert rows(root, "beats") == evidence
    assert score(root, alarms_per_hour=500.0).state == RunState.NOTHING_NEW


@pytest.mark.parametrize("verb", ["score", "judge again"])
def test_a_segment_that_leaves_the_catalog_before_its_turn_ends_superseded(unscored, verb):
    if verb == "judge again":
        score(unscored)
    before = {name: rows(unscored, name) for name in ("scores", "events", "beats")}

    summary = judge_again_late(unscored, lambda: take_out(unscored, "records"))

    assert summary.state == RunState.SUPERSEDED
    assert {name: rows(unscored, name) for name in before} == before


def test_a_damaged_table_of_scores_is_not_blamed_on_the_records(root):
    for file in (root / "tables" / "scores").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[::-1])

    with pytest.raises(DamageError, match=r"tables/scores/.*verify"):
        score(root, alarms_per_hour=500.0)

    assert not [row for row in catalog.quarantine(open_storage(str(root))) if row["stage"] == "score"]


def test_a_flat_line_is_never_normal(root):
    storage = open_storage(str(root))
    model_id = score(root).model_id
    ill = max(catalog.records(storage), key=lambda record: record.duration_s)
    labels = {e["label"] for e in catalog.events(storage, model_id=model_id) if e["record_id"] == ill.record_id}
    verdicts = {v["head"]: v for v in catalog.scores(storage, model_id=model_id) if v["record_id"] == ill.record_id}

    assert {"flat line", "pause"} <= labels
    assert verdicts[Head.QUALITY]["state"] == State.ANOMALOUS
    assert verdicts[Head.BEAT]["coverage"] < 0.95


def test_events_lie_in_their_record_and_in_their_seconds(root):
    storage = open_storage(str(root))
    records = {record.record_id: record for record in catalog.records(storage)}

    for event in catalog.events(storage, model_id=score(root).model_id):
        record = records[event["record_id"]]
        assert 0 <= event["start_sample"] < event["end_sample"] <= record.n_samples
        np.testing.assert_allclose(event["start_s"] * record.rate_hz, event["start_sample"])


def test_an_unknown_model_and_a_missing_champion_say_what_there_is(root):
    with pytest.raises(NotFoundError, match="there are"):
        score(root, model="f" * 32)
    shutil.rmtree(root / "models" / "champion")
    with pytest.raises(NotFoundError, match="cardioclarity train"):
        score(root)
    with pytest.raises(NotFoundError, match="cardioclarity convert"):
        score(root / "nowhere")


def test_records_of_a_unit_that_killed_its_worker_are_set_aside_until_they_are_scored(unscored):
    config = ScoreConfig(root=str(unscored))
    plan = SCORE.plan(config)
    dead, *others = plan.units
    rows = tuple(
        Quarantined(input=name, stage=dead.stage, reason=Reason.POISONED, message="it killed its worker twice")
        for name in dead.inputs
    )
    receipts = [Receipt(unit_id=dead.id, done=0, quarantined=rows), *map(SCORE.run, others)]

    summary = SCORE.finish(config, plan, iter(receipts))

    storage = open_storage(str(unscored))
    assert (summary.state, summary.quarantined) == (RunState.COMPLETED, len(dead.inputs))
    assert {row["record_id"] for row in catalog.quarantine(storage) if row["stage"] == "score"} == set(dead.inputs)
    assert score(unscored).done == len(dead.inputs)
    assert not [row for row in catalog.quarantine(storage) if row["stage"] == "score"]
