"""Intervals over patients: the beats of one patient are no independent witnesses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST: Final = 5
"""Fewer patients give no interval: four can be drawn in 35 ways."""
N_DRAWS: Final = 1000
SEED: Final = 0
METHOD: Final = f"95 % percentile interval of a bootstrap over patients, {N_DRAWS} draws, seed {SEED}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Patients drawn with replacement, as many as there are, again and again.

    Attributes:
        drawn: (draw, n) int64, places of the drawn patients among all.
        n_all: How many patients there are in all, also those that no draw may hold.
    """

    drawn: NDArray[np.int64]
    n_all: int

    @classmethod
    def of(cls, kept: NDArray[np.bool_], *, n_draws: int = N_DRAWS) -> Self:
        """Draw among some of the patients.

        Args:
            kept: (patient,) bool, who may be drawn.
            n_draws: How often.
        """
        places = np.flatnonzero(kept)
        rng = np.random.default_rng(SEED)
        drawn = places[rng.integers(0, len(places), (n_draws, len(places)))] if len(places) else np.empty((n_draws, 0))
        return cls(drawn=drawn.astype(np.int64), n_all=len(kept))

    @property
    def weights(self) -> Floats:
        """(draw, patient) float64: how often each draw holds each patient."""
        counts = np.zeros((len(self.drawn), self.n_all))
        np.add.at(counts, (np.arange(len(self.drawn))[:, None], self.drawn), 1.0)
        return counts

    def of_values(self, values: Floats, statistic: Callable[..., Floats]) -> Floats:
        """(draw,) statistic of one value per patient over those drawn; NaN where none of them has a value.

        Args:
            values: (patient,) float64; NaN where a patient has none.
            statistic: Such as `numpy.mean`; takes an axis.
        """
        taken = values[self.drawn]
        known = ~np.isnan(taken)
        found = np.full(len(taken), np.nan)
        for n_known in np.unique(known.sum(axis=1)):  # draws alike in how many values they hold go together
            rows = known.sum(axis=1) == n_known
            if n_known:
                found[rows] = statistic(taken[rows][known[rows]].reshape(-1, n_known), axis=1)
        return found

    def of_counts(self, counts: Floats, ratio: Callable[[Floats], Floats]) -> Floats:
        """(draw,) ratio of the summed counts of those drawn.

        Args:
            counts: (patient, count) float64.
            ratio: From (draw, count) sums to (draw,) values.
        """
        return ratio(self.weights @ counts)


def interval(values: Floats, *, n_patients: int) -> tuple[float, float]:
    """Give the 2.5 and 97.5 percentiles of what the draws gave, those without a value left out.

    Args:
        values: (draw,) float64.
        n_patients: Of how many they were drawn; fewer than five get NaN.
    """
    told = values[~np.isnan(values)]
    if n_patients < FEWEST or not told.size:
        return float("nan"), float("nan")
    low, high = np.percentile(told, [2.5, 97.5])
    return float(low), float(high)
