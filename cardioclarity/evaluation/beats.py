"""Beats: every detector, every combination of autoencoders and the whole head, on patients whom no fit has seen.

Positive are the classes S, V and F, negative N; Q counts for neither side. Beats stand at their reference positions, and
once more where the product finds them: an anomalous beat that was not found is missed and ranks last, a detection
without a reference beat is a normal beat that must not alarm, and ventricular flutter counts for neither side.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cardioclarity.cohort import Candidate
from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation import hearts, tally
from cardioclarity.evaluation.fits import HEAD, Panel, Plan, candidate, recipe_for
from cardioclarity.evaluation.protocol import Protocol, Split
from cardioclarity.evaluation.results import Found
from cardioclarity.evaluation.subjects import Subject
from cardioclarity.evaluation.tally import Scored
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.record import Record
from cardioclarity.references import beat_classes, flutter, inside
from cardioclarity.vocabulary import ABNORMAL_CLASSES, BEAT_CLASSES
from cardioclarity.windows import of_windows

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One record with its labels, prepared at reference R peaks or at detected ones.

    Attributes:
        examples: What detectors see.
        classes: (beat,) N, S, V, F; Q is left out of every figure.
        missed: Classes of the anomalous reference beats for which there is no detection.
    """

    examples: Examples
    classes: NDArray[np.str_]
    missed: tuple[str, ...]


def measure(protocol: Protocol, subjects: Mapping[str, Subject], plan: Plan) -> Found:
    """Fit, score and compare.

    Args:
        protocol: Who is trained on and who is tested.
        subjects: Its records.
        plan: What is fitted.

    Returns:
        AUROC of every scorer, and all that the beat head is judged by.

    Raises:
        NotFoundError: No record has annotated beats, or nothing normal to learn from.
    """
    splits = protocol.splits(tuple(subjects))
    if plan.model is not None:
        splits = [Split(train=(), calibrate=(), test=tuple(name for split in splits for name in split.test))]
    recipe = _recipe(splits, subjects, plan)
    known: dict[str, Candidate] = {}
    scored: dict[bool, list[Scored]] = {False: [], True: []}
    detectors: tuple[str, ...] = ()
    more = (
        hearts.gather(plan.also, recipe, tested={one.read().record_id for one in subjects.values()})
        if plan.also
        else []
    )
    for at, split in enumerate(splits, 1):
        if split.train:
            log.info(
                "part %d of %d: fitting on %d records to test %d", at, len(splits), len(split.train), len(split.test)
            )
        for name in (*split.train, *split.calibrate):
            if name not in known:
                record = subjects[name].read()
                known[name] = candidate(subjects[name].patient, record, case(record, recipe, detected=False).examples)
        panels = plan.panels(
            [*(known[name] for name in split.train), *more], [known[name] for name in split.calibrate], recipe
        )
        detectors = panels[0].detectors()
        for name in split.test:
            record = subjects[name].read()
            for detected, found in scored.items():
                one = case(record, recipe, detected=detected)
                found.append(score(panels, one, subjects[name], every=not detected))
    if not any(one.positive.any() and (~one.positive).any() for one in scored[False]):
        raise NotFoundError(
            f"none of the {len(scored[False])} tested records has both normal and anomalous reference beats; a protocol of "
            "beats needs annotations"
        )
    judged = tally.found(scored[False], scored[True], without=protocol.without, detectors=detectors)
    return replace(judged, notes=(*judged.notes, *_taught(plan, more)))


def _taught(plan: Plan, more: Sequence[Candidate]) -> Iterator[str]:
    """Say what the fits learned from, where it is not what the protocol says."""
    if plan.unlabelled:
        yield "no fit was told which beats are normal: all beats were taken as normal, and the strangest left out"
    if plan.also:
        n_beats = sum(int(one.beats.sum()) for one in more)
        where = " and ".join(archive.name for archive in plan.also)
        yield (
            f"{n_beats} normal beats of {len(more)} records of {where} stood beside those of the protocol, for fitting, early "
            "stopping and calibration alike; none of them is tested"
        )


def _recipe(splits: Sequence[Split], subjects: Mapping[str, Subject], plan: Plan) -> Recipe:
    if plan.model is not None:
        return plan.model.recipe
    train = dict.fromkeys(name for split in splits for name in split.train)
    return recipe_for([len(subjects[name].read().leads) for name in train])


def case(record: Record, recipe: Recipe, *, detected: bool) -> Case:
    """Prepare a record at its reference R peaks, or at those that the product finds."""
    marks = record.annotations
    reference_classes = np.array([BEAT_CLASSES.get(symbol, "") for symbol in marks.symbol], dtype="<U1")
    reference = np.unique(marks.sample[reference_classes != ""])
    examples = prepare(record, recipe, rpeaks=None if detected else reference)
    classes = beat_classes(examples.rpeaks, marks, rate_hz=record.rate_hz)
    in_flutter = inside(examples.rpeaks, flutter(marks))
    told = reference_classes[~inside(marks.sample, flutter(marks))]
    missed = [
        name
        for name in ABNORMAL_CLASSES
        for _ in range(int((told == name).sum()) - int((classes[~in_flutter] == name).sum()))
    ]
    return Case(
        examples=examples,
        classes=np.where(in_flutter, "Q", np.where(classes == "", "N", classes)),
        missed=tuple(missed),
    )


def score(panels: Sequence[Panel], one: Case, subject: Subject, *, every: bool) -> Scored:
    """Score one record by the fit of each seed; a beat that nobody could score, or that was never found, ranks last.

    Args:
        panels: One fit per seed.
        one: The record.
        subject: Whose it is.
        every: Keep the scores of every detector, not only those of the head.
    """
    kept = one.classes != "Q"
    last = np.full(len(one.missed), -np.inf, np.float32)
    scores: list[dict[str, NDArray[np.float32]]] = []
    p_values, covered = [], []
    for panel in panels:
        evidence, named = panel.scores(one.examples)
        scores.append(
            {
                name: np.concatenate([np.nan_to_num(found[kept], nan=-np.inf), last])
                for name, found in named.items()
                if every or name == HEAD
            }
        )
        p_values.append(np.concatenate([np.nan_to_num(evidence.beat_p[kept], nan=1.0), np.ones_like(last)]))
        readable = of_windows(evidence.window_readable, one.examples.window_start, one.examples.rpeaks)
        covered.append(int((readable & np.isfinite(evidence.beat_score))[kept].sum()))
    return Scored(
        name=subject.name,
        patient=subject.patient,
        classes=np.concatenate([one.classes[kept], np.array(one.missed, "<U1")]),
        scores=tuple(scores),
        p=tuple(p_values),
        covered=tuple(covered),
    )
