"""Columns of every table, valid unless told otherwise."""

import datetime as dt
import json

import numpy as np
from deltalake import DeltaTable

from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, publish
from cardioclarity.tables.schemas import MEMBERS
from cardioclarity.vocabulary import Head

NIGHT = dt.datetime(2026, 11, 26, 2, tzinfo=dt.UTC)


def new_root(folder) -> Storage:
    root = open_storage(str(folder))
    publish.create_tables(root)
    return root


def of_records(ids, **columns):
    return {
        "record_id": list(ids),
        "patient_id": None,
        "segment_digest": "d",
        "leads": [("MLII", "V5")] * len(ids),
        "source_leads": [("ML2", "V5")] * len(ids),
        "rate_hz": 360.0,
        "n_samples": [7200] * len(ids),
        "duration_s": 20.0,
        "age": 90,
        "sex": None,
        "device": None,
        "diagnosis_codes": [()] * len(ids),
        "notes": [("checksum wrong",)] * len(ids),
        "converted_at": NIGHT,
        "run_id": "run",
    } | columns


def of_sources(keys, **columns):
    return {
        "archive": "s3://ecg",
        "source_key": list(keys),
        "source_version": "v1",
        "source_digest": None,
        "record_id": [f"record of {key}" for key in keys],
        "reason": None,
        "run_id": "run",
        "seen_at": NIGHT,
    } | columns


def of_quarantine(**columns):
    return {
        "stage": "convert",
        "archive": "s3://ecg",
        "source_key": None,
        "source_version": None,
        "record_id": None,
        "reason": "malformed",
        "message": "sentence",
        "run_id": "run",
        "seen_at": NIGHT,
    } | columns


def of_scores(ids, **columns):
    n = len(ids) * len(Head)
    return {
        "record_id": [record_id for record_id in ids for _ in Head],
        "head": [head for _ in ids for head in Head],
        "state": "normal",
        "score": np.linspace(0, 1, n),
        "p_value": np.full(n, np.nan),
        "n_events": 0,
        "coverage": 1.0,
        "reasons": [()] * n,
        "heart_rate_median_bpm": 60.0,
        "heart_rate_min_bpm": None,
        "heart_rate_max_bpm": None,
        "n_beats": 20,
        "patient_id": None,
        "run_id": "run",
        "evidence_run_id": "run",
        "scored_at": NIGHT,
    } | columns


def of_events(ids, **columns):
    return {
        "event_id": list(ids),
        "record_id": "a",
        "patient_id": None,
        "kind": Head.BEAT,
        "label": "unusual beat",
        "start_sample": 0,
        "end_sample": 360,
        "start_s": 0.0,
        "end_s": 1.0,
        "lead": "MLII",
        "score": 3.0,
        "p_value": [0.01] * len(ids),
        "severity": "low",
        "run_id": "run",
        "scored_at": NIGHT,
    } | columns


def of_beats(n, **columns):
    return {
        "record_index": 0,
        "kind": "beat",
        "start_sample": np.arange(n) * 300,
        "lead": "MLII",
        "rr_s": np.full(n, np.nan, np.float32),
        "readable": np.ones(n, bool),
        "reason": np.full(n, "", np.dtypes.StringDType()),
        "score": np.linspace(0, 1, n, dtype=np.float32),
        "p_value": np.linspace(1, 0, n, dtype=np.float32),
        "run_id": "run",
        **dict.fromkeys(MEMBERS, np.full(n, np.nan, np.float32)),
    } | columns


def of_run(run_id, **columns):
    return {
        "run_id": run_id,
        "verb": "score",
        "state": "completed",
        "started_at": NIGHT,
        "finished_at": NIGHT,
        "inputs": 3,
        "done": 1,
        "quarantined": 1,
        "already_done": 1,
        "model_id": None,
        "config": "{}",
        "config_digest": "c",
        "code_version": "0.1.0",
        "versions": "{}",
        "row_digests": "{}",
    } | columns


def stage(root, table, columns, *, run_id="run", unit_id="unit", **partition):
    """Stage rows under a run, which then stands in the rows too."""
    columns = columns | {"run_id": run_id}
    return publish.stage(root, table, columns, run_id=run_id, unit_id=unit_id, partition=partition)


def rows(root, table):
    """What an outside reader finds, in an order of its own."""
    found = opened(root, table).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def opened(root, table):
    return DeltaTable(root.join(f"tables/{table}"), storage_options=root.delta_options())


def version(root, table):
    return opened(root, table).version()


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


def catalogue(root, ids, *, segment="s", run_id="run", **columns):
    publish.add_new(
        root, [stage(root, "records", of_records(ids, **columns), run_id=run_id, segment_id=segment)], run_id=run_id
    )


def score(root, run_id, *, segment="s", replaces=None, ids="a", events=None, evidence=None, model_id="m"):
    """Publish one segment the way a scoring run does, up to the switch."""
    place = {"run_id": run_id, "model_id": model_id, "segment_id": segment}
    events = of_events([f"{run_id} {segment}"]) if events is None else events
    publish.add(root, "events", [stage(root, "events", events, **place)], run_id=run_id)
    scores = stage(root, "scores", of_scores(ids, evidence_run_id=evidence or run_id), **place)
    publish.switch_scores(root, [scores], run_id=run_id, model_id=model_id, replaces={segment: replaces})
