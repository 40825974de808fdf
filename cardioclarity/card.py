"""The model card: what a model is for, what it learned from, how well it does, where it fails; written from facts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cardioclarity.measured import Measured, Realised
from cardioclarity.vocabulary import Head

INTENDED_USE: Final = (
    "For research use only. Not a medical device. Not for diagnosis, treatment, monitoring or alarm. An absence of "
    "events does not mean a normal ECG. Every finding needs review by a qualified person."
)

_NOT_MEASURED: Final = "not measured"

BEATS_COUNTED: Final = (
    "Where beats are annotated, only detections at one of them count: neither a T wave or noise that was taken for a beat, "
    "nor an abnormal beat that was not found. An evaluation counts both."
)
"""Which beats count in what a model says of itself."""

_METRICS_FROM: Final = (
    "On the patients held out for calibration, whom no fit has seen, at the R peaks that are found in each record. "
    f"{BEATS_COUNTED} That holds for the false alarms above too. Intervals are 95 % percentile intervals of a bootstrap over patients."
)

_OUT_OF_SCOPE: Final = "Paced hearts, children, recordings under 10 s, rates under 100 Hz, leads not in the list below."

KNOWN_FAILURES: Final = (
    "Where ectopy dominates a record, its own template learns it and calls the normal beats unusual (MIT-BIH 232).",
    "Patients with bundle branch block differ from the population in every beat.",
    "The template of a record uses all of that record, never its labels: early beats are judged with later ones known.",
    "P-values hold for patients like those of the calibration; for other devices or populations they may not.",
)

_DATA: Final = ("records", "patients", "hours", "normal_beats", "leads", "rates_hz", "sources", "ages", "sexes")
_FIT: Final = ("seed", "hardware", "versions", "warnings")
_GROUPS: Final = ("fitting", "stopping", "calibrating")
_CALIBRATION: Final = (
    *("calibration_patients", "calibration_beats", "calibration_windows"),
    *("record_view_patients", "record_view_beats", "calibration_is_disjoint"),
    *("beats_per_hour", "windows_per_hour", "population_median"),
)
ALARM_HEADS: Final = (Head.BEAT.value, Head.RHYTHM.value)
"""Whose alarm levels a card says that they were tried, or that they were not."""

METRICS: Final = ("beat", "rhythm", "rate", "quality", "noise", "subgroups")
"""What a card says that it was measured, or that it was not."""


def card(description: Mapping[str, Any]) -> str:
    """Write the card of a model, as Markdown; what nobody measured says so.

    Args:
        description: What `model.json` holds: `format_version`, `intended_use`, `files` (name → sha256), `parameters`
            (member → numbers learned), `model` (the settings of `ensemble.Model`) and `training`. Of `training` these
            have their place by name: records, patients, hours, normal_beats, leads, rates_hz, sources, ages, sexes,
            fingerprint; groups (fitting, stopping, calibrating); seed, hardware, versions, warnings; metrics
            (beat and rhythm as `measured.Measured` in JSON; rate, quality, noise, subgroups). Others follow at the end,
            but for record_ids.

    Returns:
        The text; equal descriptions give equal cards.
    """
    training, settings = dict(description["training"]), description["model"]
    training.pop("record_ids", None)  # thousands of them; the fingerprint stands for them all
    groups, metrics = training.pop("groups", None) or {}, training.pop("metrics", None) or {}
    calibration = settings["facts"]
    sections = {
        "Intended use": [description["intended_use"]],
        "Out of scope": [_OUT_OF_SCOPE],
        "Training data": _items(training, *_DATA, "fingerprint"),
        "What served which step": _items(groups, *_GROUPS),
        "Preparation": _items(settings["recipe"], *settings["recipe"]),
        "Members and the numbers that each learned": _items(description["parameters"], *description["parameters"]),
        "Fit": _items(training, *_FIT),
        "Calibration and alarm levels": [
            *_items(calibration, *_CALIBRATION),
            _alarm(calibration),
            *_alarm_lines(calibration),
        ],
        "Metrics": [_METRICS_FROM, "", *_metrics(metrics)],
        "Known failures": [f"- {failure}" for failure in KNOWN_FAILURES],
        "Train again": ["`cardioclarity train` on the same records with the same seed."],
        "Further facts": _items(training, *(name for name in training if name not in (*_DATA, "fingerprint", *_FIT))),
    }
    files = ", ".join(f"{name} sha256 {digest}" for name, digest in description["files"].items())
    head = f"# Model card\n\nFormat {description['format_version']}; {files}."
    return (
        "\n\n".join([head, *(f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items() if lines)])
        + "\n"
    )


def _alarm(calibration: Mapping[str, Any]) -> str:
    """Say which p-value gives one alarm per hour."""
    beats_per_hour = calibration.get("beats_per_hour")
    level = _words(min(1.0 / beats_per_hour, 1.0)) if beats_per_hour else _NOT_MEASURED
    return f"- p-value of a beat that gives one false alarm per hour of normal ECG: {level}"


def _alarm_lines(calibration: Mapping[str, Any]) -> Iterator[str]:
    """Say what the alarm levels gave on patients who were left out of the calibration, and of which head nobody knows."""
    told = [Realised.load(one) for one in calibration.get("realised") or ()]
    yield (
        "- realised false alarms, per hour of normal ECG of patients left out of the calibration in turn "
        "(three at least, for the beat head patients held out from every fit):"
    )
    yield from (f"  - {one.line()}" for one in told)
    known = {one.head for one in told}
    yield from (f"  - {head}: {_NOT_MEASURED}" for head in ALARM_HEADS if head not in known)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Say what was measured, the worst first, and what was not."""
    for name in dict.fromkeys((*METRICS, *metrics)):
        measured = Measured.load(metrics.get(name))
        if measured is None:
            yield from _items(metrics, name)
        else:
            yield f"- {name}: {measured.patients} patients, {measured.records} records"
            yield from (f"  - {line}" for line in measured.lines())


def _items(facts: Mapping[str, Any], *names: str) -> list[str]:
    return [f"- {name.replace('_', ' ')}: {_words(facts.get(name))}" for name in names]


def _words(value: object) -> str:
    """Put a JSON value into words."""
    if value is None:
        return _NOT_MEASURED
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_words, value)) or "none"
    return value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
