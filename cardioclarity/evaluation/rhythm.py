"""Rhythm: windows of 10 s, stride 5 s, in an annotated arrhythmia against windows in sinus rhythm, own R peaks.

The product's windows do not overlap; here its features are computed at two interleaved rows of them. As in production up
to 30 intervals on either side of a window's centre take part. What is not known of a window ranks last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity import training
from cardioclarity.beats import odd_beats
from cardioclarity.cohort import Candidate, normals
from cardioclarity.detectors import detector
from cardioclarity.detectors.protocol import Fitted
from cardioclarity.detectors.quality import FittedQuality
from cardioclarity.ensemble import Model
from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.fits import candidate
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.ranked import Items, ranked
from cardioclarity.evaluation.results import Figures, Found, curve_of
from cardioclarity.evaluation.rpeaks import left_out
from cardioclarity.evaluation.subjects import Subject
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.rates import touching
from cardioclarity.record import Record
from cardioclarity.references import ARRHYTHMIAS, SINUS, beat_classes, rhythm_stretches, window_rhythms
from cardioclarity.regularity import rhythm
from cardioclarity.vocabulary import ABNORMAL_CLASSES, BEAT_CLASSES

STRIDE_S: Final = 5.0
CLEAN_S: Final = 10.0
"""A clean sinus window has no S, V or F beat within so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One record: what the fit may learn from, and its overlapping windows with their labels.

    Attributes:
        normal: The record as `train` sees it.
        windows: The overlapping windows, with their features.
        labels: (window,) rhythm word, empty where the window is left out.
        clean: (window,) bool, no ectopic beat near.
    """

    normal: Candidate
    windows: Examples
    labels: NDArray[np.str_]
    clean: NDArray[np.bool_]


def measure(protocol: Protocol, subjects: Mapping[str, Subject], model: Model | None) -> Found:
    """Rank the windows of each fold by the rhythm head of the others.

    Args:
        protocol: Folds of patients.
        subjects: Records of a database; those without rhythm annotations are left out, and it is said how many.
        model: A fitted model, in place of the fits.

    Returns:
        AUROC against all sinus windows, against clean ones, and of each rhythm.

    Raises:
        NotFoundError: No record has windows of both kinds.
    """
    recipe = Recipe() if model is None else model.recipe
    cases: dict[str, Case] = {}
    for name, subject in subjects.items():
        record = subject.read()
        if rhythm_stretches(record.annotations):
            cases[name] = case(subject.patient, record, recipe)
    scores: dict[str, NDArray[np.float32]] = {}
    if model is not None:
        scores = {name: model.members["rhythm"].score(one.windows) for name, one in cases.items()}
    else:
        for split in protocol.splits(tuple(cases)) if cases else ():
            if not any(cases[name].normal.windows.any() for name in split.train):
                raise NotFoundError(
                    f"none of the {len(split.train)} records to learn from has a window of clean sinus rhythm; add records"
                    " that have, or name them in [train]"
                )
            fitted, _ = fit([cases[name].normal for name in split.train])
            scores |= {name: fitted.score(cases[name].windows) for name in split.test}
    cases = {name: cases[name] for name in scores}
    items = _items(cases, scores)
    if not (items.positive.any() and (~items.positive).any()):
        raise NotFoundError(
            f"none of the {len(subjects)} records has both sinus rhythm and an annotated arrhythmia; a protocol of rhythm "
            "needs rhythm annotations"
        )
    clean = np.concatenate([one.clean[one.labels != ""] for one in cases.values()])
    labels = np.concatenate([one.labels[one.labels != ""] for one in cases.values()])
    subsets = {"all": np.ones(len(labels), bool), "clean": items.positive | clean}
    subsets |= {f"rhythm:{word}": ~items.positive | (labels == word) for word in ARRHYTHMIAS if (labels == word).any()}
    return Found(
        metrics=tuple(ranked("rhythm", "rhythm_auroc", name, items, kept) for name, kept in subsets.items()),
        n_patients=len(set(items.patients)),
        n_records=len(cases),
        notes=left_out(len(subjects) - len(cases), len(subjects), "rhythm annotations"),
        figures=Figures(curves={"rhythm": curve_of(items.ranking())}),
    )


def fit(everybody: Sequence[Candidate]) -> tuple[Fitted, FittedQuality]:
    """Fit the rhythm head and the quality head as `train` does; neither draws anything."""
    chosen, nobody = normals(everybody), normals([])
    quality = detector("quality").fit(chosen, held_out=nobody, seed=0)
    assert isinstance(quality, FittedQuality)
    return detector("rhythm").fit(training.readable(chosen, quality), held_out=nobody, seed=0), quality


def _items(cases: Mapping[str, Case], scores: Mapping[str, NDArray[np.float32]]) -> Items:
    """Pool the windows that have a label."""
    told = {name: one.labels != "" for name, one in cases.items()}
    labels = np.concatenate([np.zeros(0, "<U8"), *(one.labels[told[name]] for name, one in cases.items())])
    return Items(
        scores=(np.concatenate([np.zeros(0), *(np.nan_to_num(scores[n][told[n]], nan=-np.inf) for n in cases)]),),
        positive=labels != SINUS,
        patients=tuple(one.normal.patient_id for name, one in cases.items() for _ in range(int(told[name].sum()))),
    )


def case(patient: str, record: Record, recipe: Recipe) -> Case:
    """Prepare a record at its own R peaks, and label its overlapping windows."""
    prepared = prepare(record, recipe)
    width = round(recipe.window_s * record.rate_hz)
    starts, features = windows(prepared, recipe, width, round(STRIDE_S * record.rate_hz))
    examples = slim(prepared)
    return Case(
        normal=candidate(patient, record, examples),
        windows=replace(examples, window_start=starts, rhythm=features),
        labels=window_rhythms(starts, starts + width, record.annotations),
        clean=_is_clean(starts, width, record),
    )


def slim(examples: Examples) -> Examples:
    """Let go of the shapes of the beats: neither rhythm nor quality reads them."""
    n_beats, n_leads = examples.beats.shape[:2]
    return replace(
        examples,
        beats=np.zeros((n_beats, n_leads, 0), np.float32),
        long=np.zeros((n_beats, n_leads, 0), np.float32),
    )


def windows(
    examples: Examples, recipe: Recipe, width: int, stride: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the rhythm features of overlapping windows, each row of windows that do not overlap by itself.

    Args:
        examples: The record.
        recipe: How it was prepared.
        width: Samples of a window.
        stride: Samples from one window to the next.

    Returns:
        (window,) int64 first samples, of whole windows only, ascending; (window, 8) float32 features.
    """
    is_odd = odd_beats(
        examples.beats,
        examples.whole,
        examples.late,
        rate_hz=recipe.beat_rate_hz,
        before=round(recipe.beat_before_s * recipe.beat_rate_hz),
    )
    starts, features = [], []
    for offset in range(0, width, stride):
        own = np.arange(offset, examples.n_samples - width + 1, width, dtype=np.int64)
        if len(own):
            first, stop = touching(examples.rpeaks, own, n_samples=int(own[-1]) + width)
            centres_s = ((own + width / 2) / examples.rate_hz).astype(np.float64)
            starts.append(own)
            features.append(
                rhythm(examples.rpeaks / examples.rate_hz, examples.rr_s, is_odd, centres_s, first=first, stop=stop)
            )
    if not starts:
        return np.zeros(0, np.int64), np.zeros((0, examples.rhythm.shape[1]), np.float32)
    order = np.argsort(np.concatenate(starts))
    return np.concatenate(starts)[order], np.concatenate(features)[order]


def _is_clean(starts: NDArray[np.int64], width: int, record: Record) -> NDArray[np.bool_]:
    """(window,) bool: no reference beat of the classes S, V, F within 10 s."""
    marks = record.annotations
    beats = marks.sample[np.array([symbol in BEAT_CLASSES for symbol in marks.symbol], bool)]
    classes = beat_classes(beats, marks, rate_hz=record.rate_hz)
    odd = beats[np.isin(classes, ABNORMAL_CLASSES)]
    margin = round(CLEAN_S * record.rate_hz)
    clean: NDArray[np.bool_] = np.searchsorted(odd, starts - margin) == np.searchsorted(odd, starts + width + margin)
    return clean
