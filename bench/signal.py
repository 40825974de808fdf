"""D8, D10: R peaks and heart rate on the development half of MIT-BIH, and the detector's seconds per hour of lead."""

import time
from collections.abc import Sequence
from pathlib import Path

from bench import mitbih
from bench.rows import Row
from cardioclarity.evaluation.results import Metric
from cardioclarity.rpeaks import detect

GOALS = {"channel:1": (0.999, 0.9985), "channel:2": (0.99, 0.98), "together": (0.999, 0.9985)}
"""Leads that are asked → sensitivity and positive predictive value."""
EVENT_GOALS = {"tachycardia": 0.99, "bradycardia": 0.99, "pause": 0.98}


def measure(archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT) -> list[Row]:
    """Detect the R peaks of every record and compare them, and the rates they give, with the reference.

    As the protocols `rpeaks` and `rate` of `cardioclarity evaluate` do.
    """
    archive = archive or mitbih.archive()
    peaks, rate = (mitbih.evaluate(protocol, [archive], names) for protocol in ("rpeaks", "rate"))
    rows: list[Row] = []
    for leads, (sensitivity, predictive_value) in GOALS.items():
        what, found, true = f"R peaks, {leads.replace(':', ' ')}", "rpeak_sensitivity", "rpeak_ppv"
        rows += [
            _row("D8", f"{what}, sensitivity", peaks[found, leads], at_least=sensitivity),
            _row("D8", f"{what}, +P", peaks[true, leads], at_least=predictive_value),
        ]
    error = rate["rate_mae_bpm", "all"]
    rows.append(_row("D10", "rate, mean absolute error", error, unit="bpm", at_most=0.15))
    rows += [
        _row("D10", f"{event}, F1", rate["rate_event_f1", event], at_least=goal) for event, goal in EVENT_GOALS.items()
    ]
    rows.append(
        Row(goal="S3", what="R peaks, per hour of one lead", unit="CPU s", ours=_cpu_s_per_hour(archive, names))
    )
    return rows


def _row(
    goal: str, what: str, one: Metric, *, unit: str = "", at_least: float | None = None, at_most: float | None = None
) -> Row:
    return Row(
        goal=goal,
        what=what,
        unit=unit,
        ours=one.value,
        low=one.low,
        high=one.high,
        at_least=at_least,
        at_most=at_most,
    )


def _cpu_s_per_hour(archive: Path, names: Sequence[str]) -> float:
    seconds = hours = 0.0
    for name in names:
        record = mitbih.read(archive / f"{name}.hea")
        signal_mv = record.millivolts()[0]
        started = time.process_time()
        detect(signal_mv, rate_hz=record.rate_hz)
        seconds += time.process_time() - started
        hours += record.duration_s / 3600
    return seconds / hours
