"""What was measured of a model on patients whom the fit that scored them had not seen: figures, worst first, and words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cardioclarity.intervals import FEWEST, Draws, interval
from cardioclarity.metrics import Ranking, patient_aurocs

Floats = NDArray[np.float64]

NORMAL: Final = "N"
"""The class of normal items; every other word is a class of abnormal ones, and an item without a word counts for none."""

N_WORST: Final = 3
LEAST_HOURS: Final = 1 / 12
"""Five minutes: of a shorter stretch of normal ECG one alarm makes more than a dozen per hour, which says nothing."""

FULL_ITEMS: Final = 360
"""A patient with fewer items counts by what he gave, in a mean as in a calibration."""

RECORD_DIGITS: Final = 8
"""Digits of a record id that name a patient: as many as the report shows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """What one head says of a record, and what its annotations say.

    Attributes:
        record_id: The record.
        patient: Whose it is.
        scores: (item,) float, higher is stranger; NaN, where the head abstains, ranks last.
        classes: (item,) str: N, the class of an abnormal item, or empty.
    """

    record_id: str
    patient: str
    scores: NDArray[np.floating]
    classes: NDArray[np.str_]

    def __post_init__(self) -> None:
        """Check that each score has its class."""
        assert self.scores.shape == self.classes.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An AUROC of abnormal against normal items.

    Attributes:
        what: Which abnormal items: a class, ``all``, ``mean over patients``, or the first digits of one patient's record.
        auroc: The figure; None where nothing tells.
        low: Lower end of its 95 % interval over patients; None where they are too few.
        high: Upper end of it.
        patients: How many patients gave abnormal items.
        abnormal: How many abnormal items.
        normal: How many normal ones.
        normal_patients: How many patients gave normal items.
    """

    what: str
    auroc: float | None
    low: float | None
    high: float | None
    patients: int
    abnormal: int
    normal: int
    normal_patients: int

    def value(self) -> str:
        """Write the figure alone."""
        return "not measured" if self.auroc is None else f"{self.auroc:.4f}"

    def interval(self) -> str:
        """Write the interval, or why there is none."""
        if self.auroc is None:
            return "none there" if not self.abnormal else "too few in each patient"
        if self.low is None or self.high is None:
            return "too few patients"
        return f"{self.low:.4f} to {self.high:.4f}"

    def basis(self) -> str:
        """Say what the figure rests on."""
        of = "patient" if self.patients == 1 else "patients"
        return f"{self.abnormal} abnormal of {self.patients} {of}, {self.normal} normal of {self.normal_patients}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How well one head ranks abnormal items above normal ones.

    Attributes:
        item: What is ranked: ``beat`` or ``window``.
        patients: The patients, none of whom any fit has seen.
        records: Their records.
        overall: All abnormal items against all normal ones.
        classes: Each class against the normal ones, the worst first.
        patient_mean: Mean of the AUROC within each patient who has enough of both kinds.
        worst_patients: The patients of the lowest AUROC, the worst first.
    """

    item: str
    patients: int
    records: int
    overall: Figure
    classes: tuple[Figure, ...]
    patient_mean: Figure
    worst_patients: tuple[Figure, ...]

    @classmethod
    def load(cls, told: object) -> Self | None:
        """Rebuild from the JSON of `dataclasses.asdict`; None from anything else, as a model of before has it."""
        if not isinstance(told, Mapping) or "overall" not in told:
            return None
        one = {name: Figure(**told[name]) for name in ("overall", "patient_mean")}
        many = {name: tuple(Figure(**figure) for figure in told[name]) for name in ("classes", "worst_patients")}
        return cls(**{**told, **one, **many})

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Give every figure over patients with its name."""
        yield f"all abnormal {self.item}s", self.overall
        yield from ((f"class {one.what}", one) for one in self.classes)
        yield "mean over patients", self.patient_mean

    def lines(self) -> Iterator[str]:
        """Say it all, a sentence per figure."""
        for name, one in self.figures():
            yield f"{name}: AUROC {one.value()} ({one.interval()}; {one.basis()})"
        worst = (
            f"{one.what} {one.value()} ({one.abnormal} abnormal, {one.normal} normal)" for one in self.worst_patients
        )
        yield f"worst patients, by a record of theirs: {', '.join(worst) or 'none has enough of both kinds'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """False alarms of one patient.

    Attributes:
        what: The first digits of a record of the patient.
        alarms: Normal items at or below the level.
        items: Of so many that were judged.
        hours: Of normal ECG that they stand for.
    """

    what: str
    alarms: int
    items: int
    hours: float

    @property
    def per_hour(self) -> float:
        """Alarms per hour of normal ECG."""
        return self.alarms / self.hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """False alarms per hour of normal ECG on patients left out of the calibration, beside what was asked for.

    The patient's own scores come from fits without him: for beats the model's members, for windows a fit on the other folds
    of all patients. Single beats or windows count, before neighbours are merged into one event.

    Attributes:
        head: ``beat`` or ``rhythm``.
        asked: Alarms per hour that the level asks for.
        patients: Each was left out of the calibration in turn.
        alarms: Of all of them.
        hours: Of normal ECG of all of them.
        mean: Alarms per hour, mean over patients; who gave fewer than 360 items has as much less weight.
        long: How many patients have five minutes or more of normal ECG.
        median: Alarms per hour, median over them; None without any.
        largest: That of the worst of them.
        worst: Those of them with the most alarms per hour, the worst first.
    """

    head: str
    asked: float
    patients: int
    alarms: int
    hours: float
    mean: float
    long: int
    median: float | None
    largest: float | None
    worst: tuple[Alarms, ...]

    @classmethod
    def of(cls, head: str, asked: float, patients: Sequence[Alarms]) -> Self:
        """Sum up what the patients met; there must be one."""
        per_hour, weights = [one.per_hour for one in patients], [min(one.items, FULL_ITEMS) for one in patients]
        long = [one for one in patients if one.hours >= LEAST_HOURS]
        worst = sorted(long, key=lambda one: (-one.per_hour, one.what))
        return cls(
            head=head,
            asked=asked,
            patients=len(patients),
            alarms=sum(one.alarms for one in patients),
            hours=sum(one.hours for one in patients),
            mean=float(np.average(per_hour, weights=weights)),
            long=len(long),
            median=float(np.median([one.per_hour for one in long])) if long else None,
            largest=worst[0].per_hour if long else None,
            worst=tuple(worst[:N_WORST]),
        )

    @classmethod
    def load(cls, told: Mapping[str, Any]) -> Self:
        """Rebuild from the JSON of `dataclasses.asdict`."""
        return cls(**{**told, "worst": tuple(Alarms(**one) for one in told["worst"])})

    def asked_for(self) -> str:
        """Write the rate that was asked for, per day where that is easier to read."""
        return f"{self.asked:.3g} per hour" if self.asked >= 0.5 else f"{24 * self.asked:.3g} per day"

    def of_patients(self) -> str:
        """Write how the patients differ."""
        if self.median is None or self.largest is None:
            return "no patient has 5 minutes or more"
        return f"median {_about(self.median)}, largest {_about(self.largest)} of the {self.long} with 5 minutes or more"

    def most(self) -> str:
        """Name the patients of the most alarms; empty where nobody met any."""
        return ", ".join(f"{one.what} {one.alarms} in {one.hours:.2f} h" for one in self.worst if one.alarms)

    def line(self) -> str:
        """Say it in a line."""
        most = self.most()
        return (
            f"{self.head}, {self.asked_for()} asked for: {_about(self.mean)} per hour, mean over {self.patients} patients "
            f"({self.alarms} alarms in {self.hours:.2f} h); {self.of_patients()}" + (f"; most: {most}" if most else "")
        )


def measure(records: Sequence[Labelled], *, item: str, classes: Sequence[str] = ()) -> Measured | None:
    """Hold a head against the annotations of patients whom it has not seen.

    Args:
        records: Their records; the order does not matter.
        item: What is ranked: ``beat`` or ``window``.
        classes: Classes that are told of even where no item has them; others follow as they occur.

    Returns:
        The figures; None where no item is known to be abnormal, or none to be normal.
    """
    ordered = sorted(records, key=lambda one: one.record_id)
    names = {one.patient: one.record_id[:RECORD_DIGITS] for one in reversed(ordered)}
    place = {patient: at for at, patient in enumerate(names)}
    words = np.concatenate([np.zeros(0, "<U1"), *(one.classes for one in ordered)])
    scores = np.concatenate([np.zeros(0), *(np.nan_to_num(one.scores, nan=-np.inf) for one in ordered)])
    whose = np.repeat([place[one.patient] for one in ordered], [len(one.classes) for one in ordered]).astype(np.int64)
    is_normal, is_abnormal = words == NORMAL, (words != NORMAL) & (words != "")
    if not (is_normal.any() and is_abnormal.any()):
        return None

    def figure(what: str, chosen: NDArray[np.bool_]) -> Figure:
        kept = chosen | is_normal
        return _figure(what, Ranking.of(scores[kept], chosen[kept], whose[kept], n_patients=len(place)))

    known = dict.fromkeys((*classes, *np.unique(words[is_abnormal]).tolist()))
    told = is_normal | is_abnormal
    own = patient_aurocs(scores[told], is_abnormal[told], whose[told], n_patients=len(place))
    counts = [np.bincount(whose[chosen], minlength=len(place)) for chosen in (is_abnormal, is_normal)]
    mean = _mean(own, *counts)
    alone = [
        Figure(
            what=name,
            auroc=float(area),
            low=None,
            high=None,
            patients=1,
            abnormal=int(abnormal),
            normal=int(normal),
            normal_patients=1,
        )
        for name, area, abnormal, normal in zip(names.values(), own, *counts, strict=True)
        if np.isfinite(area)
    ]
    return Measured(
        item=item,
        patients=len(place),
        records=len(ordered),
        overall=figure("all", is_abnormal),
        classes=_worst_first([figure(name, words == name) for name in known]),
        patient_mean=mean,
        worst_patients=_worst_first(alone)[:N_WORST],
    )


def _worst_first(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Order by the figure; what could not be measured comes last."""
    return tuple(sorted(figures, key=lambda one: (2.0 if one.auroc is None else one.auroc, one.what)))


def _figure(what: str, ranking: Ranking) -> Figure:
    """Take the AUROC, and its interval over the patients: each kind of items must come from enough of them."""
    patients, normal_patients = (int((given > 0).sum()) for given in (ranking.n_positive, ranking.n_negative))
    fewest = min(patients, normal_patients)
    draws = Draws.of(np.ones(len(ranking.n_positive), bool))
    low, high = _interval(ranking.auroc(draws.weights) if fewest >= FEWEST else None, fewest)
    return Figure(
        what=what,
        auroc=_known(ranking.auroc()[0]),
        low=low,
        high=high,
        patients=patients,
        abnormal=int(ranking.n_positive.sum()),
        normal=int(ranking.n_negative.sum()),
        normal_patients=normal_patients,
    )


def _mean(own: Floats, abnormal: NDArray[np.int64], normal: NDArray[np.int64]) -> Figure:
    """Take the mean over the patients who have an AUROC of their own."""
    is_told = np.isfinite(own)
    patients = int(is_told.sum())
    drawn = Draws.of(np.ones(len(own), bool)).of_values(own, np.mean) if patients >= FEWEST else None
    low, high = _interval(drawn, patients)
    return Figure(
        what="mean over patients",
        auroc=float(own[is_told].mean()) if patients else None,
        low=low,
        high=high,
        patients=patients,
        abnormal=int(abnormal[is_told].sum()),
        normal=int(normal[is_told].sum()),
        normal_patients=patients,
    )


def _interval(drawn: Floats | None, patients: int) -> tuple[float | None, float | None]:
    if drawn is None:
        return None, None
    low, high = interval(drawn, n_patients=patients)
    return _known(low), _known(high)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _about(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
