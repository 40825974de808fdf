"""How tables change: each change is one commit that happens exactly once, and running it again changes nothing."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from posixpath import commonpath, dirname

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from cardioclarity.errors import DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables import commit, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.schemas import KEYS, SCHEMAS, file_schema
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import Columns, Staged, run_of, stage, stage_rows

__all__ = [
    "Columns",
    "Staged",
    "Switched",
    "add",
    "add_new",
    "create_tables",
    "record_run",
    "stage",
    "sweep",
    "switch_scores",
    "upsert",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """What became of a run's scores.

    Attributes:
        published: Segments whose scores are now those of the run.
        superseded: Segments that another run had changed since the plan; their staged files are garbage.
        replaced: (segment_id, run_id, evidence_run_id) of the scores that gave way, for the sweep.
    """

    published: tuple[str, ...]
    superseded: tuple[str, ...]
    replaced: tuple[tuple[str, str, str], ...]


def create_tables(root: Storage) -> None:
    """Make all tables, empty, where they are missing.

    Raises:
        StorageError: One could not be made.
    """
    root.make_root()
    for table in SCHEMAS:
        commit.create(root, table)


def add(root: Storage, table: str, staged: Sequence[Staged], *, run_id: str) -> None:
    """Make staged files visible; once per table and run.

    Raises:
        DamageError: A staged file has vanished or has another size.
        StorageError: The outcome is unknown.
    """
    assert all(file.table == table for file in staged)
    if staged:
        commit.commit(root, table, lambda _: Change(adds=_present(root, staged)), run_id=run_id)


def add_new(root: Storage, staged: Sequence[Staged], *, run_id: str) -> tuple[str, ...]:
    """Add rows to the catalog, without the records that are in it already.

    Every round of the commit looks at the catalog anew, so that two converters at once catalogue a record once. A file
    with such a record is written again without it; the samples stay in its segment with no row.

    Args:
        root: The deployment.
        staged: Files of `records`; of a record that stands in two of them the first in the order of their paths stays.
        run_id: The run that publishes.

    Returns:
        The ids of the dropped records, sorted.

    Raises:
        DamageError: A staged file has vanished or has another size.
        StorageError: The outcome is unknown.
    """
    if not staged:
        return ()
    files = [(file, _read(root, file)) for file in sorted(_present(root, staged), key=lambda file: file.path)]

    ids = pa.chunked_array([chunk for _, rows in files for chunk in rows["record_id"].chunks], pa.string())

    def fresh(opened: DeltaTable) -> Change:
        known = ds.field("record_id").isin(ids.combine_chunks())
        catalogued = set(opened.to_pyarrow_dataset().to_table(["record_id"], filter=known)["record_id"].to_pylist())
        return Change(adds=[kept for file, rows in files if (kept := _unknown(root, file, rows, catalogued))])

    commit.commit(root, "records", fresh, run_id=run_id)
    with snapshot.telling(root, "records"):
        live = snapshot.open_table(root, "records").to_pyarrow_dataset()
        ours = live.to_table(columns=["segment_id", "record_id"], filter=ds.field("run_id") == run_id)
    visible = set(zip(*(column.to_pylist() for column in ours.columns), strict=True))
    staged_ids = ((file.segment_id, record_id) for file, rows in files for record_id in rows["record_id"].to_pylist())
    return tuple(sorted({record_id for segment, record_id in staged_ids if (segment, record_id) not in visible}))


def upsert(
    root: Storage,
    table: str,
    staged: Sequence[Staged],
    *,
    run_id: str,
    gone: Collection[tuple[object, ...]] = (),
) -> None:
    """Add rows to `sources` or `quarantine`; a row with an equal key gives way.

    Only the files that hold such a row are written again, without it.

    Args:
        root: The deployment.
        table: Its name.
        staged: Files of it.
        run_id: The run that publishes.
        gone: Keys, in the order of `KEYS`, of rows that vanish with nothing in their place.

    Raises:
        DamageError: A staged file has vanished or has another size.
        StorageError: The outcome is unknown.
    """
    assert table in {"sources", "quarantine"}
    if not staged and not gone:
        return
    files = _present(root, staged) if staged else []
    listed = [key for file in files for key in _keys(table, _read(root, file))]
    assert len(set(listed)) == len(listed), f"{table}: run {run_id} staged a key twice"
    keys = {*listed, *gone}

    def replacing(opened: DeltaTable) -> Change:
        adds, removes = list(files), []
        for live, held in snapshot.one_by_one(opened):
            stays = [key not in keys for key in _keys(table, held.to_table(columns=list(KEYS[table])))]
            if all(stays):
                continue
            removes.append(live)
            if any(stays):
                rows = held.to_table().filter(pa.array(stays)).cast(file_schema(table)).combine_chunks()
                unit_id = f"without_{len(removes)}"
                adds.append(stage_rows(root, table, rows, run_id=run_id, unit_id=unit_id, partition={}))
        return Change(adds=adds, removes=removes)

    commit.commit(root, table, replacing, run_id=run_id)


def switch_scores(
    root: Storage, staged: Sequence[Staged], *, run_id: str, model_id: str, replaces: Mapping[str, str | None]
) -> Switched:
    """Replace the scores of whole segments in one commit: the switch that makes a run's results the current ones.

    Args:
        root: The deployment.
        staged: Files of `scores`, one per segment.
        run_id: The run that publishes.
        model_id: The model that scored.
        replaces: segment_id → run_id of the scores that the plan saw there, None where it saw none.

    Returns:
        What was published, what another run had changed since, and what gave way; the same on every repeat.

    Raises:
        DamageError: A staged file has vanished or has another size.
        StorageError: The outcome is unknown.
    """
    by_segment = {file.segment_id: file for file in _present(root, staged)}
    assert len(by_segment) == len(staged), "one file of scores per segment"

    def switching(opened: DeltaTable) -> Change | None:
        live = {file.segment_id: file for file in _live(opened, model_id)}
        ours = {s for s in by_segment if (live[s].run_id if s in live else None) == replaces.get(s)}
        if not ours:
            return None
        removes = [live[s] for s in sorted(ours) if s in live]
        evidence = snapshot.evidence_runs(opened, model_id, segments={file.segment_id for file in removes})
        replaced = [(f.segment_id, f.run_id, evidence.get(f.segment_id, f.run_id)) for f in removes]
        notes = {"published": sorted(ours), "replaced": replaced}
        return Change(adds=[by_segment[s] for s in sorted(ours)], removes=removes, notes=notes)

    if not commit.commit(root, "scores", switching, run_id=run_id):
        return Switched(published=(), superseded=tuple(sorted(by_segment)), replaced=())
    notes = commit.notes_of(root, "scores", run_id=run_id)
    published = tuple(notes["published"])
    superseded = tuple(sorted(set(by_segment) - set(published)))
    return Switched(
        published=published, superseded=superseded, replaced=tuple((s, r, e) for s, r, e in notes["replaced"])
    )


def sweep(
    root: Storage,
    *,
    model_id: str,
    run_id: str,
    gone_events: Collection[tuple[str, str]],
    gone_beats: Collection[tuple[str, str]],
) -> None:
    """Remove exactly the named files of `events` and `beats`; what another run is publishing stays.

    Args:
        root: The deployment.
        model_id: The model whose results are swept.
        run_id: The run that sweeps.
        gone_events: (segment_id, run_id) whose events no scores name any more.
        gone_beats: (segment_id, run_id) whose evidence no scores name any more.

    Raises:
        StorageError: The outcome is unknown.
    """
    for table, gone in (("events", gone_events), ("beats", gone_beats)):
        if gone:
            commit.commit(root, table, _removing(model_id, set(gone)), run_id=run_id, once=False)


def record_run(root: Storage, row: Mapping[str, object]) -> None:
    """Write down one run; once, however often it is called.

    Args:
        root: The deployment.
        row: Every column of `runs` except table_versions, which is the state of the tables now.

    Raises:
        StorageError: The outcome is unknown.
    """
    run_id = str(row["run_id"])
    versions = {table: snapshot.open_table(root, table).version() for table in sorted(SCHEMAS)}
    columns = {**row, "table_versions": json.dumps(versions)}
    add(root, "runs", [stage(root, "runs", columns, run_id=run_id, unit_id="run")], run_id=run_id)


def _present(root: Storage, staged: Sequence[Staged]) -> list[Staged]:
    """Refuse to publish a file that is not there: the log would take it, and every reader would fail ever after."""
    folder = commonpath([dirname(file.key) for file in staged])
    sizes = {listed.key: listed.size for listed in root.list(f"{folder}/")}
    lost = sorted(file.key for file in staged if sizes.get(file.key) != file.size)
    if lost:
        raise DamageError(
            f"{root.name}: {len(lost)} of {len(staged)} staged files are missing or cut short, first {lost[0]};"
            " nothing was published from them, run the command again"
        )
    return list(staged)


def _read(root: Storage, file: Staged) -> pa.Table:
    with pq.ParquetFile(pa.BufferReader(root.fetch(file.key)), page_checksum_verification=True) as parquet:
        return parquet.read().cast(file_schema(file.table))


def _unknown(root: Storage, file: Staged, rows: pa.Table, catalogued: set[object]) -> Staged | None:
    """Keep the rows whose record is not catalogued yet, in a file of their own where some are, and note the records."""
    ids = rows["record_id"].to_pylist()
    stays = []
    for record_id in ids:
        stays.append(record_id not in catalogued)
        catalogued.add(record_id)
    if all(stays):
        return file
    if not any(stays):
        return None
    run_id, unit_id = run_of(file.path), f"new_in_{file.sha256[:16]}"
    kept = rows.filter(pa.array(stays)).combine_chunks()
    return stage_rows(root, file.table, kept, run_id=run_id, unit_id=unit_id, partition=dict(file.partition))


def _keys(table: str, rows: pa.Table) -> list[tuple[object, ...]]:
    """Give each row's key; a quarantined file is named by its source, only a record without one by its id."""
    columns = {name: rows[name] for name in KEYS[table]}
    if table == "quarantine":
        by_source = pc.is_valid(columns["source_key"])
        columns["record_id"] = pc.if_else(by_source, pa.scalar(None, pa.string()), columns["record_id"])
    return list(zip(*(column.to_pylist() for column in columns.values()), strict=True))


def _live(opened: DeltaTable, model_id: str) -> Iterable[LiveFile]:
    return (file for file in snapshot.live_files(opened) if file.partition["model_id"] == model_id)


def _removing(model_id: str, gone: set[tuple[str, str]]) -> Callable[[DeltaTable], Change | None]:
    def removing(opened: DeltaTable) -> Change | None:
        removes = [file for file in _live(opened, model_id) if (file.segment_id, file.run_id) in gone]
        return Change(removes=removes) if removes else None

    return removing
