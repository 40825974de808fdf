"""Evidence, verdicts and events as columns of the tables, and evidence back out of them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardioclarity.events import Event, Evidence, Verdict
from cardioclarity.tables.catalog import CatalogRecord
from cardioclarity.tables.schemas import MEMBERS

WINDOW_MEMBERS = ("rhythm", "quality")
BEAT_MEMBERS = tuple(name for name in MEMBERS if name not in WINDOW_MEMBERS)


@dataclass(frozen=True, slots=True)
class Judged:
    """One record of a segment with all that was found in it.

    Attributes:
        index: Its row in the segment.
        evidence: What the detectors found.
        verdicts: One per head.
        events: The anomalies.
    """

    index: int
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    events: tuple[Event, ...]


def score_columns(judged: Sequence[Judged], patients: Mapping[str, str | None]) -> dict[str, list[object]]:
    """Lay verdicts out as columns of `scores`, without the lineage.

    Args:
        judged: The records.
        patients: record_id → patient_id.
    """
    pairs = [(item.evidence.record_id, verdict) for item in judged for verdict in item.verdicts]
    names = [item.name for item in dataclasses.fields(Verdict)]
    return {name: [getattr(verdict, name) for _, verdict in pairs] for name in names} | {
        "record_id": [record_id for record_id, _ in pairs],
        "patient_id": [patients[record_id] for record_id, _ in pairs],
    }


def event_columns(
    judged: Sequence[Judged], patients: Mapping[str, str | None], *, model_id: str
) -> dict[str, list[object]]:
    """Lay events out as columns of `events`, without the lineage.

    Args:
        judged: The records.
        patients: record_id → patient_id.
        model_id: The model, part of each event's id.
    """
    pairs = [(item.evidence, event) for item in judged for event in item.events]
    names = [item.name for item in dataclasses.fields(Event)]
    return {name: [getattr(event, name) for _, event in pairs] for name in names} | {
        "event_id": [event.id(found.record_id, model_id) for found, event in pairs],
        "record_id": [found.record_id for found, _ in pairs],
        "patient_id": [patients[found.record_id] for found, _ in pairs],
        "start_s": [event.start_sample / found.rate_hz for found, event in pairs],
        "end_s": [event.end_sample / found.rate_hz for found, event in pairs],
    }


def beat_columns(judged: Sequence[Judged]) -> dict[str, NDArray[np.generic]]:
    """Lay evidence out as columns of `beats`, without the lineage: of each record first its beats, then its windows."""
    parts = [part for item in judged for part in _blocks(item.index, item.evidence)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _blocks(index: int, found: Evidence) -> Iterator[dict[str, NDArray[np.generic]]]:
    yield _block(
        {"record_index": index, "kind": "beat", "lead": found.lead, "reason": ""},
        {
            "start_sample": found.rpeaks,
            "rr_s": found.rr_s,
            "readable": found.beat_readable,
            "score": found.beat_score,
            "p_value": found.beat_p,
            **found.beat_members,
        },
    )
    yield _block(
        {"record_index": index, "kind": "window", "lead": found.lead},
        {
            "start_sample": found.window_start,
            "readable": found.window_readable,
            "reason": np.array(found.window_reason, dtype=np.dtypes.StringDType()),
            "score": found.rhythm_score,
            "p_value": found.rhythm_p,
            **found.window_members,
        },
    )


def _block(
    constants: Mapping[str, int | str], columns: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    n = len(columns["start_sample"])
    absent = np.full(n, np.nan, np.float32)
    block: dict[str, NDArray[np.generic]] = dict.fromkeys(("rr_s", *BEAT_MEMBERS, *WINDOW_MEMBERS), absent)
    for name, value in constants.items():
        block[name] = np.full(n, value, np.dtypes.StringDType() if isinstance(value, str) else np.int32)
    return block | dict(columns)


def evidence(record: CatalogRecord, rows: Mapping[str, NDArray[np.generic]]) -> Evidence:
    """Rebuild the evidence of one record from its rows of `beats`.

    Args:
        record: The catalog's row.
        rows: Column → values, the record's own rows only.
    """
    beat, window = rows["kind"] == "beat", rows["kind"] == "window"
    return Evidence(
        record_id=record.record_id,
        rate_hz=record.rate_hz,
        n_samples=record.n_samples,
        lead=str(rows["lead"][0]) if len(rows["lead"]) else record.leads[0],
        rpeaks=rows["start_sample"][beat].astype(np.int64),
        rr_s=rows["rr_s"][beat].astype(np.float32),
        beat_readable=rows["readable"][beat].astype(np.bool_),
        beat_members={name: rows[name][beat].astype(np.float32) for name in BEAT_MEMBERS},
        beat_score=rows["score"][beat].astype(np.float32),
        beat_p=rows["p_value"][beat].astype(np.float32),
        window_start=rows["start_sample"][window].astype(np.int64),
        window_readable=rows["readable"][window].astype(np.bool_),
        window_reason=tuple(str(reason) for reason in rows["reason"][window].tolist()),
        window_members={name: rows[name][window].astype(np.float32) for name in WINDOW_MEMBERS},
        rhythm_score=rows["score"][window].astype(np.float32),
        rhythm_p=rows["p_value"][window].astype(np.float32),
    )
