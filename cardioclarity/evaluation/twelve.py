"""Whole records of 10 s and 12 leads: those that are normal in every superclass against those with another one.

The score of a record is the median over its beats of what the population members say together: a superclass is a property of the
record, which every beat shows, and a median is blind to the one beat that an artefact spoils; the highest beats would
rank artefacts and single ectopic beats, which the superclasses do not name. A record that nobody could score ranks last.

Source: the strict protocol: trained on pure normal records alone, and nothing chosen on the tested fold.
"""

import ast
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.cohort import Candidate
from cardioclarity.detectors import column
from cardioclarity.errors import NotFoundError, UsageError, shape
from cardioclarity.evaluation.fits import HEAD, Panel, Plan, recipe_for
from cardioclarity.evaluation.protocol import Protocol, Split
from cardioclarity.evaluation.ranked import Items, ranked
from cardioclarity.evaluation.results import Figures, Found, curve_of
from cardioclarity.evaluation.subjects import Subject, locate
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.storage import Storage
from cardioclarity.views import POPULATION

RECORD: Final = "record"
"""The scorer that is the whole of the population members."""

_SURE: Final = 100.0
_NAMES: Final = ("table", "statements", "record", "normal", "abnormal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One row of the database's table.

    Attributes:
        name: The record.
        patient: Whose it is.
        fold: The database's own fold.
        superclasses: All that it carries; the normal one alone makes it normal.
        is_normal: It is normal for certain, and nothing else.
    """

    name: str
    patient: str
    fold: int
    superclasses: frozenset[str]
    is_normal: bool


def resolved(protocol: Protocol, archives: Sequence[Storage]) -> Protocol:
    """Name the records of each side, and whose they are, from the database's own table.

    Args:
        protocol: Says where the labels stand, and which folds are on which side.
        archives: Where the table lies.

    Raises:
        NotFoundError: The table is missing, or holds no record for one of the sides.
        UsageError: The protocol does not say where the labels stand.
    """
    rows = labelled(protocol, archives)
    patients = {row.name: row.patient for row in rows}
    labels = {**protocol.labels, "superclasses": {row.name: row.superclasses for row in rows}}
    labels["normals"] = frozenset(row.name for row in rows if row.is_normal)
    if protocol.n_folds:
        return replace(protocol, folded=tuple(row.name for row in rows), patients=patients, labels=labels)
    sides = {
        side: tuple(row.name for row in rows if row.fold in folds and (side == "test" or row.is_normal))
        for side, folds in protocol.side_folds.items()
    }
    for side in ("train", "test"):
        if not sides.get(side):
            there = ", ".join(map(str, sorted({row.fold for row in rows})))
            raise NotFoundError(
                f"protocol {protocol.name}: the database's table holds no record to {side} with, in folds "
                f"{', '.join(map(str, protocol.side_folds.get(side, ())))}; it has folds {there}; for a part of the database "
                "use a protocol with [folds], such as ptbxl-cv"
            )
    return replace(
        protocol,
        train=sides["train"],
        calibrate=sides.get("calibrate", ()),
        test=sides["test"],
        patients=patients,
        labels=labels,
    )


def labelled(protocol: Protocol, archives: Sequence[Storage]) -> list[Labelled]:
    """Read the labels of the records that are normal for certain or carry one of the other superclasses."""
    if missing := [name for name in _NAMES if not protocol.labels.get(name)]:
        raise UsageError(f"protocol {protocol.name}: [labels] lacks {', '.join(missing)}")
    told = protocol.labels
    try:
        return _labelled(told, archives)
    except (KeyError, ValueError, SyntaxError) as error:  # a UnicodeDecodeError is a ValueError
        raise NotFoundError(
            f"{' and '.join(archive.name for archive in archives)}: the tables {told['table']} and {told['statements']} are"
            f" not those of PTB-XL ({type(error).__name__}: {shape(str(error))}); give its own"
        ) from error


def _labelled(told: Mapping[str, Any], archives: Sequence[Storage]) -> list[Labelled]:
    classes = {
        row[""]: row["diagnostic_class"]
        for row in _table(archives, told["statements"])
        if row["diagnostic_class"] and float(row["diagnostic"] or 0) == 1
    }
    return list(
        _labels(_table(archives, told["table"]), classes, told["record"], set(told["normal"]), set(told["abnormal"]))
    )


def _labels(
    rows: Sequence[Mapping[str, str]],
    classes: Mapping[str, str],
    column_name: str,
    normal: set[str],
    abnormal: set[str],
) -> Iterator[Labelled]:
    for row in rows:
        codes = ast.literal_eval(row["scp_codes"])
        found = frozenset(classes[code] for code in codes if code in classes)
        sure = any(likelihood >= _SURE and classes.get(code) in normal for code, likelihood in codes.items())
        if (found <= normal and sure) or found & abnormal:
            yield Labelled(
                name=PurePosixPath(row[column_name]).name,
                patient=row["patient_id"],
                fold=int(float(row["strat_fold"])),
                superclasses=found,
                is_normal=not found & abnormal,
            )


def _table(archives: Sequence[Storage], name: str) -> list[dict[str, str]]:
    found = locate(archives, lambda listed: listed == name)
    if not found:
        raise NotFoundError(
            f"{' and '.join(archive.name for archive in archives)}: the table {name} of the labels is missing"
        )
    archive, key = found[0]
    return list(csv.DictReader(io.StringIO(archive.fetch_checked(key).decode("utf-8-sig"))))


def measure(protocol: Protocol, subjects: Mapping[str, Subject], plan: Plan) -> Found:
    """Fit on normal records, and rank the others.

    Args:
        protocol: As `resolved` gave it.
        subjects: Its records.
        plan: What is fitted.

    Returns:
        AUROC of the population members together, of each detector and of each combination; and of each superclass.

    Raises:
        NotFoundError: Nothing to learn from, or no tested record of one of the kinds.
    """
    normal: frozenset[str] = protocol.labels["normals"]
    superclasses: Mapping[str, frozenset[str]] = protocol.labels["superclasses"]
    splits = protocol.splits(tuple(subjects))
    if plan.model is not None:
        splits = [Split(train=(), calibrate=(), test=tuple(name for split in splits for name in split.test))]
    recipe = recipe_for([12]) if plan.model is None else plan.model.recipe
    known: dict[str, Examples] = {}
    scores: dict[str, list[dict[str, float]]] = {}
    for split in splits:
        train, calibrate = (
            [_candidate(subjects[name], known, recipe) for name in side if name in normal]
            for side in (split.train, split.calibrate)
        )
        panels = plan.panels(train, calibrate, recipe)
        for name in split.test:
            examples = _prepared(subjects[name], known, recipe)
            scores[name] = [_record_scores(panel, examples) for panel in panels]
    names = list(scores)
    if not 0 < sum(name in normal for name in names) < len(names):
        raise NotFoundError(f"protocol {protocol.name}: the {len(names)} tested records are all of one kind")
    scorers = [scorer for scorer in scores[names[0]][0] if any(np.isfinite(one[0][scorer]) for one in scores.values())]
    positive = np.array([name not in normal for name in names])
    patients = tuple(subjects[name].patient for name in names)
    items = {
        scorer: Items(
            scores=tuple(
                np.array([scores[name][seed][scorer] for name in names]) for seed in range(len(scores[names[0]]))
            ),
            positive=positive,
            patients=patients,
        )
        for scorer in scorers
    }
    subsets = {"all": np.ones(len(names), bool)} | {
        f"superclass:{word}": _of_class(names, normal, superclasses, word) for word in protocol.labels["abnormal"]
    }
    return Found(
        metrics=tuple(
            ranked(scorer, "record_auroc", subset, items[scorer], kept)
            for scorer in scorers
            for subset, kept in subsets.items()
            if subset == "all" or scorer == RECORD
        ),
        n_patients=len(set(patients)),
        n_records=len(names),
        notes=(f"{int((~positive).sum())} normal records against {int(positive.sum())} others",),
        figures=Figures(curves={scorer: curve_of(items[scorer].ranking()) for scorer in scorers}),
    )


def _of_class(
    names: Sequence[str], normal: frozenset[str], superclasses: Mapping[str, frozenset[str]], word: str
) -> NDArray[np.bool_]:
    return np.array([name in normal or word in superclasses[name] for name in names])


def _prepared(subject: Subject, known: dict[str, Examples], recipe: Recipe) -> Examples:
    """Prepare a record once, whichever side of which fold it is on."""
    if subject.name not in known:
        known[subject.name] = prepare(subject.read(), recipe)
    return known[subject.name]


def _candidate(subject: Subject, known: dict[str, Examples], recipe: Recipe) -> Candidate:
    """Take every beat and window of a normal record as normal."""
    examples = _prepared(subject, known, recipe)
    return Candidate(
        patient_id=subject.patient,
        examples=examples,
        beats=np.ones(len(examples.rpeaks), bool),
        classes=np.full(len(examples.rpeaks), ""),
        windows=np.ones(len(examples.window_start), bool),
        rhythms=np.full(len(examples.window_start), ""),
        sinus_rhythm=True,
    )


def _record_scores(panel: Panel, examples: Examples) -> dict[str, float]:
    """Give scorer → median over the beats; -inf where no beat was scored."""
    evidence, found = panel.scores(examples)
    beats = {RECORD: evidence.beat_members.get(column(POPULATION), evidence.beat_score)} | found
    del beats[HEAD]  # of so short a record it is the population view alone
    return {scorer: _middle(scores) for scorer, scores in beats.items()}


def _middle(scores: NDArray[np.float32]) -> float:
    finite = scores[np.isfinite(scores)]
    return float(np.median(finite)) if len(finite) else -np.inf
