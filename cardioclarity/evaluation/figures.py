"""Figures of an evaluation as SVG: curves, realised against nominal rates, and the patients one by one."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.evaluation.results import Patient, short
from cardioclarity.sheet import text

Floats = NDArray[np.float64]
Line = tuple[str, Floats, Floats]
"""Name, x and y of the points."""

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 1000, 760, 120, 110, 20
STYLES: Final = (
    "stroke:var(--mark);stroke-width:5",
    "stroke:var(--made);stroke-width:4",
    "stroke:var(--trace);stroke-width:4;stroke-dasharray:18 9",
    "stroke:var(--quiet);stroke-width:4;stroke-dasharray:4 8",
    "stroke:var(--accent);stroke-width:4;stroke-dasharray:24 8 4 8",
)
"""Lines differ in colour and in dashes, so that print and colour-blind eyes tell them apart."""

MAX_PATIENTS: Final = 30


def chart(spoken: str, x_name: str, y_name: str, lines: Sequence[Line], *, log: bool = False) -> str:
    """Draw lines in a square from 0 to 1, or from 0.0005 to 1 in logarithms.

    Args:
        spoken: What a person who does not see it is told.
        x_name: What the x axis says.
        y_name: What the y axis says.
        lines: At most five.
        log: Both axes in logarithms.

    Returns:
        One `<svg>`.
    """
    low = 5e-4
    ticks = (0.001, 0.01, 0.1, 1.0) if log else (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    def scaled(values: Floats) -> Floats:
        share: Floats = 1 - np.log(np.clip(values, low, 1.0)) / np.log(low) if log else np.clip(values, 0.0, 1.0)
        return share

    wide, high = WIDTH - LEFT - 30, HEIGHT - ABOVE - BELOW
    at = [round(float(one)) for one in scaled(np.array(ticks)) * 1000]
    parts = [f'<rect class="plot" x="{LEFT}" y="{ABOVE}" width="{wide}" height="{high}"/>']
    for tick, place in zip(ticks, at, strict=True):
        x, y = LEFT + wide * place // 1000, ABOVE + high - high * place // 1000
        parts += [
            f'<path class="tick" d="M{x} {ABOVE}v{high}M{LEFT} {y}h{wide}"/>',
            f'<text class="time" x="{x}" y="{ABOVE + high + 38}">{tick:g}</text>',
            f'<text class="axis" x="{LEFT - 14}" y="{y + 9}">{tick:g}</text>',
        ]
    if log:
        parts.append(f'<path class="limit" fill="none" d="M{LEFT} {ABOVE + high}L{LEFT + wide} {ABOVE}"/>')
    for style, (_, x_values, y_values) in zip(STYLES, lines, strict=False):
        points = " ".join(
            f"{LEFT + wide * x:.0f},{ABOVE + high - high * y:.0f}"
            for x, y in zip(scaled(x_values).tolist(), scaled(y_values).tolist(), strict=True)
        )
        parts.append(f'<polyline points="{points}" style="fill:none;{style}"/>')
    parts += [
        f'<text class="time" x="{LEFT + wide // 2}" y="{HEIGHT - 24}">{text(x_name)}</text>',
        f'<text class="time" transform="translate(28 {ABOVE + high // 2}) rotate(-90)">{text(y_name)}</text>',
    ]
    return _svg(spoken, WIDTH, HEIGHT, "".join(parts)) + _legend([name for name, _, _ in lines])


def roc(curves: Mapping[str, tuple[Floats, Floats, Floats]]) -> str:
    """Draw true against false positive rate of up to five scorers."""
    lines = [
        (name, np.append(np.insert(fpr, 0, 0), 1.0), np.append(np.insert(tpr, 0, 0), 1.0))
        for name, (fpr, tpr, _) in curves.items()
    ]
    return chart(f"ROC curves of {', '.join(curves)}", "false positive rate", "true positive rate", lines)


def precision_recall(curves: Mapping[str, tuple[Floats, Floats, Floats]]) -> str:
    """Draw precision against recall of up to five scorers."""
    lines = [(name, tpr, precision) for name, (_, tpr, precision) in curves.items()]
    return chart(f"Precision and recall of {', '.join(curves)}", "recall", "precision", lines)


def calibration(realised: Mapping[float, tuple[float, float, float]]) -> str:
    """Draw realised against nominal false-positive rates; the dashed diagonal is what is promised."""
    nominal = np.array(sorted(realised))
    values = np.array([realised[x] for x in nominal.tolist()])
    names = ("mean of patients", "median patient", "90th percentile of patients")
    lines = [(name, nominal, values[:, at]) for at, name in enumerate(names)]
    return chart(
        "Realised against nominal false-positive rate", "nominal rate", "realised rate, normal beats", lines, log=True
    )


def bars(measure: str, patients: Sequence[Patient]) -> str:
    """Draw one bar per patient, the worst first and by name; those without a value are not shown.

    Args:
        measure: What the value is.
        patients: The tested patients.
    """
    known = sorted((one for one in patients if not np.isnan(one.value)), key=lambda one: (one.value, one.name))
    shown = known[:MAX_PATIENTS]
    row, left, wide = 40, 200, 560
    parts = []
    for at, one in enumerate(shown):
        y = at * row
        parts += [
            f'<text class="axis" x="{left - 16}" y="{y + 28}">{text(one.name)}</text>',
            f'<rect class="readable" x="{left}" y="{y + 6}" width="{max(wide * one.value, 2):.0f}" height="{row - 12}"/>',
            f'<text x="{left + wide + 16}" y="{y + 28}">{short(one.value)}</text>',
        ]
    if not shown:
        return '<p class="empty">No patient has beats enough for a figure of its own.</p>'
    more = f" of {len(known)}" if len(known) > len(shown) else ""
    spoken = f"{measure} of {len(shown)}{more} patients, the worst is {shown[0].name} with {short(shown[0].value)}"
    return _svg(spoken, WIDTH, len(shown) * row, "".join(parts))


def _svg(spoken: str, width: int, height: int, inside: str) -> str:
    return (
        f'<svg class="figure" role="img" aria-label="{text(spoken)}" viewBox="0 0 {width} {height}" '
        f'width="{width // 2}" style="max-width:100%;height:auto">{inside}</svg>'
    )


def _legend(names: Sequence[str]) -> str:
    keys = "".join(
        f'<li><svg width="34" height="12" viewBox="0 0 68 24" aria-hidden="true"><path d="M0 12h68" style="fill:none;{style}"/>'
        f"</svg> {text(name)}</li>"
        for style, name in zip(STYLES, names, strict=False)
    )
    return f'<ul class="legend">{keys}</ul>'
