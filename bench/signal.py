"""D8, D10: R peaks and heart rate on the development half of MIT-BIH, and the detector's seconds per hour of lead."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import mitbih
from bench.rows import Row
from cardioclarity.evaluation import rates, rpeaks
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.results import Metric
from cardioclarity.evaluation.subjects import Subject, gather
from cardioclarity.rpeaks import detect
from cardioclarity.storage import open_storage

GOALS = {1: (0.999, 0.9985), 2: (0.99, 0.98)}
"""Channel → sensitivity and positive predictive value."""
EVENT_GOALS = {"tachycardia": 0.99, "bradycardia": 0.99, "pause": 0.98}


def measure(archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT) -> list[Row]:
    """Detect the R peaks of every record and compare them, and the rates they give, with the reference.

    As the protocols `rpeaks` and `rate` of `cardioclarity evaluate` do.
    """
    protocol = Protocol(name="development", kind="rpeaks", folded=tuple(names))
    subjects = gather(protocol, [open_storage(str(archive or mitbih.archive()))])
    peaks = {(one.name, one.subset): one for one in rpeaks.measure(subjects).metrics}
    rate = {(one.name, one.subset): one for one in rates.measure(subjects).metrics}
    rows: list[Row] = []
    for channel, (sensitivity, predictive_value) in GOALS.items():
        what, found, true = f"R peaks, channel {channel}", "rpeak_sensitivity", "rpeak_ppv"
        rows += [
            _row("D8", f"{what}, sensitivity", peaks[found, f"channel:{channel}"], at_least=sensitivity),
            _row("D8", f"{what}, +P", peaks[true, f"channel:{channel}"], at_least=predictive_value),
        ]
    error = rate["rate_mae_bpm", "all"]
    rows.append(_row("D10", "rate, mean absolute error", error, unit="bpm", at_most=0.15))
    rows += [
        _row("D10", f"{event}, F1", rate["rate_event_f1", event], at_least=goal) for event, goal in EVENT_GOALS.items()
    ]
    rows.append(
        Row(goal="S3", what="R peaks, per hour of one lead", unit="CPU s", ours=_cpu_s_per_hour(subjects.values()))
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


def _cpu_s_per_hour(subjects: Iterable[Subject]) -> float:
    seconds = hours = 0.0
    for subject in subjects:
        record = subject.read()
        signal_mv = record.millivolts()[subject.channels(record)[0]]
        started = time.process_time()
        detect(signal_mv, rate_hz=record.rate_hz)
        seconds += time.process_time() - started
        hours += record.duration_s / 3600
    return seconds / hours
