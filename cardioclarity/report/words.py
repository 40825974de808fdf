"""How the page says it: escaping, tables, times, p-values, limits in words, and what to do about each quarantine reason."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cardioclarity.vocabulary import EventLabel, Head, Reason, State

STATE_WORDS: Final = {
    State.NORMAL: "nothing flagged",
    State.ANOMALOUS: "flagged",
    State.UNREADABLE: "unreadable",
    State.UNSCORABLE: "not scorable",
}
MEND: Final = {
    Reason.UNKNOWN_FORMAT: "Check that the file is an ECG; formats that are not listed in the documentation stay here.",
    Reason.UNSUPPORTED_VARIANT: "Export the recording again with plain settings, or convert it to WFDB.",
    Reason.UNSUPPORTED_COMPRESSION: "Export the recording again without compression.",
    Reason.NO_HEADER: "Deliver the header file beside the signal file.",
    Reason.MISSING_FILE: "Deliver the file that the header names, into the same folder.",
    Reason.TRUNCATED: "Copy the file again; the transfer stopped early or the recorder lost power.",
    Reason.CHECKSUM_MISMATCH: "Copy the file again and compare it with its source.",
    Reason.NO_ECG_LEAD: "Nothing to mend where the file holds no ECG; otherwise name its leads.",
    Reason.UNKNOWN_LEAD: "Name the leads in the header by their usual names.",
    Reason.BAD_RATE: "Correct the sampling rate in the header.",
    Reason.BAD_GAIN: "Correct the gain in the header.",
    Reason.BAD_KEY: "Rename the file: its name leads out of its folder or cannot be stored.",
    Reason.TOO_LARGE: "Check the declared size; split the recording where it is real.",
    Reason.TOO_SHORT: "Nothing to mend: less than one heartbeat was recorded.",
    Reason.TIMEOUT: "Try again with --retry-quarantined; look at the file when it comes back.",
    Reason.MEMORY: "Try again on a machine with more memory, or split the recording.",
    Reason.MALFORMED: "Export the recording again; its bytes break the rules of its format.",
    Reason.POISONED: "It ended its worker process twice; try it alone with more memory and report it.",
    Reason.DAMAGED: "Run cardioclarity verify --read-data --repair, then convert the archive again.",
}
"""What a person can do about each reason of the quarantine."""


def number(value: float) -> str:
    """Write a whole number, a narrow space between its thousands."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def about(value: float) -> str:
    """Write a number to two digits, from ten on to the whole."""
    return number(value) if value >= 10 else f"{value:.2g}"


def clock(seconds: float) -> str:
    """Write a time since the record's start as hh:mm:ss."""
    whole = math.floor(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def seconds_in_words(seconds: float) -> str:
    """Write a duration as people say it: `0.7 s`, `12 s`, `2 min 10 s`, `3 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def p_in_words(p_value: float | None) -> str:
    """Write a p-value with two digits as HTML: `0.012`, `3.1` times a power of ten; `fixed rule` where there is none."""
    if p_value is None:
        return "fixed rule"
    if p_value >= 0.001 or p_value <= 0:
        return f"{p_value:.2g}"
    digits, exponent = f"{p_value:.1e}".split("e")
    return f"{digits}&nbsp;&times;&nbsp;10<sup>&minus;{abs(int(exponent))}</sup>"


def value_in_words(event: Mapping[str, Any], limits: Mapping[str, float]) -> str:
    """Say what raised an event: its rate or interval with the limit it passed, else its score.

    Args:
        event: A row of the table `events`.
        limits: tachycardia_bpm, bradycardia_bpm and pause_s of the run; one that is missing is not said.
    """
    unit, name = {
        EventLabel.TACHYCARDIA: ("bpm", "tachycardia_bpm"),
        EventLabel.BRADYCARDIA: ("bpm", "bradycardia_bpm"),
        EventLabel.PAUSE: ("s", "pause_s"),
    }.get(event["label"], ("", ""))
    if event["label"] == EventLabel.ABRUPT_RATE_CHANGE:
        return f"{event['score']:.1f} times the rate before"
    if not unit:
        return "" if event["kind"] == Head.QUALITY else f"score {event['score']:.1f}"
    value = f"{event['score']:.{0 if unit == 'bpm' else 1}f} {unit}"
    return f"{value}, limit {limits[name]:g}" if name in limits else value


def table(name: str, caption: str, heads: Iterable[str], bodies: Iterable[str]) -> str:
    """Wrap rows into a table inside a box that scrolls by itself, also by keyboard; all that is given is markup."""
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table class="{name}">'
        f"<caption>{caption}</caption><thead><tr>{columns}</tr></thead>{''.join(bodies)}</table></div>"
    )


def row(head: str, *cells: str) -> str:
    """Make a row of a table from markup; its first cell names it."""
    return f'<tr><th scope="row">{head}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
