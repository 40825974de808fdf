"""Who a model learns from: which records are normal, and which patients serve which part of the fit."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.protocol import Normals
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples

_SINUS_RHYTHM_CODES = {"sct:426783006"}
SHARES = {"fitting": 0.6, "stopping": 0.15, "calibrating": 0.25}
FEW_PATIENTS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One prepared record with what is known of it.

    Attributes:
        patient_id: Whose it is; a patient is never split.
        examples: What the detectors see.
        beats: (beat,) bool, known to be normal.
        classes: (beat,) annotated class N, S, V, F or Q; empty where nothing tells, as in ventricular flutter.
        windows: (window,) bool, known to be normal.
        rhythms: (window,) annotated rhythm, as `references.window_rhythms` gives it; empty where nothing tells.
        sinus_rhythm: Its only diagnosis is sinus rhythm.
        unlabelled: Nothing says which of its beats are normal.
    """

    patient_id: str
    examples: Examples
    beats: NDArray[np.bool_]
    classes: NDArray[np.str_]
    windows: NDArray[np.bool_]
    rhythms: NDArray[np.str_]
    sinus_rhythm: bool
    unlabelled: bool = False


def draw(seed: int, name: str) -> str:
    """Give a name its place in the order that a seed decides; sort by it."""
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()


def choose_normals(candidates: Sequence[Candidate]) -> tuple[list[Candidate], tuple[str, ...]]:
    """Keep the records that hold beats known to be normal.

    Where nothing in the archive says what is normal, every beat counts as normal: the detectors fit robustly, and the
    warning says what that costs.

    Args:
        candidates: The prepared records.

    Returns:
        The records to use, and sentences for the user.

    Raises:
        NotFoundError: No record has a beat.
    """
    if not any(len(candidate.examples.rpeaks) for candidate in candidates):
        raise NotFoundError(
            f"none of the {len(candidates)} records drawn for training has a heart beat; convert more records"
        )
    if chosen := with_normals(candidates):
        n_left = len(candidates) - len(chosen)
        left = f"{n_left} of {len(candidates)} records teach nothing: they do not say which of their beats are normal"
        return chosen, ((left,) if n_left else ())
    warning = (
        "no record says which of its beats are normal (reference annotations or a sinus rhythm code): all beats were "
        "taken as normal, so anomalies that are common in this archive are learned as normal"
    )
    return without_labels(candidates), (warning,)


def without_labels(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Take all beats of all records as normal, and say that nobody told so: the detectors fit robustly."""
    everyone = (candidate for candidate in candidates if len(candidate.examples.rpeaks))
    return [replace(_all_normal(candidate), unlabelled=True) for candidate in everyone]


def with_normals(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep the records that hold beats known to be normal; one that has sinus rhythm and nothing else is so throughout."""
    normal = (_all_normal(candidate) if candidate.sinus_rhythm else candidate for candidate in candidates)
    return [candidate for candidate in normal if candidate.beats.any()]


def is_sinus_rhythm(diagnosis_codes: Collection[str]) -> bool:
    """Tell whether a record carries the code of sinus rhythm and no other."""
    return set(diagnosis_codes) == _SINUS_RHYTHM_CODES


def _all_normal(candidate: Candidate) -> Candidate:
    return replace(candidate, beats=np.ones_like(candidate.beats), windows=np.ones_like(candidate.windows))


def split_by_patient(
    candidates: Sequence[Candidate], *, seed: int
) -> tuple[dict[str, list[Candidate]], tuple[str, ...]]:
    """Share the patients out to fitting, early stopping and calibration, by the seed; no patient is in two groups.

    Args:
        candidates: The records to use.
        seed: Decides who goes where.

    Returns:
        The records of each group, and sentences for the user where patients are few.
    """
    patients = sorted({candidate.patient_id for candidate in candidates}, key=lambda patient: draw(seed, patient))
    n = len(patients)
    n_calibrating = max(1, round(SHARES["calibrating"] * n))
    n_stopping = max(1, round(SHARES["stopping"] * n))
    members = {
        "calibrating": patients[:n_calibrating],
        "stopping": patients[n_calibrating : n_calibrating + n_stopping],
        "fitting": patients[n_calibrating + n_stopping :],
    }
    warnings = []
    if n < 3:
        members = dict.fromkeys(members, patients)
        warnings.append(
            f"{n} patient{'s' * (n != 1)} with normal beats: fitting, early stopping and calibration share them, so "
            "p-values and alarm rates say nothing about other patients"
        )
    elif n < FEW_PATIENTS:
        warnings.append(
            f"{n} patients with normal beats: alarm rates on new patients can differ from the stated ones several-fold; "
            f"train on {FEW_PATIENTS} or more"
        )
    by_group = {
        group: [candidate for candidate in candidates if candidate.patient_id in set(names)]
        for group, names in members.items()
    }
    return by_group, tuple(warnings)


def normals(candidates: Sequence[Candidate]) -> Normals:
    """Gather records for a detector's fit."""
    return Normals(
        records=tuple(candidate.examples for candidate in candidates),
        patients=tuple(candidate.patient_id for candidate in candidates),
        beats=tuple(candidate.beats for candidate in candidates),
        windows=tuple(candidate.windows for candidate in candidates),
        unlabelled=any(candidate.unlabelled for candidate in candidates),
    )
