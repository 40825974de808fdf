"""D11: windows under the recorded noise of the Noise Stress Test Database that are declared unreadable, and clean ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from bench import mitbih, patients
from bench.rows import Row
from cardioclarity.cohort import Candidate, normals
from cardioclarity.detectors.quality import FittedQuality, Quality
from cardioclarity.examples import Recipe, prepare
from cardioclarity.record import Annotations, Record
from cardioclarity.references import normal_windows, rhythm_stretches
from cardioclarity.stress import is_noisy, stressed
from cardioclarity.vocabulary import BEAT_CLASSES
from cardioclarity.windows import window_share

N_FOLDS = 4
SNR_DB = (0.0, 3.0, 6.0)
KINDS = ("em", "ma", "bw")
WANDER = "bw"
"""It does not make a beat unreadable: no goal, no part in the sum."""
FAST = frozenset({"VT", "VFL", "VF", "SVTA"})
LEAST_NOISE = 0.97
MOST = {"clean_unreadable_share": 0.01, "vt_unreadable_share": 0.03}

Declared = NDArray[np.bool_]
Noises = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """One record.

    Attributes:
        record: As recorded.
        channels: (lead,) int64, the stored channel of each lead: noise is paired with channels.
        candidate: The same prepared, with its normal windows to learn from.
        fast: (window,) bool, half or more of it in a rhythm of `FAST` or between `[` and `]`.
    """

    record: Record
    channels: NDArray[np.int64]
    candidate: Candidate
    fast: NDArray[np.bool_]


def measure(
    archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT, noises: Noises | None = None
) -> list[Row]:
    """Learn the limits from the patients of three folds and judge the fourth, in turn.

    Clean windows are all windows of the clean records outside fast rhythms, those that the annotators call noisy included.

    Args:
        archive: Folder of MIT-BIH.
        names: Its records, one per patient.
        noises: Kind → (channel, sample) float32 at the records' rate; those of `nstdb/` beside the archive by default.
    """
    archive = archive or mitbih.archive()
    noises = noises or _recorded(archive.parent / "nstdb")
    everybody = [_patient(archive / f"{name}.hea") for name in names]
    shares: dict[str, list[Declared]] = {}
    for fold in range(N_FOLDS):
        others = normals([one.candidate for at, one in enumerate(everybody) if at % N_FOLDS != fold])
        fitted = Quality().fit(others, held_out=others, seed=0)
        for one in everybody[fold::N_FOLDS]:
            for what, declared in _judged(one, fitted, noises).items():
                shares.setdefault(what, []).append(declared)
    return [_row(what, declared) for what, declared in shares.items()]


def _recorded(folder: Path) -> Noises:
    """Read the noise records; the part that is in the data folder is ten minutes of each.

    Raises:
        NoDataError: They are not there.
    """
    if not folder.is_dir():
        raise mitbih.NoDataError(f"no noise records: {folder} is not there")
    return {kind: wfdb.rdrecord(str(folder / f"{kind}_first10")).p_signal.T.astype(np.float32) for kind in KINDS}


def _patient(header: Path) -> Patient:
    record = mitbih.read(header)
    marks = record.annotations
    clean = prepare(record, Recipe())
    windows = normal_windows(clean.window_start, marks, n_samples=record.n_samples, rate_hz=record.rate_hz)
    nothing = np.zeros(len(clean.rpeaks), bool)
    return Patient(
        record=record,
        channels=np.argsort(mitbih.stored_order(header, record)),
        candidate=Candidate(
            patient_id=header.stem, examples=clean, beats=nothing, abnormal=nothing, windows=windows, sinus_rhythm=False
        ),
        fast=window_share(_is_fast(marks, record.n_samples), clean.window_start) >= 0.5,
    )


def _is_fast(marks: Annotations, n_samples: int) -> NDArray[np.bool_]:
    """(sample,) bool: in a fast rhythm by the annotators' word."""
    fast = np.zeros(n_samples, bool)
    for start, end in mitbih.between(marks, "[]"):
        fast[start:end] = True
    for word, start, end in rhythm_stretches(marks):
        if word in FAST:
            fast[start:end] = True
    return fast


def _judged(one: Patient, fitted: FittedQuality, noises: Noises) -> dict[str, Declared]:
    """Row → which of its windows are declared unreadable."""
    record, marks = one.record, one.record.annotations
    beats = marks.sample[np.isin(marks.symbol, list(BEAT_CLASSES))]
    noisy = is_noisy(record.n_samples, rate_hz=record.rate_hz)
    under_noise = window_share(noisy, one.candidate.examples.window_start) == 1
    declared: dict[str, Declared] = {}
    counted = []
    for kind, noise in noises.items():
        for snr_db in SNR_DB:
            mixed = prepare(stressed(record, noise[one.channels], rpeaks=beats, snr_db=snr_db), Recipe())
            row = declared[f"noise_unreadable_share, {kind} {snr_db:g} dB"] = (fitted.score(mixed) > 0)[under_noise]
            counted += [row] * (kind != WANDER)
    clean = fitted.score(one.candidate.examples) > 0
    return {
        **declared,
        "noise_unreadable_share, em and ma": np.concatenate(counted),
        "clean_unreadable_share": clean[~one.fast],
        "vt_unreadable_share": clean[one.fast],
    }


def _row(what: str, declared: Sequence[Declared]) -> Row:
    """Pool the windows of all patients, with the interval over patients."""
    counts = np.array([[mask.sum(), len(mask)] for mask in declared], np.float64)

    def share(drawn: NDArray[np.int64]) -> float:
        hits, total = counts[drawn].sum(axis=0)
        return float(hits / total) if total else float("nan")

    low, high = patients.interval(share, len(counts))
    has_goal = f", {WANDER} " not in what
    return Row(
        goal="D11" if has_goal else "",
        what=what,
        unit="",
        ours=share(np.arange(len(counts))),
        low=float(low),
        high=float(high),
        at_least=LEAST_NOISE if has_goal and what not in MOST else None,
        at_most=MOST.get(what),
    )
