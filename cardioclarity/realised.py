"""False alarms on patients left out of the calibration: each in turn is judged by the calibration of the others.

No fit is repeated for it. What the others' record view and rhythm head say comes from fits on folds of all patients, so a few
medians behind the level may have been learned from the one left out; what is said of himself never was.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.calibration import Calibration, Floats
from cardioclarity.measured import RECORD_DIGITS, Alarms, Realised
from cardioclarity.vocabulary import Head

ASKED: Final = {Head.BEAT: (1.0,), Head.RHYTHM: (1.0, 1.0 / 24)}
"""Alarms per hour whose levels are tried: one, and what `score` asks for by default."""

_FEWEST: Final = 3  # patients who calibrate: with one left out, two must be there to calibrate by
_GROUPS: Final = 20  # more patients than these are left out some at a time, so that the time does not grow with them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """The normal items that calibrate one view.

    Attributes:
        records: Per record its id.
        patients: Per record whose it is.
        scores: Per record (item,) float32; NaN abstains.
        chosen: Per record (item,) bool: known to be normal.
    """

    records: Sequence[str]
    patients: Sequence[str]
    scores: Sequence[NDArray[np.float32]]
    chosen: Sequence[NDArray[np.bool_]]

    def calibration(self, *, without: Collection[str] = ()) -> Calibration:
        """Calibrate by the patient of each item, some patients left out."""
        kept = [row for row, patient in enumerate(self.patients) if patient not in without]
        pooled = [self.scores[row][self.chosen[row]] for row in kept]
        numbers = {
            patient: number for number, patient in enumerate(sorted(set(self.patients)))
        }  # sort faster than names
        whose = np.repeat(np.array([numbers[self.patients[row]] for row in kept], np.int64), list(map(len, pooled)))
        return Calibration.fit(np.concatenate([np.zeros(0, np.float32), *pooled]), whose)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unseen:
    """Normal items of patients, scored by fits that have not seen them, and how a calibration judges them.

    Attributes:
        records: Per record its id.
        patients: Per record whose it is.
        p_values: From view → calibration and the place of a record to the (item,) p-values of its normal items.
        per_hour: Patient → items in an hour of normal ECG; who is not there has no hour to count by.
    """

    records: Sequence[str]
    patients: Sequence[str]
    p_values: Callable[[Mapping[str, Calibration], int], Floats]
    per_hour: Mapping[str, float]


def realised(head: Head, unseen: Unseen, samples: Mapping[str, Sample]) -> tuple[Realised, ...]:
    """Count the alarms of each patient at the levels that the others give.

    Args:
        head: Whose alarms; `ASKED` has its levels.
        unseen: The patients.
        samples: View → the items that calibrate it, those of the patients among them.

    Returns:
        One entry per level; none where fewer than three patients can be left out.
    """
    patients = sorted(unseen.per_hour.keys() & set(unseen.patients))
    if len(patients) < _FEWEST:
        return ()
    found: dict[float, list[Alarms]] = {asked: [] for asked in ASKED[head]}
    for group in np.array_split(np.array(patients), min(len(patients), _GROUPS)):
        without = frozenset(group.tolist())
        calibrations = {name: sample.calibration(without=without) for name, sample in samples.items()}
        pace = float(np.mean([rate for patient, rate in unseen.per_hour.items() if patient not in without]))
        for patient in sorted(without):
            rows = [row for row, whose in enumerate(unseen.patients) if whose == patient]
            judged = np.concatenate([unseen.p_values(calibrations, row) for row in rows])
            judged = judged[np.isfinite(judged)]
            for asked, of_level in found.items():
                if len(judged):
                    alarms = int((judged <= min(asked / pace, 1.0)).sum())
                    hours = len(judged) / unseen.per_hour[patient]
                    name = min(unseen.records[row] for row in rows)[:RECORD_DIGITS]
                    of_level.append(Alarms(what=name, alarms=alarms, items=len(judged), hours=hours))
    return tuple(
        Realised.of(head.value, asked, of_level) for asked, of_level in found.items() if len(of_level) >= _FEWEST
    )
