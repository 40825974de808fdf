"""The beat head on the development half of MIT-BIH, patients held out fold by fold: what D2 to D7 and D14 ask of it."""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from cardioclarity import ensemble
from cardioclarity.cohort import Candidate, normals, split_by_patient
from cardioclarity.detectors import column
from cardioclarity.events import Evidence
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.record import Annotations, Record, content_id
from cardioclarity.references import beat_classes, normal_beats, normal_windows
from cardioclarity.vocabulary import BEAT_CLASSES, LEAD_ORDER, RHYTHMS, canonical_lead

# de Chazal 2004. 201 is the same patient as 202, which stands in the other half: no patient is on two sides here.
DEVELOPMENT = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
N_FOLDS = 4
N_DRAWS = 1000
NOMINAL = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """One record with its labels: Examples by reference R peaks, or by detected ones."""

    name: str
    examples: Examples
    classes: NDArray[np.str_]
    normal_beats: NDArray[np.bool_]
    normal_windows: NDArray[np.bool_]
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Scores and labels of one held-out patient; Q beats are gone."""

    name: str
    classes: NDArray[np.str_]
    scores: dict[str, NDArray[np.float32]]
    p: NDArray[np.float32]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """S, V and F beats."""
        return self.classes != "N"


def measure(archive: Path | None = None, *, detectors: Sequence[str] = (), seed: int = 0) -> dict[str, object]:
    """Fit on the patients of three folds and score the fourth, in turn.

    Args:
        archive: Folder of MIT-BIH.
        detectors: Beat detectors; the default ensemble where empty.
        seed: Of the fit.

    Returns:
        Per scorer its metrics, with 95 % intervals over patients for the whole head; seconds.
    """
    started = time.perf_counter()
    archive = archive or _archive()
    records = [read(archive / name) for name in DEVELOPMENT]
    referenced = [patient(name, record, detected=False) for name, record in zip(DEVELOPMENT, records, strict=True)]
    detected = [patient(name, record, detected=True) for name, record in zip(DEVELOPMENT, records, strict=True)]
    prepared_s = time.perf_counter() - started
    scored: list[Scored] = []
    scored_detected: list[Scored] = []
    for fold in range(N_FOLDS):
        model = _fit(referenced, fold, detectors, seed)
        scored += [score(model, one) for one in referenced[fold::N_FOLDS]]
        scored_detected += [score(model, one) for one in detected[fold::N_FOLDS]]
    result: dict[str, object] = {name: metrics(scored, name) for name in scored[0].scores}
    result["beat_intervals"] = intervals(scored)
    result["beat_false_positives"] = false_positives(scored)
    result["beat_detected"] = metrics(scored_detected, "beat")
    result["seconds"] = {"prepare": prepared_s, "all": time.perf_counter() - started}
    return result


def _archive() -> Path:
    default = Path(__file__).parents[1] / "../shared/data"
    return Path(os.environ.get("CARDIOCLARITY_DATA") or default).resolve() / "mitdb"


def read(path: Path) -> Record:
    """Read a record with the reference library."""
    source = wfdb.rdrecord(str(path), physical=False, return_res=16)
    marks = wfdb.rdann(str(path), "atr")
    leads = {canonical_lead(name): at for at, name in enumerate(source.sig_name)}
    order = [leads[lead] for lead in sorted(leads, key=LEAD_ORDER.__getitem__)]
    signal = np.ascontiguousarray(source.d_signal.T[order].astype(np.int16))
    names = tuple(sorted(leads, key=LEAD_ORDER.__getitem__))
    aux = [text.strip("\0").strip() for text in marks.aux_note]
    return Record(
        record_id=content_id(signal=signal, rate_hz=float(source.fs), leads=names, salt=""),
        rate_hz=float(source.fs),
        leads=names,
        source_leads=tuple(source.sig_name[at] for at in order),
        signal=signal,
        gain=np.array(source.adc_gain, np.float64)[order],
        baseline=np.array(source.baseline, np.float64)[order],
        annotations=Annotations(
            sample=np.array(marks.sample, np.int64),
            symbol=tuple(marks.symbol),
            aux=tuple(text if text[1:] in RHYTHMS else "" for text in aux),
        ),
    )


def patient(name: str, record: Record, *, detected: bool) -> Patient:
    """Prepare a record at its reference R peaks, or at those that the product finds."""
    marks = record.annotations
    is_beat = np.array([symbol in BEAT_CLASSES for symbol in marks.symbol])
    reference = marks.sample[is_beat]
    examples = prepare(record, Recipe(), rpeaks=None if detected else reference)
    classes = beat_classes(examples.rpeaks, marks, rate_hz=record.rate_hz)
    anomalous = sum(BEAT_CLASSES.get(symbol) in set("SVF") for symbol in marks.symbol)
    return Patient(
        name=name,
        examples=examples,
        # A detection without a reference beat is a normal one that must not alarm; ventricular flutter, where the
        # reference marks no beats, counts for neither side.
        classes=np.where(_in_flutter(examples.rpeaks, marks), "Q", np.where(classes == "", "N", classes)),
        normal_beats=normal_beats(examples.rpeaks, marks, rate_hz=record.rate_hz),
        normal_windows=normal_windows(examples.window_start, marks, n_samples=record.n_samples, rate_hz=record.rate_hz),
        missed=anomalous - int(np.isin(classes, list("SVF")).sum()),
    )


def _in_flutter(rpeaks: NDArray[np.int64], marks: Annotations) -> NDArray[np.bool_]:
    """Tell which beats lie between the annotations [ and ]."""
    inside = np.zeros(len(rpeaks), bool)
    bounds = [marks.sample[[symbol == bound for symbol in marks.symbol]] for bound in "[]"]
    for start, end in zip(*bounds, strict=True):
        inside |= (rpeaks >= start) & (rpeaks <= end)
    return inside


def _fit(patients: Sequence[Patient], fold: int, detectors: Sequence[str], seed: int) -> ensemble.Model:
    """Fit on the patients outside the fold, shared out to fitting, stopping and calibration as `train` does."""
    candidates = [
        Candidate(
            patient_id=one.name,
            examples=one.examples,
            beats=one.normal_beats,
            windows=one.normal_windows,
            sinus_rhythm=False,
        )
        for at, one in enumerate(patients)
        if at % N_FOLDS != fold
    ]
    groups, _ = split_by_patient(candidates, seed=seed)
    return ensemble.fit(
        normals(groups["fitting"]),
        normals(groups["stopping"]),
        normals(groups["calibrating"]),
        calibration_patients=[candidate.patient_id for candidate in groups["calibrating"]],
        recipe=Recipe(),
        detectors=detectors,
        seed=seed,
    )


def score(model: ensemble.Model, one: Patient) -> Scored:
    """Score one held-out patient; a beat that no member could score, or that was never detected, ranks last."""
    evidence: Evidence = model.evidence(one.examples)
    kept = one.classes != "Q"
    missed = np.full(one.missed, -np.inf, np.float32)
    named = {"beat": evidence.beat_score} | {column(name): s for name, s in evidence.beat_members.items()}
    return Scored(
        name=one.name,
        classes=np.concatenate([one.classes[kept], np.full(one.missed, "V")]),
        scores={name: np.concatenate([np.nan_to_num(s[kept], nan=-np.inf), missed]) for name, s in named.items()},
        p=np.concatenate([np.nan_to_num(evidence.beat_p[kept], nan=1.0), np.ones(one.missed, np.float32)]),
    )


def metrics(patients: Sequence[Scored], scorer: str) -> dict[str, float]:
    """Pool the beats of all patients."""
    classes = np.concatenate([one.classes for one in patients])
    scores = np.concatenate([one.scores[scorer] for one in patients])
    positive, negative = classes != "N", classes == "N"
    found = {"auroc": auroc(scores, positive), "average_precision": average_precision(scores, positive)}
    limit = np.quantile(scores[negative], 1 - NOMINAL)
    found["tpr_at_fpr_0.01"] = float((scores[positive] > limit).mean())
    for name in "SVF":
        of_class = negative | (classes == name)
        found[f"auroc_{name}"] = auroc(scores[of_class], positive[of_class])
    found["auroc_patient_mean"] = float(
        np.mean([auroc(one.scores[scorer], one.positive) for one in patients if one.positive.sum() >= 10])
    )
    return found


def intervals(patients: Sequence[Scored]) -> dict[str, tuple[float, float]]:
    """Draw as many patients with replacement, 1000 times: the 2.5 and 97.5 percentiles of the whole head."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(N_DRAWS):
        drawn = [patients[at] for at in rng.integers(0, len(patients), len(patients))]
        scores = np.concatenate([one.scores["beat"] for one in drawn])
        positive = np.concatenate([one.positive for one in drawn])
        draws.append((auroc(scores, positive), average_precision(scores, positive)))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return {name: (float(low[at]), float(high[at])) for at, name in enumerate(("auroc", "average_precision"))}


def false_positives(patients: Sequence[Scored]) -> dict[str, float]:
    """Count the normal beats of unseen patients whose p-value is at most the nominal 1 %."""
    shares = [float((one.p[~one.positive] <= NOMINAL).mean()) for one in patients]
    caught = np.concatenate([one.p[one.positive] <= NOMINAL for one in patients])
    return {
        "patient_mean": float(np.mean(shares)),
        "patient_median": float(np.median(shares)),
        "patient_p90": float(np.percentile(shares, 90)),
        "tpr": float(caught.mean()),
    }


def auroc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; ties count half."""
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], "left") + np.searchsorted(negatives, scores[positive], "right")
    return float(below.mean() / 2 / len(negatives))


def average_precision(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve, by steps."""
    order = np.argsort(-scores, kind="stable")
    hits = positive[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detectors", nargs="*", default=())
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(measure(detectors=arguments.detectors, seed=arguments.seed), indent=1))
