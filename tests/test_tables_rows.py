"""What is judged again from the tables is judged as it was when it was fresh."""

import datetime as dt
from dataclasses import replace

import numpy as np
from evidences import LEVELS, any_evidence, assert_same, evidence, without_beats
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import new_root, stage

from cardioclarity.events import Evidence
from cardioclarity.judgement import decide
from cardioclarity.tables import catalog, publish, rows
from cardioclarity.tables.catalog import CatalogRecord
from cardioclarity.vocabulary import Head, StateReason

MODEL, SEGMENT = {"model_id": "model"}, {"segment_id": "segment"}


def catalogued(found: Evidence) -> CatalogRecord:
    return CatalogRecord(
        record_id=found.record_id,
        patient_id=None,
        segment_id="segment",
        segment_digest="d",
        leads=(found.lead, "V5"),
        source_leads=(found.lead, "V5"),
        rate_hz=found.rate_hz,
        n_samples=found.n_samples,
        duration_s=found.n_samples / found.rate_hz,
        age=None,
        sex=None,
        device=None,
        diagnosis_codes=(),
        notes=(),
        converted_at=dt.datetime(2026, 11, 26, tzinfo=dt.UTC),
        run_id="run",
    )


def judged(found: list[Evidence]) -> list[rows.Judged]:
    return [rows.Judged(index, one, *decide(one, LEVELS)) for index, one in enumerate(found)]


def out_of(columns, found: list[Evidence]) -> list[Evidence]:
    """Rebuild the evidence of each record from the rows that bear its index."""
    return [
        rows.evidence(
            catalogued(one), {name: values[columns["record_index"] == index] for name, values in columns.items()}
        )
        for index, one in enumerate(found)
    ]


@given(st.lists(any_evidence(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_evidence_out_of_its_rows_is_what_went_in_and_gets_the_same_verdicts_and_events(found):
    stored = out_of(rows.beat_columns(judged(found)), found)

    for mine, fresh in zip(stored, found, strict=True):
        assert_same(mine, fresh)
        assert decide(mine, LEVELS) == decide(fresh, LEVELS)


def test_parquet_in_between_changes_no_verdict_and_no_event(tmp_path):
    noise, flat = StateReason.NOISE, StateReason.FLAT_LINE
    p = float(np.float32(0.001))
    found = [
        evidence(flagged={10: 1e-30, 30: p, 31: p, 50: np.nan}, irregular={2: 1e-5}, unreadable={4: noise}),
        evidence(60, rr_s=0.55, flagged={100: 1e-4}),
        without_beats(evidence(6, unreadable=dict.fromkeys(range(6), flat))),
        replace(evidence(), beat_members={"population": np.full(len(evidence().rpeaks), 9.0, np.float32)}),
        without_beats(evidence(0, n_samples=0)),
    ]
    root = new_root(tmp_path)
    staged = stage(root, "beats", rows.beat_columns(judged(found)), **MODEL, **SEGMENT)
    publish.add(root, "beats", [staged], run_id="run")

    stored = out_of(catalog.evidence(root, **MODEL, **SEGMENT, run_id="run"), found)

    for mine, fresh in zip(stored, found, strict=True):
        assert_same(mine, fresh)
        assert decide(mine, replace(LEVELS, beat_p=p)) == decide(fresh, replace(LEVELS, beat_p=p))


@given(st.lists(any_evidence(), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_every_verdict_and_every_event_has_one_row_that_names_its_record(found):
    found = [replace(one, record_id=f"{index:032x}") for index, one in enumerate(found)]
    patients = {one.record_id: f"patient {index}" for index, one in enumerate(found)}
    judgements = judged(found)

    scores = rows.score_columns(judgements, patients)
    events = rows.event_columns(judgements, patients, model_id="model")

    assert scores["record_id"] == [one.record_id for one in found for _ in Head]
    assert scores["head"] == [*Head] * len(found)
    pairs = [(one, event) for one in judgements for event in one.events]
    assert events["event_id"] == [event.id(one.evidence.record_id, "model") for one, event in pairs]
    assert events["patient_id"] == [f"patient {one.index}" for one, _ in pairs]
    np.testing.assert_allclose(events["start_s"], [e.start_sample / one.evidence.rate_hz for one, e in pairs])
    np.testing.assert_allclose(events["end_s"], [e.end_sample / one.evidence.rate_hz for one, e in pairs])
    for columns in (scores, events):
        assert len({len(values) for values in columns.values()}) == 1
