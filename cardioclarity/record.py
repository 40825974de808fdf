"""A Record: one ECG as digital samples with all that is needed to read them in millivolts."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cardioclarity.vocabulary import DERIVED_LEADS, LEAD_ORDER

Samples = NDArray[np.int16] | NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations:
    """Reference annotations of one record, in the order of time.

    Attributes:
        sample: (annotation,) int64, sample index at the record's rate.
        symbol: One MIT annotation symbol each.
        aux: Rhythm word of the closed vocabulary such as ``(AFIB``, else empty.
    """

    sample: NDArray[np.int64]
    symbol: tuple[str, ...]
    aux: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the lengths and seal the array."""
        assert len(self.sample) == len(self.symbol) == len(self.aux)
        self.sample.setflags(write=False)

    @classmethod
    def none(cls) -> Self:
        """No annotation at all."""
        return cls(sample=np.zeros(0, np.int64), symbol=(), aux=())

    def before(self, n_samples: int) -> "Annotations":
        """Keep what lies before a sample."""
        n = int(np.searchsorted(self.sample, n_samples))
        return Annotations(sample=self.sample[:n].copy(), symbol=self.symbol[:n], aux=self.aux[:n])


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The facts about a patient that may be stored; nothing else leaves a reader.

    Attributes:
        patient_id: Keyed hash of the source's own id; None where the source has none or no key is set.
        age: Years; 90 stands for 90 and above.
        sex: F, M, other or None.
        device: Name of the recorder's make, where the source says so.
        diagnosis_codes: ``scheme:code`` strings.
    """

    patient_id: str | None = None
    age: int | None = None
    sex: str | None = None
    device: str | None = None
    diagnosis_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One ECG; the same type on both sides of the store.

    Attributes:
        record_id: Content id, see `content_id`.
        rate_hz: Samples per second and lead.
        leads: Canonical lead names in canonical order.
        source_leads: The verbatim names, in the order of `leads`.
        signal: (lead, sample) int16 or int32, digital samples as in the source; the dtype's minimum marks a missing one.
        gain: (lead,) float64, ADC units per millivolt.
        baseline: (lead,) float64, ADC value at 0 mV.
        annotations: Reference annotations.
        patient: What may be known about the patient.
        notes: What the reader tolerated, as short words such as ``checksum wrong``.
    """

    record_id: str
    rate_hz: float
    leads: tuple[str, ...]
    source_leads: tuple[str, ...]
    signal: Samples
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]
    annotations: Annotations
    patient: Patient = Patient()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the shapes and seal the arrays."""
        assert self.signal.shape[0] == len(self.leads) == len(self.source_leads) == len(self.gain) == len(self.baseline)
        assert list(self.leads) == sorted(self.leads, key=LEAD_ORDER.__getitem__), self.leads
        for array in (self.signal, self.gain, self.baseline):
            array.setflags(write=False)

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return int(self.signal.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.rate_hz

    def millivolts(self) -> NDArray[np.float32]:
        """Scale to (lead, sample) float32 in millivolts; NaN where a sample is missing."""
        missing = self.signal == np.iinfo(self.signal.dtype).min
        scaled = (self.signal - self.baseline[:, None]) / self.gain[:, None]
        return np.where(missing, np.float32(np.nan), scaled.astype(np.float32))

    def head(self, duration_s: float) -> "Record":
        """Keep the beginning; the id stays that of the whole record."""
        n = round(duration_s * self.rate_hz)
        if n >= self.n_samples:
            return self
        return replace(self, signal=self.signal[:, :n], annotations=self.annotations.before(n))


def content_id(*, signal: Samples, rate_hz: float, leads: tuple[str, ...], salt: str) -> str:
    """Name a recording by its content, so that a second delivery, a new file name or format gives the same id.

    The digest runs over the rate and, lead by lead in canonical order, the samples as little-endian int16, or int32
    where they need it. Leads that are computed from I and II take no part where both are there.

    Args:
        signal: (lead, sample), in canonical lead order.
        rate_hz: Samples per second.
        leads: Canonical names, one per row.
        salt: Mixed in where every lead is constant: two flat recordings are never merged.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(f"cardioclarity record 1|{rate_hz!r}".encode())
    for lead, row in _own(signal, leads):
        digest.update(f"|{lead}|{len(row)}|".encode())
        digest.update(np.ascontiguousarray(_narrow(row)).data)
    if is_constant(signal=signal, leads=leads):
        digest.update(f"|{salt}".encode())
    return digest.hexdigest()[:32]


def is_constant(*, signal: Samples, leads: tuple[str, ...]) -> bool:
    """Tell whether every lead that takes part in the id holds one value throughout; arguments as in `content_id`."""
    return all(len(row) == 0 or bool((row == row[0]).all()) for _, row in _own(signal, leads))


def _own(signal: Samples, leads: tuple[str, ...]) -> Iterator[tuple[str, Samples]]:
    """Pass over the leads that are computed from I and II, where both are there."""
    skip = DERIVED_LEADS if {"I", "II"} <= set(leads) else frozenset()
    return ((lead, row) for lead, row in zip(leads, signal, strict=True) if lead not in skip)


def _narrow(row: Samples) -> Samples:
    """Hold a row in the fewest bytes, so that equal samples give equal bytes whatever their source's width was."""
    if row.dtype == np.int16:
        return row.astype("<i2", copy=False)
    missing = row == np.iinfo(row.dtype).min
    fits = bool((missing | (np.abs(row) <= np.iinfo(np.int16).max)).all())
    return np.where(missing, np.iinfo(np.int16).min, row).astype("<i2") if fits else row.astype("<i4", copy=False)
