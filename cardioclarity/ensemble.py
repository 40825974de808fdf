"""The model: fitted and calibrated members, and the evidence that they give of one record."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cardioclarity.calibration import Calibration
from cardioclarity.detectors import detector
from cardioclarity.detectors.protocol import Arrays, Fitted
from cardioclarity.detectors.quality import FittedQuality
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.events import Evidence, Levels
from cardioclarity.examples import Examples, Recipe
from cardioclarity.measured import Realised
from cardioclarity.views import Standard, Views, beat_members
from cardioclarity.windows import of_windows

_SETTINGS_VERSION: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What calibration found; the numbers from which alarm levels follow.

    Attributes:
        beats_per_hour: Beats in an hour of normal ECG: 3600 s over the mean interval between two normal beats in a row,
            mean over patients.
        windows_per_hour: Windows in an hour of normal ECG: 3600 s over the mean length of the normal windows that the
            rhythm head scores, mean over patients.
        population_median: What 99 % of the records of patients who were not fitted do not exceed by the median
            population score of their normal beats, of few records the largest; None without population members.
        calibration_patients: How many patients were held out from every fit; they calibrate population and context view.
        calibration_beats: How many normal beats of theirs.
        calibration_windows: How many normal windows, of all patients, calibrate the rhythm head, as the record view.
        record_view_patients: How many patients calibrate the record view: all, each by a fit on the others' folds.
        record_view_beats: How many normal beats of theirs.
        calibration_is_disjoint: No held-out patient took part in a fit.
        realised: False alarms on patients left out of the calibration; none where they are fewer than three.
    """

    beats_per_hour: float
    windows_per_hour: float
    population_median: float | None
    calibration_patients: int
    calibration_beats: int
    calibration_windows: int
    record_view_patients: int
    record_view_beats: int
    calibration_is_disjoint: bool
    realised: tuple[Realised, ...]

    @classmethod
    def load(cls, told: Mapping[str, Any]) -> Self:
        """Rebuild from the JSON of `dataclasses.asdict`."""
        return cls(**{**told, "realised": tuple(map(Realised.load, told["realised"]))})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Everything that turns examples into evidence; immutable.

    Attributes:
        recipe: How examples must be prepared.
        members: Detector name → fitted detector; rhythm and quality are always there.
        standards: Member of the population or context view → its unit.
        calibrations: template, population, context, rhythm → calibration.
        facts: What calibration found.
    """

    recipe: Recipe
    members: Mapping[str, Fitted]
    standards: Mapping[str, Standard]
    calibrations: Mapping[str, Calibration]
    facts: Facts

    @property
    def quality(self) -> FittedQuality:
        """The member that says what is readable."""
        quality = self.members["quality"]
        assert isinstance(quality, FittedQuality)
        return quality

    def evidence(self, examples: Examples) -> Evidence:
        """Gather what every member says of one record.

        Args:
            examples: The record, prepared by this model's recipe.

        Returns:
            Raw scores of every member, the heads' scores and calibrated p-values.
        """
        scores = beat_members(self.members, self.standards, examples)
        views = Views.of(scores)
        rhythm_score = self.members["rhythm"].score(examples)
        reasons = self.quality.reasons(examples)
        readable = np.array([not reason for reason in reasons], bool)
        return Evidence(
            record_id=examples.record_id,
            rate_hz=examples.rate_hz,
            n_samples=examples.n_samples,
            lead=examples.leads[0],
            rpeaks=examples.rpeaks,
            rr_s=examples.rr_s,
            beat_readable=of_windows(readable, examples.window_start, examples.rpeaks),
            beat_members=scores,
            beat_score=views.rank(),
            beat_p=views.p_values(self.calibrations),
            window_start=examples.window_start,
            window_readable=readable,
            window_reason=reasons,
            window_members={"rhythm": rhythm_score, "quality": self.quality.score(examples)},
            rhythm_score=rhythm_score,
            rhythm_p=self.calibrations["rhythm"].p_values(rhythm_score).astype(np.float32),
        )

    def levels(
        self,
        *,
        alarms_per_hour: float,
        rhythm_alarms_per_hour: float,
        tachycardia_bpm: float,
        bradycardia_bpm: float,
        pause_s: float,
        rate_change: float = 1.4,
    ) -> Levels:
        """Translate accepted false alarms per hour of normal ECG into levels of p.

        Args:
            alarms_per_hour: Of the beat head, before neighbouring alarms are merged into one event.
            rhythm_alarms_per_hour: Of the rhythm head, likewise.
            tachycardia_bpm: Passed on.
            bradycardia_bpm: Passed on.
            pause_s: Passed on.
            rate_change: Passed on.

        Returns:
            The levels; nothing but calibration enters, never the scored archive.

        Raises:
            UsageError: As many alarms are accepted as there are normal beats or windows.
        """
        accepted = {
            "--alarms-per-hour": (alarms_per_hour, self.facts.beats_per_hour, "beats"),
            "--rhythm-alarms-per-hour": (rhythm_alarms_per_hour, self.facts.windows_per_hour, "windows"),
        }
        for flag, (asked, there, items) in accepted.items():
            if asked >= there:
                raise UsageError(
                    f"{flag} {asked:g} would flag everything: an hour of normal ECG has {there:.0f} {items}; give less"
                )
        limit = self.facts.population_median
        return Levels(
            beat_p=alarms_per_hour / self.facts.beats_per_hour,
            rhythm_p=rhythm_alarms_per_hour / self.facts.windows_per_hour,
            population_median=math.inf if limit is None else limit,
            tachycardia_bpm=tachycardia_bpm,
            bradycardia_bpm=bradycardia_bpm,
            pause_s=pause_s,
            rate_change=rate_change,
        )

    def settings(self) -> dict[str, Any]:
        """Give what is not an array, as plain JSON."""
        return {
            "version": _SETTINGS_VERSION,
            "recipe": dataclasses.asdict(self.recipe),
            "detectors": sorted(self.members),
            "standards": {name: dataclasses.asdict(self.standards[name]) for name in sorted(self.standards)},
            "facts": dataclasses.asdict(self.facts),
        }

    def arrays(self) -> Arrays:
        """Give every array under the name of its member or calibration."""
        members = ((f"member.{name}", member.arrays()) for name, member in sorted(self.members.items()))
        scales = ((f"calibration.{name}", scale.arrays()) for name, scale in sorted(self.calibrations.items()))
        return {f"{owner}.{name}": array for owner, arrays in chain(members, scales) for name, array in arrays.items()}


def load(settings: Mapping[str, Any], arrays: Arrays) -> Model:
    """Rebuild a model from what `Model.settings` and `Model.arrays` gave.

    Raises:
        NotFoundError: Another version wrote it, or it names a detector that does not exist here.
    """
    if (version := settings["version"]) != _SETTINGS_VERSION:
        age, mend = ("a newer", "update it") if version > _SETTINGS_VERSION else ("an older", "train again")
        raise NotFoundError(
            f"model settings of version {version} were written by {age} version of CardioClarity, this one reads"
            f" {_SETTINGS_VERSION}: {mend}, or choose another model"
        )
    owned: dict[str, dict[str, NDArray[np.generic]]] = {}
    for full_name, array in arrays.items():
        kind, owner, name = full_name.split(".", 2)
        owned.setdefault(f"{kind}.{owner}", {})[name] = array
    return Model(
        recipe=Recipe(**settings["recipe"]),
        members={name: detector(name).load(owned[f"member.{name}"]) for name in settings["detectors"]},
        standards={name: Standard(**standard) for name, standard in settings["standards"].items()},
        calibrations={
            owner.removeprefix("calibration."): Calibration.load(found)
            for owner, found in owned.items()
            if owner.startswith("calibration.")
        },
        facts=Facts.load(settings["facts"]),
    )
