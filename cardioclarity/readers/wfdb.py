"""WFDB records: header, signal files and reference annotations joined to a Record."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cardioclarity.errors import DataError, LimitExceededError, UnreadableFileError
from cardioclarity.readers import wfdb_annotations, wfdb_header, wfdb_signal
from cardioclarity.readers.archive import safe_key
from cardioclarity.readers.protocol import Fetch, Limits, Reader, Source
from cardioclarity.readers.wfdb_header import Header, SignalSpec
from cardioclarity.record import Annotations, Record, content_id
from cardioclarity.vocabulary import LEAD_ORDER, LEADS, Reason, canonical_lead

ANNOTATORS: Final = ("atr",)
"""Suffixes of reference annotations, the first present is read. `.qrs` and the like come from detectors: no truth."""


def read(source: Source, fetch: Fetch, limits: Limits) -> Record:
    """Read one WFDB record.

    Args:
        source: The record; its key is that of the header.
        fetch: The only way to bytes.
        limits: Caps that hold before anything is allocated.

    Returns:
        The ECG leads in canonical order. A wrong checksum, an assumed gain, dropped signals, doubled lead names and
        unreadable annotations do not lose the record and stand in its notes.

    Raises:
        DataError: The header or a signal file is missing, breaks its format, or holds no ECG lead.
    """
    _check_bytes(source.size, limits)
    header = wfdb_header.parse(_fetch(fetch, source.key, limits, missing=Reason.NO_HEADER), limits)
    leads, lead_notes = _choose_leads(header.signals, limits)
    wanted = [lead.index for lead in leads]
    specs = [header.signals[index] for index in wanted]
    groups = wfdb_signal.groups(header.signals, wanted)
    files = {
        group.file: _fetch(fetch, safe_key(group.file, header_key=source.key), limits, missing=Reason.MISSING_FILE)
        for group in groups
    }
    decoded = wfdb_signal.decode(groups, files, wanted=wanted, n_samples=header.n_samples)
    annotations, annotation_notes = _read_annotations(source, fetch, limits, header, decoded.signal.shape[1])
    names = tuple(lead.name for lead in leads)
    return Record(
        record_id=content_id(signal=decoded.signal, rate_hz=header.rate_hz, leads=names, salt=source.version),
        rate_hz=header.rate_hz,
        leads=names,
        source_leads=tuple(spec.description for spec in specs),
        signal=decoded.signal,
        gain=np.array([spec.gain for spec in specs], np.float64),
        baseline=np.array([spec.baseline for spec in specs], np.float64),
        annotations=annotations,
        patient=header.patient,
        notes=(*header.notes, *lead_notes, *_signal_notes(specs, decoded), *annotation_notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lead:
    """A signal that is an ECG lead: its index in the header and its canonical name."""

    index: int
    name: str


def _check_bytes(n_bytes: int, limits: Limits) -> None:
    if n_bytes > limits.file_bytes:
        raise LimitExceededError(
            f"the record's files have {n_bytes} bytes, {limits.file_bytes} are allowed; the record is set aside"
        )


def _fetch(fetch: Fetch, key: str, limits: Limits, *, missing: Reason) -> bytes:
    try:
        data = fetch(key)
    except FileNotFoundError:
        what = "header" if missing is Reason.NO_HEADER else "signal file that the header names"
        message = f"the archive does not hold the {what}; the record is set aside until it does"
        raise UnreadableFileError.because(missing, message) from None
    _check_bytes(len(data), limits)
    return data


def _choose_leads(signals: Sequence[SignalSpec], limits: Limits) -> tuple[list[_Lead], list[str]]:
    """Pick the ECG leads, in canonical order; a signal is one if its unit is a voltage and its name is known."""
    named = [
        _Lead(index=index, name=name)
        for index, spec in enumerate(signals)
        if spec.gain is not None and (name := canonical_lead(spec.description)) is not None
    ]
    if not named:
        raise UnreadableFileError.because(
            Reason.NO_ECG_LEAD, f"none of the {len(signals)} signals is a known ECG lead; the record is set aside"
        )
    if len(named) > limits.ecg_leads:
        raise LimitExceededError(
            f"the record has {len(named)} ECG leads, {limits.ecg_leads} are allowed; the record is set aside"
        )
    leads = sorted(_distinct(named), key=lambda lead: LEAD_ORDER[lead.name])
    dropped = len(signals) - len(named)
    notes = [f"{dropped} signals dropped"] if dropped else []
    if any(n > 1 and name != "ECG" for name, n in Counter(lead.name for lead in named).items()):
        notes.append("lead named twice")
    return leads, notes


def _distinct(named: Sequence[_Lead]) -> Iterator[_Lead]:
    """Make the names distinct: a second lead of a name, and each of several plain `ECG`, takes the next free ECGn."""
    counts = Counter(lead.name for lead in named)
    free = (name for name in LEADS if name.startswith("ECG") and name != "ECG" and name not in counts)
    taken = {"ECG"} if counts["ECG"] > 1 else set()
    for lead in named:
        name = lead.name if lead.name not in taken else next(free, None)
        if name is None:
            raise LimitExceededError("the record has more leads of one name than can be told apart; it is set aside")
        taken.add(name)
        yield _Lead(index=lead.index, name=name)


def _signal_notes(specs: Sequence[SignalSpec], decoded: wfdb_signal.Decoded) -> Iterator[str]:
    if any(spec.gain_assumed for spec in specs):
        yield "gain assumed"
    if not decoded.checksums_hold:
        yield "checksum wrong"


def _read_annotations(
    source: Source, fetch: Fetch, limits: Limits, header: Header, n_samples: int
) -> tuple[Annotations, list[str]]:
    """Read the reference annotations inside the signal; what is wrong with them becomes a note."""
    for annotator in ANNOTATORS:
        try:
            data = fetch(f"{source.key.removesuffix('hea')}{annotator}")
        except FileNotFoundError:
            continue
        try:
            _check_bytes(len(data), limits)
            found = wfdb_annotations.decode(data, rate_hz=header.rate_hz)
        except DataError:
            return Annotations.none(), ["annotations unreadable"]
        inside = found.before(n_samples)
        return inside, [] if len(inside.sample) == len(found.sample) else ["annotations behind the end dropped"]
    return Annotations.none(), []


_: Reader = read
