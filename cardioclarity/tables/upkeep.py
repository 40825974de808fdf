"""What the tables of a root still need of their files, and what of their logs has had its time."""

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from cardioclarity.errors import DamageError, StorageError
from cardioclarity.storage import Listed, Storage
from cardioclarity.tables import lineage, log_names, publish, results, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.tables.snapshot import LiveFile

LOG_RETENTION: Final = dt.timedelta(days=30)
"""The default of delta.logRetentionDuration; so far back a table can be read as it was."""

_STAGED: Final = re.compile(r"tables/[a-z]+/(?!_delta_log/)(?:[^/]+/)*[^/]+-[^/-]+-[0-9a-f]{64}\.parquet")


@dataclass(frozen=True, slots=True)
class Needs:
    """Which files the tables need, asked afresh each time.

    A file is needed while a snapshot names it, and for the grace period after the last one that did: readers that
    opened the table before go on with it. When that was, the store's time of the commit says; the times inside of the
    log are the writers' own.

    Attributes:
        root: The deployment.
        before: What was last named or staged before this time, by the store's clock, has had its grace.
    """

    root: Storage
    before: dt.datetime
    _named: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """Log entry → keys that it adds or removes; entries never change, so each is read once."""

    def files(self, table: str) -> set[str]:
        """Give the keys of the files that a reader of a table may use.

        Raises:
            DamageError: An entry of the log cannot be read.
            StorageError: The store did not answer.
        """
        # The snapshot comes first: what is removed after it stands in it, what is added after it stands in the log.
        live = {file.key for file in snapshot.live_files(snapshot.open_table(self.root, table))}
        return live | self.lately_named(table)

    def lately_named(self, table: str) -> set[str]:
        """Give the keys of the files that young commits add or remove."""
        found: set[str] = set()
        for entry in _log(self.root, table):
            if log_names.is_commit(entry.key) and entry.modified > self.before:
                if entry.key not in self._named:
                    self._named[entry.key] = frozenset(_paths(self.root, table, entry.key))
                found |= self._named[entry.key]
        return found

    def values(self, column: str, tables: Iterable[str]) -> set[str]:
        """Give the values of a partition column in files that are needed, or staged so lately that a run may be at it.

        Raises:
            DamageError: An entry of a log cannot be read.
            StorageError: The store did not answer.
        """
        part = re.compile(rf"/{column}=([^/]+)/")
        found: set[str] = set()
        for table in tables:
            # Whoever stages after this listing sees what gc has announced before it.
            keys = {listed.key for listed in staged(self.root, table) if listed.modified > self.before}
            live = snapshot.live_files(snapshot.open_table(self.root, table))
            found |= {value for file in live if (value := file.partition[column]) is not None}
            found |= {named[1] for key in keys | self.lately_named(table) if (named := part.search(key))}
        return found


def staged(root: Storage, table: str) -> Iterator[Listed]:
    """List the files that this program staged below a table's folder, published or not.

    Raises:
        StorageError: The store did not answer.
    """
    return (listed for listed in root.list(f"tables/{table}/") if _STAGED.fullmatch(listed.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpublished:
    """Live files of `events` and `beats` whose run died before its scores came to count.

    Attributes:
        model_id: The model that scored.
        events: Files of `events`.
        beats: Files of `beats`.
    """

    model_id: str
    events: tuple[LiveFile, ...]
    beats: tuple[LiveFile, ...]


def unpublished(needs: Needs) -> list[Unpublished]:
    """Find rows that readers pass over for good: no scores name their run, and their grace is over.

    Raises:
        DamageError: A file of `scores` is damaged.
        StorageError: The store did not answer.
    """
    root = needs.root
    # `scores` is opened last: a run that has published meanwhile stands in it.
    idle = {table: list(_idle(needs, table)) for table in ("events", "beats")}
    opened = snapshot.open_table(root, "scores")
    found = []
    for model_id in sorted({str(file.partition["model_id"]) for files in idle.values() for file in files}):
        current = results.live_scores(root, opened, model_id)
        stray = {
            table: [f for f in files if f.partition["model_id"] == model_id and not _is_of(current, f)]
            for table, files in idle.items()
        }
        # Scores that were judged again rest on the evidence of an earlier run; only their rows tell of which.
        beats = [f for f in stray["beats"] if not _is_evidence(root, current, f)]
        if stray["events"] or beats:
            found.append(Unpublished(model_id=model_id, events=tuple(stray["events"]), beats=tuple(beats)))
    return found


def withdraw(root: Storage, gone: Unpublished, *, run_id: str) -> None:
    """Take unpublished files out of the tables; their bytes go once they have been out for the grace period.

    Raises:
        StorageError: The outcome is unknown.
    """
    publish.sweep(
        root,
        model_id=gone.model_id,
        run_id=run_id,
        gone_events={(file.segment_id, file.run_id) for file in gone.events},
        gone_beats={(file.segment_id, file.run_id) for file in gone.beats},
    )


def old_log(root: Storage, table: str, before: dt.datetime, vouched: Mapping[str, lineage.Entry]) -> list[Listed]:
    """List the entries of a log that no version of the table within the retention needs.

    The rule is that of the Delta protocol ("metadata cleanup"): all before the newest checkpoint that is not newer than
    the last commit before the retention. deltalake's own `cleanup_metadata` takes the age from this machine's clock and
    trusts any checkpoint; once the commits are gone, a damaged one would be the end of the table.

    Args:
        root: The deployment.
        table: Its name.
        before: End of the retention, by the store's clock.
        vouched: What the runs have vouched for; no other checkpoint is relied on.

    Raises:
        StorageError: The store did not answer.
    """
    entries = list(_log(root, table))
    versions = {entry.key: version for entry in entries if (version := log_names.version_of(entry.key)) is not None}
    old = [entry for entry in entries if entry.modified <= before]
    young = [versions[entry.key] for entry in entries if entry.modified > before and log_names.is_commit(entry.key)]
    points = sorted(version for key, version in versions.items() if log_names.is_checkpoint(key))
    hinted = _hinted(root, table)
    reached = [point for point in points if point < min(young, default=math.inf) and point <= hinted]
    point = next((p for p in reversed(reached) if _is_whole(root, _checkpoint_key(table, p), vouched)), 0)
    return [entry for entry in old if _is_over(entry.key, point)]


def _is_over(key: str, point: int) -> bool:
    version = log_names.version_of(key)
    return log_names.HALF_WRITTEN.fullmatch(log_names.name_of(key)) is not None if version is None else version < point


def _hinted(root: Storage, table: str) -> float:
    """Read which checkpoint readers are sent to; nothing that stands in for it may be newer."""
    try:
        return int(json.loads(root.fetch(f"tables/{table}/_delta_log/{log_names.HINT}"))["version"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return -1


def _is_whole(root: Storage, key: str, vouched: Mapping[str, lineage.Entry]) -> bool:
    try:
        data = root.fetch(key)
    except FileNotFoundError:
        return False
    return vouched.get(key) == (len(data), hashlib.sha256(data).hexdigest())


def _checkpoint_key(table: str, version: int) -> str:
    return f"tables/{table}/_delta_log/{version:020d}.checkpoint.parquet"


def _is_of(current: Mapping[str, LiveFile], file: LiveFile) -> bool:
    """Tell whether the current scores of a file's segment are of its run."""
    scores = current.get(file.segment_id)
    return scores is not None and scores.run_id == file.run_id


def _is_evidence(root: Storage, current: Mapping[str, LiveFile], file: LiveFile) -> bool:
    scores = current.get(file.segment_id)
    return scores is not None and results.evidence_run(root, scores) == file.run_id


def _idle(needs: Needs, table: str) -> Iterator[LiveFile]:
    """Give the live files that were not committed lately."""
    live = snapshot.live_files(snapshot.open_table(needs.root, table))
    busy = needs.lately_named(table)
    return (file for file in live if file.key not in busy)


def _log(root: Storage, table: str) -> Iterator[Listed]:
    assert table in SCHEMAS, table
    return root.list(f"tables/{table}/_delta_log/")


def _paths(root: Storage, table: str, key: str) -> Iterator[str]:
    """Read from one commit the keys of the files that it adds or removes."""
    try:
        actions = [json.loads(line) for line in root.fetch(key).splitlines() if line.strip()]
        for action in actions:
            for kind in ("add", "remove"):
                if kind in action:
                    yield f"tables/{table}/{unquote(action[kind]['path'])}"
    except FileNotFoundError:
        raise StorageError(f"{root.name}: {key} has vanished while gc was reading it; run it again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(
            f"{root.name}: {key} is no commit of a Delta table ({type(error).__name__});"
            f" find out with: cardioclarity verify --root {root.name}"
        ) from error
