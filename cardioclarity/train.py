"""train: normal beats of the catalog → a fitted, calibrated model."""

import datetime as dt
import hashlib
import io
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from cardioclarity import drawing, ensemble, models, references, training
from cardioclarity.cohort import Candidate, choose_normals, is_sinus_rhythm, normals, split_by_patient
from cardioclarity.config import StorageOptions, TrainConfig
from cardioclarity.errors import DamageError, NotFoundError, StorageError
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.measured import NORMAL, Labelled, measure
from cardioclarity.record import Record
from cardioclarity.segments.read import read as read_segment
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, deliveries, publish, runs
from cardioclarity.tables.deliveries import Origin
from cardioclarity.vocabulary import ABNORMAL_CLASSES, Stage
from cardioclarity.windows import window_ends
from cardioclarity.work import Plan, Quarantined, Receipt, RunState, Summary, Verb, new_run_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainUnit:
    """The chosen records of one segment.

    Attributes:
        id: The segment.
        digest: Its manifest's digest.
        root: URL of the root.
        root_storage: How to reach it.
        run_id: The run.
        record_ids: The records to prepare.
        minutes_per_record: How much of each.
        recipe: How to prepare them.
        stage: Where a unit that dies is filed.
    """

    id: str
    digest: str
    root: str
    root_storage: StorageOptions
    run_id: str
    record_ids: tuple[str, ...] = field(repr=False)
    minutes_per_record: float
    recipe: Recipe
    stage: Stage = Stage.TRAIN

    @property
    def inputs(self) -> tuple[str, ...]:
        """The record ids."""
        return self.record_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Where the examples of a unit lie, staged as plain arrays."""

    key: str
    segment_id: str
    recipe: Recipe


def plan(config: TrainConfig) -> Plan[TrainUnit]:
    """Draw the records to train on from the catalog, by the seed.

    Raises:
        NotFoundError: There is no such root, or its catalog is empty.
    """
    root = open_storage(config.root, config.root_storage)
    catalog.require_root(root)
    training.check_names(config.detectors)
    chosen = drawing.choose(catalog.pinned(root).iter_records(drawing.COLUMNS), config)
    if not chosen:
        raise NotFoundError(
            f"root {root.name} holds no record yet; run: cardioclarity convert ARCHIVE --root {root.name}"
        )
    run_id, started_at = new_run_id(), dt.datetime.now(dt.UTC)
    two_leads = sum(record.n_leads >= 2 for record in chosen) * 2 >= len(chosen)
    recipe = Recipe(n_leads=2 if two_leads else 1)
    by_segment: dict[tuple[str, str], list[str]] = {}
    for record in sorted(chosen, key=lambda record: record.record_id):
        by_segment.setdefault(record.segment, []).append(record.record_id)
    units = [
        TrainUnit(
            id=segment_id,
            digest=digest,
            root=root.url,
            root_storage=config.root_storage,
            run_id=run_id,
            record_ids=tuple(record_ids),
            minutes_per_record=config.minutes_per_record,
            recipe=recipe,
        )
        for (segment_id, digest), record_ids in sorted(by_segment.items())
    ]
    return Plan(run_id=run_id, started_at=started_at, already_done=0, units=units, expected_units=len(units))


def run(unit: TrainUnit) -> Receipt[Prepared]:
    """Prepare the records of one segment and stage their examples where no reader looks; damaged ones are set aside."""
    root = open_storage(unit.root, unit.root_storage)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    try:
        for row, (_, record) in enumerate(read_segment(root, unit.id, digest=unit.digest, only=unit.record_ids)):
            stretch = record.head(60 * unit.minutes_per_record)
            arrays |= {f"{row}.{name}": array for name, array in _packed(stretch, unit)}
    except DamageError as error:
        log.error("unit %s: %s", unit.id, error)  # noqa: TRY400 - the sentence says all
        rows_aside = deliveries.damaged(unit.record_ids, stage=unit.stage, error=error)
        return Receipt(unit_id=unit.id, done=0, quarantined=rows_aside)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    key = f"models/staged-{unit.run_id}-{unit.id}.npz"
    root.put_new(key, buffer.getvalue())
    log.info("unit %s: %d records prepared", unit.id, len(unit.record_ids))
    return Receipt(
        unit_id=unit.id, done=len(unit.record_ids), output=Prepared(key=key, segment_id=unit.id, recipe=unit.recipe)
    )


def _packed(record: Record, unit: TrainUnit) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Name the arrays of one prepared record: the fields of Examples and what the annotations call normal."""
    examples = prepare(record, unit.recipe)
    for item in fields(Examples):
        yield item.name, np.asarray(getattr(examples, item.name))
    rate_hz, annotations = record.rate_hz, record.annotations
    classes = references.beat_classes(examples.rpeaks, annotations, rate_hz=rate_hz)
    in_flutter = references.inside(examples.rpeaks, references.flutter(annotations))
    yield "beat_classes", np.where(in_flutter, "", classes)
    yield "normal_beats", references.normal_beats(examples.rpeaks, annotations, rate_hz=rate_hz)
    starts, n_samples = examples.window_start, record.n_samples
    yield (
        "normal_windows",
        references.normal_windows(starts, annotations, n_samples=n_samples, rate_hz=rate_hz),
    )
    yield "window_rhythms", references.window_rhythms(starts, window_ends(starts, n_samples=n_samples), annotations)


def finish(config: TrainConfig, plan: Plan[TrainUnit], receipts: Iterator[Receipt[Prepared]]) -> Summary:
    """Fit, calibrate and save the model; it becomes champion where the root has none, or where asked.

    Raises:
        DamageError: None of the drawn records could be prepared.
        NotFoundError: None of them has a beat.
    """
    root = open_storage(config.root, config.root_storage)
    outputs: list[Prepared] = []
    quarantined: list[Quarantined] = []
    done = 0
    try:
        for receipt in receipts:
            done += receipt.done
            quarantined.extend(receipt.quarantined)
            outputs.extend([receipt.output] if receipt.output else [])
        _set_aside(root, plan, quarantined, read=[output.segment_id for output in outputs])
        if not outputs:
            raise _nothing_left(root, quarantined)
        model_id, warnings = _fit_and_save(root, config, outputs)
        # While staged examples are there, gc frees no model: this one is named before they go.
        if config.champion or models.champion(root) is None:
            models.crown(root, model_id, chosen_by="train", run_id=plan.run_id)
        summary = Summary(
            verb=TRAIN.name,
            run_id=plan.run_id,
            state=RunState.COMPLETED,
            done=done,
            quarantined=len(quarantined),
            already_done=0,
            model_id=model_id,
            champion=models.champion(root),
            warnings=warnings,
        )
        runs.log_run(root, config, plan, summary)
    finally:
        _unstage(root, outputs)
    return summary


def _unstage(root: Storage, outputs: Sequence[Prepared]) -> None:
    """Delete the staged examples; where that fails they are left to gc, and no error is hidden by it."""
    try:
        root.delete_all(output.key for output in outputs)
    except StorageError as error:
        log.warning("staged examples are left behind until gc frees them: %s", error)


def _set_aside(
    root: Storage, plan: Plan[TrainUnit], quarantined: Sequence[Quarantined], *, read: Sequence[str]
) -> None:
    """Write down which records could not be prepared, and forget those that could be this time."""
    origin = Origin(archive=None, run_id=plan.run_id, unit_id=TRAIN.name, seen_at=plan.started_at)
    staged = [deliveries.stage_quarantine(root, quarantined, origin)] if quarantined else []
    gone = deliveries.mended_records(root, read, stage=Stage.TRAIN)
    publish.upsert(root, "quarantine", staged, run_id=plan.run_id, gone=gone)


def _nothing_left(root: Storage, quarantined: Sequence[Quarantined]) -> DamageError:
    """Say why no record is left to learn from: what the quarantine holds says more than that there is none."""
    reasons = ", ".join(
        f"{n} x {reason}" for reason, n in Counter(row.reason.value for row in quarantined).most_common()
    )
    return DamageError(
        f"root {root.name}: nothing to train on, all {len(quarantined)} drawn records are set aside ({reasons}), the first"
        f" because {quarantined[0].message}; see: cardioclarity verify --root {root.name}"
    )


def _fit_and_save(root: Storage, config: TrainConfig, outputs: Sequence[Prepared]) -> tuple[str, tuple[str, ...]]:
    candidates, choice_warnings = choose_normals(_load(root, outputs))
    if any(candidate.patient_id == candidate.examples.record_id for candidate in candidates):
        choice_warnings += (
            (
                "some records do not say whose they are: each counts as a patient of its own, so one patient may stand on both "
                "sides; name them with `cardioclarity convert --patients FILE`"
            ),
        )
    groups, split_warnings = split_by_patient(candidates, seed=config.seed)
    warnings = (*choice_warnings, *split_warnings)
    for warning in warnings:
        log.warning("%s", warning)
    fitting = _counts(groups["fitting"])
    log.info("fitting on %d normal beats of %d patients", fitting["normal_beats"], fitting["patients"])
    model = training.fit(
        normals(groups["fitting"]),
        normals(groups["stopping"]),
        normals(groups["calibrating"]),
        recipe=outputs[0].recipe,
        detectors=config.detectors,
        seed=config.seed,
    )
    histories = [history for member in model.members.values() if (history := getattr(member, "history", None))]
    used = {candidate.examples.record_id: candidate for group in groups.values() for candidate in group}
    facts = {
        "seed": config.seed,
        "hardware": sorted({history.device for history in histories} or {"cpu"}),
        "groups": {group: _counts(members) for group, members in groups.items()},
        "warnings": list(warnings),
        "versions": runs.versions(),
        "fingerprint": hashlib.sha256("\n".join(sorted(used)).encode()).hexdigest(),
        models.RECORD_IDS: sorted(record_id[: models.ID_PREFIX] for record_id in used),
        **_counts(list(used.values())),
        **_signals([candidate.examples for candidate in used.values()]),
        **_people([record for record in catalog.pinned(root).records() if record.record_id in used]),
        "metrics": _metrics(model, groups["calibrating"]),
    }
    return models.save(root, model, facts=facts), warnings


def _load(root: Storage, outputs: Sequence[Prepared]) -> list[Candidate]:
    """Read the staged examples back and join what the catalog knows of each record."""
    pinned = catalog.pinned(root)
    candidates: list[Candidate] = []
    for output in sorted(outputs, key=lambda output: output.key):
        known = {record.record_id: record for record in pinned.rows(output.segment_id)}
        with np.load(io.BytesIO(root.fetch(output.key)), allow_pickle=False) as arrays:
            n_rows = sum(name.endswith(".record_id") for name in arrays.files)
            candidates.extend(_unpacked(arrays, f"{row}.", known) for row in range(n_rows))
    return candidates


def _unpacked(
    arrays: Mapping[str, np.ndarray[Any, Any]], prefix: str, known: Mapping[str, catalog.CatalogRecord]
) -> Candidate:
    plain: dict[str, Any] = {item.name: arrays[prefix + item.name] for item in fields(Examples)}
    for name in ("record_id", "rate_hz", "n_samples", "adapted"):
        plain[name] = plain[name].item()
    examples = Examples(**(plain | {"leads": tuple(plain["leads"].tolist())}))
    record = known[examples.record_id]
    return Candidate(
        patient_id=record.patient_id or record.record_id,
        examples=examples,
        beats=arrays[prefix + "normal_beats"],
        classes=arrays[prefix + "beat_classes"],
        windows=arrays[prefix + "normal_windows"],
        rhythms=arrays[prefix + "window_rhythms"],
        sinus_rhythm=is_sinus_rhythm(record.diagnosis_codes),
    )


def _metrics(model: ensemble.Model, calibrating: Sequence[Candidate]) -> dict[str, object]:
    """Measure the heads on patients whom no fit has seen; None where they took part, or nothing tells what is abnormal."""
    if not model.facts.calibration_is_disjoint:
        return {"beat": None, "rhythm": None}
    beats, windows = [], []
    for candidate in calibrating:
        evidence = model.evidence(candidate.examples)
        classes = np.where(np.isin(candidate.classes, ABNORMAL_CLASSES), candidate.classes, "")
        rhythms = np.where(candidate.windows, NORMAL, candidate.rhythms)
        whose = {"record_id": evidence.record_id, "patient": candidate.patient_id}
        classes = np.where(candidate.beats, NORMAL, classes)
        beats.append(Labelled(**whose, scores=evidence.beat_score, classes=classes))
        windows.append(Labelled(**whose, scores=evidence.rhythm_score, classes=rhythms))
    found = {
        "beat": measure(beats, item="beat", classes=ABNORMAL_CLASSES),
        "rhythm": measure(windows, item="window"),
    }
    return {head: asdict(measured) if measured else None for head, measured in found.items()}


def _counts(members: Sequence[Candidate]) -> dict[str, int]:
    return {
        "patients": len({candidate.patient_id for candidate in members}),
        "records": len(members),
        "normal_beats": int(sum(candidate.beats.sum() for candidate in members)),
    }


def _signals(examples: Sequence[Examples]) -> dict[str, object]:
    return {
        "hours": round(math.fsum(item.n_samples / item.rate_hz for item in examples) / 3600, 3),
        "leads": sorted({lead for item in examples for lead in item.leads}),
        "rates_hz": sorted({item.rate_hz for item in examples}),
    }


def _people(records: Sequence[catalog.CatalogRecord]) -> dict[str, object]:
    """Say who the model learned from, as far as the sources tell; an age of 90 stands for 90 and above."""
    ages = sorted(record.age for record in records if record.age is not None)
    return {
        "ages": f"{ages[0]} to {ages[-1]}, known of {len(ages)} records" if ages else "not stated by the sources",
        "sexes": dict(sorted(Counter(record.sex or "not stated" for record in records).items())),
    }


TRAIN = Verb(name="train", plan=plan, run=run, finish=finish)
