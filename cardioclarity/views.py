"""Two views of a beat, against its own record and against the population: from members' scores to one rank and one p."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from cardioclarity.calibration import Calibration, strictest
from cardioclarity.detectors import REGISTRY, column
from cardioclarity.detectors.protocol import Fitted, Normals
from cardioclarity.examples import Examples
from cardioclarity.vocabulary import Head

RECORD_VIEW: Final = "template"
"""The beat member that compares a record with itself; the others compare it with the population."""

POPULATION: Final = "population"
"""The column that holds the sum of the population members."""

_POPULATION_WEIGHT: Final = 0.5  # of the population view in the beat score: lifts records that are abnormal throughout
_ERROR_SHARES: Final = (0.9, 0.1)  # of record and population view in the combined p-value
_MAD_TO_SD: Final = 1.4826

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """Median and robust spread of a population member over training normals: the unit in which members are added."""

    centre: float
    spread: float

    @classmethod
    def fit(cls, member: Fitted, normals: Normals) -> Self:
        """Measure a member over the normal beats that it was fitted on."""
        scores = np.concatenate(
            [member.score(item)[mask] for item, mask in zip(normals.records, normals.beats, strict=True)]
        )
        known = scores[np.isfinite(scores)].astype(np.float64)
        if not len(known):
            return cls(centre=0.0, spread=1.0)
        centre = float(np.median(known))
        spread = _MAD_TO_SD * float(np.median(np.abs(known - centre)))
        return cls(centre=centre, spread=max(spread, 1e-6))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """What the two views say of the beats of a record.

    Attributes:
        record: (beat,) float32, score of the record view; NaN where it abstains or the model does not have it.
        population: (beat,) float32, score of the population view, likewise.
    """

    record: Scores
    population: Scores

    @classmethod
    def of(cls, beat_members: Mapping[str, Scores]) -> Self:
        """Pick the views from the columns of `beat_members`."""
        absent = np.full(next(iter(beat_members.values())).shape, np.nan, np.float32)
        return cls(record=beat_members.get(RECORD_VIEW, absent), population=beat_members.get(POPULATION, absent))

    def rank(self) -> Scores:
        """Rank the beats: record view and half the population view, or the one there is."""
        both = self.record + np.float32(_POPULATION_WEIGHT) * self.population
        one = np.where(np.isfinite(self.record), self.record, self.population)
        rank: Scores = np.where(np.isfinite(both), both, one)
        return rank

    def p_values(self, calibrations: Mapping[str, Calibration]) -> Scores:
        """Calibrate each beat by the views that scored it; where both did, by weighted Bonferroni.

        The combination is not calibrated once more: it is valid as it stands, and only the few patients held out from
        the population members could do it, whose scatter would then be that of every p-value.

        Args:
            calibrations: Of each view, by its name.

        Returns:
            (beat,) float32; NaN where no view scored.
        """
        record_p = calibrations[RECORD_VIEW].p_values(self.record)
        population_p = calibrations[POPULATION].p_values(self.population)
        both_p = strictest([record_p, population_p], _ERROR_SHARES)
        one_p = np.where(np.isfinite(record_p), record_p, population_p)
        return np.where(np.isfinite(both_p), both_p, one_p).astype(np.float32)


def beat_members(
    members: Mapping[str, Fitted], standards: Mapping[str, Standard], examples: Examples
) -> dict[str, Scores]:
    """Score every beat by every beat member, and by the population members together.

    Args:
        members: Detector name → fitted detector; those of other heads are passed over.
        standards: Population member → its unit.
        examples: One record.

    Returns:
        The columns of the table `beats`: (beat,) float32 each, NaN abstains.
    """
    names = [name for name in members if REGISTRY[name].head is Head.BEAT]
    scores = {column(name): members[name].score(examples) for name in names}
    if standards:
        units = list(standards.values())
        scores[POPULATION] = _population([scores[column(name)] for name in standards], units)
    return scores


def _population(scores: Sequence[Scores], units: Sequence[Standard]) -> Scores:
    """Add the population members, each in units of its spread; where one abstains the others speak for it."""
    standardised = np.stack([(score - unit.centre) / unit.spread for score, unit in zip(scores, units, strict=True)])
    n_known = np.isfinite(standardised).sum(axis=0)
    total = np.nansum(standardised, axis=0) * len(units)
    population: NDArray[np.float64] = np.divide(total, n_known, out=np.full(n_known.shape, np.nan), where=n_known > 0)
    return population.astype(np.float32)
