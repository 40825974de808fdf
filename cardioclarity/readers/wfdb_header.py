"""WFDB headers: what a record's signals are called, how they are stored and scaled.

Source: WFDB Applications Guide, header(5); deviations found in public databases are tolerated where they say so.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cardioclarity.errors import LimitExceededError, UnreadableFileError, UnsupportedFileError, shape
from cardioclarity.readers import deidentify
from cardioclarity.readers.protocol import Limits
from cardioclarity.record import Patient
from cardioclarity.vocabulary import Reason

DEFAULT_RATE_HZ: Final = 250.0
DEFAULT_GAIN: Final = 200.0
"""ADC units per millivolt where the header says 0 or nothing: the amplitudes are then not known."""

_PER_MILLIVOLT: Final = {"mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6, "v": 1e-3}
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,4})?"
_INTEGER: Final = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_NAME: Final = re.compile(r"\S+?(?:/(?P<segments>\d{1,9}))?", re.ASCII)
_RATE: Final = re.compile(rf"({_NUMBER})(?:/{_NUMBER}(?:\({_NUMBER}\))?)?", re.ASCII | re.IGNORECASE)
_FORMAT: Final = re.compile(r"(\d{1,4})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,18}))?", re.ASCII)
_GAIN: Final = re.compile(
    rf"(?P<gain>{_NUMBER}|[-+]?(?:nan|inf|infinity))(?:\((?P<baseline>[-+]?\d{{1,18}})\))?(?:/(?P<units>\S+))?",
    re.ASCII | re.IGNORECASE,
)
_TIME: Final = re.compile(r"\d{1,2}(?::\d{1,2}){0,2}(?:\.\d{1,9})?", re.ASCII)
_DATE: Final = re.compile(r"\d{1,2}/\d{1,2}/\d{4}|\d{1,2}-[A-Za-z]{3}-\d{4}", re.ASCII)
_FACT: Final = re.compile(r"\s*(Age|Sex|Dx):(.*)")
_MIT_BIH_FACTS: Final = re.compile(r"\s*(-?\d{1,3})\s+([MF])(?:\s+\d+\s+\S{1,8}\s+x\d)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSpec:
    """One signal line.

    Attributes:
        file: Name of the signal file, as the header has it; not yet checked to be a safe key.
        format: Number of the storage format.
        samples_per_frame: Samples of this signal in each frame.
        skew: Frames by which the stored samples come too late.
        byte_offset: Bytes before the first sample of the file.
        gain: ADC units per millivolt; None where the unit is no voltage.
        gain_assumed: The header leaves the gain open.
        baseline: ADC value at 0 mV.
        checksum: Sum of the stored samples modulo 65536; None where the header has none, or 0.
        description: The signal's name, verbatim.
    """

    file: str = field(repr=False)
    format: int
    samples_per_frame: int = 1
    skew: int = 0
    byte_offset: int = 0
    gain: float | None = DEFAULT_GAIN
    gain_assumed: bool = False
    baseline: int = 0
    checksum: int | None = None
    description: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header without anything that identifies a patient: names, dates and free comments end here.

    Attributes:
        rate_hz: Frames per second.
        n_samples: Samples per signal; None where only the file's size tells.
        signals: One per signal line.
        patient: Age, sex and diagnosis codes from the comments on the allow-list.
        notes: What was tolerated.
    """

    rate_hz: float
    n_samples: int | None
    signals: tuple[SignalSpec, ...]
    patient: Patient
    notes: tuple[str, ...]


def parse(data: bytes, limits: Limits) -> Header:
    """Parse a header file.

    Args:
        data: Bytes of the file; UTF-8, else taken as latin-1; any line ends.
        limits: Caps on its size, lines, signals, rate and gains.

    Returns:
        The header.

    Raises:
        UnreadableFileError: The bytes break the grammar, or a number lies outside its range.
        UnsupportedFileError: The record has several segments.
        LimitExceededError: The header, a line or the number of signals is larger than allowed.
    """
    lines, comments = _lines(data, limits)
    if not lines:
        raise UnreadableFileError.because(Reason.NO_HEADER, "the header holds no record line; the record is set aside")
    rate_hz, n_signals, n_samples, notes = _parse_record_line(lines[0].split(), limits)
    if len(lines) <= n_signals:
        raise UnreadableFileError(
            f"the header declares {n_signals} signals and describes {len(lines) - 1}; the record is set aside"
        )
    if len(lines) > n_signals + 1:
        notes = (*notes, "more header lines than signals")
    signals = [_parse_signal_line(line, number, limits) for number, line in enumerate(lines[1 : n_signals + 1], 1)]
    patient, dropped = _patient(comments)
    return Header(
        rate_hz=rate_hz,
        n_samples=n_samples,
        signals=tuple(signals),
        patient=patient,
        notes=(*notes, "diagnosis codes dropped") if dropped else notes,
    )


def _lines(data: bytes, limits: Limits) -> tuple[list[str], list[str]]:
    """Separate the lines that count from the comments."""
    if len(data) > limits.header_bytes:
        raise LimitExceededError(
            f"the header has {len(data)} bytes, {limits.header_bytes} are allowed; the record is set aside"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines: list[str] = []
    comments: list[str] = []
    for line in text.replace("\r", "\n").split("\n"):
        if len(line) > limits.line_bytes:
            raise LimitExceededError(
                f"a header line has {len(line)} characters, {limits.line_bytes} are allowed; the record is set aside"
            )
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append(stripped[1:])
        elif stripped:
            lines.append(stripped)
    return lines, comments


def _parse_record_line(fields: Sequence[str], limits: Limits) -> tuple[float, int, int | None, tuple[str, ...]]:
    """Parse ``name[/segments] signals [rate[/counter_rate[(base)]] [samples [time [date]]]]``."""
    name = _NAME.fullmatch(fields[0])
    if name is not None and name["segments"] is not None:
        raise UnsupportedFileError(
            f"the record is joined from {name['segments']} segments, which are not read as one; "
            "segments that have their own header are read by themselves"
        )
    if len(fields) < 2:
        raise UnreadableFileError("the record line does not say how many signals there are; the record is set aside")
    n_signals = _integer(fields[1], "number of signals")
    if n_signals == 0:
        raise UnreadableFileError.because(Reason.NO_ECG_LEAD, "the header declares no signal; the record is set aside")
    if n_signals > limits.signals:
        raise LimitExceededError(
            f"the header declares {n_signals} signals, {limits.signals} are allowed; the record is set aside"
        )
    n_samples = _integer(fields[3], "number of samples") if len(fields) > 3 else 0
    if n_signals < 0 or n_samples < 0:
        raise UnreadableFileError("the record line holds a negative count; the record is set aside")
    rate_hz = _parse_rate(fields[2], limits) if len(fields) > 2 else DEFAULT_RATE_HZ
    readable = all(_TIME.fullmatch(word) or _DATE.fullmatch(word) for word in fields[4:])
    return rate_hz, n_signals, n_samples or None, () if readable else ("date unreadable",)


def _parse_rate(word: str, limits: Limits) -> float:
    match = _RATE.fullmatch(word)
    rate_hz = math.nan if match is None else float(match[1])
    if not limits.rate_min_hz <= rate_hz <= limits.rate_max_hz:
        raise UnreadableFileError.because(
            Reason.BAD_RATE,
            f"sampling rate {shape(word)!r} is no number from {limits.rate_min_hz:g} to {limits.rate_max_hz:g} Hz; "
            "the record is set aside",
        )
    return rate_hz


def _parse_signal_line(line: str, number: int, limits: Limits) -> SignalSpec:
    """Parse ``file format [gain [resolution [adc_zero [first [checksum [block_size [description]]]]]]]``."""
    fields = line.split(maxsplit=8)
    where = f"of signal {number}"
    form = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    if form is None:
        raise UnreadableFileError(
            f"storage format {shape(fields[1]) if len(fields) > 1 else ''!r} {where} is not "
            "format[xsamples][:skew][+offset]; the record is set aside"
        )
    numbers = [_integer(word, f"field {position} {where}") for position, word in enumerate(fields[3:8], 4)]
    _, adc_zero, _, checksum, _ = (*numbers, *[0] * (5 - len(numbers)))
    gain, baseline, assumed = _parse_gain(fields[2] if len(fields) > 2 else "0", where, limits)
    return SignalSpec(
        file=fields[0],
        format=int(form[1]),
        samples_per_frame=int(form[2] or 1),
        skew=int(form[3] or 0),
        byte_offset=int(form[4] or 0),
        gain=gain,
        gain_assumed=assumed,
        baseline=adc_zero if baseline is None else baseline,
        checksum=checksum % 65536 if checksum else None,
        description=fields[8] if len(fields) > 8 else "",
    )


def _parse_gain(word: str, where: str, limits: Limits) -> tuple[float | None, int | None, bool]:
    """Parse ``gain[(baseline)][/units]`` into ADC units per millivolt, baseline, and whether the gain was assumed."""
    match = _GAIN.fullmatch(word)
    gain = math.nan if match is None else float(match["gain"])
    if match is None or not math.isfinite(gain):
        raise _bad_gain(word, where, "is not gain[(baseline)][/units] with a finite gain")
    baseline = None if match["baseline"] is None else int(match["baseline"])
    per_millivolt = _PER_MILLIVOLT.get((match["units"] or "mV").lower())
    if per_millivolt is None:
        return None, baseline, False
    if gain == 0:
        return DEFAULT_GAIN, baseline, True
    if not limits.gain_min <= abs(gain * per_millivolt) <= limits.gain_max:
        raise _bad_gain(word, where, f"is outside {limits.gain_min:g} to {limits.gain_max:g} per millivolt")
    return gain * per_millivolt, baseline, False


def _bad_gain(word: str, where: str, claim: str) -> UnreadableFileError:
    return UnreadableFileError.because(
        Reason.BAD_GAIN, f"ADC gain {shape(word)!r} {where} {claim}; the record is set aside"
    )


def _integer(word: str, what: str) -> int:
    if _INTEGER.fullmatch(word) is None:
        raise UnreadableFileError(f"{what} {shape(word)!r} is no whole number; the record is set aside")
    return int(word)


def _patient(comments: Sequence[str]) -> tuple[Patient, bool]:
    """Take age, sex and diagnosis codes from the comments; tell whether a diagnosis was no known kind of code."""
    facts: dict[str, str] = {}
    if comments and (match := _MIT_BIH_FACTS.fullmatch(comments[0])):
        facts = {"Age": match[1], "Sex": match[2]}
    for comment in comments:
        if match := _FACT.fullmatch(comment):
            facts.setdefault(match[1], match[2])
    diagnoses = facts.get("Dx", "")
    codes = deidentify.diagnosis_codes(diagnoses)
    patient = Patient(
        age=deidentify.age(facts.get("Age", "")), sex=deidentify.sex(facts.get("Sex", "")), diagnosis_codes=codes
    )
    return patient, bool(diagnoses.strip()) and not codes
