"""From scores to p-values: how often a normal item of a patient never seen scores at least as high."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from cardioclarity.measured import FULL_ITEMS

Floats = NDArray[np.float32] | NDArray[np.float64]

_SMALLEST_P: Final = 1e-30  # a p-value is never 0, so that its logarithm is finite; float32 holds it
_TAIL_SHARE: Final = 0.01  # p of the score whose mean excess gives the slope beyond the largest
_TAIL_ITEMS: Final = 10  # at least so many
_ALIKE: Final = 1e-9  # logarithms of p-values that differ by no more are one, summed in different ways
_SLOPE: Final = 0.001  # of a step, in logarithms
_KNOTS: Final = 4096  # an archive has millions of normal beats; p is kept to 0.5 % with so many


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A strictly decreasing map from score to p-value.

    Up to the largest calibration score it is the conformal p-value, (1 + weight of normals at or above) / (1 + total
    weight), joined by lines in log p, which lie on or above its steps and so keep it valid; beyond, p falls
    exponentially, so that two very strange items never tie. Each patient has the same total weight, as a long record must
    not own the tail; but one with fewer than 360 items has as much less, or his only two would own it.

    Hearts differ more than the beats of one, so that few patients make p-values too small for the next: on the mean over
    patients who were never seen, twice a nominal 1 %. So each patient is judged by the others too, and p is raised to the
    share of all items that are as strange to the others of their patient as this p says. What lies beyond every patient is
    extrapolated: where hearts differ a lot, p of 1 in 5,000 is realised two or three times as often with 20 patients to
    calibrate by, ten times with 5, as stated with 100.

    Attributes:
        score: (knot,) float64, ascending; empty where no normal item was there: every p-value is NaN then.
        log_p: (knot,) float64, natural logarithm of the p-value at each knot.
        decay: Scores by which p falls to 1/e beyond the last knot, shape (1,).
    """

    score: NDArray[np.float64]
    log_p: NDArray[np.float64]
    decay: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the shapes and seal the arrays."""
        assert self.score.shape == self.log_p.shape
        assert self.decay.shape == (1,)
        for array in (self.score, self.log_p, self.decay):
            array.setflags(write=False)

    @classmethod
    def fit(cls, scores: Floats, patients: Sequence[str] | NDArray[np.str_] | NDArray[np.int64]) -> Self:
        """Learn from normal items of patients whom the scorer has not seen.

        Args:
            scores: (item,) scores of normal items; NaN is left out.
            patients: (item,) whose each is.

        Returns:
            The calibration; the order of the items does not matter.

        Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (conformal p-values); Tibshirani et
            al., Conformal Prediction Under Covariate Shift, NeurIPS 2019 (weights).
        """
        known = np.isfinite(scores)
        if not known.any():
            return cls.nothing()
        values = np.asarray(scores, np.float64)[known]
        _, whose, n_items = np.unique(np.asarray(patients)[known], return_inverse=True, return_counts=True)
        share = np.minimum(n_items, FULL_ITEMS)
        weights = len(values) * share[whose] / (share.sum() * n_items[whose].astype(np.float64))
        unique, place = np.unique(values, return_inverse=True)
        # Summed in the order of the patients' own counts, so that the order of the records changes no bit.
        order = np.lexsort((weights, place))
        weight = np.bincount(place[order], weights=weights[order]).astype(np.float64)
        at_or_above = np.cumsum(weight[::-1], dtype=np.float64)[::-1]
        pooled = (1.0 + at_or_above) / (1.0 + at_or_above[0])
        p = np.maximum(pooled, _by_others(pooled, place, whose, weights, at_or_above))
        keep = _knots(len(unique))
        return cls(score=unique[keep], log_p=np.log(p[keep]), decay=np.array([_decay(unique, p)]))

    @classmethod
    def nothing(cls) -> Self:
        """Know of no normal item: every p-value is NaN."""
        return cls(score=np.zeros(0), log_p=np.zeros(0), decay=np.ones(1))

    def p_values(self, scores: Floats) -> NDArray[np.float64]:
        """Give each score its p-value.

        Args:
            scores: Any shape.

        Returns:
            float64 of the same shape, within (0, 1]; NaN where the score is, or without any calibration item.
        """
        values = np.asarray(scores, np.float64)
        if not len(self.score):
            return np.full(values.shape, np.nan)
        beyond = np.maximum(values - self.score[-1], 0.0) / self.decay[0]
        log_p = np.interp(values, self.score, self.log_p) - beyond
        p: NDArray[np.float64] = np.maximum(np.exp(log_p), _SMALLEST_P)
        return p

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Give all that `load` needs."""
        return {"score": self.score, "log_p": self.log_p, "decay": self.decay}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Rebuild what `arrays` gave."""
        score, log_p, decay = (np.array(arrays[name], np.float64) for name in ("score", "log_p", "decay"))
        return cls(score=score, log_p=log_p, decay=decay)


def strictest(p_values: Sequence[Floats], weights: Sequence[float]) -> NDArray[np.float64]:
    """Combine the p-values of members that look at the same signal: weighted Bonferroni.

    Valid however the members depend on each other, as long as the weights sum to 1; Fisher's sum is not: it realised
    3.6 % at a nominal 1 % on the development records.

    Args:
        p_values: Per member an (item,) array; NaN where it abstains.
        weights: Per member the share of the error that it may spend.

    Returns:
        (item,) float64, min over members of p / weight, at most 1; NaN where a member abstains.
    """
    assert np.isclose(sum(weights), 1.0)
    stacked = np.stack([np.asarray(p, np.float64) / weight for p, weight in zip(p_values, weights, strict=True)])
    strictest_p: NDArray[np.float64] = np.minimum(stacked.min(axis=0), 1.0)
    return strictest_p


def _by_others(
    p: NDArray[np.float64],
    place: NDArray[np.intp],
    whose: NDArray[np.intp],
    weights: NDArray[np.float64],
    at_or_above: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find how often items reach a p-value that the patients beside their own give them; one patient alone has no others.

    Args:
        p: (score,) conformal p-value of each distinct score, ascending by score.
        place: (item,) which score an item has.
        whose: (item,) number of its patient.
        weights: (item,) its weight.
        at_or_above: (score,) weight of all items from this score on.

    Returns:
        (score,) share of the weight whose p-value by the others is at most p; a step rises a little, so that it ranks what is
        on it, and below the first it falls as p does.
    """
    n_patients, n_scores = int(whose.max()) + 1, len(p)
    if n_patients == 1:
        return p
    groups, of_item, counts = np.unique(whose * n_scores + place, return_inverse=True, return_counts=True)
    patient = groups // n_scores
    from_end = np.cumsum(counts[::-1])[::-1]  # items from this group on, those of later patients among them
    of_patient = np.bincount(whose, minlength=n_patients)
    later = np.cumsum(of_patient[::-1])[::-1] - of_patient
    own = (from_end - later[patient])[of_item] * weights
    of_others = (1.0 + at_or_above[place] - own) / (1.0 + at_or_above[0] - of_patient[whose] * weights)
    order = np.lexsort((weights, of_others))  # so that the order of the items changes no bit
    log_p, reached = np.log(of_others[order]), np.cumsum(weights[order])
    last = np.append(np.diff(log_p) > _ALIKE, True)
    log_p, log_share = log_p[last], np.log(reached[last] / reached[-1])
    wanted = np.log(p)
    step = np.searchsorted(log_p, wanted + _ALIKE, side="right") - 1
    beyond = wanted - log_p[np.maximum(step, 0)]
    slope = np.where(step < 0, 1.0, _SLOPE)
    raised: NDArray[np.float64] = np.exp(log_share[np.maximum(step, 0)] + slope * beyond)
    np.minimum(raised, np.exp(log_share[np.minimum(step + 1, len(log_share) - 1)]), out=raised)
    return raised


def _knots(n: int) -> NDArray[np.int64]:
    """Choose which of n ascending scores are kept: the largest 1024, then ever fewer, and the smallest."""
    if n <= _KNOTS:
        return np.arange(n)
    from_top = np.concatenate([np.arange(_KNOTS // 4), np.geomspace(_KNOTS // 4, n - 1, _KNOTS - _KNOTS // 4)])
    return np.unique(n - 1 - from_top.round().astype(np.int64))


def _decay(score: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    """Estimate the exponential tail by the mean excess over the score whose p is 1 %; positive even where all are equal.

    It is the area under p beyond that score, over its p there: where p was raised because hearts differ, the tail is as
    much longer.
    """
    start = max(min(int((p > _TAIL_SHARE).sum()), len(score) - _TAIL_ITEMS), 0)
    excess = float((np.diff(score[start:]) * p[start + 1 :]).sum() / p[start])
    return max(excess, 1e-6 * (1.0 + abs(float(score[-1]))))
