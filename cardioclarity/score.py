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
from cardioclarity.evidence import EvidenceError, StoredEvidence, evidence_behind
from cardioclarity.examples import prepare
from cardioclarity.judgement import at_age, decide
from cardioclarity.segments.read import read as read_segment
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, deliveries, publish, rows, runs
from cardioclarity.tables.deliveries import Origin
from cardioclarity.vocabulary import Head, Stage
from cardioclarity.work import Plan, Receipt, RunState, Summary, Verb, new_run_id

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
        rejudged: The file of scores whose evidence is judged again; None where the signals are scored.
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
    rejudged: catalog.LiveFile | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """The units of a plan; the records of a segment are read when its turn comes, all from one snapshot."""

    new: Sequence[ScoreUnit]
    pinned: catalog.Pinned = field(repr=False)

    def __iter__(self) -> Iterator[ScoreUnit]:
        for unit in self.new:
            records = self.pinned.rows(unit.id)
            record_ids = tuple(record.record_id for record in records)
            yield replace(unit, digest=records[0].segment_digest, record_ids=record_ids)


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
    pinned = catalog.pinned(root)
    new = list(_new(root, pinned, runs.judgement(asdict(config)), blank))
    return Plan(
        run_id=blank.run_id,
        started_at=blank.scored_at,
        already_done=pinned.n_records - sum(pinned.n_records_in(unit.id) for unit in new),
        units=_Units(new=new, pinned=pinned),
        expected_units=len(new),
        model_id=model_id,
        is_light=all(unit.rejudged is not None for unit in new),
    )


def _model_id(root: Storage, config: ScoreConfig) -> str:
    champion = config.model or models.champion(root)
    if champion is None and next(root.list("models/champion/"), None) is not None:
        raise NotFoundError(
            f"root {root.name}: no entry of the champion's history leads to a model; say which is used with:"
            f" cardioclarity models --root {root.name} --use ID"
        )
    if champion is None:
        raise NotFoundError(f"root {root.name} has no champion model; run: cardioclarity train --root {root.name}")
    return champion


def _new(root: Storage, pinned: catalog.Pinned, levels: Mapping[str, float], blank: ScoreUnit) -> Iterator[ScoreUnit]:
    """Name the segments to score, and those whose evidence other levels have judged, from the logs of the tables."""
    current = catalog.score_files(root, blank.model_id)
    judged_by = {row["run_id"]: runs.judgement(json.loads(row["config"])) for row in catalog.runs(root)}
    for segment_id in pinned.segment_ids:
        unit = replace(blank, id=segment_id)
        scores = current.get(segment_id)
        if scores is None:
            yield unit
        elif scores.n_rows // len(Head) != pinned.n_records_in(segment_id):
            yield replace(unit, replaces=scores.run_id)
        elif judged_by.get(scores.run_id) != levels:
            yield replace(unit, replaces=scores.run_id, rejudged=scores)


def run(unit: ScoreUnit) -> Receipt[Scored]:
    """Score the records of one segment, or judge its stored evidence again, and stage the rows.

    A segment whose bytes differ from its manifest is set aside whole: damaged signal is never scored. Of a segment that
    another run has changed since the plan nothing is staged.

    Raises:
        DamageError: The model or the catalog is damaged.
    """
    root = open_storage(unit.root, unit.root_storage)
    catalogued = {record.record_id: record for record in catalog.records(root, segment_ids=[unit.id])}
    if not catalogued.keys() >= set(unit.record_ids):
        return _superseded(unit, "records have left the catalog")
    known = {record_id: catalogued[record_id] for record_id in unit.record_ids}
    stored: StoredEvidence | None = None
    try:
        if unit.rejudged is not None:
            stored = evidence_behind(root, unit.rejudged, model_id=unit.model_id)
    except EvidenceError as error:
        return _set_aside(unit, error)
    except (DamageError, NotFoundError) as error:
        if _run_of(catalog.score_files(root, unit.model_id).get(unit.id)) != unit.replaces:
            return _superseded(unit, "it has other scores")
        if isinstance(error, DamageError):  # of the table of scores, which is no fault of these records
            raise
        log.warning("unit %s: its signals are scored, since %s", unit.id, error)
    if stored is None:
        model = models.load(root, unit.model_id)  # not below: that it may be damaged is no fault of the segment
        evidence_run_id, evidence = unit.run_id, _score(root, unit, model)
    else:
        evidence_run_id, evidence = stored.run_id, stored.of_records(root, known.values(), digest=unit.digest)
    try:
        judged = [
            rows.Judged(index, found, *decide(found, at_age(unit.levels, known[found.record_id].age)))
            for index, found in evidence
        ]
    except DamageError as error:
        return _set_aside(unit, error)
    if len(judged) != len(unit.record_ids):
        raise AssertionError(f"segment {unit.id}: {len(unit.record_ids)} records planned, {len(judged)} scored")
    scored = _stage(root, unit, judged, known, evidence_run_id)
    log.info("unit %s: %d records, %d events", unit.id, len(judged), sum(scored.n_events.values()))
    return Receipt(unit_id=unit.id, done=len(judged), output=scored)


def _superseded(unit: ScoreUnit, why: str) -> Receipt[Scored]:
    log.info("unit %s: superseded, %s since the plan", unit.id, why)
    return Receipt(unit_id=unit.id, done=len(unit.record_ids))


def _set_aside(unit: ScoreUnit, error: DamageError) -> Receipt[Scored]:
    log.error("unit %s: %s", unit.id, error)
    aside = deliveries.damaged(unit.record_ids, stage=unit.stage, error=error)
    return Receipt(unit_id=unit.id, done=0, quarantined=aside)


def _run_of(scores: catalog.LiveFile | None) -> str | None:
    return None if scores is None else scores.run_id


def _score(root: Storage, unit: ScoreUnit, model: Model) -> Iterator[tuple[int, Evidence]]:
    for index, record in read_segment(root, unit.id, digest=unit.digest, only=unit.record_ids):
        yield index, model.evidence(prepare(record, model.recipe))


def _stage(
    root: Storage,
    unit: ScoreUnit,
    judged: Sequence[rows.Judged],
    known: Mapping[str, catalog.CatalogRecord],
    evidence_run_id: str,
) -> Scored:
    patients = {record_id: record.patient_id for record_id, record in known.items()}
    lineage: dict[str, object] = {"run_id": unit.run_id, "scored_at": unit.scored_at}
    evidence_lineage: dict[str, object] = {"evidence_run_id": evidence_run_id}
    columns: dict[str, publish.Columns] = {
        "scores": rows.score_columns(judged, patients) | lineage | evidence_lineage,
        "events": rows.event_columns(judged, patients, model_id=unit.model_id) | lineage,
    }
    if evidence_run_id == unit.run_id:
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
    origin = Origin(archive=None, run_id=plan.run_id, unit_id=SCORE.name, seen_at=plan.started_at)
    outputs: list[Scored] = []
    quarantine: list[publish.Staged] = []
    done = set_aside = 0
    for receipt in receipts:
        done, set_aside = done + receipt.done, set_aside + len(receipt.quarantined)
        outputs.extend([receipt.output] if receipt.output else [])
        if receipt.quarantined:
            quarantine.append(deliveries.stage_quarantine(root, receipt.quarantined, origin))
    published = _publish(root, plan, plan.model_id, outputs) if outputs else frozenset()
    publish.sweep_leftovers(root, plan.model_id, plan.run_id)
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
        state=_state(published, done=done, set_aside=set_aside),
        done=done,
        quarantined=set_aside,
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


def _state(published: frozenset[str], *, done: int, set_aside: int) -> RunState:
    if not done and not set_aside:
        return RunState.NOTHING_NEW
    return RunState.COMPLETED if published or set_aside else RunState.SUPERSEDED


SCORE = Verb(name="score", plan=plan, run=run, finish=finish)
