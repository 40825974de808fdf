"""What stands in the tables: the catalog, what was delivered and set aside, and the way to the current results."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cardioclarity.errors import NotFoundError
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, snapshot
from cardioclarity.tables.pinned import CatalogRecord, Pinned, Segment
from cardioclarity.tables.results import CurrentScores, Results, current_scores, evidence, evidence_run, score_files
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.tables.snapshot import LiveFile

__all__ = [
    "CatalogRecord",
    "CurrentScores",
    "LiveFile",
    "Pinned",
    "Results",
    "Segment",
    "SourceRow",
    "batches",
    "current_scores",
    "events",
    "evidence",
    "evidence_run",
    "known_sources",
    "pinned",
    "quarantine",
    "records",
    "require_root",
    "results",
    "runs",
    "score_files",
    "scores",
    "segments",
]


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


def require_root(root: Storage) -> None:
    """Check that a deployment is there, and one that this version reads.

    Raises:
        NotFoundError: It has no tables.
        CardioClarityError: A newer version of this software wrote them, or other software.
        StorageError: The store did not answer.
    """
    try:
        snapshot.open_table(root, "records")
    except NotFoundError:
        if next(root.list("_delta_log/"), None) is not None:
            raise NotFoundError(
                f"{root.name} is no CardioClarity root but itself a Delta table; give another folder or URL as --root"
            ) from None
        raise NotFoundError(
            f"{root.name} is no CardioClarity root: it has no tables/records/;"
            f" make one with: cardioclarity convert ARCHIVE --root {root.name}"
        ) from None


def known_sources(root: Storage, archive: str) -> Iterator[SourceRow]:
    """Stream what is known about an archive, in no order; a few files are in memory at a time.

    Raises:
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    columns = ["source_key", "source_version", "record_id", "reason"]
    for rows in batches(root, "sources", columns, archive=archive):
        for key, version, record_id, reason in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            yield SourceRow(key=key, version=version, record_id=record_id, reason=reason)


def pinned(root: Storage) -> Pinned:
    """Open one snapshot of the catalog, to be asked again and again.

    Raises:
        StorageError: The table could not be read.
    """
    return Pinned(root)


def records(root: Storage, *, segment_ids: Collection[str] | None = None) -> list[CatalogRecord]:
    """Read the catalog, ordered by segment and record.

    Args:
        root: The deployment.
        segment_ids: Only the records of these segments; all where None.

    Raises:
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    return list(Pinned(root, segment_ids).records())


def segments(root: Storage) -> list[Segment]:
    """List the segments that hold a catalogued record, by id.

    Raises:
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    return Pinned(root).segments()


def results(root: Storage, *, model_id: str) -> Results:
    """Open the current results of a model, verdicts and events pinned to one another.

    Raises:
        ConflictError: Other runs published again and again meanwhile.
        DamageError: A segment has two files of scores.
        StorageError: A table could not be read.
    """
    return Results(root, model_id)


def scores(root: Storage, *, model_id: str) -> list[dict[str, Any]]:
    """Read the current verdicts of a model, ordered by record and head.

    Raises:
        ConflictError: Other runs published again and again meanwhile.
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    return sorted(Results(root, model_id).scores(), key=lambda row: (row["record_id"], row["head"]))


def events(root: Storage, *, model_id: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Read the current events of a model: the severe ones first, then the improbable ones, fixed rules last.

    Args:
        root: The deployment.
        model_id: The model that scored.
        limit: At most so many.

    Raises:
        ConflictError: Other runs published again and again meanwhile.
        DamageError: A file of the table is damaged.
        StorageError: A table could not be read.
    """
    return Results(root, model_id).events(limit=limit)


def quarantine(root: Storage) -> list[dict[str, Any]]:
    """Read what was set aside, newest first.

    Raises:
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    order = [("seen_at", "descending"), ("source_key", "ascending"), ("record_id", "ascending")]
    return _whole(root, "quarantine", order)


def runs(root: Storage) -> list[dict[str, Any]]:
    """Read the runs, newest first.

    Raises:
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    return _whole(root, "runs", [("started_at", "descending"), ("run_id", "descending")])


def batches(
    root: Storage,
    table: str,
    columns: Sequence[str],
    *,
    segment_ids: Collection[str] | None = None,
    **equal: str | None,
) -> Iterator[pa.Table]:
    """Stream some columns of a table as Arrow, file by file, in no order; a few files are in memory at a time.

    Args:
        root: The deployment.
        table: Its name.
        columns: Those that are wanted.
        segment_ids: Only rows of these segments; of all where None.
        equal: Column → the value that it must have; None for null.

    Raises:
        DamageError: A file of the table is damaged.
        StorageError: The table could not be read.
    """
    with snapshot.telling(root, table):
        live = snapshot.live_files(snapshot.open_table(root, table), segment_ids=segment_ids)
    for _, rows in checked.stream(root, live, [*columns, *(equal.keys() - set(columns))]):
        held = rows
        for name, value in equal.items():
            held = held.filter(pc.is_null(held[name]) if value is None else pc.equal(held[name], pa.scalar(value)))
        if held.num_rows:
            yield held.select(list(columns))


def _whole(root: Storage, table: str, order: list[tuple[str, str]]) -> list[dict[str, Any]]:
    rows = pa.concat_tables([SCHEMAS[table].empty_table(), *batches(root, table, SCHEMAS[table].names)])
    found: list[dict[str, Any]] = rows.sort_by(order).to_pylist()
    return found
