"""The columns of every table: one Arrow schema each, with its key, its partitions and a version."""

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Grows when a column is added or changes; a reader opens the version before and refuses a newer one."""

RESEARCH_USE: Final = "Research use only, not for diagnostic use."

PARTITIONS: Final[dict[str, tuple[str, ...]]] = {
    "sources": (),
    "quarantine": (),
    "scores": ("model_id", "segment_id"),
    "events": ("model_id", "segment_id"),
    "beats": ("model_id", "segment_id"),
    "runs": (),
    "records": ("segment_id",),
}
"""The columns that stand in a file's place and not inside it. `records` is last: where it exists, all tables do."""

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "sources": ("archive", "source_key"),
    "quarantine": ("stage", "archive", "source_key", "record_id"),
    "scores": ("record_id", "model_id", "head"),
    "events": ("event_id",),
    "beats": ("model_id", "segment_id", "run_id", "record_index", "kind", "start_sample"),
    "runs": ("run_id",),
    "records": ("record_id",),
}
"""What names a row. In `quarantine`, record_id is part of it only where source_key is null."""

IDENTIFYING: Final = frozenset({"patient_id", "archive", "source_key", "source_version", "source_digest"})
"""Columns that point at a patient or at a delivered file: they get no statistics, neither in a file nor in the log."""

MEMBERS: Final = (
    *("template", "ae_dense", "ae_conv", "pca", "density", "ae_context", "ae_intervals", "population", "context"),
    *("rhythm", "quality"),
)
"""The raw scores in `beats`, one column per ensemble member."""

_TEXT, _COUNT, _NUMBER, _SCORE = pa.string(), pa.int64(), pa.float64(), pa.float32()
_TIME, _WORDS = pa.timestamp("us", "UTC"), pa.list_(pa.field("element", pa.string()))


def _must(arrow_type: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, arrow_type, nullable=False) for name in names]


def _may(arrow_type: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, arrow_type) for name in names]


SCHEMAS: Final[dict[str, pa.Schema]] = {
    "sources": pa.schema(
        [
            *_must(_TEXT, "archive", "source_key", "source_version"),
            *_may(_TEXT, "source_digest", "record_id", "reason"),
            *_must(_TEXT, "run_id"),
            *_must(_TIME, "seen_at"),
        ]
    ),
    "quarantine": pa.schema(
        [
            *_must(_TEXT, "stage"),
            *_may(_TEXT, "archive", "source_key", "source_version", "record_id"),
            *_must(_TEXT, "reason", "message", "run_id"),
            *_must(_TIME, "seen_at"),
        ]
    ),
    "scores": pa.schema(
        [
            *_must(_TEXT, "record_id", "model_id", "head", "state"),
            *_may(_NUMBER, "score", "p_value"),
            *_must(_COUNT, "n_events"),
            *_must(_NUMBER, "coverage"),
            *_must(_WORDS, "reasons"),
            *_may(_NUMBER, "heart_rate_median_bpm", "heart_rate_min_bpm", "heart_rate_max_bpm"),
            *_must(_COUNT, "n_beats"),
            *_may(_TEXT, "patient_id"),
            *_must(_TEXT, "segment_id", "run_id", "evidence_run_id"),
            *_must(_TIME, "scored_at"),
        ]
    ),
    "events": pa.schema(
        [
            *_must(_TEXT, "event_id", "record_id"),
            *_may(_TEXT, "patient_id"),
            *_must(_TEXT, "segment_id", "kind", "label"),
            *_must(_COUNT, "start_sample", "end_sample"),
            *_must(_NUMBER, "start_s", "end_s"),
            *_must(_TEXT, "lead"),
            *_must(_NUMBER, "score"),
            *_may(_NUMBER, "p_value"),
            *_must(_TEXT, "severity", "model_id", "run_id"),
            *_must(_TIME, "scored_at"),
        ]
    ),
    "beats": pa.schema(
        [
            *_must(pa.int32(), "record_index"),
            *_must(_TEXT, "kind"),
            *_must(_COUNT, "start_sample"),
            *_must(_TEXT, "lead"),
            *_may(_SCORE, "rr_s"),
            *_must(pa.bool_(), "readable"),
            *_may(_TEXT, "reason"),
            *_may(_SCORE, *MEMBERS, "score", "p_value"),
            *_must(_TEXT, "model_id", "segment_id", "run_id"),
        ]
    ),
    "runs": pa.schema(
        [
            *_must(_TEXT, "run_id", "verb", "state"),
            *_must(_TIME, "started_at", "finished_at"),
            *_must(_COUNT, "inputs", "done", "quarantined", "already_done"),
            *_may(_TEXT, "model_id"),
            *_must(_TEXT, "config", "config_digest", "code_version", "versions", "table_versions", "row_digests"),
        ]
    ),
    "records": pa.schema(
        [
            *_must(_TEXT, "record_id"),
            *_may(_TEXT, "patient_id"),
            *_must(_TEXT, "segment_id", "segment_digest"),
            *_must(_WORDS, "leads", "source_leads"),
            *_must(_NUMBER, "rate_hz"),
            *_must(_COUNT, "n_samples"),
            *_must(_NUMBER, "duration_s"),
            *_may(_COUNT, "age"),
            *_may(_TEXT, "sex", "device"),
            *_must(_WORDS, "diagnosis_codes", "notes"),
            *_must(_TIME, "converted_at"),
            *_must(_TEXT, "run_id"),
        ]
    ),
}
"""Table → its Arrow schema; the order of the tables is the order in which they are made."""

_CURRENT: Final = {
    "events": "SELECT e.* FROM events e SEMI JOIN scores s USING (segment_id, model_id, run_id)",
    "beats": "SELECT b.* FROM beats b SEMI JOIN scores s ON (b.segment_id, b.model_id, b.run_id)"
    " = (s.segment_id, s.model_id, s.evidence_run_id)",
}
"""How an outside reader takes only the rows that count, while a run publishes or after a crash."""

DESCRIPTIONS: Final = {
    table: f"{text} {RESEARCH_USE}"
    for table, text in {
        "sources": "What was delivered and what became of it: one row per delivered record.",
        "quarantine": "What could not be read or scored, with the reason.",
        "scores": "The verdicts: one row per record, model and head. 'normal' means that nothing was flagged.",
        "events": f"The anomalies: one row each. The current ones: {_CURRENT['events']}.",
        "beats": f"The evidence: one row per beat or window. The current rows: {_CURRENT['beats']}.",
        "runs": "One row per run: counts, settings, versions, digests. A log: it decides nothing.",
        "records": "The catalog: one row per ECG record that can be read from a segment.",
    }.items()
}
"""Table → what its Delta metadata says of it."""


def file_schema(table: str) -> pa.Schema:
    """Give the columns that a table's files hold: all but the partition columns."""
    return pa.schema([field for field in SCHEMAS[table] if field.name not in PARTITIONS[table]])
