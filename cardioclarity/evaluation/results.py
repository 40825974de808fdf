"""What an evaluation found: each figure with its interval, as a table for people, as JSON and as Markdown."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.intervals import METHOD, Draws, interval
from cardioclarity.metrics import Ranking

Floats = NDArray[np.float64]

HEADINGS: Final = ("scorer", "metric", "subset", "value", "95 % interval", "patients", "items")
_SCHEMA: Final = 1
_CURVE_POINTS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure.

    Attributes:
        scorer: Detector, combination or head that was measured.
        name: What was measured, such as ``beat_auroc``.
        subset: Of what: ``all``, ``without:232``, ``class:S``, joined by a slash.
        value: The figure, the mean over the seeds; NaN where it is not defined.
        low: Lower end of its interval; NaN without.
        high: Upper end of it.
        n_patients: How many patients it rests on.
        n_items: How many beats, windows or records.
        seeds: The figure of each seed.
    """

    scorer: str
    name: str
    subset: str
    value: float
    low: float
    high: float
    n_patients: int
    n_items: int
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One tested patient, for the page: who is worst, and of how many items.

    Attributes:
        name: As the protocol names the patient.
        value: The measure of the patient alone, mean over the seeds.
        n_positive: Anomalous items.
        n_negative: Normal items.
    """

    name: str
    value: float
    n_positive: int
    n_negative: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the page draws.

    Attributes:
        curves: Scorer → (FPR, TPR, precision) along the thresholds, of the first seed.
        realised: Nominal false-positive rate → realised mean, median and 90th percentile of the patients.
        measure: What the patients' values are.
        patients: The tested patients.
    """

    curves: Mapping[str, tuple[Floats, Floats, Floats]] = field(default_factory=dict)
    realised: Mapping[float, tuple[float, float, float]] = field(default_factory=dict)
    measure: str = ""
    patients: tuple[Patient, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one kind of protocol measured.

    Attributes:
        metrics: The figures.
        n_patients: Tested patients.
        n_records: Tested records.
        notes: Sentences that a reader must know.
        figures: What the page draws.
    """

    metrics: tuple[Metric, ...]
    n_patients: int
    n_records: int
    notes: tuple[str, ...] = ()
    figures: Figures = Figures()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A protocol, what it was run on, and what came of it.

    Attributes:
        protocol: Name of the protocol.
        title: What it is, in a line.
        source: Where it is defined.
        split: Who was trained on, and who was tested.
        model: Id of the evaluated model; None where the protocol fitted its own.
        detectors: Beat detectors that were asked for; empty: all of them.
        seeds: Seeds of the fits; none where nothing was fitted.
        found: What was measured.
        versions: Of the software.
    """

    protocol: str
    title: str
    source: str
    split: str
    model: str | None
    detectors: tuple[str, ...]
    seeds: tuple[int, ...]
    found: Found
    versions: Mapping[str, str]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The figures."""
        return self.found.metrics

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader must know."""
        return self.found.notes

    def facts(self) -> dict[str, str]:
        """Say what must stand beside every figure."""
        seeds = ", ".join(map(str, self.seeds)) or "none, nothing is drawn"
        facts = {
            "protocol": f"{self.protocol}: {self.title}".removesuffix(": "),
            "source": self.source,
            "split": self.split,
            "model": self.model or "none, what the protocol needs it fits itself",
            "seeds": seeds,
            "tested": f"{self.found.n_patients} patients, {self.found.n_records} records",
            "interval": METHOD,
        }
        return {name: said for name, said in facts.items() if said}

    def rows(self) -> list[tuple[str, ...]]:
        """Lay the figures out for people."""
        return [
            (
                *(one.scorer, one.name, one.subset, short(one.value), _between(one)),
                *(str(one.n_patients), str(one.n_items)),
            )
            for one in self.metrics
        ]

    def lines(self) -> Iterator[str]:
        """Say it all on a terminal."""
        yield from (f"{name}: {value}" for name, value in self.facts().items())
        yield from (f"note: {note}" for note in self.notes)
        rows = [HEADINGS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    def as_json(self) -> dict[str, Any]:
        """Lay it all out for machines; a figure that is not defined is null."""
        return {
            "verb": "evaluate",
            "schema": _SCHEMA,
            **self.facts(),
            "protocol": self.protocol,
            "title": self.title,
            "source": self.source,
            "model": self.model,
            "detectors": list(self.detectors),
            "seeds": list(self.seeds),
            "n_patients": self.found.n_patients,
            "n_records": self.found.n_records,
            "notes": list(self.notes),
            "versions": dict(self.versions),
            "metrics": [_metric(one) for one in self.metrics],
            "patients": [
                {
                    "patient": one.name,
                    self.found.figures.measure: known(one.value),
                    "n_positive": one.n_positive,
                    "n_negative": one.n_negative,
                }
                for one in self.found.figures.patients
            ],
        }

    def markdown(self) -> str:
        """Write it all as a Markdown document."""
        facts = [f"- **{name}**: {_cell(value)}" for name, value in self.facts().items()]
        notes = [f"> {_cell(note)}" for note in self.notes]
        table = [HEADINGS, ("---",) * len(HEADINGS), *self.rows()]
        rows = [f"| {' | '.join(map(_cell, row))} |" for row in table]
        paragraphs = [f"# Evaluation: {self.protocol}", "\n".join(facts), "\n>\n".join(notes), "\n".join(rows)]
        foot = "For research use only. Not a medical device."
        return "\n\n".join([part for part in paragraphs if part] + [foot]) + "\n"


def metric(  # noqa: PLR0913 - one figure has so many sides
    scorer: str,
    name: str,
    subset: str,
    values: Sequence[float],
    drawn: Sequence[Floats],
    *,
    n_patients: int,
    n_items: int,
) -> Metric:
    """Join the seeds: the mean of the figure, and the interval of its mean within each draw.

    Args:
        scorer: As in `Metric`.
        name: As in `Metric`.
        subset: As in `Metric`.
        values: The figure of each seed.
        drawn: Per seed (draw,) float64, the figure of each draw.
        n_patients: As in `Metric`.
        n_items: As in `Metric`.
    """
    low, high = interval(np.mean(np.stack(drawn), axis=0), n_patients=n_patients)
    value = float(np.mean(values))
    return Metric(
        scorer=scorer,
        name=name,
        subset=subset,
        value=value,
        low=low,
        high=high,
        n_patients=n_patients,
        n_items=n_items,
        seeds=tuple(map(float, values)),
    )


def curve_of(ranking: Ranking) -> tuple[Floats, Floats, Floats]:
    """Give FPR, TPR and precision along the thresholds, thinned to what a figure can show."""
    fpr, tpr, precision = ranking.curve()
    kept = np.unique(np.linspace(0, max(len(fpr) - 1, 0), min(len(fpr), _CURVE_POINTS)).round().astype(np.int64))
    return fpr[kept], tpr[kept], precision[kept]


def ratio_metric(scorer: str, name: str, subset: str, parts: Floats, wholes: Floats) -> Metric:
    """Join counts of patients to one share, with its interval.

    Args:
        scorer: As in `Metric`.
        name: As in `Metric`.
        subset: As in `Metric`.
        parts: (patient,) float64, what is counted.
        wholes: (patient,) float64, of how many; patients with none tell nothing.
    """
    counts = np.stack([parts, wholes], axis=1).astype(np.float64)
    counts = counts[counts[:, 1] > 0]
    values = Draws.of(np.ones(len(counts), bool)).of_counts(counts, _ratio)
    value = float(_ratio(counts.sum(axis=0, keepdims=True))[0])
    n_items = int(counts[:, 1].sum())
    return metric(scorer, name, subset, [value], [values], n_patients=len(counts), n_items=n_items)


def _ratio(sums: Floats) -> Floats:
    whole = sums[:, 1]
    share: Floats = np.divide(sums[:, 0], whole, out=np.full(len(sums), np.nan), where=whole > 0)
    return share


def known(value: float) -> float | None:
    """Replace NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


def short(value: float) -> str:
    """Write a figure with four digits."""
    return "not defined" if math.isnan(value) else f"{value:.4g}"


def _metric(one: Metric) -> dict[str, object]:
    numbers = {name: known(getattr(one, name)) for name in ("value", "low", "high")}
    counts = {"n_patients": one.n_patients, "n_items": one.n_items}
    seeds = [known(value) for value in one.seeds]
    return {"scorer": one.scorer, "name": one.name, "subset": one.subset, **numbers, **counts, "seeds": seeds}


def _between(one: Metric) -> str:
    return "none" if math.isnan(one.low) else f"{short(one.low)} to {short(one.high)}"


def _cell(text: str) -> str:
    """Keep a text inside one cell or line of Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")
