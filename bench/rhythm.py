"""D9: the rhythm head on the development half of MIT-BIH, patients held out fold by fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import mitbih, patients
from bench.rows import Row
from cardioclarity.beats import odd_beats
from cardioclarity.detectors.protocol import Normals
from cardioclarity.detectors.rhythm import Rhythm
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.metrics import auroc
from cardioclarity.record import Annotations, Record
from cardioclarity.references import rhythm_stretches
from cardioclarity.regularity import rhythm
from cardioclarity.vocabulary import BEAT_CLASSES

N_FOLDS = 5
WINDOW_S, STRIDE_S = 10.0, 5.0
CLEAN_S = 10.0
ANOMALOUS = ("AFIB", "AFL", "B", "T", "SVTA", "VT", "VFL", "IVR", "NOD", "BII", "AB")
GOALS = {"all": 0.96, "clean": 0.993}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """One record in overlapping windows.

    Attributes:
        name: Of the record.
        examples: By its own R peaks; its rhythm features are those of the overlapping windows.
        label: (window,) the annotated rhythm: N throughout, the one with most of an anomalous half, or empty.
        clean: (window,) bool, N and no S, V or F beat within 10 s.
    """

    name: str
    examples: Examples
    label: NDArray[np.str_]
    clean: NDArray[np.bool_]


def measure(archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT) -> list[Row]:
    """Score windows of 10 s, one every 5 s, by own R peaks, each patient by a fit on the clean windows of other folds.

    Positive: at least half in a rhythm of ANOMALOUS; negative: all of it in normal sinus rhythm; the rest counts for
    neither. A window that is not scored ranks last.
    """
    archive = archive or mitbih.archive()
    everybody = [patient(name, mitbih.read(archive / f"{name}.hea")) for name in names]
    scores = held_out_scores(everybody)
    rows = []
    for against, goal in GOALS.items():
        picked = [(one.clean if against == "clean" else one.label == "N") for one in everybody]
        value = _auroc(everybody, scores, picked, ANOMALOUS)
        low, high = patients.interval(
            lambda drawn, picked=picked: _auroc(everybody, scores, picked, ANOMALOUS, drawn), len(everybody)
        )
        what = f"rhythm: auroc against {against} normal windows"
        rows.append(Row(goal="D9", what=what, unit="", ours=value, low=float(low), high=float(high), at_least=goal))
    normal = [one.label == "N" for one in everybody]
    found = {word for one in everybody for word in one.label.tolist()}
    rows += [
        Row(goal="", what=f"rhythm: auroc of {word}", unit="", ours=_auroc(everybody, scores, normal, (word,)))
        for word in ANOMALOUS
        if word in found
    ]
    return rows


def patient(name: str, record: Record) -> Patient:
    """Prepare a record and describe its overlapping windows."""
    recipe = Recipe()
    examples = prepare(record, recipe)
    start_s = np.arange(0, record.n_samples / record.rate_hz - WINDOW_S + 1e-6, STRIDE_S)
    rpeak_s = examples.rpeaks / examples.rate_hz
    is_odd = odd_beats(
        examples.beats,
        examples.whole,
        examples.late,
        rate_hz=recipe.beat_rate_hz,
        before=round(recipe.beat_before_s * recipe.beat_rate_hz),
    )
    features = rhythm(
        rpeak_s,
        examples.rr_s,
        is_odd,
        start_s + WINDOW_S / 2,
        first=np.maximum(np.searchsorted(rpeak_s, start_s, side="right"), 1),
        stop=np.minimum(np.searchsorted(rpeak_s, start_s + WINDOW_S) + 1, len(rpeak_s)),
    )
    label = labels(record.annotations, start_s, record.n_samples / record.rate_hz, rate_hz=record.rate_hz)
    odd = [BEAT_CLASSES.get(symbol) in {"S", "V", "F"} for symbol in record.annotations.symbol]
    odd_s = record.annotations.sample[odd] / record.rate_hz
    n_odd = np.searchsorted(odd_s, start_s + WINDOW_S + CLEAN_S) - np.searchsorted(odd_s, start_s - CLEAN_S)
    return Patient(
        name=name,
        examples=replace(examples, rhythm=features, window_start=np.round(start_s * examples.rate_hz).astype(np.int64)),
        label=label,
        clean=(label == "N") & (n_odd == 0),
    )


def labels(marks: Annotations, start_s: NDArray[np.float64], end_s: float, *, rate_hz: float) -> NDArray[np.str_]:
    """(window,) the word of each window; empty where nothing is annotated, or too little of one kind."""
    share: dict[str, NDArray[np.float64]] = {}
    for word, first, stop in rhythm_stretches(marks):
        covered_s = np.minimum(start_s + WINDOW_S, min(stop / rate_hz, end_s)) - np.maximum(start_s, first / rate_hz)
        share[word] = share.get(word, np.zeros(len(start_s))) + np.maximum(covered_s, 0) / WINDOW_S
    anomalous = np.array([share.get(word, np.zeros(len(start_s))) for word in ANOMALOUS])
    label = np.where(share.get("N", np.zeros(len(start_s))) > 1 - 1e-6, "N", "").astype("<U4")
    is_positive = anomalous.sum(axis=0) >= 0.5
    label[is_positive] = np.array(ANOMALOUS)[anomalous.argmax(axis=0)][is_positive]
    return label


def held_out_scores(everybody: Sequence[Patient]) -> Mapping[str, NDArray[np.float32]]:
    """Score each patient by the rhythm head fitted on the clean windows of the other folds; unscored is -1."""
    scores = {}
    for fold in range(N_FOLDS):
        others = [one for at, one in enumerate(everybody) if at % N_FOLDS != fold]
        normals = Normals(
            records=tuple(one.examples for one in others),
            patients=tuple(one.name for one in others),
            beats=tuple(np.zeros(len(one.examples.rpeaks), bool) for one in others),
            windows=tuple(one.clean for one in others),
        )
        fitted = Rhythm().fit(normals, held_out=normals, seed=0)
        for one in everybody[fold::N_FOLDS]:
            scores[one.name] = np.nan_to_num(fitted.score(one.examples), nan=-1.0)
    return scores


def _auroc(
    everybody: Sequence[Patient],
    scores: Mapping[str, NDArray[np.float32]],
    negative: Sequence[NDArray[np.bool_]],
    words: Sequence[str],
    drawn: NDArray[np.int64] | None = None,
) -> float:
    """Windows in any of the words against the negative ones, pooled over all patients or over those drawn."""
    chosen = range(len(everybody)) if drawn is None else drawn.tolist()
    positive = [np.isin(everybody[at].label, words) for at in chosen]
    kept = [mask | negative[at] for at, mask in zip(chosen, positive, strict=True)]
    ranked = np.concatenate([scores[everybody[at].name][keep] for at, keep in zip(chosen, kept, strict=True)])
    return auroc(ranked, np.concatenate([mask[keep] for mask, keep in zip(positive, kept, strict=True)]))
