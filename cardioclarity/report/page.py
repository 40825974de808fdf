"""The page: one self-contained HTML file, made of plain data, with nothing to load and nothing to run."""

import datetime as dt
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from cardioclarity.explain import Explanation
from cardioclarity.report.standing import standing
from cardioclarity.report.strip import definitions, strip, tachogram
from cardioclarity.report.view import PageView, Quarantine, RecordRow
from cardioclarity.report.words import (
    MEND,
    STATE_WORDS,
    about,
    clock,
    number,
    p_in_words,
    row,
    seconds_in_words,
    table,
    value_in_words,
)
from cardioclarity.sheet import opening, text
from cardioclarity.vocabulary import Head, Severity, State

MAX_RECORDS, N_OPEN = 200, 2


def render(view: PageView) -> str:
    """Write the page.

    Args:
        view: All that it says; no text in it is trusted.

    Returns:
        A whole HTML document without script and without any address to load from.
    """
    started = _utc(view.run["started_at"])
    return Template((resources.files("cardioclarity.report") / "page.html").read_text("utf-8")).substitute(
        opening=opening(
            title=text(f"ECG archive report, {started}"),
            skip_to=("look", "what needs a look"),
            heading=f"ECG archive report <span>{text(started)}</span>",
            facts=_lineage(view),
            notice="An absence of events does not mean a normal ECG. Every finding needs review by a qualified person.",
        ),
        definitions=definitions(),
        warnings="".join(f'<p class="warning"><strong>Note</strong> {text(line)}</p>' for line in view.warnings),
        numbers=_numbers(view),
        chance=_chance(view),
        look=_look(view),
        records=_records(view),
        quality=_quality(view),
        model=standing(view.model),
        foot=f'<p class="mono">run {text(view.run["run_id"])} · model {text(view.run["model_id"])}</p>',
    )


def _utc(when: object) -> str:
    return f"{when.astimezone(dt.UTC):%d %B %Y, %H:%M} UTC" if isinstance(when, dt.datetime) else "time unknown"


def _lineage(view: PageView) -> str:
    run = view.run
    facts = {
        "Run": f"<code>{text(run['run_id'])}</code>",
        "Ended": f"{text(_utc(run['finished_at']))}, {text(str(run['state']).replace('_', ' '))}",
        "Model": f"<code>{text(run['model_id'])}</code>",
        "Code": text(run["code_version"]),
        "Archives": text(view.n_archives),
    }
    return f'<dl class="facts">{"".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items())}</dl>'


def _numbers(view: PageView) -> str:
    set_aside = sum(group.count for group in view.quarantine)
    parts = [(STATE_WORDS[state], state.value, view.counts.get(state, 0)) for state in STATE_WORDS]
    parts.append(("quarantined", "quarantined", set_aside))
    total = sum(count for _, _, count in parts)
    tiles = "".join(
        f'<div class="tile {kind}"><dt>{word}</dt><dd>{number(count)}</dd></div>' for word, kind, count in parts
    )
    bar = "".join(f'<i class="{kind}" style="flex-grow:{count}"></i>' for _, kind, count in parts if count)
    run = view.run
    return (
        f'<dl class="sum"><div class="tile total"><dt>records read</dt><dd>{number(total)}</dd></div>{tiles}</dl>'
        f'<div class="bar" aria-hidden="true">{bar}</div>'
        f'<p class="account">This run alone: <b>{number(run["inputs"])}</b> inputs = {number(run["done"])} done + '
        f"{number(run['quarantined'])} quarantined + {number(run['already_done'])} already done.</p>"
    )


def _chance(view: PageView) -> str:
    items = []
    for level in view.expectations:
        chance, hours = (about(value) for value in (level.alarms_per_hour * level.hours, level.hours))
        rate = f"{level.alarms_per_hour:g} per hour"
        if level.alarms_per_hour < 0.5:
            rate = f"{level.alarms_per_hour * 24:.3g} per day"
        items.append(
            f'<li><h3>{text(level.head).capitalize()}</h3><p class="pair"><span>{chance}'
            f"<small>expected by chance</small></span>"
            f"<span>{number(level.found)}<small>found</small></span></p><p>At {rate}, {hours} hours of readable ECG "
            f"would raise about {chance} alarms by chance if all of it were normal; {number(level.found)} were found.</p></li>"
        )
    note = "Rate limits are fixed rules and raise no alarm by chance; a misread beat can."
    return f'<ul class="chance">{"".join(items)}</ul><p class="quiet">{note}</p>'


def _badge(severity: object) -> str:
    shape = {Severity.HIGH: "▲", Severity.MEDIUM: "◆", Severity.LOW: "●"}.get(severity, "■")  # type: ignore[call-overload]  # rows come from a table
    return f'<span class="badge {text(severity)}"><i aria-hidden="true">{shape}</i> {text(severity)}</span>'


def _look(view: PageView) -> str:
    if not view.n_events:
        return '<p class="empty">Nothing was flagged. That does not mean that the ECGs are normal.</p>'
    severities = (Severity.HIGH, Severity.MEDIUM, Severity.LOW)
    matrix = table(
        "matrix",
        "Events by kind and severity",
        ["Event", "Kind", *(_badge(severity) for severity in severities), "All"],
        [
            "<tbody>",
            *(
                row(
                    text(label),
                    text(kind),
                    *(number(by[s]) if by.get(s) else '<span class="nil">0</span>' for s in severities),
                    f"<b>{number(sum(by.values()))}</b>",
                )
                for (kind, label), by in sorted(view.event_counts.items(), key=lambda kv: -sum(kv[1].values()))
            ),
            "</tbody>",
        ],
    )
    shown, total = view.events, view.n_events
    more = f", the first {len(shown)} of {number(total)}" if total > len(shown) else ""
    heads = ["Severity", "Event", "Record", "Start", "Duration", "Lead", "Value", "p-value"]
    listed = table(
        "events",
        f"Events, worst first{more}",
        heads,
        (_event(event, view, place, heads) for place, event in enumerate(shown)),
    )
    rest = '<p class="quiet">All of them stand in the table <code>events</code>.</p>' if more else ""
    return matrix + listed + rest


def _event(event: Mapping[str, Any], view: PageView, place: int, heads: Sequence[str]) -> str:
    cells = [
        f"{text(event['label'])} <small>{text(event['kind'])}</small>",
        f'<code title="{text(event["record_id"])}">{text(str(event["record_id"])[:8])}</code>',
        f"<time>{clock(event['start_s'])}</time>",
        seconds_in_words(event["end_s"] - event["start_s"]),
        text(event["lead"]),
        text(value_in_words(event, view.limits)),
        p_in_words(event["p_value"]),
    ]
    explanation = view.explanations.get(event["event_id"])
    drawn = _drawn(explanation, view) if explanation else '<p class="quiet">There is no strip for this event.</p>'
    ids = f"event <code>{text(event['event_id'])}</code> · record <code>{text(event['record_id'])}</code>"
    is_open = " open" if place < N_OPEN else ""
    labelled = "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in zip(heads[1:], cells, strict=True))
    return (
        f'<tbody><tr><th scope="row">{_badge(event["severity"])}</th>{labelled}</tr>'
        f'<tr class="more"><td colspan="{len(heads)}"><details{is_open}><summary>Strip<span class="hidden"> of {text(event["label"])} at {clock(event["start_s"])}</span></summary>'
        f'{drawn}<p class="ids">{ids}</p></details></td></tr></tbody>'
    )


def _drawn(explanation: Explanation, view: PageView) -> str:
    limits = {name: view.limits[name] for name in ("bradycardia_bpm", "tachycardia_bpm")}
    legend = [("trace", "signal")]
    if np.isfinite(explanation.reconstruction_mv).any():
        legend += [("made", "reconstruction"), ("deviation", "difference")]
    legend += [("event", "event"), ("peak", "R peak")]
    legend += [("flagged", "flagged beat")] if explanation.flagged.any() else []
    legend += [("unreadable", "not readable or missing")]
    without = explanation.without_reconstruction
    note = f"<li>no reconstruction: {text(without)}</li>" if without else ""
    keys = "".join(f'<li><i class="key {kind}"></i>{text(words)}</li>' for kind, words in legend)
    return (
        '<figure><div class="scroll" role="region" aria-label="Strip and heart rate" tabindex="0">'
        f"{strip(explanation)}{tachogram(explanation, **limits)}</div>"
        f'<figcaption><ul class="legend">{keys}{note}</ul></figcaption></figure>'
    )


def _records(view: PageView) -> str:
    if not view.records:
        return '<p class="empty">No record has been scored by this model.</p>'
    shown, total = view.records, sum(view.counts.values())
    more = f", the first {len(shown)} of {number(total)}" if total > len(shown) else ""
    listed = table(
        "records",
        f"Records, flagged first{more}",
        [
            "Record",
            "In a word",
            *(head.value.capitalize() for head in Head),
            "Events",
            "Heart rate, bpm",
            "Beats",
            "Readable",
            "Length",
        ],
        ["<tbody>", *map(_record, shown), "</tbody>"],
    )
    rest = '<p class="quiet">All of them stand in the table <code>scores</code>.</p>' if more else ""
    return listed + rest


def _record(record: RecordRow) -> str:
    least, median, greatest = ("\N{EN DASH}" if bpm is None else f"{bpm:.0f}" for bpm in record.heart_rate_bpm)
    return row(
        f'<code title="{text(record.record_id)}">{text(record.record_id[:8])}</code>',
        _state(record.state, STATE_WORDS[record.state]),
        *(_answer(head, record.states.get(head, State.UNSCORABLE)) for head in Head),
        number(record.n_events),
        f"<small>{least}</small> <b>{median}</b> <small>{greatest}</small>",
        number(record.n_beats),
        f"{100 * record.readable:.0f}&nbsp;%",
        clock(record.duration_s),
    )


def _state(state: State, words: str) -> str:
    return f'<span class="state {state}">{words}</span>'


def _answer(head: Head, state: State) -> str:
    """Say what one head found; its column says of what."""
    if (head, state) == (Head.QUALITY, State.NORMAL):
        return _state(state, "readable")
    if state is State.NORMAL:
        return _state(state, 'nothing<span class="hidden"> flagged</span>')
    if (head, state) == (Head.QUALITY, State.ANOMALOUS):
        return _state(State.UNREADABLE, "in part")
    return _state(state, STATE_WORDS[state])


def _quality(view: PageView) -> str:
    return _unreadable(view.unreadable_s) + _set_aside(view.quarantine)


def _unreadable(unreadable_s: Mapping[str, float]) -> str:
    if not unreadable_s:
        return '<p class="empty">No stretch of signal was found unreadable.</p>'
    rows = [
        row(text(label), f"{seconds / 60:,.1f}")
        for label, seconds in sorted(unreadable_s.items(), key=lambda kv: -kv[1])
    ]
    return table("unreadable", "Unreadable signal", ["Why", "Minutes"], ["<tbody>", *rows, "</tbody>"])


def _set_aside(quarantine: Sequence[Quarantine]) -> str:
    if not quarantine:
        return '<p class="empty">Nothing is in quarantine.</p>'
    rows = [
        row(
            text(group.reason.replace("_", " ")),
            number(group.count),
            text(group.example),
            text(MEND.get(group.reason, "See the documentation.")),  # type: ignore[call-overload]  # a newer version may know more reasons
        )
        for group in quarantine
    ]
    heads = ["Reason", "Count", "One example", "What to do"]
    return table("quarantine", "Quarantine", heads, ["<tbody>", *rows, "</tbody>"])
