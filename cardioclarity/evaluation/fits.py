"""The fits of a protocol: every detector and combination on the same patients, and the model of one's own beside them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity import training
from cardioclarity.cohort import Candidate, draw, is_sinus_rhythm, normals, split_by_patient, without_labels
from cardioclarity.detectors import REGISTRY, column, detector
from cardioclarity.detectors.protocol import Fitted
from cardioclarity.ensemble import Model
from cardioclarity.events import Evidence
from cardioclarity.examples import Examples, Recipe
from cardioclarity.record import Record
from cardioclarity.references import normal_beats, normal_windows
from cardioclarity.storage import Storage
from cardioclarity.views import RECORD_VIEW, Standard
from cardioclarity.vocabulary import Head

HEAD: Final = "beat"
"""The scorer that is the whole beat head of the product."""

NETWORK: Final = "ae-"
"""What the names of autoencoders begin with; they are also measured in combination."""

_STOPPING: Final = 0.2  # of the patients to train on, where the protocol says who calibrates: as the shares of `cohort`

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """A model and, beside it, detectors that are measured but not part of it.

    Attributes:
        model: The whole.
        others: Beat detectors fitted on the same records.
        standards: Member of the population or context view, also of the others → its unit.
    """

    model: Model
    others: Mapping[str, Fitted]
    standards: Mapping[str, Standard]

    def detectors(self) -> tuple[str, ...]:
        """Name the beat detectors, in the order of the registry."""
        there = self.model.members.keys() | self.others.keys()
        return tuple(name for name in beat_detectors() if name in there)

    def scores(self, examples: Examples) -> tuple[Evidence, dict[str, Scores]]:
        """Score the beats of a record by the head, by every detector and by every combination of autoencoders.

        Args:
            examples: The record, prepared by the model's recipe.

        Returns:
            The evidence of the model; and scorer → (beat,) float32, NaN where it abstains.
        """
        evidence = self.model.evidence(examples)
        found: dict[str, Scores] = {HEAD: evidence.beat_score}
        for name in self.detectors():
            of_model = evidence.beat_members.get(column(name))
            found[name] = self.others[name].score(examples) if of_model is None else of_model
        return evidence, found | combined(found, self.standards)


def beat_detectors() -> tuple[str, ...]:
    """Name all registered beat detectors."""
    return tuple(name for name, registered in REGISTRY.items() if registered.head is Head.BEAT)


def combinations(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Give every choice of two or more of the autoencoders."""
    networks = [name for name in names if name.startswith(NETWORK)]
    return itertools.chain.from_iterable(itertools.combinations(networks, size) for size in range(2, len(networks) + 1))


def combined_name(names: Sequence[str]) -> str:
    """Name a combination, such as ``ae-dense+conv``."""
    return NETWORK + "+".join(name.removeprefix(NETWORK) for name in names)


def combined(scores: Mapping[str, Scores], standards: Mapping[str, Standard]) -> dict[str, Scores]:
    """Score every combination of autoencoders.

    Args:
        scores: Detector → (item,) scores.
        standards: Detector → its unit.
    """
    strangeness = {name: standards[name].strangeness(scores[name]) for name in scores if name in standards}
    return {
        combined_name(names): np.sum([strangeness[name] for name in names], axis=0, dtype=np.float32)
        for names in combinations(tuple(strangeness))
    }


def recipe_for(records: Sequence[int]) -> Recipe:
    """Choose the preparation as `train` does: two leads where most records have them.

    Args:
        records: Number of leads of each record to train on.
    """
    return Recipe(n_leads=2 if sum(n >= 2 for n in records) * 2 >= len(records) else 1)


def candidate(patient: str, record: Record, examples: Examples) -> Candidate:
    """Join a prepared record and what its reference annotations call normal."""
    marks, rate_hz = record.annotations, record.rate_hz
    beats = normal_beats(examples.rpeaks, marks, rate_hz=rate_hz)
    windows = normal_windows(examples.window_start, marks, n_samples=record.n_samples, rate_hz=rate_hz)
    return Candidate(
        patient_id=patient,
        examples=examples,
        beats=beats,
        classes=np.full(beats.shape, ""),
        windows=windows,
        rhythms=np.full(windows.shape, ""),
        sinus_rhythm=is_sinus_rhythm(record.patient.diagnosis_codes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is fitted.

    Attributes:
        seeds: A fit each.
        detectors: Beat detectors of the model, all that is measured; empty: the default ensemble, and beside it every
            other registered detector.
        model: A model that was fitted elsewhere, in place of all fits.
        also: Archives whose normal hearts a fit of beats learns from beside those of the protocol.
        unlabelled: Fit as if no record said which of its beats are normal.
    """

    seeds: tuple[int, ...] = (0,)
    detectors: tuple[str, ...] = ()
    model: Model | None = None
    also: tuple[Storage, ...] = ()
    unlabelled: bool = False

    def panels(self, train: Sequence[Candidate], calibrate: Sequence[Candidate], recipe: Recipe) -> list[Panel]:
        """Fit once per seed; or give the model that there is, once.

        Args:
            train: Records to fit on.
            calibrate: Records to calibrate with; empty: some of those to fit on.
            recipe: How they were prepared.

        Raises:
            NotFoundError: Nothing normal to learn from.
        """
        if self.model is not None:
            return [Panel(model=self.model, others={}, standards=self.model.standards)]
        if self.unlabelled:
            train, calibrate = without_labels(train), without_labels(calibrate)
        return [self._fitted(train, calibrate, recipe, seed) for seed in self.seeds]

    def _fitted(self, train: Sequence[Candidate], calibrate: Sequence[Candidate], recipe: Recipe, seed: int) -> Panel:
        groups = groups_of(train, calibrate, seed)
        fitting, stopping, calibrating = (normals(groups[name]) for name in ("fitting", "stopping", "calibrating"))
        model = training.fit(fitting, stopping, calibrating, recipe=recipe, detectors=self.detectors, seed=seed)
        beside = () if self.detectors else [name for name in beat_detectors() if name not in model.members]
        fitting, stopping = (training.readable(some, model.quality) for some in (fitting, stopping))
        others = {name: detector(name).fit(fitting, held_out=stopping, seed=seed) for name in beside}
        units = {name: Standard.fit(other, fitting) for name, other in others.items() if name != RECORD_VIEW}
        return Panel(model=model, others=others, standards={**model.standards, **units})


def groups_of(
    train: Sequence[Candidate], calibrate: Sequence[Candidate], seed: int
) -> Mapping[str, Sequence[Candidate]]:
    """Share the records out to fitting, early stopping and calibration, by patient and seed."""
    if not calibrate:
        return split_by_patient(train, seed=seed)[0]
    patients = sorted({one.patient_id for one in train}, key=lambda patient: draw(seed, patient))
    stopping = set(patients[: max(1, round(_STOPPING * len(patients)))])
    return {
        "stopping": [one for one in train if one.patient_id in stopping],
        "fitting": [one for one in train if one.patient_id not in stopping],
        "calibrating": list(calibrate),
    }
