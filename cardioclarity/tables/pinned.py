"""The catalog as one snapshot of `records`: every question is answered from the same state, a segment at a time."""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cardioclarity.storage import Storage
from cardioclarity.tables import checked, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.tables.snapshot import LiveFile


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


class Pinned:
    """One opened snapshot of the catalog; what others publish meanwhile is not in it. In memory is its list of files."""

    __slots__ = ("_by_segment", "_root")

    def __init__(self, root: Storage, segment_ids: Collection[str] | None = None) -> None:
        """Open it, for these segments only or for all."""
        with snapshot.telling(root, "records"):
            files = snapshot.live_files(snapshot.open_table(root, "records"), segment_ids=segment_ids)
        self._root = root
        ordered = sorted((file for file in files if file.n_rows), key=lambda file: (file.segment_id, file.path))
        self._by_segment = {name: tuple(of) for name, of in groupby(ordered, key=lambda file: file.segment_id)}

    @property
    def n_records(self) -> int:
        """Catalogued records, from the log alone."""
        return sum(file.n_rows for of_one in self._by_segment.values() for file in of_one)

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """The segments that hold a catalogued record, from the log alone, sorted."""
        return tuple(self._by_segment)

    def n_records_in(self, segment_id: str) -> int:
        """Catalogued records of a segment, from the log alone; 0 where it is not catalogued."""
        return sum(file.n_rows for file in self._by_segment.get(segment_id, ()))

    def segments(self) -> list[Segment]:
        """List the segments that hold a catalogued record, by id.

        Raises:
            DamageError: A file of the catalog is damaged.
            StorageError: One could not be read.
        """
        return [
            Segment(
                segment_id=segment_id,
                digest=rows["segment_digest"][0].as_py(),
                n_records=rows.num_rows,
                duration_s=pc.sum(rows["duration_s"]).as_py(),
            )
            for segment_id, rows in self._stream(["segment_digest", "duration_s"], self._by_segment)
        ]

    def record_ids(self, segment_id: str) -> tuple[str, ...]:
        """Name the catalogued records of a segment, sorted.

        Raises:
            DamageError: A file of the catalog is damaged.
            StorageError: One could not be read.
        """
        found = self._stream(["record_id"], [segment_id])
        return tuple(sorted(record_id for _, rows in found for record_id in rows["record_id"].to_pylist()))

    def rows(self, segment_id: str) -> list[CatalogRecord]:
        """Read the catalogued records of a segment, by id.

        Raises:
            DamageError: A file of the catalog is damaged.
            StorageError: One could not be read.
        """
        return list(self._records([segment_id]))

    def records(self) -> Iterator[CatalogRecord]:
        """Stream the catalog, ordered by segment and record.

        Raises:
            DamageError: A file of the catalog is damaged.
            StorageError: One could not be read.
        """
        return self._records(self._by_segment)

    def iter_records(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stream some columns of all records, by segment; within one in no order that a caller may rest on.

        Raises:
            DamageError: A file of the catalog is damaged.
            StorageError: One could not be read.
        """
        for _, rows in self._stream(columns, self._by_segment):
            yield from rows.to_pylist()

    def _records(self, segment_ids: Collection[str]) -> Iterator[CatalogRecord]:
        for _, rows in self._stream(SCHEMAS["records"].names, segment_ids):
            for row in rows.sort_by("record_id").to_pylist():
                values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
                yield CatalogRecord(**values)

    def _stream(self, columns: Sequence[str], segment_ids: Collection[str]) -> Iterator[tuple[str, pa.Table]]:
        """Give the rows of each catalogued segment as one table; a few segments' files are in memory at a time."""
        files = [file for name in segment_ids for file in self._by_segment.get(name, ())]

        def segment_of(read: tuple[LiveFile, pa.Table]) -> str:
            return read[0].segment_id

        for segment_id, parts in groupby(checked.stream(self._root, files, columns), key=segment_of):
            yield segment_id, pa.concat_tables([rows for _, rows in parts])
