"""report: the tables of a root → one HTML page that says what needs a look."""

import json
import logging
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cardioclarity.config import ReportConfig
from cardioclarity.errors import DamageError, NotFoundError, UsageError
from cardioclarity.explain import Explanation, explain
from cardioclarity.report.page import render
from cardioclarity.report.view import Expectation, PageView, Quarantine, RecordRow
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog
from cardioclarity.tables.runs import judgement
from cardioclarity.vocabulary import Head, State
from cardioclarity.work import RunState

log = logging.getLogger(__name__)
_ORDER: Final = (State.ANOMALOUS, State.UNREADABLE, State.UNSCORABLE, State.NORMAL)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """Where the page is.

    Attributes:
        path: File or URL.
        run_id: The scoring run that it shows.
        n_events: Events of its model, on the page or not.
    """

    path: str
    run_id: str
    n_events: int


def report(config: ReportConfig) -> ReportResult:
    """Write the page of a scoring run: what the tables hold now for the model of that run.

    Raises:
        NotFoundError: No such root, no scoring run, or none of that id.
        UsageError: The output names a folder, or the number of events is negative.
        ConflictError: Other runs kept publishing meanwhile.
        StorageError: The store did not answer.
    """
    if config.max_events < 0:
        raise UsageError(f"max_events {config.max_events}: give 0 or more")
    root = open_storage(config.root, config.root_storage)
    storage, key = _destination(root, config)
    catalog.require_root(root)
    runs = catalog.runs(root)
    run = _chosen(runs, config.run, root)
    view = _view(root, runs, run, config.max_events)
    key = key or f"reports/{run['run_id']}/index.html"
    storage.replace(key, render(view).encode())
    log.info("run %s: page of %d events", run["run_id"], len(view.events))
    return ReportResult(path=storage.join(key), run_id=run["run_id"], n_events=len(view.events))


def _destination(root: Storage, config: ReportConfig) -> tuple[Storage, str]:
    """Say where the page goes; an empty key stands for its place below the root."""
    if config.output is None:
        return root, ""
    folder, name = posixpath.split(config.output)
    if not name or name in (".", ".."):
        raise UsageError(f"output {config.output!r} is a folder: name the file, such as {folder or '.'}/report.html")
    return open_storage(folder or ".", config.root_storage), name


def _chosen(runs: Sequence[Row], run_id: str | None, root: Storage) -> Row:
    """Find the scoring run that is meant, newest first."""
    scoring = [run for run in runs if run["verb"] == "score"]
    if not scoring:
        raise NotFoundError(
            f"root {root.name} has no scoring run to report; run: cardioclarity score --root {root.name}"
        )
    if run_id is None:
        return scoring[0]
    found = next((run for run in scoring if run["run_id"] == run_id), None)
    if found is None:
        latest = ", ".join(run["run_id"] for run in scoring[:5])
        raise NotFoundError(f"root {root.name} has no scoring run {run_id!r}; the latest are {latest}")
    return found


def _view(root: Storage, runs: Sequence[Row], run: Row, max_events: int) -> PageView:
    """Gather all that the page says."""
    model_id = run["model_id"]
    scores = catalog.scores(root, model_id=model_id)
    events = catalog.events(root, model_id=model_id)
    durations = {
        record.record_id: record.duration_s
        for record in catalog.records(root, segment_ids={score["segment_id"] for score in scores})
    }
    records = sorted(_records(scores, durations), key=lambda row: (_ORDER.index(row.state), -row.n_events))
    explanations, damage = _explanations(root, events[:max_events], model_id)
    settings = judgement(json.loads(_judge(runs, run)["config"]))
    return PageView(
        run=run,
        n_archives=len({json.loads(row["config"])["archive"] for row in runs if row["verb"] == "convert"}),
        warnings=[*_warnings(runs, run), *damage],
        counts=Counter(row.state for row in records),
        quarantine=_quarantine(catalog.quarantine(root)),
        expectations=list(_expectations(scores, durations, settings)),
        events=events,
        max_events=max_events,
        explanations=explanations,
        event_counts=_event_counts(events),
        records=records,
        unreadable_s=_unreadable_s(events),
        limits=settings,
    )


def _judge(runs: Sequence[Row], run: Row) -> Row:
    """Find the run whose alarm levels the current events of the model come from: its newest one that published."""
    ours = (row for row in runs if row["verb"] == "score" and row["model_id"] == run["model_id"])
    return next((row for row in ours if row["state"] == RunState.COMPLETED), run)


def _warnings(runs: Sequence[Row], run: Row) -> Iterator[str]:
    if run["state"] == RunState.SUPERSEDED:
        yield "Another run was faster and published its results; they are what this page shows."
    newest = _judge(runs, run)
    if newest["started_at"] > run["started_at"]:
        yield f"Run {newest['run_id']} has scored with the same model since; the results are those of now."


def _records(scores: Sequence[Row], durations: Mapping[str, float]) -> Iterator[RecordRow]:
    """Join the four verdicts of each record."""
    verdicts: dict[str, list[Row]] = defaultdict(list)
    for score in scores:
        verdicts[score["record_id"]].append(score)
    for record_id, mine in verdicts.items():
        one = mine[0]
        yield RecordRow(
            record_id=record_id,
            duration_s=durations.get(record_id, 0.0),
            states={Head(score["head"]): State(score["state"]) for score in mine},
            heart_rate_bpm=(one["heart_rate_min_bpm"], one["heart_rate_median_bpm"], one["heart_rate_max_bpm"]),
            n_beats=one["n_beats"],
            readable=next((score["coverage"] for score in mine if score["head"] == Head.QUALITY), 0.0),
            n_events=sum(score["n_events"] for score in mine),
        )


def _expectations(
    scores: Sequence[Row], durations: Mapping[str, float], settings: Mapping[str, float]
) -> Iterator[Expectation]:
    """Compare what was found with what chance would give on the hours that each head could decide."""
    for head, level in ((Head.BEAT, "alarms_per_hour"), (Head.RHYTHM, "rhythm_alarms_per_hour")):
        mine = [score for score in scores if score["head"] == head]
        yield Expectation(
            head=head,
            alarms_per_hour=settings[level],
            hours=sum(score["coverage"] * durations.get(score["record_id"], 0.0) for score in mine) / 3600,
            found=sum(score["n_events"] for score in mine),
        )


def _event_counts(events: Sequence[Row]) -> dict[tuple[str, str], Counter[str]]:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for event in events:
        counts[event["kind"], event["label"]][event["severity"]] += 1
    return counts


def _unreadable_s(events: Sequence[Row]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        if event["kind"] == Head.QUALITY:
            seconds[event["label"]] += event["end_s"] - event["start_s"]
    return seconds


def _explanations(root: Storage, events: Sequence[Row], model_id: str) -> tuple[dict[str, Explanation], list[str]]:
    """Fetch the signals of the events, segment by segment: a damaged one costs its own strips only."""
    by_segment: dict[str, list[Row]] = defaultdict(list)
    for event in events:
        by_segment[event["segment_id"]].append(event)
    explanations: dict[str, Explanation] = {}
    damage = []
    for mine in by_segment.values():
        try:
            found = {str(one.event["event_id"]): one for one in explain(root, mine, model_id=model_id)}
        except DamageError as error:
            damage.append(f"{len(mine)} events have no strip: {error}")
        else:
            explanations |= found
    return explanations, damage


def _quarantine(rows: Sequence[Row]) -> list[Quarantine]:
    """Group what was set aside by reason, the most frequent first, with its newest message."""
    by_reason: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_reason[row["reason"]].append(row)
    groups = [
        Quarantine(reason=reason, count=len(mine), example=without_names(mine[0]["message"], mine[0]["source_key"]))
        for reason, mine in by_reason.items()
    ]
    return sorted(groups, key=lambda group: -group.count)


def without_names(message: str, source_key: str | None) -> str:
    """Take the names of files out of a message: a file's name can be a patient's.

    Args:
        message: A sentence of the table `quarantine`.
        source_key: The key that it is about; its folders, its name and its stem are taken out wherever they stand.

    Returns:
        The sentence with `…` in their place, and in that of every other path.
    """
    names = {source_key, *source_key.split("/"), posixpath.splitext(source_key)[0]} if source_key else set()
    names |= {posixpath.splitext(name)[0] for name in names}
    for name in sorted(names - {""}, key=len, reverse=True):
        message = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)[\w.-]*", "…", message)
    return re.sub(r"[\w.-]+(?:/[\w.-]+)+|[\w-]+\.[A-Za-z][A-Za-z0-9]{1,3}\b", "…", message)
