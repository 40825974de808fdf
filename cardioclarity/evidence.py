"""The evidence that a run has stored for a segment, read again and rebuilt record by record; no signal is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cardioclarity.errors import DamageError
from cardioclarity.events import Evidence
from cardioclarity.segments.read import manifest
from cardioclarity.storage import Storage
from cardioclarity.tables import catalog, rows


class EvidenceError(DamageError):
    """The stored evidence of one segment is damaged: it alone is set aside."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredEvidence:
    """What stands in the table `beats` for one segment under one model.

    Attributes:
        segment_id: The segment.
        run_id: The run that stored it.
        columns: Column → (row,) array, the rows of all records.
    """

    segment_id: str
    run_id: str
    columns: dict[str, NDArray[Any]]

    def of_record(self, index: int, record: catalog.CatalogRecord) -> Evidence:
        """Rebuild the evidence of the record that stands in this row of the segment."""
        mine = self.columns["record_index"] == index
        return rows.evidence(record, {name: values[mine] for name, values in self.columns.items()})

    def of_records(
        self, root: Storage, records: Iterable[catalog.CatalogRecord], *, digest: str
    ) -> Iterator[tuple[int, Evidence]]:
        """Rebuild the evidence of records of the segment.

        Args:
            root: The root.
            records: The catalog's rows of them.
            digest: The digest of the segment's manifest.

        Yields:
            Row in the segment and evidence of each record, in the order of the segment.

        Raises:
            DamageError: The manifest is damaged.
        """
        known = {record.record_id: record for record in records}
        for index, record_id in enumerate(manifest(root, self.segment_id, digest=digest).record_ids):
            if record_id in known:
                yield index, self.of_record(index, known[record_id])


def stored_evidence(root: Storage, segment_id: str, *, model_id: str, run_id: str) -> StoredEvidence:
    """Read the evidence of a segment.

    Args:
        root: The root.
        segment_id: The segment.
        model_id: The model that gave the evidence.
        run_id: The run that stored it.

    Raises:
        NotFoundError: The run left no evidence there.
        EvidenceError: The evidence is damaged.
    """
    try:
        columns = catalog.evidence(root, model_id=model_id, segment_id=segment_id, run_id=run_id)
    except DamageError as error:
        raise EvidenceError(str(error)) from error
    return StoredEvidence(segment_id=segment_id, run_id=run_id, columns=columns)


def evidence_behind(root: Storage, scores: catalog.LiveFile, *, model_id: str) -> StoredEvidence:
    """Read the evidence that a file of scores rests on.

    Raises:
        NotFoundError: There is no such evidence any more.
        EvidenceError: The evidence is damaged.
        DamageError: The scores are.
    """
    run_id = catalog.evidence_run(root, scores)
    return stored_evidence(root, scores.segment_id, model_id=model_id, run_id=run_id)
