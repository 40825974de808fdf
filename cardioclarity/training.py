"""Fit the members of a model on some patients and calibrate what they say on others."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.calibration import Calibration
from cardioclarity.detectors import REGISTRY, detector
from cardioclarity.detectors.protocol import Fitted, Normals
from cardioclarity.detectors.quality import FittedQuality
from cardioclarity.ensemble import Facts, Model
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples, Recipe
from cardioclarity.measured import Realised
from cardioclarity.realised import Sample, Unseen, realised
from cardioclarity.views import CONTEXT, POPULATION, RECORD_VIEW, VIEWS, Standard, Views, beat_members
from cardioclarity.vocabulary import Head
from cardioclarity.windows import of_windows, window_ends

log = logging.getLogger(__name__)

DEFAULT_BEAT_DETECTORS: Final = ("template", "ae-dense", "ae-conv", "density", "ae-context", "ae-intervals")

_RHYTHM: Final = "rhythm"
_FOLDS: Final = 5  # of patients, by which the record view and the rhythm head are calibrated


def check_names(detectors: Sequence[str]) -> None:
    """Refuse names that are no beat detector.

    Raises:
        NotFoundError: With the names that exist.
    """
    known = sorted(name for name, registered in REGISTRY.items() if registered.head is Head.BEAT)
    if unknown := sorted(set(detectors) - set(known)):
        raise NotFoundError(f"beat detector {unknown[0]!r} does not exist; there are: {', '.join(known)}")


def fit(
    fitting: Normals, stopping: Normals, calibrating: Normals, *, recipe: Recipe, detectors: Sequence[str], seed: int
) -> Model:
    """Fit the members, then calibrate what they say on patients whom none of them has seen.

    A quarter of the patients cannot show how far healthy hearts differ. The record view and the rhythm head learn a few
    medians in a second, so all patients calibrate them, each scored by a fit on the other folds of patients; what takes
    minutes or stops early is calibrated on `calibrating` alone.

    Args:
        fitting: Normal beats and windows to fit on; the patient's ectopic beats are simply not marked normal.
        stopping: Other patients, for early stopping.
        calibrating: Other patients again, whom no fit sees.
        recipe: How all of them were prepared.
        detectors: Names of the beat detectors; the default ensemble where empty. Rhythm and quality always join.
        seed: Makes the fit repeatable on a CPU.

    Returns:
        The model.

    Raises:
        NotFoundError: An unknown detector, no readable normal beat to fit or to calibrate with, or no two in a row.

    Source: Vovk, Cross-conformal predictors, Annals of Mathematics and Artificial Intelligence 74 (2015). What is realised on
        unseen patients stands in docs/experiments.md.
    """
    check_names(detectors)
    quality = detector("quality").fit(fitting, held_out=stopping, seed=seed)
    assert isinstance(quality, FittedQuality)
    fitting, stopping, calibrating = (readable(normals, quality) for normals in (fitting, stopping, calibrating))
    everyone = _joined((fitting, stopping, calibrating))
    intervals_s = list(map(_normal_intervals, everyone.records, everyone.beats))
    _require(fitting, fitting.beats, "a normal beat", "fitting")
    _require(calibrating, calibrating.beats, "a normal beat", "calibration")
    _require(everyone, intervals_s, "two normal beats in a row", "training")
    names = dict.fromkeys([*(detectors or DEFAULT_BEAT_DETECTORS), _RHYTHM])
    members = {**_fitted(tuple(names), fitting, stopping, seed=seed), "quality": quality}
    added = [name for name in names if REGISTRY[name].view in VIEWS]
    standards = {name: Standard.fit(members[name], fitting) for name in added}
    held_out, stopped = (
        [Views.of(beat_members(members, standards, examples)) for examples in normals.records]
        for normals in (calibrating, stopping)
    )
    population = [views.population for views in held_out]
    samples = {
        RECORD_VIEW: _by_folds(RECORD_VIEW, members, everyone, calibrating, seed=seed),
        POPULATION: _sample(population, calibrating, Head.BEAT),
        CONTEXT: _sample([views.context for views in held_out], calibrating, Head.BEAT),
        _RHYTHM: _by_folds(_RHYTHM, members, everyone, calibrating, seed=seed),
    }
    is_disjoint = _are_disjoint(calibrating, fitting, stopping)
    beat_pace = _per_hour(intervals_s, everyone.patients)
    window_pace = _windows_per_hour(members[_RHYTHM], everyone)
    return Model(
        recipe=recipe,
        members=members,
        standards=standards,
        calibrations={name: sample.calibration() for name, sample in samples.items()},
        facts=Facts(
            beats_per_hour=_mean(beat_pace),
            windows_per_hour=_mean(window_pace) if window_pace else 3600.0 / recipe.window_s,
            population_median=_population_limit(
                [*population, *(views.population for views in stopped)], [*calibrating.beats, *stopping.beats]
            ),
            calibration_patients=len(set(calibrating.patients)),
            calibration_beats=_count(calibrating.beats),
            calibration_windows=_count(everyone.windows),
            record_view_patients=len(set(everyone.patients)),
            record_view_beats=_count(everyone.beats),
            calibration_is_disjoint=is_disjoint,
            realised=(
                *(_realised_beats(held_out, calibrating, samples, beat_pace) if is_disjoint else ()),
                *_realised_windows(samples, window_pace),
            ),
        ),
    )


def _fitted(names: Sequence[str], fitting: Normals, stopping: Normals, *, seed: int) -> dict[str, Fitted]:
    """Fit one member after another; each takes seconds to minutes, so the log says which."""
    members: dict[str, Fitted] = {}
    for at, name in enumerate(names, 1):
        log.info("fitting %s, %d of %d", name, at, len(names))
        members[name] = detector(name).fit(fitting, held_out=stopping, seed=seed)
    log.info("calibrating")
    return members


def _joined(groups: Sequence[Normals]) -> Normals:
    """Put all records into one group; where patients are too few to be shared out, each record is in it once."""
    rows = {
        examples.record_id: (examples, patient, beats, windows)
        for normals in groups
        for examples, patient, beats, windows in zip(
            normals.records, normals.patients, normals.beats, normals.windows, strict=True
        )
    }
    records, patients, beats, windows = zip(*rows.values(), strict=True)
    return replace(groups[0], records=records, patients=patients, beats=beats, windows=windows)


def _only(normals: Normals, rows: Sequence[int]) -> Normals:
    """Keep some of the records, by their place."""
    return replace(
        normals,
        records=tuple(normals.records[row] for row in rows),
        patients=tuple(normals.patients[row] for row in rows),
        beats=tuple(normals.beats[row] for row in rows),
        windows=tuple(normals.windows[row] for row in rows),
    )


def readable(normals: Normals, quality: FittedQuality) -> Normals:
    """Keep the normal rows that can be read: noise teaches nobody what is normal."""
    answers = [quality.score(examples) <= 0 for examples in normals.records]
    beats = [
        mask & of_windows(is_readable, examples.window_start, examples.rpeaks)
        for examples, mask, is_readable in zip(normals.records, normals.beats, answers, strict=True)
    ]
    windows = [mask & is_readable for mask, is_readable in zip(normals.windows, answers, strict=True)]
    return replace(normals, beats=tuple(beats), windows=tuple(windows))


def _require(normals: Normals, found: Iterable[NDArray[np.generic]], what: str, purpose: str) -> None:
    """Refuse to go on where no record has what the purpose needs."""
    if not any(items.any() for items in found):
        raise NotFoundError(
            f"none of the {len(normals.records)} records for {purpose} has {what} in readable signal; "
            "add records, or annotations that call beats normal"
        )


def _normal_intervals(examples: Examples, is_normal: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Choose the intervals between two normal beats in a row ("NN"): the pause after an early beat is not among them."""
    is_between = is_normal[1:] & is_normal[:-1] & np.isfinite(examples.rr_s[1:])
    return examples.rr_s[1:][is_between]


def _windows_per_hour(rhythm: Fitted, normals: Normals) -> dict[str, float]:
    """Count the normal windows that the rhythm head scores per hour of their time, per patient who has any."""
    lengths_s = [
        _lengths(examples, mask & np.isfinite(rhythm.score(examples)))
        for examples, mask in zip(normals.records, normals.windows, strict=True)
    ]
    return _per_hour(lengths_s, normals.patients)


def _lengths(examples: Examples, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Measure the chosen windows in seconds; the last of a record may be shorter."""
    ends = window_ends(examples.window_start, n_samples=examples.n_samples)
    lengths: NDArray[np.float64] = (ends - examples.window_start)[chosen] / examples.rate_hz
    return lengths


def _per_hour(lengths_s: Sequence[NDArray[np.floating]], patients: Sequence[str]) -> dict[str, float]:
    """Count items per hour of the time that they cover, per patient who has any.

    Hours of recording would not do: what is not normal or not readable gives no item, so a patient who fibrillates half
    of the time would seem to have half the pulse.
    """
    n_items, seconds = dict.fromkeys(patients, 0), dict.fromkeys(patients, 0.0)
    for patient, of_record in zip(patients, lengths_s, strict=True):
        n_items[patient] += len(of_record)
        seconds[patient] += float(of_record.sum(dtype=np.float64))
    return {patient: 3600.0 * n_items[patient] / seconds[patient] for patient in n_items if n_items[patient]}


def _mean(per_hour: Mapping[str, float]) -> float:
    """Take the mean over patients, each alike."""
    return float(np.mean(list(per_hour.values())))


def _realised_beats(
    held_out: Sequence[Views], calibrating: Normals, samples: Mapping[str, Sample], per_hour: Mapping[str, float]
) -> tuple[Realised, ...]:
    """Count the beat head's alarms on held-out patients, each as a patient who has calibrated no view."""

    def p_values(calibrations: Mapping[str, Calibration], row: int) -> NDArray[np.float32]:
        return held_out[row].p_values(calibrations)[calibrating.beats[row]]

    ids = [examples.record_id for examples in calibrating.records]
    unseen = Unseen(records=ids, patients=calibrating.patients, p_values=p_values, per_hour=per_hour)
    return realised(Head.BEAT, unseen, {name: samples[name] for name in (RECORD_VIEW, *VIEWS)})


def _realised_windows(samples: Mapping[str, Sample], per_hour: Mapping[str, float]) -> tuple[Realised, ...]:
    """Count the rhythm head's alarms on all patients, each scored by a fit on the other folds."""
    sample = samples[_RHYTHM]

    def p_values(calibrations: Mapping[str, Calibration], row: int) -> NDArray[np.float64]:
        return calibrations[_RHYTHM].p_values(sample.scores[row][sample.chosen[row]])

    unseen = Unseen(records=sample.records, patients=sample.patients, p_values=p_values, per_hour=per_hour)
    return realised(Head.RHYTHM, unseen, {_RHYTHM: sample})


def _by_folds(
    name: str, members: Mapping[str, Fitted], everyone: Normals, calibrating: Normals, *, seed: int
) -> Sample:
    """Score what calibrates a member by folds of all patients; where too few can be fitted on, the held-out ones."""
    if name not in members:
        return Sample(records=(), patients=(), scores=(), chosen=())
    by_folds = _sample(_scores_by_folds(name, everyone, seed), everyone, REGISTRY[name].head)
    if any(np.isfinite(scores[mask]).any() for scores, mask in zip(by_folds.scores, by_folds.chosen, strict=True)):
        return by_folds
    return _sample([members[name].score(item) for item in calibrating.records], calibrating, REGISTRY[name].head)


def _scores_by_folds(name: str, normals: Normals, seed: int) -> list[NDArray[np.float32]]:
    """Score each record by a member that was fitted on the patients of the other folds; it needs no early stopping."""
    patients = np.random.default_rng(seed).permutation(sorted(set(normals.patients))).tolist()
    fold_of = {patient: at % _FOLDS for at, patient in enumerate(patients)}
    folds = [fold_of[patient] for patient in normals.patients]
    found: dict[int, NDArray[np.float32]] = {}
    for fold in sorted(set(folds)):
        others = [row for row, of_row in enumerate(folds) if of_row != fold]
        fitted = detector(name).fit(_only(normals, others), held_out=_only(normals, ()), seed=seed)
        found |= {row: fitted.score(normals.records[row]) for row, of_row in enumerate(folds) if of_row == fold}
    return [found[row] for row in range(len(folds))]


def _sample(scores: Sequence[NDArray[np.float32]], normals: Normals, head: Head) -> Sample:
    """Join the scores of each record and what is normal of it."""
    return Sample(
        records=[examples.record_id for examples in normals.records],
        patients=normals.patients,
        scores=scores,
        chosen=normals.beats if head is Head.BEAT else normals.windows,
    )


def _count(masks: Iterable[NDArray[np.bool_]]) -> int:
    """Count the chosen rows of all records."""
    return int(sum(mask.sum() for mask in masks))


def _population_limit(scores: Sequence[NDArray[np.float32]], chosen: Sequence[NDArray[np.bool_]]) -> float | None:
    """Find what 99 % of the records' median population scores do not exceed; of few records, the largest."""
    normal = (of_record[mask] for of_record, mask in zip(scores, chosen, strict=True))
    medians = [float(np.nanmedian(of_record)) for of_record in normal if np.isfinite(of_record).any()]
    return float(np.quantile(medians, 0.99, method="higher")) if medians else None


def _are_disjoint(calibrating: Normals, fitting: Normals, stopping: Normals) -> bool:
    """Tell whether calibration is honest; groups that share some of their patients are our own mistake."""
    mine, theirs = set(calibrating.patients), {*fitting.patients, *stopping.patients}
    assert not mine & theirs or mine <= theirs, "calibration shares some of its patients with fitting or stopping"
    return not mine & theirs
