"""From scored beats to figures: pooled over patients, per class, per patient, and at the nominal false-positive rates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.evaluation.fits import HEAD
from cardioclarity.evaluation.results import Figures, Found, Metric, Patient, curve_of, metric
from cardioclarity.intervals import Draws
from cardioclarity.metrics import Ranking, patient_aurocs
from cardioclarity.vocabulary import ABNORMAL_CLASSES

Floats = NDArray[np.float64]

NOMINAL: Final = (0.1, 0.05, 0.01, 0.005, 0.001)
FPR: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Scores and labels of one tested record.

    Attributes:
        name: The record.
        patient: Whose it is.
        classes: (beat,) N, S, V or F.
        scores: Per seed: scorer → (beat,) float32; -inf ranks last.
        p: Per seed (beat,) float32, p-values of the head.
        covered: Per seed how many beats are readable and scored.
    """

    name: str
    patient: str
    classes: NDArray[np.str_]
    scores: tuple[dict[str, NDArray[np.float32]], ...]
    p: tuple[NDArray[np.float32], ...]
    covered: tuple[int, ...]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """S, V and F beats."""
        anomalous: NDArray[np.bool_] = self.classes != "N"
        return anomalous


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """All tested records as one.

    Attributes:
        records: The tested records.
        patients: (patient,) names.
        whose: (beat,) int64, place of each beat's patient.
        classes: (beat,) N, S, V or F.
    """

    records: tuple[Scored, ...]
    patients: tuple[str, ...]
    whose: NDArray[np.int64]
    classes: NDArray[np.str_]

    @classmethod
    def of(cls, records: Sequence[Scored]) -> "Pool":
        """Join records; those of one patient stay one patient."""
        patients = tuple(dict.fromkeys(one.patient for one in records))
        place = {name: at for at, name in enumerate(patients)}
        whose = np.concatenate([np.full(len(one.classes), place[one.patient], np.int64) for one in records])
        classes = np.concatenate([one.classes for one in records])
        return cls(records=tuple(records), patients=patients, whose=whose, classes=classes)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """S, V and F beats."""
        anomalous: NDArray[np.bool_] = self.classes != "N"
        return anomalous

    @property
    def n_seeds(self) -> int:
        """Number of fits."""
        return len(self.records[0].scores)

    def scorers(self) -> tuple[str, ...]:
        """Name what was scored, the head first."""
        return tuple(self.records[0].scores[0])

    def scores(self, seed: int, scorer: str) -> NDArray[np.float32]:
        """(beat,) scores of one scorer and one fit."""
        return np.concatenate([one.scores[seed][scorer] for one in self.records])

    def p(self, seed: int) -> NDArray[np.float32]:
        """(beat,) p-values of the head of one fit."""
        return np.concatenate([one.p[seed] for one in self.records])

    def rankings(self, scorer: str, name: str | None = None) -> list[Ranking]:
        """Rank the beats, per fit; with a class only its beats against the normal ones."""
        kept = slice(None) if name is None else (self.classes == "N") | (self.classes == name)
        n_patients = len(self.patients)
        return [
            Ranking.of(self.scores(seed, scorer)[kept], self.positive[kept], self.whose[kept], n_patients=n_patients)
            for seed in range(self.n_seeds)
        ]

    def counted(self, values: NDArray[np.bool_]) -> Floats:
        """(patient,) how many of the beats are so."""
        return np.bincount(self.whose, weights=values, minlength=len(self.patients)).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subset:
    """Some of the patients, and the draws among them."""

    name: str
    kept: NDArray[np.bool_]
    draws: Draws
    weights: Floats

    @classmethod
    def of(cls, name: str, kept: NDArray[np.bool_]) -> "Subset":
        """Draw among those who are kept."""
        draws = Draws.of(kept)
        return cls(name=name, kept=kept, draws=draws, weights=draws.weights)

    @property
    def once(self) -> Floats:
        """(1, patient) each of them once."""
        return self.kept[None].astype(np.float64)

    def joined(self, part: str) -> str:
        """Name a part of this subset."""
        return part if self.name == "all" else f"{self.name}/{part}"


def found(
    referenced: Sequence[Scored], detected: Sequence[Scored], *, without: Sequence[str], detectors: Sequence[str]
) -> Found:
    """Give every figure of the beats.

    Args:
        referenced: The tested records, beats at their reference positions.
        detected: The same records, beats where the product finds them.
        without: Records; each whose patient is there gives a subset without that patient.
        detectors: Names of the beat detectors.
    """
    pool, own = Pool.of(referenced), Pool.of(detected)
    record_patient = {one.name: one.patient for one in referenced}
    subsets = [Subset.of("all", np.ones(len(pool.patients), bool))]
    for name in without:
        if name in record_patient and len(pool.patients) > 1:
            kept = np.array([patient != record_patient[name] for patient in pool.patients])
            subsets.append(Subset.of(f"without:{name}", kept))
    metrics: list[Metric] = []
    for subset in subsets:
        for scorer in pool.scorers():
            metrics += _aurocs(pool, subset, scorer)
        metrics += _head(pool, own, subset)
    notes = (f"scorers: {HEAD} is the whole head, the others are {', '.join(detectors)} and combinations of ae-…",)
    return Found(
        metrics=tuple(metrics),
        n_patients=len(pool.patients),
        n_records=len(pool.records),
        notes=notes,
        figures=_figures(pool),
    )


def _aurocs(pool: Pool, subset: Subset, scorer: str) -> Iterator[Metric]:
    """AUROC of one scorer: all anomalous beats, and each class by itself."""
    classes = [name for name in ABNORMAL_CLASSES if (pool.counted(pool.classes == name) * subset.kept).any()]
    for name in (None, *classes):
        rankings = pool.rankings(scorer, name)
        what = subset.name if name is None else subset.joined(f"class:{name}")
        yield _ranked("beat_auroc", what, rankings, subset, scorer=scorer)


def _head(pool: Pool, own: Pool, subset: Subset) -> Iterator[Metric]:
    """All else that the head is judged by."""
    for suffix, ranked in (("", pool), ("_detected", own)):
        rankings = ranked.rankings(HEAD)
        if suffix:
            yield _ranked(f"beat_auroc{suffix}", subset.name, rankings, subset)
        yield _ranked(f"beat_average_precision{suffix}", subset.name, rankings, subset)
        yield _ranked(f"beat_tpr_at_fpr_{FPR:g}{suffix}", subset.name, rankings, subset)
    yield _per_patient(
        "beat_auroc_patient_mean", subset, [_patient_aurocs(pool, seed) for seed in _seeds(pool)], np.mean
    )
    n_normal, n_anomalous = pool.counted(~pool.positive), pool.counted(pool.positive)
    for nominal in NOMINAL:
        alarms = [pool.p(seed) <= nominal for seed in _seeds(pool)]
        shares = [_divided(pool.counted(alarm & ~pool.positive), n_normal) for alarm in alarms]
        for name, statistic in (("mean", np.mean), ("median", np.median), ("p90", partial(np.percentile, q=90))):
            yield _per_patient(f"beat_fpr_at_nominal_{nominal:g}_patient_{name}", subset, shares, statistic)
        if nominal == FPR:
            caught = [pool.counted(alarm & pool.positive) for alarm in alarms]
            yield _pooled(f"beat_tpr_at_nominal_{nominal:g}", subset, caught, n_anomalous)
    covered = [_of_records(pool, [one.covered[seed] for one in pool.records]) for seed in _seeds(pool)]
    yield _pooled("coverage", subset, covered, pool.counted(np.ones(len(pool.whose), bool)))


def _seeds(pool: Pool) -> range:
    return range(pool.n_seeds)


def _ranked(name: str, what: str, rankings: Sequence[Ranking], subset: Subset, *, scorer: str = HEAD) -> Metric:
    """Measure rankings by what the name of the figure says."""
    measures = {"auroc": Ranking.auroc, "average_precision": Ranking.average_precision}
    measure = measures.get(name.removeprefix("beat_").removesuffix("_detected"), _tpr)
    counts = (rankings[0].n_positive + rankings[0].n_negative) * subset.kept
    return metric(
        scorer,
        name,
        what,
        [float(measure(one, subset.once)[0]) for one in rankings],
        [measure(one, subset.weights) for one in rankings],
        n_patients=int(subset.kept.sum()),
        n_items=int(counts.sum()),
    )


def _tpr(ranking: Ranking, weights: Floats) -> Floats:
    return ranking.tpr_at_fpr(FPR, weights)


def _per_patient(name: str, subset: Subset, values: Sequence[Floats], statistic: object) -> Metric:
    """Summarise one value per patient, those without one left out."""
    assert callable(statistic)
    everyone = Draws(drawn=np.flatnonzero(subset.kept)[None], n_all=len(subset.kept))
    n_known = int((~np.isnan(values[0]) & subset.kept).sum())
    return metric(
        HEAD,
        name,
        subset.name,
        [float(everyone.of_values(one, statistic)[0]) for one in values],
        [subset.draws.of_values(one, statistic) for one in values],
        n_patients=n_known,
        n_items=n_known,
    )


def _pooled(name: str, subset: Subset, parts: Sequence[Floats], whole: Floats) -> Metric:
    """Share of pooled beats."""
    return metric(
        HEAD,
        name,
        subset.name,
        [float(_divided(subset.once @ part, subset.once @ whole)[0]) for part in parts],
        [_divided(subset.weights @ part, subset.weights @ whole) for part in parts],
        n_patients=int(subset.kept.sum()),
        n_items=int((whole * subset.kept).sum()),
    )


def _of_records(pool: Pool, values: Sequence[int]) -> Floats:
    """(patient,) sums of one number per record."""
    places = [pool.patients.index(one.patient) for one in pool.records]
    return np.bincount(places, weights=values, minlength=len(pool.patients)).astype(np.float64)


def _patient_aurocs(pool: Pool, seed: int) -> Floats:
    """(patient,) AUROC of the head within each patient; NaN where too few beats tell."""
    return patient_aurocs(pool.scores(seed, HEAD), pool.positive, pool.whose, n_patients=len(pool.patients))


def _divided(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return share


def _figures(pool: Pool) -> Figures:
    """Keep what the page draws."""
    values = np.mean([_patient_aurocs(pool, seed) for seed in _seeds(pool)], axis=0)
    counts = (pool.counted(pool.positive), pool.counted(~pool.positive))
    shares = {x: _divided(pool.counted((pool.p(0) <= x) & ~pool.positive), counts[1]) for x in NOMINAL}
    told = {x: share[~np.isnan(share)] for x, share in shares.items()}
    return Figures(
        curves={scorer: curve_of(pool.rankings(scorer)[0]) for scorer in pool.scorers()},
        realised={
            x: (float(np.mean(one)), float(np.median(one)), float(np.percentile(one, 90)))
            for x, one in told.items()
            if len(one)
        },
        measure="beat_auroc",
        patients=tuple(
            Patient(name=name, value=float(value), n_positive=int(positive), n_negative=int(negative))
            for name, value, positive, negative in zip(pool.patients, values, *counts, strict=True)
        ),
    )
