"""What a model found: whose scores are current, and the verdicts, events and evidence that belong to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from numpy.typing import NDArray

from cardioclarity.errors import ConflictError, DamageError, NotFoundError
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, snapshot
from cardioclarity.tables.schemas import PARTITIONS, SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.vocabulary import Head, Severity

_LOOKS: Final = 5
_URGENCY: Final = pa.array([Severity.HIGH, Severity.MEDIUM, Severity.LOW], pa.string())
_SORTED_AT: Final = 65_536
"""Rows that are gathered before they are sorted and cut to the first ones."""


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


class Results:
    """The current results of one model, `scores` and `events` pinned to one another.

    A reader sees only events whose run stands in `scores`, and `scores` is looked at before and after `events` is
    opened, so that no sweep has passed in between. In memory are the lists of files.
    """

    __slots__ = ("_events", "_root", "_scores")

    def __init__(self, root: Storage, model_id: str) -> None:
        self._root = root
        with snapshot.telling(root, "scores"):
            self._scores, opened = _pinned(root, model_id)
        self._events = [
            f for f in snapshot.live_files(opened, model_id=model_id) if self.run_of(f.segment_id) == f.run_id
        ]
        # A run stages a file of events for each segment, an empty one where it found none.
        if lost := self._scores.keys() - {file.segment_id for file in self._events}:
            raise DamageError(
                f"{root.name}: tables/events/ has lost the events of {len(lost)} scored segments, first {min(lost)};"
                f" run: cardioclarity verify --root {root.name} --read-data"
            )

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """The scored segments, sorted."""
        return tuple(sorted(self._scores))

    @property
    def n_records(self) -> int:
        """Scored records, from the log alone."""
        return sum(map(self.n_records_in, self._scores))

    @property
    def n_events(self) -> int:
        """Current events, from the log alone."""
        return sum(file.n_rows for file in self._events)

    def run_of(self, segment_id: str) -> str | None:
        """Name the run whose scores of a segment are current; None where it has none."""
        return self._scores[segment_id].run_id if segment_id in self._scores else None

    def n_records_in(self, segment_id: str) -> int:
        """Number of scored records of a segment, 0 where it has no scores."""
        return self._scores[segment_id].n_rows // len(Head) if segment_id in self._scores else 0

    def evidence_run(self, segment_id: str) -> str:
        """Name the run whose evidence the scores of a segment rest on; reads the segment's file of `scores`.

        Raises:
            DamageError: That file is damaged.
            StorageError: It could not be read.
        """
        return evidence_run(self._root, self._scores[segment_id])

    def scores(self) -> Iterator[dict[str, Any]]:
        """Stream the verdicts, ordered by segment, record and head.

        Raises:
            DamageError: A file is damaged.
            StorageError: One could not be read.
        """
        files = [self._scores[segment_id] for segment_id in self.segment_ids]
        for _, rows in checked.stream(self._root, files):
            yield from rows.sort_by([("record_id", "ascending"), ("head", "ascending")]).to_pylist()

    def events(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Read the events: the severe ones first, then the improbable ones, fixed rules last.

        Args:
            limit: At most so many; no more than these and a few files are in memory.

        Raises:
            DamageError: A file is damaged.
            StorageError: One could not be read.
        """
        best, gathered = SCHEMAS["events"].empty_table(), []
        for _, rows in checked.stream(self._root, self._events):
            gathered.append(rows)
            if sum(part.num_rows for part in gathered) >= _SORTED_AT:
                best, gathered = _first(pa.concat_tables([best, *gathered]), limit), []
        found: list[dict[str, Any]] = _first(pa.concat_tables([best, *gathered]), limit).to_pylist()
        return found

    def iter_events(self) -> Iterator[dict[str, Any]]:
        """Stream the events, a segment after the other in the order of their ids.

        Raises:
            DamageError: A file is damaged.
            StorageError: One could not be read.
        """
        for _, rows in checked.stream(self._root, sorted(self._events, key=lambda file: (file.segment_id, file.path))):
            yield from rows.to_pylist()


def current_scores(root: Storage, model_id: str) -> dict[str, CurrentScores]:
    """Tell for each scored segment whose scores are the current ones.

    Raises:
        DamageError: A file of `scores` is damaged.
        StorageError: The table could not be read.
    """
    ordered = sorted(score_files(root, model_id).values(), key=lambda file: file.segment_id)
    evidence_runs = checked.ahead(lambda file: evidence_run(root, file), ordered)
    return {
        file.segment_id: CurrentScores(run_id=file.run_id, evidence_run_id=evidence, n_records=file.n_rows // len(Head))
        for file, evidence in zip(ordered, evidence_runs, strict=True)
    }


def score_files(root: Storage, model_id: str) -> dict[str, LiveFile]:
    """Give the current file of scores of each scored segment, from the log alone; its name tells the run.

    Raises:
        DamageError: A segment has two.
        StorageError: The table could not be read.
    """
    with snapshot.telling(root, "scores"):
        return live_scores(root, snapshot.open_table(root, "scores"), model_id)


def evidence_run(root: Storage, file: LiveFile) -> str:
    """Read from a file of `scores` which run's evidence it rests on; without a row it is that of the scores.

    Raises:
        DamageError: The file is damaged.
        StorageError: It could not be read.
    """
    found = checked.rows(root, file, ["evidence_run_id"])["evidence_run_id"]
    return str(found[0]) if len(found) else file.run_id


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
        DamageError: The evidence is damaged.
        StorageError: The table could not be read.
    """
    with snapshot.telling(root, "beats"):
        live = snapshot.live_files(snapshot.open_table(root, "beats"), model_id=model_id, segment_ids=[segment_id])
    files = [file for file in live if file.run_id == run_id]
    if not files:
        raise NotFoundError(
            f"{root.name}: run {run_id} left no evidence of model {model_id} for segment {segment_id};"
            " score the segment again"
        )
    columns = [name for name in SCHEMAS["beats"].names if name not in (*PARTITIONS["beats"], "run_id")]
    rows = pa.concat_tables([rows for _, rows in checked.stream(root, files, columns)])
    return {name: rows[name].to_numpy() for name in columns}


def live_scores(root: Storage, opened: DeltaTable, model_id: str) -> dict[str, LiveFile]:
    """Give the one file of `scores` that each scored segment has.

    Raises:
        DamageError: A segment has two: one of the commits is damaged.
    """
    found: dict[str, LiveFile] = {}
    for file in snapshot.live_files(opened, model_id=model_id):
        if file.segment_id in found:
            raise checked.damage(
                root, file.key, f"is a second file of scores for one segment, beside {found[file.segment_id].key}"
            )
        found[file.segment_id] = file
    return found


def _pinned(root: Storage, model_id: str) -> tuple[dict[str, LiveFile], DeltaTable]:
    """Open `events` between two equal looks at `scores`."""
    before = live_scores(root, snapshot.open_table(root, "scores"), model_id)
    for _ in range(_LOOKS):
        opened = snapshot.open_table(root, "events")
        after = live_scores(root, snapshot.open_table(root, "scores"), model_id)
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
