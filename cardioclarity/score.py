"""score: segments and a model → verdicts, events and evidence in the tables."""

import datetime as dt
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from cardioclarity import models
from cardioclarity.config import ScoreConfig, StorageOptions
from cardioclarity.ensemble import Model
from cardioclarity.errors import DamageError, NotFoundError
from cardioclarity.events import Evidence, Levels
from cardioclarity.examples import prepare
from cardioclarity.judgement import decide
from cardioclarity.segments.read import manifest
from cardioclarity.segments.read import read as read_segment
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, deliveries, publish, rows, runs
from cardioclarity.tables.deliveries import Origin
from cardioclarity.vocabulary import Head, Stage
from cardioclarity.work import Plan, Quarantined, Receipt, RunState, Summary, Verb, new_run_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreUnit:
    """One segment under one model.

    Attributes:
        id: The segment.
        digest: Its manifest's digest.
        root: URL of the root.
        root_storage: How to reach it.
        model_id: The model.
        levels: Where an alarm begins.
        run_id: The run.
        scored_at: Its start.
        record_ids: The catalogued records of the segment.
        replaces: Run whose scores the plan saw; None where the segment is new to this model.
        evidence_run_id: Run whose stored evidence is judged again; None where the signals are scored.
        stage: Where a unit that dies is filed.
    """

    id: str
    digest: str
    root: str
    root_storage: StorageOptions
    model_id: str
    levels: Levels
    run_id: str
    scored_at: dt.datetime
    record_ids: tuple[str, ...] = field(repr=False)
    replaces: str | None = None
    evidence_run_id: str | None = None
    stage: Stage = Stage.SCORE

    @property
    def inputs(self) -> tuple[str, ...]:
        """The record ids."""
        return self.record_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a unit staged for its segment; `beats` is None where stored evidence was judged again."""

    segment_id: str
    scores: publish.Staged
    events: publish.Staged
    beats: publish.Staged | None
    replaces: str | None
    n_events: Mapping[str, int]


def plan(config: ScoreConfig) -> Plan[ScoreUnit]:
    """Choose the segments that this model has not scored, or has judged by other levels.

    Raises:
        NotFoundError: There is no such root or model, or no champion yet.
    """
    root = open_storage(config.root, config.root_storage)
    catalog.require_root(root)
    model_id = _model_id(root, config)
    blank = ScoreUnit(
        id="",
        digest="",
        root=root.url,
        root_storage=config.root_storage,
        model_id=model_id,
        levels=models.load(root, model_id).levels(**runs.judgement(asdict(config))),
        run_id=new_run_id(),
        scored_at=dt.datetime.now(dt.UTC),
        record_ids=(),
    )
    units = list(_units(root, config, blank))
    n_known = sum(segment.n_records for segment in catalog.segments(root))
    return Plan(
        run_id=blank.run_id,
        started_at=blank.scored_at,
        already_done=n_known - sum(len(unit.record_ids) for unit in units),
        units=units,
        expected_units=len(units),
        model_id=model_id,
        is_light=all(unit.evidence_run_id is not None for unit in units),
    )


def _model_id(root: Storage, config: ScoreConfig) -> str:
    champion = config.model or models.champion(root)
    if champion is None:
        raise NotFoundError(f"root {root.name} has no champion model; run: cardioclarity train --root {root.name}")
    return champion


def _units(root: Storage, config: ScoreConfig, blank: ScoreUnit) -> Iterator[ScoreUnit]:
    current = catalog.current_scores(root, blank.model_id)
    judged_by = {row["run_id"]: runs.judgement(json.loads(row["config"])) for row in catalog.runs(root)}
    by_segment: dict[str, list[str]] = {}
    for record in catalog.records(root):
        by_segment.setdefault(record.segment_id, []).append(record.record_id)
    for segment in catalog.segments(root):
        unit = replace(
            blank, id=segment.segment_id, digest=segment.digest, record_ids=tuple(by_segment[segment.segment_id])
        )
        scores = current.get(segment.segment_id)
        if scores is None:
            yield unit
        elif scores.n_records != segment.n_records:
            yield replace(unit, replaces=scores.run_id)
        elif judged_by.get(scores.run_id) != runs.judgement(asdict(config)):
            yield replace(unit, replaces=scores.run_id, evidence_run_id=scores.evidence_run_id)


def run(unit: ScoreUnit) -> Receipt[Scored]:
    """Score the records of one segment, or judge its stored evidence again, and stage the rows.

    A segment whose bytes differ from its manifest is set aside whole: damaged signal is never scored.

    Raises:
        DamageError: The model is damaged.
    """
    root = open_storage(unit.root, unit.root_storage)
    evidence = _evidence(root, unit)  # loads the model at once: that one may be damaged is no fault of the segment
    try:
        judged = [rows.Judged(index, found, *decide(found, unit.levels)) for index, found in evidence]
    except DamageError as error:
        log.error("unit %s: %s", unit.id, error)  # noqa: TRY400 - the sentence says all
        rows_aside = deliveries.damaged(unit.record_ids, stage=unit.stage, error=error)
        return Receipt(unit_id=unit.id, done=0, quarantined=rows_aside)
    if len(judged) != len(unit.record_ids):
        raise AssertionError(f"segment {unit.id}: {len(unit.record_ids)} records planned, {len(judged)} scored")
    scored = _stage(root, unit, judged)
    log.info("unit %s: %d records, %d events", unit.id, len(judged), sum(scored.n_events.values()))
    return Receipt(unit_id=unit.id, done=len(judged), output=scored)


def _evidence(root: Storage, unit: ScoreUnit) -> Iterator[tuple[int, Evidence]]:
    if unit.evidence_run_id is None:
        return _score(root, unit, models.load(root, unit.model_id))
    return stored_evidence(root, unit.id, digest=unit.digest, model_id=unit.model_id, run_id=unit.evidence_run_id)


def _score(root: Storage, unit: ScoreUnit, model: Model) -> Iterator[tuple[int, Evidence]]:
    for index, record in read_segment(root, unit.id, digest=unit.digest, only=unit.record_ids):
        yield index, model.evidence(prepare(record, model.recipe))


def stored_evidence(
    root: Storage, segment_id: str, *, digest: str, model_id: str, run_id: str
) -> Iterator[tuple[int, Evidence]]:
    """Rebuild the evidence of a segment from the table `beats`; no signal is read.

    Args:
        root: The root.
        segment_id: The segment.
        digest: Its manifest's digest.
        model_id: The model that gave the evidence.
        run_id: The run that stored it.

    Yields:
        Row in the segment and evidence of each catalogued record.
    """
    columns = catalog.evidence(root, model_id=model_id, segment_id=segment_id, run_id=run_id)
    known = {record.record_id: record for record in catalog.records(root, segment_ids=[segment_id])}
    for index, record_id in enumerate(manifest(root, segment_id, digest=digest).record_ids):
        if record_id in known:
            mine = columns["record_index"] == index
            yield index, rows.evidence(known[record_id], {name: values[mine] for name, values in columns.items()})


def _stage(root: Storage, unit: ScoreUnit, judged: Sequence[rows.Judged]) -> Scored:
    patients = {record.record_id: record.patient_id for record in catalog.records(root, segment_ids=[unit.id])}
    lineage: dict[str, object] = {"run_id": unit.run_id, "scored_at": unit.scored_at}
    evidence_lineage: dict[str, object] = {"evidence_run_id": unit.evidence_run_id or unit.run_id}
    columns: dict[str, publish.Columns] = {
        "scores": rows.score_columns(judged, patients) | lineage | evidence_lineage,
        "events": rows.event_columns(judged, patients, model_id=unit.model_id) | lineage,
    }
    if unit.evidence_run_id is None:
        columns["beats"] = rows.beat_columns(judged) | {"run_id": unit.run_id}
    partition = {"model_id": unit.model_id, "segment_id": unit.id}
    staged = {
        table: publish.stage(root, table, table_columns, run_id=unit.run_id, unit_id=unit.id, partition=partition)
        for table, table_columns in columns.items()
    }
    return Scored(
        segment_id=unit.id,
        scores=staged["scores"],
        events=staged["events"],
        beats=staged.get("beats"),
        replaces=unit.replaces,
        n_events={head: sum(event.kind == head for item in judged for event in item.events) for head in Head},
    )


def finish(config: ScoreConfig, plan: Plan[ScoreUnit], receipts: Iterator[Receipt[Scored]]) -> Summary:
    """Publish: evidence and events beside what stands, then the scores in one commit, which makes them count."""
    assert plan.model_id is not None
    root = open_storage(config.root, config.root_storage)
    outputs: list[Scored] = []
    quarantined: list[Quarantined] = []
    done = 0
    for receipt in receipts:
        done += receipt.done
        quarantined.extend(receipt.quarantined)
        outputs.extend([receipt.output] if receipt.output else [])
    published = _publish(root, plan, plan.model_id, outputs) if outputs else frozenset()
    origin = Origin(archive=None, run_id=plan.run_id, unit_id=SCORE.name, seen_at=plan.started_at)
    quarantine = [deliveries.stage_quarantine(root, quarantined, origin)] if quarantined else []
    publish.upsert(
        root,
        "quarantine",
        quarantine,
        run_id=plan.run_id,
        gone=deliveries.mended_records(root, published, stage=Stage.SCORE),
    )
    summary = Summary(
        verb=SCORE.name,
        run_id=plan.run_id,
        state=_state(outputs, quarantined, published),
        done=done,
        quarantined=len(quarantined),
        already_done=plan.already_done,
        model_id=plan.model_id,
        events={
            head: sum(output.n_events[head] for output in outputs if output.segment_id in published) for head in Head
        },
    )
    staged = [file for output in outputs for file in (output.scores, output.events, output.beats) if file is not None]
    runs.log_run(root, config, plan, summary, staged=[*staged, *quarantine])
    return summary


def _publish(root: Storage, plan: Plan[ScoreUnit], model_id: str, outputs: Sequence[Scored]) -> frozenset[str]:
    """Commit in the one order in which no reader sees half a run, and sweep what this run replaced.

    Returns:
        The segments whose scores are this run's; another run was faster on the others.
    """
    beats = [output.beats for output in outputs if output.beats is not None]
    publish.add(root, "beats", beats, run_id=plan.run_id)
    publish.add(root, "events", [output.events for output in outputs], run_id=plan.run_id)
    switched = publish.switch_scores(
        root,
        [output.scores for output in outputs],
        run_id=plan.run_id,
        model_id=model_id,
        replaces={output.segment_id: output.replaces for output in outputs},
    )
    lost = {(segment_id, plan.run_id) for segment_id in switched.superseded}
    with_new_evidence = {output.segment_id for output in outputs if output.beats is not None}
    publish.sweep(
        root,
        model_id=model_id,
        run_id=plan.run_id,
        gone_events=lost | {(segment_id, run_id) for segment_id, run_id, _ in switched.replaced},
        gone_beats=lost
        | {(segment_id, evidence) for segment_id, _, evidence in switched.replaced if segment_id in with_new_evidence},
    )
    return frozenset(switched.published)


def _state(outputs: Sequence[Scored], quarantined: Sequence[Quarantined], published: frozenset[str]) -> RunState:
    if not outputs and not quarantined:
        return RunState.NOTHING_NEW
    return RunState.COMPLETED if published or quarantined else RunState.SUPERSEDED


SCORE = Verb(name="score", plan=plan, run=run, finish=finish)
