"""The section of the page on the model: how well it ranks, where it fails, and whether its alarm levels keep their word."""

from collections.abc import Iterator
from typing import Final

from cardioclarity.card import ALARM_HEADS, BEATS_COUNTED
from cardioclarity.measured import Figure, Measured, Realised
from cardioclarity.report.view import ModelView
from cardioclarity.report.words import about, number, row, table
from cardioclarity.sheet import text

_NOT_MEASURED: Final = "not measured"
_STEPS: Final = {"fitting": "fitted on", "stopping": "stopped early by", "calibrating": "calibrated and measured on"}
_NOTHING: Final = "\N{EN DASH}"


def standing(model: ModelView | None) -> str:
    """Write what a model says of itself; no text in it is trusted.

    Args:
        model: None where it cannot be asked.
    """
    if model is None:
        return '<p class="empty">The description of this model cannot be read, so nothing is said of it.</p>'
    failures = "".join(f"<li>{text(failure)}</li>" for failure in model.failures)
    return (
        f"<p>{_learned(model)}</p>{_ranking(model)}{_alarms(model)}"
        f'<h3>Known failures</h3><ul class="failures">{failures}</ul>'
        f'<p class="quiet">Not measured: {text(", ".join(model.not_measured) or "nothing")}.</p>'
    )


def _learned(model: ModelView) -> str:
    """Say what it is made of and whom it learned from."""
    detectors = ", ".join(f"<code>{text(name)}</code>" for name in model.detectors)
    told = [f"Detectors: {detectors}."]
    if model.hours is not None:
        told.append(f"They learned from {_hours(model.hours)} hours of ECG.")
    if model.is_disjoint and model.patients:
        steps = ", ".join(f"{words} {number(model.patients.get(step, 0))}" for step, words in _STEPS.items())
        told.append(f"Patients, each of whom served one step: {steps}.")
    if not model.is_disjoint:
        told.append("<b>No patient was held out: what follows says nothing of other patients.</b>")
    told += [f"Warning of the training: {text(warning)}." for warning in model.warnings]
    return " ".join(told)


def _hours(value: float) -> str:
    return number(value) if value >= 100 else f"{value:.3g}"


def _ranking(model: ModelView) -> str:
    if not model.measured:
        return (
            '<p class="empty">How well it ranks what is abnormal was not measured: it takes patients held out from every '
            "fit, and annotations of theirs that tell both what is normal and what is not.</p>"
        )
    heads = ["Head", "Against normal ones", "AUROC", "95&nbsp;% interval", "Abnormal", "of patients"]
    heads += ["Normal", "of patients"]
    rows = [line for head, measured in model.measured.items() for line in _figures(head, measured)]
    worst = "".join(f"<p>{_worst(head, measured)}</p>" for head, measured in model.measured.items())
    return (
        table("ranking", "How what is abnormal ranks, worst class first", heads, ["<tbody>", *rows, "</tbody>"]) + worst
    )


def _figures(head: str, measured: Measured) -> Iterator[str]:
    for name, one in measured.figures():
        counts = (one.abnormal, one.patients, one.normal, one.normal_patients)
        yield row(text(head), text(name), text(one.value()), text(one.interval()), *map(number, counts))


def _worst(head: str, measured: Measured) -> str:
    """Name the worst patients by a record of theirs."""
    named = ", ".join(map(_patient, measured.worst_patients))
    return (
        f"Worst patients of the {text(head)} head, by a record of theirs: {named or 'none has enough of both kinds'}."
    )


def _patient(one: Figure) -> str:
    return f"<code>{text(one.what)}</code> {text(one.value())}"


def _alarms(model: ModelView) -> str:
    heads = ["Head", "Asked for", "Met, mean", "Median", "Largest", "Alarms", "in hours", "of patients"]
    caption = "False alarms per hour, asked for and met"
    note = (
        "Each patient was judged by the calibration of the others, where it is annotated normal; single beats and windows "
        "count, before neighbours are merged. Median and largest are of patients with five minutes or more. It takes three patients "
        "who can be left out, for the beat head of those held out from every fit. "
        f"{BEATS_COUNTED} That holds for the ranking too."
    )
    most = "".join(f"<p>{_most(one)}</p>" for one in model.realised if one.most())
    known = {one.head for one in model.realised}
    missing = (row(head, _NOT_MEASURED, *[_NOTHING] * 6) for head in ALARM_HEADS if head not in known)
    rows = ["<tbody>", *map(_alarm_row, model.realised), *missing, "</tbody>"]
    return f'{table("realised", caption, heads, rows)}<p class="quiet">{note}</p>{most}'


def _alarm_row(one: Realised) -> str:
    middle, largest = (_NOTHING if value is None else about(value) for value in (one.median, one.largest))
    counts = (number(one.alarms), _hours(one.hours), number(one.patients))
    return row(text(one.head), text(one.asked_for()), about(one.mean), middle, largest, *counts)


def _most(one: Realised) -> str:
    """Name the patients of the most alarms by a record of theirs."""
    return f"Most alarms of the {text(one.head)} head at {text(one.asked_for())}: {text(one.most())}."
