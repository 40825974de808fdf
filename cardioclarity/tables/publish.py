"""How tables change: each change is one commit that happens exactly once, and running it again changes nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from cardioclarity.errors import NotFoundError
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, commit, lineage, results, snapshot
from cardioclarity.tables.commit import Change
from cardioclarity.tables.digests import KeySet, Words, key_words
from cardioclarity.tables.replacing import (
    present,
    remove_files,
    remove_rows,
    stage_rest,
    staged_keys,
    staged_rows,
    upsert,
)
from cardioclarity.tables.schemas import KEYS, SCHEMAS
from cardioclarity.tables.staging import Columns, Staged, stage
from cardioclarity.tables.sweeping import sweep, sweep_leftovers

__all__ = [
    "Columns",
    "Staged",
    "Switched",
    "add",
    "add_new",
    "create_tables",
    "record_run",
    "remove_files",
    "remove_rows",
    "stage",
    "sweep",
    "sweep_leftovers",
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
    """Make all tables, empty, where they are missing; nothing is written into a root that is not ours to write in.

    Raises:
        CardioClarityError: A newer version of this software made a table, or other software.
        StorageError: One could not be made; or the store overwrites where it must refuse.
    """
    missing = [table for table in SCHEMAS if not _is_ours(root, table)]
    if len(missing) == len(SCHEMAS):
        snapshot.require_plain_place(root)
        root.make_root()
        root.require_create_only()
    for table in missing:
        commit.create(root, table)


def add(root: Storage, table: str, staged: Sequence[Staged], *, run_id: str) -> None:
    """Make staged files visible; once per table and run.

    Raises:
        DamageError: A staged file has vanished or has another size.
        StorageError: The outcome is unknown.
    """
    assert all(file.table == table for file in staged)

    @cache  # looked for once, and only where the run's commit does not stand in the table yet
    def files() -> list[Staged]:
        return present(root, staged)

    if staged:
        commit.commit(root, table, lambda _: Change(adds=files()), run_id=run_id)


def add_new(root: Storage, staged: Sequence[Staged], *, run_id: str) -> None:
    """Add rows to the catalog, without the records that are in it already.

    Every round of the commit looks at the catalog anew, so that two converters at once catalogue a record once. A file
    with such a record is written again without it; the samples stay in its segment with no row. In memory are a few
    bytes per staged record and a few files at a time.

    Args:
        root: The deployment.
        staged: Files of `records`; of a record that stands in two of them the first in the order of their paths stays.
        run_id: The run that publishes.

    Raises:
        DamageError: A staged file has vanished or is damaged; or a file of the catalog is.
        StorageError: The outcome is unknown.
    """
    if staged:
        fresh = _Fresh(root, sorted(present(root, staged), key=lambda file: file.path))
        commit.commit(root, "records", fresh.change, run_id=run_id)


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
    by_segment = {file.segment_id: file for file in present(root, staged)}
    assert len(by_segment) == len(staged), "one file of scores per segment"

    def switching(opened: DeltaTable) -> Change | None:
        live = results.live_scores(root, opened, model_id)
        ours = {s for s in by_segment if (live[s].run_id if s in live else None) == replaces.get(s)}
        if not ours:
            return None
        removes = [live[s] for s in sorted(ours) if s in live]
        evidence = checked.ahead(lambda file: results.evidence_run(root, file), removes)
        replaced = [
            (file.segment_id, file.run_id, rested_on) for file, rested_on in zip(removes, evidence, strict=True)
        ]
        notes = {"published": sorted(ours), "replaced": replaced, "superseded": sorted(by_segment.keys() - ours)}
        return Change(adds=[by_segment[s] for s in sorted(ours)], removes=removes, notes=notes)

    if not commit.commit(root, "scores", switching, run_id=run_id):
        return Switched(published=(), superseded=tuple(sorted(by_segment)), replaced=())
    notes = commit.notes_of(root, "scores", run_id=run_id)
    published = tuple(notes["published"])
    superseded = tuple(sorted(set(by_segment) - set(published)))
    return Switched(
        published=published, superseded=superseded, replaced=tuple((s, r, e) for s, r, e in notes["replaced"])
    )


def record_run(root: Storage, row: Mapping[str, object]) -> None:
    """Write down one run, once, however often it is called; then vouch for the state of the tables, see `lineage`.

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
    lineage.vouch(root, run_id)


def _is_ours(root: Storage, table: str) -> bool:
    try:
        snapshot.open_table(root, table)
    except NotFoundError:
        return False
    return True


class _Fresh:
    """The staged records that a snapshot of the catalog does not hold; files seen in one round are known in the next."""

    def __init__(self, root: Storage, files: Sequence[Staged]) -> None:
        self._root, self._files = root, files
        self._words = list(checked.ahead(lambda file: staged_keys(root, file), files))
        self._keys = KeySet.of(self._words)
        self._catalogued = np.zeros(len(self._keys), np.bool_)
        self._seen: set[str] = set()

    def change(self, opened: DeltaTable) -> Change:
        new = [file for file in snapshot.live_files(opened) if file.path not in self._seen]
        for file, rows in checked.stream(self._root, new, KEYS["records"]):
            place = self._keys.find(key_words("records", rows))
            self._catalogued[place[place >= 0]] = True
            self._seen.add(file.path)
        taken = self._catalogued.copy()
        return Change(
            adds=[kept for pair in zip(self._files, self._words, strict=True) if (kept := self._kept(*pair, taken))]
        )

    def _kept(self, file: Staged, words: Words, taken: NDArray[np.bool_]) -> Staged | None:
        """Keep the rows whose record is not taken, in a file of their own where they are not all, and take the records."""
        place = self._keys.find(words)
        first = np.zeros(len(place), np.bool_)
        first[np.unique(place, return_index=True)[1]] = True
        stays = first & ~taken[place]
        taken[place] = True
        if stays.all():
            return file
        if not stays.any():
            return None
        rows = staged_rows(self._root, file).filter(pa.array(stays)).combine_chunks()
        return stage_rest(self._root, file, rows)
