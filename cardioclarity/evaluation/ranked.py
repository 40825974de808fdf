"""Items of several patients with their scores, and the figures of their ranking: windows, records or series."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardioclarity.evaluation.results import Metric, metric
from cardioclarity.intervals import Draws
from cardioclarity.metrics import Ranking


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Items:
    """What is ranked.

    Attributes:
        scores: Per seed (item,) scores; -inf ranks last.
        positive: (item,) bool.
        patients: (item,) whose each is.
    """

    scores: tuple[NDArray[np.floating], ...]
    positive: NDArray[np.bool_]
    patients: tuple[str, ...]

    def ranking(self, seed: int = 0) -> Ranking:
        """Rank all items by the scores of one fit."""
        names, whose = np.unique(np.array(self.patients, dtype=object).astype(str), return_inverse=True)
        return Ranking.of(self.scores[seed], self.positive, whose, n_patients=len(names))


def ranked(scorer: str, name: str, subset: str, items: Items, kept: NDArray[np.bool_]) -> Metric:
    """Give the AUROC of some of the items.

    Args:
        scorer: As in `Metric`.
        name: As in `Metric`.
        subset: As in `Metric`.
        items: All items.
        kept: (item,) bool, which of them.
    """
    some = Items(
        scores=tuple(scores[kept] for scores in items.scores),
        positive=items.positive[kept],
        patients=tuple(patient for patient, keep in zip(items.patients, kept, strict=True) if keep),
    )
    rankings = [some.ranking(seed) for seed in range(len(some.scores))]
    n_patients = len(rankings[0].n_positive)
    weights = Draws.of(np.ones(n_patients, bool)).weights
    return metric(
        scorer,
        name,
        subset,
        [float(one.auroc()[0]) for one in rankings],
        [one.auroc(weights) for one in rankings],
        n_patients=n_patients,
        n_items=int(kept.sum()),
    )
