"""report: the tables of a root → one HTML page that says what needs a look."""

import json
import logging
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cardioclarity import models
from cardioclarity.card import KNOWN_FAILURES, METRICS
from cardioclarity.config import ReportConfig
from cardioclarity.errors import CardioClarityError, DamageError, NotFoundError, UsageError
from cardioclarity.explain import Explanation, explain
from cardioclarity.measured import Measured, Realised
from cardioclarity.report import tally
from cardioclarity.report.page import MAX_RECORDS, render
from cardioclarity.report.view import Expectation, ModelView, PageView, Quarantine
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog
from cardioclarity.tables.runs import judgement
from cardioclarity.vocabulary import Head
from cardioclarity.work import RunState

log = logging.getLogger(__name__)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """Where the page is.

    Attributes:
        path: File or URL.
        run_id: The scoring run that it shows.
        n_events: Events of its model, on the page or not.
        damage: A sentence per damaged segment, whose events have no strip.
    """

    path: str
    run_id: str
    n_events: int
    damage: tuple[str, ...] = ()


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
    view, damage = _view(root, runs, run, config.max_events)
    key = key or f"reports/{run['run_id']}/index.html"
    storage.replace(key, render(view).encode())
    log.info("run %s: page of %d events", run["run_id"], len(view.events))
    for line in damage:
        log.warning("run %s: %s", run["run_id"], line)
    return ReportResult(path=storage.join(key), run_id=run["run_id"], n_events=view.n_events, damage=tuple(damage))


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


def _view(root: Storage, runs: Sequence[Row], run: Row, max_events: int) -> tuple[PageView, list[str]]:
    """Gather all that the page says, and its sentences of damage; of records and events only those shown stay in memory."""
    results = catalog.results(root, model_id=run["model_id"])
    records = catalog.pinned(root).iter_records(("segment_id", "record_id", "duration_s"))
    verdicts = tally.verdicts(results.scores(), records, limit=MAX_RECORDS)
    found = tally.events(results.iter_events())
    events = results.events(limit=max_events)
    set_aside = catalog.batches(root, "quarantine", ("reason", "message", "seen_at", "source_key", "record_id"))
    explanations, damage = _explanations(root, events, run["model_id"])
    settings = judgement(json.loads(_judge(runs, run)["config"]))
    view = PageView(
        run=run,
        model=_model(root, run["model_id"]),
        n_archives=len({json.loads(row["config"])["archive"] for row in runs if row["verb"] == "convert"}),
        warnings=[*_warnings(runs, run), *damage],
        counts=verdicts.counts,
        quarantine=_quarantine(row for part in set_aside for row in part.to_pylist()),
        expectations=list(_expectations(verdicts, settings)),
        events=events,
        n_events=results.n_events,
        explanations=explanations,
        event_counts=found.counts,
        records=verdicts.first,
        unreadable_s=found.unreadable_s,
        limits=settings,
    )
    return view, damage


def _model(root: Storage, model_id: str) -> ModelView | None:
    """Gather what the model says of itself; None where it cannot be asked: the page shows all else."""
    try:
        told = models.description(root, model_id)
    except CardioClarityError as error:
        log.warning("model %s says nothing of itself: %s", model_id, error)
        return None
    training, settings = told["training"], told["model"]
    metrics = training.get("metrics") or {}
    measured = {head: found for head, said in metrics.items() if (found := Measured.load(said))}
    return ModelView(
        detectors=settings["detectors"],
        patients={step: told["patients"] for step, told in (training.get("groups") or {}).items()},
        is_disjoint=bool(settings["facts"]["calibration_is_disjoint"]),
        hours=training.get("hours"),
        warnings=training.get("warnings") or (),
        measured=measured,
        realised=[Realised.load(one) for one in settings["facts"].get("realised", ())],
        failures=KNOWN_FAILURES,
        not_measured=[name for name in METRICS if not metrics.get(name)],
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


def _expectations(verdicts: tally.Verdicts, settings: Mapping[str, float]) -> Iterator[Expectation]:
    """Compare what was found with what chance would give on the hours that each head could decide."""
    for head, level in ((Head.BEAT, "alarms_per_hour"), (Head.RHYTHM, "rhythm_alarms_per_hour")):
        yield Expectation(
            head=head,
            alarms_per_hour=settings[level],
            hours=verdicts.decided_s[head] / 3600,
            found=verdicts.n_events[head],
        )


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


def _quarantine(rows: Iterable[Row]) -> list[Quarantine]:
    """Group what was set aside by reason, the most frequent first, with its newest message."""
    counts: Counter[str] = Counter()
    newest: dict[str, Row] = {}
    for row in rows:
        reason = row["reason"]
        counts[reason] += 1
        if reason not in newest or _age(row) < _age(newest[reason]):
            newest[reason] = row
    return [
        Quarantine(
            reason=reason, count=n, example=without_names(newest[reason]["message"], newest[reason]["source_key"])
        )
        for reason, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _age(row: Row) -> tuple[float, str, str]:
    """Order rows of the quarantine: the newest first, of one run by what they are about."""
    return -row["seen_at"].timestamp(), row["source_key"] or "", row["record_id"] or ""


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
