"""Measures of a ranking, from scores and truths; each patient may count several times, as a bootstrap draws them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

LEAST_POSITIVE: Final = 10
LEAST_NEGATIVE: Final = 11
"""A patient with fewer items of either kind has no AUROC of its own."""

_BLOCK: Final = 1 << 22  # numbers of a block of thresholds: bounds the memory, whatever the size of the database


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive ranks above a negative, ties counting half.

    Args:
        scores: (item,) float, higher is stranger.
        positive: (item,) bool.

    Returns:
        0 to 1; NaN where one of the two kinds is absent.

    Source: Mann and Whitney 1947, 10.1214/aoms/1177730491.
    """
    return float(Ranking.of(scores, positive).auroc()[0])


def patient_aurocs(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], patient: NDArray[np.int64], *, n_patients: int
) -> Floats:
    """Area under the ROC curve within each patient.

    Args:
        scores: (item,) float, higher is stranger; -inf ranks last.
        positive: (item,) bool.
        patient: (item,) int64, whose each is, from 0.
        n_patients: How many patients there are.

    Returns:
        (patient,) float64; NaN where a patient has too few items of either kind.
    """
    values = np.full(n_patients, np.nan)
    for at in range(n_patients):
        mine = patient == at
        if positive[mine].sum() >= LEAST_POSITIVE and (~positive[mine]).sum() >= LEAST_NEGATIVE:
            values[at] = auroc(scores[mine], positive[mine])
    return values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Items sorted once, from which every measure follows for any weights of the patients.

    Only the distinct scores of positives matter as thresholds: between two of them neither recall nor the negatives
    above a positive change.

    Attributes:
        threshold: (threshold,) float64, the distinct scores of positives, descending.
        negatives: Per patient the ascending scores of the negatives.
        positives: Per patient the ascending places of its positives among the thresholds.
        n_positive: (patient,) float64.
        n_negative: (patient,) float64.
    """

    threshold: Floats
    negatives: tuple[Floats, ...]
    positives: tuple[NDArray[np.int64], ...]
    n_positive: Floats
    n_negative: Floats

    @classmethod
    def of(
        cls,
        scores: NDArray[np.floating],
        positive: NDArray[np.bool_],
        patient: NDArray[np.int64] | None = None,
        *,
        n_patients: int = 1,
    ) -> Self:
        """Sort the items; their order does not matter.

        Args:
            scores: (item,) float, higher is stranger; -inf ranks last, NaN is our own mistake.
            positive: (item,) bool.
            patient: (item,) int64, whose each is, from 0; one patient where left out.
            n_patients: How many patients there are, also those without an item.
        """
        assert not np.isnan(scores).any(), "a score that is not known has no rank"
        values = np.asarray(scores, np.float64)
        whose = np.zeros(len(values), np.int64) if patient is None else patient
        ascending, place = np.unique(values[positive], return_inverse=True)
        place = len(ascending) - 1 - place
        negatives = _apart(values[~positive], whose[~positive], n_patients)
        positives = _apart(place, whose[positive], n_patients)
        return cls(
            threshold=ascending[::-1],
            negatives=negatives,
            positives=positives,
            n_positive=np.array([len(own) for own in positives], np.float64),
            n_negative=np.array([len(own) for own in negatives], np.float64),
        )

    def auroc(self, weights: Floats | None = None) -> Floats:
        """Area under the ROC curve, ties counting half.

        Args:
            weights: (draw, patient) float64, how often each patient counts; each once where left out.

        Returns:
            (draw,) float64; NaN where a draw holds one of the two kinds only.
        """
        drawn = self._weights(weights)
        wins = np.zeros((len(self.n_positive), len(self.n_positive)))
        for here, above, tied in self._blocks():
            wins += here.T @ (self.n_negative - above - tied / 2)
        won = np.einsum("dp,pq,dq->d", drawn, wins, drawn, optimize=True)
        return _share(won, (drawn @ self.n_positive) * (drawn @ self.n_negative))

    def average_precision(self, weights: Floats | None = None) -> Floats:
        """Area under the precision-recall curve by steps: precision at each threshold, weighted by its positives.

        Args:
            weights: As for `auroc`.

        Returns:
            (draw,) float64; NaN where a draw holds no positive.
        """
        drawn = self._weights(weights)
        area = np.zeros(len(drawn))
        for here, caught, false in self._sums(drawn):
            area += np.divide(here * caught, caught + false, out=np.zeros_like(here), where=caught > 0).sum(axis=0)
        return _share(area, drawn @ self.n_positive)

    def tpr_at_fpr(self, fpr: float, weights: Floats | None = None) -> Floats:
        """Share of positives that is caught by the lowest threshold that flags at most so many of the negatives.

        Args:
            fpr: Share of the negatives that may be flagged.
            weights: As for `auroc`.

        Returns:
            (draw,) float64; NaN where a draw holds one of the two kinds only.
        """
        drawn = self._weights(weights)
        n_negative, most = drawn @ self.n_negative, np.zeros(len(drawn))
        allowed = fpr * n_negative * (1 + 1e-12)
        for _, caught, false in self._sums(drawn):
            most = np.maximum(most, np.where(false <= allowed, caught, 0.0).max(axis=0))
        return _share(np.where(n_negative > 0, most, np.nan), drawn @ self.n_positive)

    def curve(self) -> tuple[Floats, Floats, Floats]:
        """Give FPR, TPR and precision at each threshold, all patients counted once."""
        blocks = list(self._sums(self._weights(None)))
        caught, false = (np.concatenate([np.zeros(0), *(block[at][:, 0] for block in blocks)]) for at in (1, 2))
        precision = caught / np.maximum(caught + false, 1.0)
        return (
            _share(false, np.full(len(false), self.n_negative.sum())),
            _share(caught, np.full(len(caught), self.n_positive.sum())),
            precision,
        )

    def _weights(self, weights: Floats | None) -> Floats:
        return np.ones((1, len(self.n_positive))) if weights is None else weights

    def _sums(self, drawn: Floats) -> Iterator[tuple[Floats, Floats, Floats]]:
        """(threshold, draw) blocks: positives at each threshold, and positives and negatives at or above it."""
        caught_before = np.zeros(len(drawn))
        for here, above, tied in self._blocks(width=len(drawn)):
            at = here @ drawn.T
            caught = caught_before + np.cumsum(at, axis=0)
            caught_before = caught[-1]
            yield at, caught, (above + tied) @ drawn.T

    def _blocks(self, *, width: int = 1) -> Iterator[tuple[Floats, Floats, Floats]]:
        """(threshold, patient) blocks: positives at each threshold, negatives above it, negatives tied with it."""
        n_patients = len(self.n_positive)
        step = max(1, _BLOCK // max(n_patients, width, 1))
        for start in range(0, len(self.threshold), step):
            values = self.threshold[start : start + step]
            here, above, tied = (np.empty((len(values), n_patients)) for _ in range(3))
            for patient, (negatives, places) in enumerate(zip(self.negatives, self.positives, strict=True)):
                right = np.searchsorted(negatives, values, side="right")
                above[:, patient] = len(negatives) - right
                tied[:, patient] = right - np.searchsorted(negatives, values, side="left")
                first, stop = np.searchsorted(places, [start, start + len(values)])
                here[:, patient] = np.bincount(places[first:stop] - start, minlength=len(values))
            yield here, above, tied


def _apart(values: NDArray[T], whose: NDArray[np.int64], n_patients: int) -> tuple[NDArray[T], ...]:
    """Give each patient its values, ascending."""
    order = np.lexsort((values, whose))
    edges = np.searchsorted(whose[order], np.arange(1, n_patients))
    return tuple(np.split(values[order], edges))


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return share
