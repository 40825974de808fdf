"""One event on ECG paper as SVG: 25 mm/s and 10 mm/mV, and below it the heart rate around the event."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardioclarity.explain import Explanation
from cardioclarity.report.words import clock
from cardioclarity.sheet import text

UNIT = 10  # user units per millimetre: a tenth of one, 4 ms and 0.01 mV, is less than the width of the line
MM_PER_S, MM_PER_MV = 25, 10
COLUMN = 3  # 0.3 mm, 12 ms: one pixel of an ordinary screen; at most two points of a line in each
LEFT_MM, RIGHT_MM = 15, 15  # room for the calibration pulse, and for the scale bar
HEADROOM_MM = 7  # above the trace: the ticks of the R peaks and the name of the event
UP_MM, DOWN_MM = (15, 40), (10, 30)  # least and most paper above and below the zero line
AROUND_S, LONGEST_S = 30.0, 600.0  # the heart rate: so much before and after the event, and never more than this
RATE_HEIGHT_MM = 30
VISIBLE_MM = 0.5  # 50 µV
Points = NDArray[np.int64]
Line = NDArray[np.floating[Any]]


def definitions() -> str:
    """Give the patterns that all strips of a page share; stands once on the page, before the first strip."""
    mm = UNIT
    return (
        '<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>'
        f'<pattern id="paper-1" width="{mm}" height="{mm}" patternUnits="userSpaceOnUse">'
        f'<path class="fine" d="M0 0H{mm}M0 0V{mm}"/></pattern>'
        f'<pattern id="paper-5" width="{5 * mm}" height="{5 * mm}" patternUnits="userSpaceOnUse">'
        f'<path class="bold" d="M0 0H{5 * mm}M0 0V{5 * mm}"/></pattern>'
        f'<pattern id="hatch" width="{mm}" height="{mm}" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<path class="hatch" d="M0 0V{mm}"/></pattern></defs></svg>'
    )


def strip(explanation: Explanation) -> str:
    """Draw the signal around the event.

    Args:
        explanation: The event with its signal; any length, also without a single sample that is not missing.

    Returns:
        One `<svg>`, of at most 15 kB for 10 s; its classes are those of sheet.css.
    """
    signal, made = explanation.signal_mv, explanation.reconstruction_mv
    up_mm, down_mm = _paper(np.concatenate([signal, made]))
    width = (LEFT_MM + RIGHT_MM) * UNIT + math.ceil(len(signal) / explanation.rate_hz * MM_PER_S) * UNIT
    height = (up_mm + down_mm) * UNIT
    zero = up_mm * UNIT
    x = LEFT_MM * UNIT + np.arange(len(signal)) * (MM_PER_S * UNIT / explanation.rate_hz)
    y, y_made = (np.clip(zero - values * (MM_PER_MV * UNIT), UNIT / 2, height - UNIT / 2) for values in (signal, made))
    parts = [
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<rect width="{width}" height="{height}" fill="url(#paper-1)"/>',
        f'<rect width="{width}" height="{height}" fill="url(#paper-5)"/>',
        _event_span(explanation, height),
        *_missing(x, np.isnan(signal), height),
        f'<path class="deviation" d="{_deviation(x, y, y_made)}"/>',
        f'<path class="made" d="{_trace(x, y_made, column=2 * COLUMN)}"/>',
        f'<path class="trace" d="{_trace(x, y)}"/>',
        *_peaks(explanation),
        _calibration(explanation, zero),
        _scale_bar(width, zero),
        _time_axis(explanation, height),
    ]
    return _svg("strip", width, height + 10 * UNIT, _spoken(explanation), "".join(parts))


def tachogram(explanation: Explanation, *, bradycardia_bpm: float, tachycardia_bpm: float) -> str:
    """Draw the heart rate around the event, one point per beat, and which parts of the signal were readable.

    Args:
        explanation: The event and the rhythm of its record.
        bradycardia_bpm: The lower limit of the run, drawn as a line.
        tachycardia_bpm: The upper limit.

    Returns:
        One `<svg>` as wide as the strip.
    """
    begin_s, end_s = _span_s(explanation)
    width = (LEFT_MM + RIGHT_MM) * UNIT + math.ceil(len(explanation.signal_mv) / explanation.rate_hz * MM_PER_S) * UNIT
    height = RATE_HEIGHT_MM * UNIT
    scale = (width - (LEFT_MM + RIGHT_MM) * UNIT) / (end_s - begin_s)
    at_s = explanation.rpeaks / explanation.rate_hz
    shown = (at_s >= begin_s) & (at_s <= end_s)
    bpm = 60 / explanation.rr_s[shown]
    low, high, step = _rate_axis(bpm, bradycardia_bpm, tachycardia_bpm)
    x = LEFT_MM * UNIT + (at_s[shown] - begin_s) * scale
    y = height * (1 - (np.clip(bpm, low, high) - low) / (high - low))
    edges = np.clip(
        [
            explanation.event["start_sample"] / explanation.rate_hz,
            explanation.event["end_sample"] / explanation.rate_hz,
        ],
        begin_s,
        end_s,
    )
    left, right = np.rint(LEFT_MM * UNIT + (edges - begin_s) * scale).astype(int).tolist()
    parts = [
        f'<rect class="plot" x="{LEFT_MM * UNIT}" width="{width - (LEFT_MM + RIGHT_MM) * UNIT}" height="{height}"/>',
        f'<rect class="event" x="{left}" width="{max(right - left, 4)}" height="{height}"/>',
        *(_rate_line(bpm, low, high, width, "tick") for bpm in range(math.ceil(low / step) * step, high + 1, step)),
        *(_rate_line(bpm, low, high, width, "limit") for bpm in (bradycardia_bpm, tachycardia_bpm) if low < bpm < high),
        f'<path class="rr" d="{_trace(x, y, column=1)}"/>',
        f'<path class="beat" d="{_dots(x, y)}"/>',
        *_readability(explanation, begin_s, end_s, scale),
        _clock_labels(begin_s, end_s, scale, height + 5 * UNIT),
        f'<text class="small" x="{UNIT}" y="{height // 2}">bpm</text>',
    ]
    spoken = f"Heart rate from {clock(begin_s)} to {clock(end_s)}" + _spoken_rates(bpm)
    return _svg("rate", width, height + 6 * UNIT, spoken, "".join(parts), above=2 * UNIT)


def _svg(kind: str, width: int, height: int, spoken: str, inside: str, *, above: int = 0) -> str:
    return (
        f'<svg class="{kind}" role="img" aria-label="{text(spoken)}" viewBox="0 {-above} {width} {height + above}" '
        f'width="{width // UNIT}mm" height="{(height + above) // UNIT}mm">{inside}</svg>'
    )


def _spoken(explanation: Explanation) -> str:
    event, rate_hz = explanation.event, explanation.rate_hz
    start_s, length_s = explanation.start_sample / rate_hz, len(explanation.signal_mv) / rate_hz
    begin = (event["start_sample"] - explanation.start_sample) / rate_hz
    inside = (explanation.rpeaks >= event["start_sample"]) & (explanation.rpeaks < event["end_sample"])
    rates = _spoken_rates(60 / explanation.rr_s[inside])
    return f"Lead {event['lead']}, {length_s:.0f} s from {clock(start_s)}, {event['label']} at {begin:.1f} s{rates}"


def _spoken_rates(bpm: Line) -> str:
    known = bpm[np.isfinite(bpm)]
    return f", {known.min():.0f} to {known.max():.0f} beats per minute" if len(known) else ""


def _paper(millivolts: Line) -> tuple[int, int]:
    """Find how many millimetres the trace needs above and below its zero line, in steps of 5 mm."""
    known = millivolts[np.isfinite(millivolts)]
    highest, lowest = (float(known.max()), float(known.min())) if len(known) else (0.0, 0.0)
    up, down = highest * MM_PER_MV + HEADROOM_MM, -lowest * MM_PER_MV + 2
    return tuple(  # type: ignore[return-value]  # a pair, of a pair
        5 * math.ceil(min(max(needed, least), most) / 5) for needed, (least, most) in ((up, UP_MM), (down, DOWN_MM))
    )


def _runs(wanted: NDArray[np.bool_]) -> Iterator[slice]:
    """Find the stretches on which a mask holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():
        yield slice(start, stop)


def _decimate(x: Line, y: Line, column: int) -> tuple[Points, Points]:
    """Keep the lowest and the highest point of each column, in the order in which the signal runs through them."""
    place = (x // column).astype(np.int64)
    first = np.flatnonzero(np.diff(place, prepend=place[0] - 1))
    if 2 * len(first) >= len(x):
        return _straighten(np.rint(x).astype(np.int64), np.rint(y).astype(np.int64))
    last = np.append(first[1:], len(x)) - 1
    pair = np.stack([np.minimum.reduceat(y, first), np.maximum.reduceat(y, first)], axis=1)
    pair = np.where((y[last] < y[first])[:, None], pair[:, ::-1], pair)
    left = place[first] * column
    at = np.stack([left + column // 4, left + 3 * column // 4], axis=1)
    return _straighten(at.ravel(), np.rint(pair).astype(np.int64).ravel())


def _straighten(x: Points, y: Points) -> tuple[Points, Points]:
    """Leave out the points in the middle of a level line."""
    level = np.zeros(len(y), bool)
    level[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    return x[~level], y[~level]


def _commands(x: Points, y: Points, *, close: str = "") -> str:
    """Write points as one SVG path, in relative whole numbers; a minus sign is separator enough."""
    steps = np.stack([np.diff(x), np.diff(y)], axis=1).ravel().tolist()
    return f"M{x[0]} {y[0]}l{' '.join(map(str, steps)) or '0 0'}{close}".replace(" -", "-")


def _trace(x: Line, y: Line, *, column: int = COLUMN) -> str:
    return "".join(_commands(*_decimate(x[run], y[run], column)) for run in _runs(np.isfinite(y)))


def _dots(x: Line, y: Line) -> str:
    known = np.isfinite(y)
    points = np.rint(np.stack([x[known], y[known]], axis=1)).astype(int).tolist()
    return "".join(f"M{at} {height}h0" for at, height in points)


def _event_span(explanation: Explanation, height: int) -> str:
    start, stop = (
        (explanation.event[edge] - explanation.start_sample) / explanation.rate_hz * MM_PER_S
        for edge in ("start_sample", "end_sample")
    )
    length = len(explanation.signal_mv) / explanation.rate_hz * MM_PER_S
    left, right = (round((LEFT_MM + min(max(edge, 0.0), length)) * UNIT) for edge in (start, stop))
    return (
        f'<rect class="event" x="{left}" width="{max(right - left, UNIT // 2)}" height="{height}"/>'
        f'<text class="name" x="{left + UNIT}" y="{round(5.8 * UNIT)}">{text(explanation.event["label"])}</text>'
    )


def _missing(x: Line, missing: NDArray[np.bool_], height: int) -> Iterator[str]:
    for run in _runs(missing):
        left, right = round(x[run][0]), round(x[run][-1])
        yield f'<rect class="gap" x="{left}" width="{right - left + 1}" height="{height}" fill="url(#hatch)"/>'


def _deviation(x: Line, y: Line, y_made: Line) -> str:
    """Outline what lies between the signal and its reconstruction, in columns where the eye can see them apart."""
    place = (x // (2 * COLUMN)).astype(np.int64)
    first = np.flatnonzero(np.diff(place, prepend=place[:1] - 1))
    count = np.diff(np.append(first, len(place)))
    at = place[first] * 2 * COLUMN + COLUMN
    upper, lower = (np.add.reduceat(line, first) / count for line in (y, y_made))
    apart = np.nan_to_num(np.abs(upper - lower)) > VISIBLE_MM * UNIT
    return "".join(
        _commands(
            np.concatenate([at[run], at[run][::-1]]),
            np.rint(np.concatenate([upper[run], lower[run][::-1]])).astype(np.int64),
            close="z",
        )
        for run in _runs(apart)
    )


def _peaks(explanation: Explanation) -> Iterator[str]:
    """Tick the R peaks on the upper edge: a short line, and a full triangle for a flagged beat."""
    offset = explanation.rpeaks - explanation.start_sample
    shown = (offset >= 0) & (offset < len(explanation.signal_mv))
    at = np.rint((LEFT_MM + offset / explanation.rate_hz * MM_PER_S) * UNIT).astype(int)
    flagged = explanation.flagged
    plain, marked = at[shown & ~flagged].tolist(), at[shown & flagged].tolist()
    yield f'<path class="peak" d="{"".join(f"M{x} 0v{2 * UNIT}" for x in plain)}"/>'
    yield f'<path class="peak in" d="{"".join(f"M{x} {2 * UNIT + 5}l-11-20h22z" for x in marked)}"/>'


def _calibration(explanation: Explanation, zero: int) -> str:
    """Draw the pulse of 1 mV and 200 ms that shows the scale of the paper, and name the lead."""
    pulse, rise = MM_PER_S * UNIT // 5, MM_PER_MV * UNIT
    return (
        f'<path class="trace" d="M{3 * UNIT} {zero}h{2 * UNIT}v-{rise}h{pulse}v{rise}h{2 * UNIT}"/>'
        f'<text class="lead" x="{2 * UNIT}" y="{4 * UNIT}">{text(explanation.event["lead"])}</text>'
    )


def _scale_bar(width: int, zero: int) -> str:
    x = width - 10 * UNIT
    return (
        f'<path class="scale" d="M{x - 8} {zero}h16m-8 0v-{MM_PER_MV * UNIT}m-8 0h16"/>'
        f'<text class="small" x="{x + UNIT}" y="{zero - MM_PER_MV * UNIT // 2}">1 mV</text>'
    )


def _time_axis(explanation: Explanation, height: int) -> str:
    start_s = explanation.start_sample / explanation.rate_hz
    length_s = len(explanation.signal_mv) / explanation.rate_hz
    labels = _clock_labels(start_s, start_s + length_s, MM_PER_S * UNIT, height + round(3.6 * UNIT))
    band = "unfiltered" if explanation.band_hz is None else "{:g}\N{EN DASH}{:g} Hz".format(*explanation.band_hz)
    left, right, y = LEFT_MM * UNIT, (LEFT_MM + MM_PER_S) * UNIT, height + 7 * UNIT
    return (
        f'{labels}<path class="scale" d="M{left} {y - 8}v16m0-8H{right}m0-8v16"/>'
        f'<text class="small" x="{right + UNIT}" y="{y + UNIT}">1 s</text>'
        f'<text class="small" x="{right + 8 * UNIT}" y="{y + UNIT}">{MM_PER_S} mm/s · {MM_PER_MV} mm/mV · {band}</text>'
    )


def _clock_labels(begin_s: float, end_s: float, scale: float, y: int) -> str:
    """Label whole seconds so that no label meets its neighbour."""
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120) if s * scale >= 20 * UNIT), 300)
    seconds = range(math.ceil(begin_s / step) * step, math.floor(end_s) + 1, step)
    places = [(s, round(LEFT_MM * UNIT + (s - begin_s) * scale)) for s in seconds]
    ticks = "".join(f"M{x} {y - round(3.6 * UNIT)}v10" for _, x in places)
    labels = "".join(f'<text class="time" x="{x}" y="{y}">{clock(s)}</text>' for s, x in places)
    return f'<path class="scale" d="{ticks}"/>{labels}'


def _span_s(explanation: Explanation) -> tuple[float, float]:
    """Choose the stretch of the heart rate: around the event, inside the record."""
    start_s = explanation.event["start_sample"] / explanation.rate_hz
    end_s = explanation.event["end_sample"] / explanation.rate_hz
    begin_s = max(0.0, start_s - AROUND_S)
    record_s = explanation.n_samples / explanation.rate_hz
    return begin_s, max(min(record_s, end_s + AROUND_S, begin_s + LONGEST_S), begin_s + 1.0)


def _rate_axis(bpm: Line, low_limit: float, high_limit: float) -> tuple[int, int, int]:
    """Choose the lower and the upper end of the axis and the distance of its ticks."""
    known = bpm[np.isfinite(bpm)]
    lowest, highest = (float(known.min()), float(known.max())) if len(known) else (low_limit, high_limit)
    low = max(0, math.floor((lowest - 10) / 20) * 20)
    high = min(300, max(math.ceil((highest + 10) / 20) * 20, low + 60))
    return low, high, 20 if high - low <= 100 else 50


def _rate_line(bpm: float, low: int, high: int, width: int, kind: str) -> str:
    y = round(RATE_HEIGHT_MM * UNIT * (1 - (bpm - low) / (high - low)))
    label = f'<text class="axis" x="{(LEFT_MM - 1) * UNIT}" y="{y + 9}">{bpm:g}</text>' if kind == "tick" else ""
    return f'<path class="{kind}" d="M{LEFT_MM * UNIT} {y}H{width - RIGHT_MM * UNIT}"/>{label}'


def _readability(explanation: Explanation, begin_s: float, end_s: float, scale: float) -> Iterator[str]:
    """Draw a bar below the heart rate: hatched where the signal was not readable."""
    starts = explanation.window_start / explanation.rate_hz
    stops = np.append(starts[1:], explanation.n_samples / explanation.rate_hz)[: len(starts)]
    y = RATE_HEIGHT_MM * UNIT - UNIT
    for kind, wanted in (("readable", explanation.window_readable), ("unreadable", ~explanation.window_readable)):
        for run in _runs(wanted & (stops > begin_s) & (starts < end_s)):
            left, right = max(begin_s, starts[run][0]), min(end_s, stops[run][-1])
            x, width = round(LEFT_MM * UNIT + (left - begin_s) * scale), round((right - left) * scale)
            yield f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{UNIT}"/>'
