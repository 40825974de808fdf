"""The model: members fitted on some patients, calibrated on others, and the evidence they give of one record."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.calibration import Calibration, strictest
from cardioclarity.detectors import REGISTRY, column, detector
from cardioclarity.detectors.protocol import Arrays, Fitted, Normals
from cardioclarity.detectors.quality import FittedQuality
from cardioclarity.errors import NotFoundError
from cardioclarity.events import Evidence, Levels
from cardioclarity.examples import Examples, Recipe
from cardioclarity.vocabulary import Head

RECORD_VIEW: Final = "template"
"""The beat member that compares a record with itself; the others compare it with the population."""

POPULATION: Final = "population"
DEFAULT_BEAT_DETECTORS: Final = ("template", "ae-dense", "ae-conv")

_POPULATION_WEIGHT: Final = 0.5  # of the population view in the beat score: lifts records that are abnormal throughout
_ERROR_SHARES: Final = (0.9, 0.1)  # of record and population view in the combined p-value
_MAD_TO_SD: Final = 1.4826
_SETTINGS_VERSION: Final = 1

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """Median and robust spread of a population member over training normals: the unit in which members are added."""

    centre: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What calibration found; the numbers from which alarm levels follow.

    Attributes:
        beats_per_hour: Readable normal beats per readable hour, mean over calibration patients.
        windows_per_hour: Windows per hour that the rhythm head scores.
        population_median: 99th percentile over patients who were not fitted of the record's median population score;
            None without population members.
        calibration_patients: How many patients.
        calibration_beats: How many normal beats.
        calibration_windows: How many normal windows.
        calibration_is_disjoint: No calibration record took part in the fit.
    """

    beats_per_hour: float
    windows_per_hour: float
    population_median: float | None
    calibration_patients: int
    calibration_beats: int
    calibration_windows: int
    calibration_is_disjoint: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Everything that turns examples into evidence; immutable.

    Attributes:
        recipe: How examples must be prepared.
        members: Detector name → fitted detector; rhythm and quality are always there.
        standards: Population member → its unit.
        calibrations: template, population, beat, rhythm → calibration.
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
        beat_members = _beat_members(self.members, self.standards, examples)
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
            beat_readable=_of_window(examples, readable),
            beat_members=beat_members,
            beat_score=_beat_score(beat_members),
            beat_p=_beat_p(beat_members, self.calibrations),
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
    ) -> Levels:
        """Translate accepted false alarms per hour of normal ECG into levels of p.

        Args:
            alarms_per_hour: Of the beat head, before neighbouring alarms are merged into one event.
            rhythm_alarms_per_hour: Of the rhythm head, likewise.
            tachycardia_bpm: Passed on.
            bradycardia_bpm: Passed on.
            pause_s: Passed on.

        Returns:
            The levels; nothing but calibration enters, never the scored archive.
        """
        limit = self.facts.population_median
        return Levels(
            beat_p=min(alarms_per_hour / self.facts.beats_per_hour, 1.0),
            rhythm_p=min(rhythm_alarms_per_hour / self.facts.windows_per_hour, 1.0),
            population_median=math.inf if limit is None else limit,
            tachycardia_bpm=tachycardia_bpm,
            bradycardia_bpm=bradycardia_bpm,
            pause_s=pause_s,
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
        NotFoundError: A newer version wrote it, or it names a detector that does not exist here.
    """
    if settings["version"] > _SETTINGS_VERSION:
        raise NotFoundError(
            f"model settings of version {settings['version']} were written by a newer version of CardioClarity; "
            f"this one reads up to {_SETTINGS_VERSION}: update it, or choose another model"
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
        facts=Facts(**settings["facts"]),
    )


def check_names(detectors: Sequence[str]) -> None:
    """Refuse names that are no beat detector.

    Raises:
        NotFoundError: With the names that exist.
    """
    known = sorted(name for name, registered in REGISTRY.items() if registered.head is Head.BEAT)
    if unknown := sorted(set(detectors) - set(known)):
        raise NotFoundError(f"beat detector {unknown[0]!r} does not exist; there are: {', '.join(known)}")


def fit(  # noqa: PLR0913  # three sets of patients that must be told apart, and how to use them
    fitting: Normals,
    stopping: Normals,
    calibrating: Normals,
    *,
    calibration_patients: Sequence[str],
    recipe: Recipe,
    detectors: Sequence[str],
    seed: int,
) -> Model:
    """Fit the members, then calibrate what they say on patients whom none of them has seen.

    Args:
        fitting: Normal beats and windows to fit on; the patient's ectopic beats are simply not marked normal.
        stopping: Other patients, for early stopping.
        calibrating: Other patients again, for p-values and alarm levels.
        calibration_patients: Whose record each of `calibrating` is.
        recipe: How all of them were prepared.
        detectors: Names of the beat detectors; the default ensemble where empty. Rhythm and quality always join.
        seed: Makes the fit repeatable on a CPU.

    Returns:
        The model.

    Raises:
        NotFoundError: An unknown detector, or no normal beat is readable to fit or to calibrate with.
    """
    check_names(detectors)
    assert len(calibration_patients) == len(calibrating.records)
    quality = detector("quality").fit(fitting, held_out=stopping, seed=seed)
    assert isinstance(quality, FittedQuality)
    fitting, stopping, calibrating = (_readable(normals, quality) for normals in (fitting, stopping, calibrating))
    _require_beats(fitting, "fitting")
    _require_beats(calibrating, "calibration")
    names = dict.fromkeys([*(detectors or DEFAULT_BEAT_DETECTORS), "rhythm"])
    members: dict[str, Fitted] = {name: detector(name).fit(fitting, held_out=stopping, seed=seed) for name in names}
    members["quality"] = quality
    standards = {
        name: _standard(members[name], fitting)
        for name in names
        if name != RECORD_VIEW and REGISTRY[name].head is Head.BEAT
    }
    found = [_beat_members(members, standards, examples) for examples in calibrating.records]
    stopped = [_beat_members(members, standards, examples) for examples in stopping.records]
    unfitted = chain(zip(found, calibrating.beats, strict=True), zip(stopped, stopping.beats, strict=True))
    return Model(
        recipe=recipe,
        members=members,
        standards=standards,
        calibrations=_calibrations(members, found, calibrating, calibration_patients),
        facts=Facts(
            beats_per_hour=_beats_per_hour(calibrating, calibration_patients, quality),
            windows_per_hour=3600.0 / recipe.window_s,
            population_median=_population_limit(unfitted),
            calibration_patients=len(set(calibration_patients)),
            calibration_beats=int(sum(mask.sum() for mask in calibrating.beats)),
            calibration_windows=int(sum(mask.sum() for mask in calibrating.windows)),
            calibration_is_disjoint=_are_disjoint(calibrating, fitting, stopping),
        ),
    )


def _beat_members(
    members: Mapping[str, Fitted], standards: Mapping[str, Standard], examples: Examples
) -> dict[str, Scores]:
    """Score every beat by every beat member; the columns of the table `beats`."""
    names = [name for name in members if REGISTRY[name].head is Head.BEAT]
    scores = {column(name): members[name].score(examples) for name in names}
    if standards:
        scores[POPULATION] = _population({name: scores[column(name)] for name in standards}, standards)
    return scores


def _population(scores: Mapping[str, Scores], standards: Mapping[str, Standard]) -> Scores:
    """Add the population members, each in units of its spread; where one abstains the others speak for it."""
    standardised = np.stack([(scores[name] - unit.centre) / unit.spread for name, unit in standards.items()])
    n_known = np.isfinite(standardised).sum(axis=0)
    total = np.nansum(standardised, axis=0) * len(standards)
    population: NDArray[np.float64] = np.divide(total, n_known, out=np.full(n_known.shape, np.nan), where=n_known > 0)
    return population.astype(np.float32)


def _standard(member: Fitted, normals: Normals) -> Standard:
    """Measure a member's median and spread over the normal beats that it was fitted on."""
    scores = np.concatenate(
        [member.score(item)[mask] for item, mask in zip(normals.records, normals.beats, strict=True)]
    )
    known = scores[np.isfinite(scores)].astype(np.float64)
    if not len(known):
        return Standard(centre=0.0, spread=1.0)
    centre = float(np.median(known))
    spread = _MAD_TO_SD * float(np.median(np.abs(known - centre)))
    return Standard(centre=centre, spread=max(spread, 1e-6))


def _views(beat_members: Mapping[str, Scores]) -> tuple[Scores, Scores]:
    """Give record view and population view; NaN throughout for the one that the model does not have."""
    absent = np.full(next(iter(beat_members.values())).shape, np.nan, np.float32)
    return beat_members.get(RECORD_VIEW, absent), beat_members.get(POPULATION, absent)


def _beat_score(beat_members: Mapping[str, Scores]) -> Scores:
    """Rank the beats: record view and half the population view, or the one there is."""
    record, population = _views(beat_members)
    both = record + np.float32(_POPULATION_WEIGHT) * population
    score: Scores = np.where(np.isfinite(both), both, np.where(np.isfinite(record), record, population))
    return score


def _beat_p(beat_members: Mapping[str, Scores], calibrations: Mapping[str, Calibration]) -> Scores:
    """Calibrate each beat by the views that scored it."""
    record, population = _views(beat_members)
    record_p = calibrations[RECORD_VIEW].p_values(record)
    population_p = calibrations[POPULATION].p_values(population)
    combined_p = calibrations["beat"].p_values(_strangeness(record_p, population_p))
    p = np.where(np.isfinite(combined_p), combined_p, np.where(np.isfinite(record_p), record_p, population_p))
    return p.astype(np.float32)


def _strangeness(record_p: NDArray[np.float64], population_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn two p-values into one score that rises as the stricter of them falls; NaN where one is missing."""
    strangeness: NDArray[np.float64] = -np.log(strictest([record_p, population_p], _ERROR_SHARES))
    return strangeness


def _calibrations(
    members: Mapping[str, Fitted],
    found: Sequence[Mapping[str, Scores]],
    calibrating: Normals,
    patients: Sequence[str],
) -> dict[str, Calibration]:
    """Calibrate each view, then their combination once more on the same patient-blocked beats; and the rhythm."""
    views = [_views(beat_members) for beat_members in found]
    record, population = (
        np.concatenate([view[side][mask] for view, mask in zip(views, calibrating.beats, strict=True)])
        for side in (0, 1)
    )
    whose = _repeated(patients, calibrating.beats)
    calibrations = {RECORD_VIEW: Calibration.fit(record, whose), POPULATION: Calibration.fit(population, whose)}
    combined = _strangeness(calibrations[RECORD_VIEW].p_values(record), calibrations[POPULATION].p_values(population))
    rhythm = [
        members["rhythm"].score(item)[mask] for item, mask in zip(calibrating.records, calibrating.windows, strict=True)
    ]
    return calibrations | {
        "beat": Calibration.fit(combined, whose),
        "rhythm": Calibration.fit(np.concatenate(rhythm), _repeated(patients, calibrating.windows)),
    }


def _repeated(patients: Sequence[str], masks: Sequence[NDArray[np.bool_]]) -> list[str]:
    """Name the patient of every row that the masks choose."""
    counts = (int(mask.sum()) for mask in masks)
    return list(chain.from_iterable(map(repeat, patients, counts)))


def _beats_per_hour(calibrating: Normals, patients: Sequence[str], quality: FittedQuality) -> float:
    """Count readable normal beats per readable hour, each patient alike."""
    beats, hours = dict.fromkeys(patients, 0.0), dict.fromkeys(patients, 0.0)
    for patient, examples, mask in zip(patients, calibrating.records, calibrating.beats, strict=True):
        readable = quality.score(examples) <= 0
        length = np.diff(examples.window_start, append=examples.n_samples)
        beats[patient] += float(mask.sum())
        hours[patient] += float(length[readable].sum()) / examples.rate_hz / 3600.0
    return float(np.mean([beats[patient] / hours[patient] for patient in beats if beats[patient]]))


def _population_limit(scored: Iterable[tuple[Mapping[str, Scores], NDArray[np.bool_]]]) -> float | None:
    """Find what 99 % of the records' median population scores do not exceed; of few records, the largest."""
    medians = []
    for beat_members, mask in scored:
        scores = _views(beat_members)[1][mask]
        if np.isfinite(scores).any():
            medians.append(float(np.nanmedian(scores)))
    return float(np.quantile(medians, 0.99, method="higher")) if medians else None


def _of_window(examples: Examples, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give each beat the value of the window that it lies in; False where there is no window."""
    if not len(values):
        return np.zeros(len(examples.rpeaks), bool)
    window = np.searchsorted(examples.window_start, examples.rpeaks, side="right") - 1
    of_window: NDArray[np.bool_] = values[np.maximum(window, 0)]
    return of_window


def _readable(normals: Normals, quality: FittedQuality) -> Normals:
    """Keep the normal rows that can be read: noise teaches nobody what is normal."""
    readable = [quality.score(examples) <= 0 for examples in normals.records]
    beats = [
        mask & _of_window(examples, ok)
        for examples, mask, ok in zip(normals.records, normals.beats, readable, strict=True)
    ]
    windows = [mask & ok for mask, ok in zip(normals.windows, readable, strict=True)]
    return replace(normals, beats=tuple(beats), windows=tuple(windows))


def _require_beats(normals: Normals, purpose: str) -> None:
    """Refuse to go on without any normal beat."""
    if not any(mask.any() for mask in normals.beats):
        raise NotFoundError(
            f"none of the {len(normals.records)} records for {purpose} has a normal beat in readable signal; "
            "add records, or annotations that call beats normal"
        )


def _are_disjoint(calibrating: Normals, fitting: Normals, stopping: Normals) -> bool:
    """Tell whether calibration is honest; sets that overlap in part are our own mistake."""
    mine, theirs = (
        {examples.record_id for normals in group for examples in normals.records}
        for group in ((calibrating,), (fitting, stopping))
    )
    assert not mine & theirs or mine <= theirs, "calibration shares some of its records with fitting or stopping"
    return not mine & theirs
