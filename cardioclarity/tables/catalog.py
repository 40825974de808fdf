"""What stands in the tables: the catalog, the current results, and what a plan has to know."""

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from numpy.typing import NDArray

from cardioclarity.errors import ConflictError, NotFoundError
from cardioclarity.storage import Storage
from cardioclarity.tables import snapshot
from cardioclarity.tables.schemas import PARTITIONS, SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.vocabulary import Head, Severity

_LOOKS: Final = 5
_URGENCY: Final = pa.array([Severity.HIGH, Severity.MEDIUM, Severity.LOW], pa.string())


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """What is known about one delivered record.

    Attributes:
        key: Its key in the archive.
        version: Changes when one of its files does.
        record_id: The record that it became; None where it was set aside.
        reason: Why it was set aside.
    """

    key: str
    version: str
    record_id: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRecord:
    """One row of `records`; docs/tables.md says what each column means."""

    record_id: str
    patient_id: str | None
    segment_id: str
    segment_digest: str
    leads: tuple[str, ...]
    source_leads: tuple[str, ...]
    rate_hz: float
    n_samples: int
    duration_s: float
    age: int | None
    sex: str | None
    device: str | None
    diagnosis_codes: tuple[str, ...]
    notes: tuple[str, ...]
    converted_at: dt.datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment as the catalog knows it.

    Attributes:
        segment_id: Its name.
        digest: Of its manifest.
        n_records: Catalogued records in it.
        duration_s: Sum of their lengths.
    """

    segment_id: str
    digest: str
    n_records: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentScores:
    """Whose scores of a segment are the current ones.

    Attributes:
        run_id: The run that published them.
        evidence_run_id: The run whose rows of `beats` they rest on.
        n_records: Number of records in them.
    """

    run_id: str
    evidence_run_id: str
    n_records: int


def require_root(root: Storage) -> None:
    """Check that a deployment is there.

    Raises:
        NotFoundError: It has no tables.
        StorageError: The store did not answer.
    """
    if not snapshot.exists(root, "records"):
        raise NotFoundError(
            f"{root.name} is no CardioClarity root: it has no tables/records/;"
            f" make one with: cardioclarity convert ARCHIVE --root {root.name}"
        )


def sources(root: Storage, archive: str) -> Iterator[SourceRow]:
    """Stream what is known about an archive, in the UTF-8 byte order of the keys.

    Raises:
        StorageError: The table could not be read.
    """
    columns = ["source_key", "source_version", "record_id", "reason"]
    rows = _read(root, "sources", columns, ds.field("archive") == archive)
    for batch in rows.sort_by("source_key").to_batches(max_chunksize=4096):
        for key, version, record_id, reason in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield SourceRow(key=key, version=version, record_id=record_id, reason=reason)


def records(root: Storage, *, segment_ids: Collection[str] | None = None) -> list[CatalogRecord]:
    """Read the catalog, ordered by segment and record.

    Args:
        root: The deployment.
        segment_ids: Only the records of these segments; all where None.

    Raises:
        StorageError: The table could not be read.
    """
    wanted = None if segment_ids is None else ds.field("segment_id").isin(pa.array(segment_ids, pa.string()))
    rows = _read(root, "records", [field.name for field in fields(CatalogRecord)], wanted)
    ordered = rows.sort_by([("segment_id", "ascending"), ("record_id", "ascending")])
    return [_catalog_record(row) for row in ordered.to_pylist()]


def segments(root: Storage) -> list[Segment]:
    """List the segments that hold a catalogued record, by id.

    Raises:
        StorageError: The table could not be read.
    """
    rows = _read(root, "records", ["segment_id", "segment_digest", "duration_s"])
    grouped = rows.group_by(["segment_id", "segment_digest"]).aggregate(
        [("duration_s", "count"), ("duration_s", "sum")]
    )
    return [
        Segment(
            segment_id=row["segment_id"],
            digest=row["segment_digest"],
            n_records=row["duration_s_count"],
            duration_s=row["duration_s_sum"],
        )
        for row in grouped.sort_by("segment_id").to_pylist()
    ]


def current_scores(root: Storage, model_id: str) -> dict[str, CurrentScores]:
    """Tell for each scored segment whose scores are the current ones.

    Raises:
        StorageError: The table could not be read.
    """
    with snapshot.telling(root, "scores"):
        opened = snapshot.open_table(root, "scores")
        evidence_runs = snapshot.evidence_runs(opened, model_id)
        return {
            file.segment_id: CurrentScores(
                run_id=file.run_id,
                evidence_run_id=evidence_runs.get(file.segment_id, file.run_id),
                n_records=file.n_rows // len(Head),
            )
            for file in sorted(_of_model(opened, model_id), key=lambda file: file.segment_id)
        }


def evidence(root: Storage, *, model_id: str, segment_id: str, run_id: str) -> dict[str, NDArray[Any]]:
    """Read the evidence of one segment.

    Args:
        root: The deployment.
        model_id: The model that scored.
        segment_id: The segment.
        run_id: The run that wrote the evidence, `CurrentScores.evidence_run_id`.

    Returns:
        Column of `beats` → (row,) array in the order in which it was written: numbers with NaN for null, texts as
        objects with None for null. Partition columns and run_id are left out.

    Raises:
        NotFoundError: The run left no evidence there.
        StorageError: The table could not be read.
    """
    with snapshot.telling(root, "beats"):
        opened = snapshot.open_table(root, "beats")
        files = [f for f in _of_model(opened, model_id) if (f.segment_id, f.run_id) == (segment_id, run_id)]
        if not files:
            raise NotFoundError(
                f"{root.name}: run {run_id} left no evidence of model {model_id} for segment {segment_id};"
                " score the segment again"
            )
        columns = [name for name in SCHEMAS["beats"].names if name not in (*PARTITIONS["beats"], "run_id")]
        rows = snapshot.dataset(opened, [file.path for file in files]).to_table(columns=columns)
    return {name: rows[name].to_numpy() for name in columns}


def scores(root: Storage, *, model_id: str) -> list[dict[str, Any]]:
    """Read the current verdicts of a model, ordered by record and head.

    Raises:
        StorageError: The table could not be read.
    """
    rows = _read(root, "scores", SCHEMAS["scores"].names, ds.field("model_id") == model_id)
    found: list[dict[str, Any]] = rows.sort_by([("record_id", "ascending"), ("head", "ascending")]).to_pylist()
    return found


def events(root: Storage, *, model_id: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Read the current events of a model: the severe ones first, then the improbable ones, fixed rules last.

    A reader sees only events whose run stands in `scores`, and `scores` is looked at before and after.

    Args:
        root: The deployment.
        model_id: The model that scored.
        limit: At most so many.

    Raises:
        ConflictError: Other runs published again and again meanwhile.
        StorageError: A table could not be read.
    """
    with snapshot.telling(root, "events"):
        current, opened = _pinned(root, model_id)
        ours = [f.path for f in _of_model(opened, model_id) if current.get(f.segment_id) == f.run_id]
        batches = snapshot.dataset(opened, ours).to_batches()
        parts = [_first(pa.Table.from_batches([batch]), limit) for batch in batches]
    rows: list[dict[str, Any]] = _first(pa.concat_tables(parts), limit).to_pylist() if parts else []
    return rows


def quarantine(root: Storage) -> list[dict[str, Any]]:
    """Read what was set aside, newest first.

    Raises:
        StorageError: The table could not be read.
    """
    order = [("seen_at", "descending"), ("source_key", "ascending"), ("record_id", "ascending")]
    rows: list[dict[str, Any]] = _read(root, "quarantine", SCHEMAS["quarantine"].names).sort_by(order).to_pylist()
    return rows


def runs(root: Storage) -> list[dict[str, Any]]:
    """Read the runs, newest first.

    Raises:
        StorageError: The table could not be read.
    """
    order = [("started_at", "descending"), ("run_id", "descending")]
    rows: list[dict[str, Any]] = _read(root, "runs", SCHEMAS["runs"].names).sort_by(order).to_pylist()
    return rows


def _read(root: Storage, table: str, columns: list[str], wanted: ds.Expression | None = None) -> pa.Table:
    with snapshot.telling(root, table):
        return snapshot.open_table(root, table).to_pyarrow_dataset().to_table(columns=columns, filter=wanted)


def _catalog_record(row: dict[str, Any]) -> CatalogRecord:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
    return CatalogRecord(**values)


def _of_model(opened: DeltaTable, model_id: str) -> list[LiveFile]:
    return [file for file in snapshot.live_files(opened) if file.partition["model_id"] == model_id]


def _current_runs(root: Storage, model_id: str) -> dict[str, str]:
    opened = snapshot.open_table(root, "scores")
    return {file.segment_id: file.run_id for file in _of_model(opened, model_id)}


def _pinned(root: Storage, model_id: str) -> tuple[dict[str, str], DeltaTable]:
    """Open `events` between two equal looks at `scores`, so that no sweep has passed in between."""
    before = _current_runs(root, model_id)
    for _ in range(_LOOKS):
        opened = snapshot.open_table(root, "events")
        after = _current_runs(root, model_id)
        if after == before:
            return after, opened
        before = after
    raise ConflictError(f"{root.name}: other runs published again and again while events were read; run again")


def _first(rows: pa.Table, limit: int | None) -> pa.Table:
    """Order events as a person should look at them, and keep the first ones."""
    urgency = pc.index_in(rows["severity"], value_set=_URGENCY)
    keys = [("urgency", "ascending"), ("p_value", "ascending"), ("event_id", "ascending")]
    order = pc.sort_indices(rows.append_column("urgency", urgency), sort_keys=keys)  # nulls last
    return rows.take(order[:limit])
