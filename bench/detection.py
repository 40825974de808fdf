"""D2 to D7, D14: the beat head on the development half of MIT-BIH, patients held out fold by fold."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import mitbih
from bench.rows import Row
from cardioclarity import evaluation, training
from cardioclarity.evaluation.fits import HEAD, Plan
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.results import Metric
from cardioclarity.evaluation.subjects import gather
from cardioclarity.storage import open_storage

N_FOLDS = 4
GOALS = {
    "auroc": ("D2", 0.94),
    "auroc_patient_mean": ("D4", 0.975),
    "average_precision": ("D5", 0.96),
    "tpr_at_fpr_0.01": ("D5", 0.94),
    "auroc_S": ("D6", 0.98),
    "auroc_V": ("D6", 0.999),
    "auroc_F": ("D6", 0.97),
}
GOALS_DETECTED = {"auroc": ("D14", 0.99), "tpr_at_fpr_0.01": ("D14", 0.90)}
"""Metric of the whole head → goal and least value; the goals are set for the other half of the database."""

Figures = Mapping[tuple[str, str, str], Metric]


def measure(
    archive: Path | None = None,
    *,
    names: Sequence[str] = mitbih.DEVELOPMENT,
    detectors: Sequence[str] = (),
    seed: int = 0,
) -> list[Row]:
    """Fit on the patients of three folds and score the fourth, in turn: by reference R peaks, and by detected ones.

    Args:
        archive: Folder of MIT-BIH.
        names: Its records, one per patient.
        detectors: Beat detectors; the default ensemble where empty.
        seed: Of the fit.
    """
    protocol = Protocol(name="development", kind="beats", n_folds=N_FOLDS, folded=tuple(names))
    archives = [open_storage(str(archive or mitbih.archive()))]
    chosen = tuple(detectors) or training.DEFAULT_BEAT_DETECTORS
    found = evaluation.run(protocol, gather(protocol, archives), archives, Plan(seeds=(seed,), detectors=chosen))
    figures = {(one.scorer, one.name, one.subset): one for one in found.metrics}
    scorers = [scorer for scorer in dict.fromkeys(one.scorer for one in found.metrics) if scorer != HEAD]
    return [
        *_rows(figures, HEAD, GOALS),
        *_false_positives(figures),
        *_rows(figures, HEAD, GOALS_DETECTED, suffix="_detected", how=", own R peaks"),
        *(row for scorer in scorers for row in _rows(figures, scorer, {})),
    ]


def _rows(
    figures: Figures,
    scorer: str,
    goals: Mapping[str, tuple[str, float]],
    *,
    suffix: str = "",
    how: str = "",
) -> list[Row]:
    """The figures of one scorer, each under the name that the bench has always given it."""
    names = {metric: (f"beat_{metric}{suffix}", "all") for metric in GOALS if metric[-2:-1] != "_"}
    names |= {f"auroc_{name}": ("beat_auroc", f"class:{name}") for name in "SVF" if not suffix}
    rows = []
    for metric, key in names.items():
        if (one := figures.get((scorer, *key))) is not None:
            goal, least = goals.get(metric, ("", None))
            rows.append(_row(one, goal=goal, what=f"{scorer}{how}: {metric}", at_least=least))
    return rows


def _false_positives(figures: Figures) -> list[Row]:
    """The normal beats of unseen patients whose p-value is at most the nominal 1 %."""
    what, name = "beat: false positives at nominal 0.01, {} of patients", "beat_fpr_at_nominal_0.01_patient_{}"
    mean, median, most = (figures[HEAD, name.format(kind), "all"] for kind in ("mean", "median", "p90"))
    caught = figures[HEAD, "beat_tpr_at_nominal_0.01", "all"]
    return [
        _row(mean, goal="D7", what=what.format("mean"), at_least=0.005, at_most=0.013),
        _row(median, goal="D7", what=what.format("median")),
        _row(most, goal="D7", what=what.format("90th percentile"), at_most=0.03),
        _row(caught, goal="D7", what="beat: caught at nominal 0.01"),
    ]


def _row(one: Metric, *, goal: str, what: str, at_least: float | None = None, at_most: float | None = None) -> Row:
    return Row(
        goal=goal,
        what=what,
        unit="",
        ours=one.value,
        low=one.low,
        high=one.high,
        at_least=at_least,
        at_most=at_most,
    )
