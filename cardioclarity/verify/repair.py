"""What a repair does: it takes out what is damaged, in such an order that the next verification finds all that is left.

No sample and no row is invented, and nothing sound is deleted. What is taken out of the catalog is taken out of `sources`
too, so that the next `convert` makes it again, and stands in `quarantine` until it has. A repair that breaks off is
repeated whole.
"""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from cardioclarity import models
from cardioclarity.config import VerifyConfig
from cardioclarity.errors import DamageError
from cardioclarity.segments import layout
from cardioclarity.segments.check import rebuild_manifest
from cardioclarity.storage import Storage
from cardioclarity.tables import checked, deliveries, lineage, publish, runs, snapshot
from cardioclarity.tables.deliveries import Origin
from cardioclarity.tables.log_names import HINT
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.verify.agreement import RESULTS, dangling, of_no_segment
from cardioclarity.verify.findings import Damage, Verified, record_ids
from cardioclarity.verify.tables import Live
from cardioclarity.vocabulary import Problem, Reason, Stage
from cardioclarity.work import Plan, Quarantined, RunState, Summary, Unit, new_run_id

_BATCH: Final = 10_000
"""Rows of `sources` that are dealt with at a time."""

_IN_THE_WAY: Final = frozenset({Problem.SIZE, Problem.DIGEST, Problem.SWAPPED, Problem.UNREADABLE})
"""What is there with other bytes than a writer would write, and a writer never writes over anything."""

_LEFT_ALONE: Final = frozenset({Problem.UNKNOWN_VERSION, Problem.UNVOUCHED})

_MESSAGE: Final = "what was stored of it is damaged or lost; the next convert of its archive makes it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A delivery whose record must be made again."""

    archive: str
    source_key: str
    source_version: str
    record_id: str

    def quarantined(self) -> Quarantined:
        name = deliveries.input_name(version=self.source_version, key=self.source_key)
        return Quarantined(
            input=name, stage=Stage.CONVERT, reason=Reason.DAMAGED, message=_MESSAGE, record_id=self.record_id
        )


def mend(root: Storage, config: VerifyConfig, verified: Verified) -> Verified:
    """Take out what is damaged, write it down, and say what happened.

    Args:
        root: The deployment.
        config: The settings of the verification.
        verified: What it found.

    Returns:
        The same with the sentences of the repair, and the models whose scores were removed.

    Raises:
        DamageError: A log is damaged, so that nothing that it says can be acted upon; nothing was changed.
        StorageError: The store refused; the same command goes on.
    """
    hints = tuple(damage.key for damage in verified.damaged if damage.key.endswith(HINT))
    _refuse_on_damaged_logs(root, verified.damaged, hints)
    if hints:  # a table may not have opened for nothing but its hint, so that the rest is not known yet
        for key in hints:
            root.delete(key)
        said = tuple(f"{key} deleted, Delta does without it; run the same command again for the rest" for key in hints)
        return replace(verified, repaired=said)
    # What was read wrongly on its way and is sound where it lies is no reason to take anything out.
    confirmed = [d for d in verified.damaged if d.problem not in _LEFT_ALONE and _is_damaged_still(root, d)]
    work = _Repair(root, confirmed)
    said = tuple(work.steps())
    if said:
        work.write_down(config)
    return replace(verified, repaired=said, models=tuple(sorted(work.models)))


def _refuse_on_damaged_logs(root: Storage, damaged: Iterable[Damage], hints: Collection[str]) -> None:
    led_astray = {*hints, *(key.removesuffix(HINT) for key in hints)}
    logs = [d.key for d in damaged if "/_delta_log/" in d.key and d.key not in led_astray]
    if logs:
        raise DamageError(
            f"{root.name}: {len(logs)} objects of the tables' logs are damaged, first {logs[0]}; what they say cannot be"
            " acted upon and nothing was repaired: copy them back from a backup, or from earlier versions of the objects,"
            f" then run cardioclarity verify --root {root.name} --read-data --repair again"
        )


def _is_damaged_still(root: Storage, damage: Damage) -> bool:
    if not damage.expected:
        return True
    try:
        return hashlib.sha256(root.fetch(damage.key)).hexdigest() != damage.expected
    except FileNotFoundError:
        return True


class _Repair:
    """One repair of one root, as one run."""

    def __init__(self, root: Storage, damaged: Sequence[Damage]) -> None:
        self._root, self._damaged = root, list(damaged)
        self._run_id, self._started_at = new_run_id(), dt.datetime.now(dt.UTC)
        self._aside: set[tuple[str | None, str]] = set()
        self._n_commits = 0
        self.models: set[str] = set()

    def steps(self) -> Iterator[str]:
        """Go through the steps; the order is that in which a crash after any of them loses no trace of the damage."""
        yield from self._manifests()
        yield from self._results()
        yield from self._files()
        yield from self._signal()
        yield from self._sources()
        yield from self._champions()

    def write_down(self, config: VerifyConfig) -> None:
        """Leave the line in `runs`, and vouch for the tables as they are now."""
        n_records = sum(file.n_rows for file in self._live()["records"])
        plan: Plan[Unit] = Plan(run_id=self._run_id, started_at=self._started_at, already_done=n_records, units=())
        summary = Summary(
            verb="verify",
            run_id=self._run_id,
            state=RunState.COMPLETED,
            done=0,
            quarantined=len(self._aside),
            already_done=n_records,
        )
        runs.log_run(self._root, config, plan, summary)

    def _live(self) -> Live:
        return {table: tuple(snapshot.live_files(snapshot.open_table(self._root, table))) for table in SCHEMAS}

    def _manifests(self) -> Iterator[str]:
        """Write lost manifests again where the objects still give the very bytes that the catalog names."""
        for damage in [
            d
            for d in self._damaged
            if d.is_signal and not d.is_spare and d.key == layout.manifest_key(str(d.segment_id))
        ]:
            data = rebuild_manifest(self._root, str(damage.segment_id), digest=damage.expected)
            if data is not None:
                self._root.replace(damage.key, data)
                self._damaged.remove(damage)
                yield f"{damage.key} written again from the objects of its segment, as the catalog names it"

    def _results(self) -> Iterator[str]:
        """Remove scores, events and evidence of every segment that is damaged in its signal or in one of the three."""
        everywhere = {damage.segment_id for damage in self._damaged if damage.is_signal and damage.affects}
        of_model = {(d.model_id, d.segment_id) for d in self._damaged if d.table in RESULTS}

        def is_gone(file: LiveFile) -> bool:
            return file.segment_id in everywhere or (file.partition["model_id"], file.segment_id) in of_model

        live = self._live()
        yield from self._remove_results(file for table in RESULTS for file in live[table] if is_gone(file))

    def _remove_results(self, files: Iterable[LiveFile]) -> Iterator[str]:
        """Remove files of results: of `scores` first, since a reader begins there."""
        by_table: dict[str, list[LiveFile]] = defaultdict(list)
        for file in files:
            by_table[file.table].append(file)
            self.models.add(str(file.partition["model_id"]))
        for table in RESULTS:
            if gone := by_table[table]:
                publish.remove_files(self._root, table, [file.path for file in gone], run_id=self._run_id)
                yield f"{len(gone)} files of {table} taken out; score makes their rows again"

    def _files(self) -> Iterator[str]:
        """Remove damaged files of the other tables."""
        by_table: dict[str, list[str]] = defaultdict(list)
        for damage in self._damaged:
            if damage.table is not None and damage.table not in RESULTS:
                by_table[damage.table].append(damage.key.removeprefix(f"tables/{damage.table}/"))
        for table, paths in by_table.items():
            publish.remove_files(self._root, table, paths, run_id=self._run_id)
            then = "the lines of these runs are lost" if table == "runs" else "convert makes their rows again"
            yield f"{len(paths)} files of {table} taken out; {then}"

    def _signal(self) -> Iterator[str]:
        """Set records with damaged signal aside, delete the damaged objects, and take the records out of the catalog.

        The objects go first: were the records gone before, nobody would name what is damaged any more, and it would
        stand for ever in the way of the segment that is written again under the same name.
        """
        damaged = [damage for damage in self._damaged if damage.is_signal]
        ids = set(record_ids(damaged))
        if ids:
            self._set_aside_records(ids)
        keys = {key for damage in damaged for key in self._to_delete(damage)}
        for key in sorted(keys):
            self._root.delete(key)
        if keys:
            yield f"{len(keys)} damaged objects of segments deleted"
        if ids:
            segments = {str(damage.segment_id) for damage in damaged if damage.affects}
            where = {"segment_id": segments, "record_id": ids}
            publish.remove_rows(self._root, "records", where, run_id=self._run_id)
            yield f"{len(ids)} records with damaged signal set aside and taken out of the catalog"
        yield from self._remove_results(of_no_segment(self._live()))

    def _to_delete(self, damage: Damage) -> Iterator[str]:
        """Name what must make room for the segment that is written again.

        Where a manifest is lost and its objects no longer give it, one of them is damaged too and nobody can tell which:
        all that it alone vouched for goes with it. Where a segment that nobody names contradicts its manifest, nothing
        tells which of the two is right, and both go.
        """
        manifest = layout.manifest_key(str(damage.segment_id))
        if damage.problem in _IN_THE_WAY:
            yield damage.key
        if damage.is_spare:
            yield manifest
        elif damage.key == manifest and damage.problem in {*_IN_THE_WAY, Problem.MISSING}:
            for listed in self._root.list(f"{layout.folder_key(str(damage.segment_id))}/"):
                yield listed.key

    def _set_aside_records(self, ids: set[str]) -> None:
        """Write down which delivered files must be read again, or the record where nobody knows its source any more."""
        columns = ["archive", "source_key", "source_version", "record_id"]
        known: set[str] = set()
        for _, rows in checked.stream(self._root, self._live()["sources"], columns):
            mine = [row for row in rows.to_pylist() if row["record_id"] in ids]
            known |= {row["record_id"] for row in mine}
            self._set_aside(_Lost(**row) for row in mine)
        # What no delivery leads to is forgotten again by the run that scores the record.
        rows_aside = [
            Quarantined(input=record_id, stage=Stage.SCORE, reason=Reason.DAMAGED, message=_MESSAGE)
            for record_id in sorted(ids - known)
        ]
        self._publish_aside(None, rows_aside)

    def _sources(self) -> Iterator[str]:
        """Forget deliveries that lead nowhere, so that convert reads them again."""
        n_rows = 0
        lost = dangling(self._root, self._live())
        while part := list(islice(lost, _BATCH)):
            self._set_aside(
                _Lost(archive=row.archive, source_key=row.key, source_version=row.version, record_id=row.record_id)
                for row in part
                if row.record_id is not None
            )
            by_archive: dict[str, list[str]] = defaultdict(list)
            for row in part:
                by_archive[row.archive].append(row.key)
            for archive, keys in by_archive.items():
                where = {"archive": [archive], "source_key": keys}
                publish.remove_rows(self._root, "sources", where, run_id=self._run_id)
            n_rows += len(part)
        if n_rows:
            yield f"{n_rows} delivered files forgotten, so that convert reads them again"

    def _champions(self) -> Iterator[str]:
        """Take entries out of the champion's history that a later, sound one has superseded; the others are left alone.

        Which model is used never rests on them. What the runs vouched for of them is withdrawn, or they would be missed
        ever after. One that is deleted and not yet withdrawn is found missing, and the next repair goes on.
        """
        numbered = ((models.champion_number(damage.key), damage.key) for damage in self._damaged)
        damaged = {number: key for number, key in numbered if number is not None}
        used = models.champion(self._root) if damaged else None
        history = models.history(self._root) if used is not None else {}
        newest = max((n for n, model_id in history.items() if model_id == used and n not in damaged), default=0)
        superseded = [key for number, key in sorted(damaged.items()) if number < newest]
        if superseded:
            self._root.delete_all(superseded)
            lineage.vouch(self._root, self._run_id, withdrawn=superseded)
            yield (
                f"{len(superseded)} damaged entries of the champion's history deleted, which a later one had superseded:"
                f" {', '.join(superseded)}"
            )

    def _set_aside(self, lost: Iterable[_Lost]) -> None:
        """Set deliveries aside whose record must be made again, each once."""
        by_archive: dict[str, list[_Lost]] = defaultdict(list)
        for row in lost:
            if (row.archive, row.source_key) not in self._aside:
                self._aside.add((row.archive, row.source_key))
                by_archive[row.archive].append(row)
        for archive, rows in by_archive.items():
            self._publish_aside(archive, [row.quarantined() for row in rows])

    def _publish_aside(self, archive: str | None, rows: Sequence[Quarantined]) -> None:
        if not rows:
            return
        self._n_commits += 1
        unit_id = f"repair_{self._n_commits}"
        origin = Origin(archive=archive, run_id=self._run_id, unit_id=unit_id, seen_at=self._started_at)
        staged = deliveries.stage_quarantine(self._root, rows, origin)
        publish.upsert(self._root, "quarantine", [staged], run_id=f"{self._run_id}-{unit_id}")  # a commit of its own
