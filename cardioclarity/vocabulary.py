"""The closed vocabularies: leads, heads, states, labels, reasons; words are added, never changed or removed."""

import re
import unicodedata
from enum import StrEnum
from typing import Final


class Head(StrEnum):
    """The four questions that are asked of each record, each with a truth of its own."""

    RATE = "rate"
    RHYTHM = "rhythm"
    BEAT = "beat"
    QUALITY = "quality"


class State(StrEnum):
    """What a head says of a record. People read `normal` as "nothing flagged", never as "normal ECG"."""

    NORMAL = "normal"
    ANOMALOUS = "anomalous"
    UNREADABLE = "unreadable"
    UNSCORABLE = "unscorable"


class Severity(StrEnum):
    """How soon a person should look at an event."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class EventLabel(StrEnum):
    """What an event is called. No word claims a diagnosis."""

    TACHYCARDIA = "tachycardia"
    BRADYCARDIA = "bradycardia"
    PAUSE = "pause"
    IRREGULAR_RHYTHM = "irregular rhythm"
    UNUSUAL_BEAT = "unusual beat"
    EARLY_BEAT = "early beat"
    RUN_OF_UNUSUAL_BEATS = "run of unusual beats"
    MISSING_SIGNAL = "missing signal"
    FLAT_LINE = "flat line"
    SATURATION = "saturation"
    NOISE = "noise"
    NO_QRS = "no QRS"
    IRREGULARLY_IRREGULAR = "irregularly irregular rhythm"
    BIGEMINY = "bigeminy"
    TRIGEMINY = "trigeminy"
    FREQUENT_ECTOPY = "frequent ectopy"
    FAST_RHYTHM = "fast rhythm"
    FAST_RUN_OF_UNUSUAL_BEATS = "fast run of unusual beats"
    ABRUPT_RATE_CHANGE = "abrupt rate change"


class StateReason(StrEnum):
    """Why a head answered as it did, in `scores.reasons`."""

    MISSING_SIGNAL = "missing_signal"
    FLAT_LINE = "flat_line"
    SATURATION = "saturation"
    NOISE = "noise"
    NO_QRS = "no_qrs"
    LOW_COVERAGE = "low_coverage"
    TOO_SHORT = "too_short"
    NO_BEATS = "no_beats"
    POPULATION_ONLY = "population_only"
    DIFFERS_FROM_POPULATION = "differs_from_population"


class Stage(StrEnum):
    """Where an input was set aside."""

    CONVERT = "convert"
    SCORE = "score"
    TRAIN = "train"


class Reason(StrEnum):
    """Why an input stands in quarantine."""

    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED_VARIANT = "unsupported_variant"
    UNSUPPORTED_COMPRESSION = "unsupported_compression"
    NO_HEADER = "no_header"
    MISSING_FILE = "missing_file"
    TRUNCATED = "truncated"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    NO_ECG_LEAD = "no_ecg_lead"
    UNKNOWN_LEAD = "unknown_lead"
    BAD_RATE = "bad_rate"
    BAD_GAIN = "bad_gain"
    BAD_KEY = "bad_key"
    TOO_LARGE = "too_large"
    TOO_SHORT = "too_short"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    MALFORMED = "malformed"
    POISONED = "poisoned"
    DAMAGED = "damaged"


class Problem(StrEnum):
    """What is wrong with a stored object."""

    MISSING = "missing"
    SIZE = "size"
    DIGEST = "digest"
    SWAPPED = "swapped"
    UNREADABLE = "unreadable"
    UNKNOWN_VERSION = "unknown_version"
    UNVOUCHED = "unvouched"
    INCONSISTENT = "inconsistent"


STATE_REASON_LABEL: Final = {
    StateReason.MISSING_SIGNAL: EventLabel.MISSING_SIGNAL,
    StateReason.FLAT_LINE: EventLabel.FLAT_LINE,
    StateReason.SATURATION: EventLabel.SATURATION,
    StateReason.NOISE: EventLabel.NOISE,
    StateReason.NO_QRS: EventLabel.NO_QRS,
}
"""The event label of each reason for which a stretch of signal is unreadable."""

LEADS: Final = (
    *("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9"),
    *("V2R", "V3R", "V4R", "V5R", "V6R", "V7R", "MLI", "MLII", "MLIII", "MCL1", "MCL6", "CM5", "CC5", "CS2"),
    *("ES", "AS", "AI", "X", "Y", "Z", "ECG", *(f"ECG{i}" for i in range(1, 33))),
)
"""Every lead name a segment may hold, in canonical order. `ECG` and `ECGn` are leads of unknown placement."""

LEAD_ORDER: Final = {lead: position for position, lead in enumerate(LEADS)}

DERIVED_LEADS: Final = frozenset({"III", "aVR", "aVL", "aVF"})
"""Leads computed from I and II: they take no part in a record's identity where I and II are there."""

_LEAD_ALIASES: Final = {
    **{lead.upper(): lead for lead in LEADS},
    **{alias: lead for lead in ("I", "II", "III") for alias in (f"L{len(lead)}", f"D{len(lead)}", f"D{lead}")},
    **{f"C{i}": f"V{i}" for i in range(1, 7)},
    **{f"V0{i}": f"V{i}" for i in range(1, 10)},
    **{f"RV{i}": f"V{i}R" for i in range(3, 8)},
    "A VR": "aVR",
    "A VL": "aVL",
    "A VF": "aVF",
    "ML": "MLII",
    "ML2": "MLII",
    "ML-II": "MLII",
    "CMV5": "CM5",
    "MODIFIED LEAD II": "MLII",
    "VX": "X",
    "VY": "Y",
    "VZ": "Z",
    "EKG": "ECG",
}
_LEAD_PREFIX: Final = re.compile(r"^(?:MDC_ECG_LEAD_|MDC_ECG_ELEC_POTL_|(?:EKG|ECG|LEAD|CH)[ _:-]+)(?=.)")
_LEAD_SUFFIX: Final = re.compile(r"(?: \(EINTHOVEN\)|-REF|#)$")
_GENERIC_LEAD: Final = re.compile(r"(?:EKG|ECG)[ _-]?(\d{1,2})?")


def canonical_lead(source_name: str) -> str | None:
    """Translate a lead name as found in a file into the closed vocabulary.

    Args:
        source_name: The verbatim name, for example ``"LEAD aVR"``, ``"II "`` or ``"MDC_ECG_LEAD_V1"``.

    Returns:
        The canonical name, or None where the name is no ECG lead that we know. A position is never guessed.

    Source: lead terms of ISO/IEEE 11073-10102 Annex A and SCP-ECG (EN 1064) lead list.
    """
    name = " ".join(unicodedata.normalize("NFKC", source_name).replace("\0", "").split()).upper()
    if generic := _GENERIC_LEAD.fullmatch(name):
        return _LEAD_ALIASES.get(f"ECG{int(generic[1])}" if generic[1] else "ECG")
    name = _LEAD_SUFFIX.sub("", _LEAD_PREFIX.sub("", name))
    return _LEAD_ALIASES.get(name)


BEAT_CLASSES: Final = {
    **dict.fromkeys("NLRejB", "N"),
    **dict.fromkeys("AaJSn", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
"""MIT annotation symbol of a beat → its class (ANSI/AAMI EC57): N, S, V, F or Q. Every other symbol is no beat."""

ABNORMAL_CLASSES: Final = ("S", "V", "F")
"""Classes of beats that the beat head is there to find; Q counts for neither side. Source: ANSI/AAMI EC57."""

RHYTHMS: Final = frozenset(
    ["N", "AFIB", "AFL", "AB", "SBR", "SVTA", "B", "T", "VT", "IVR", "VFL", "VF", "NOD", "P", "PREX", "BII", "ASYS"]
)
"""Rhythm words of MIT annotations that may be stored, without their leading parenthesis."""
