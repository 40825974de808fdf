"""A page's data made of nothing: what the tests of strip, page and browser share."""

import datetime as dt
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardioclarity.card import KNOWN_FAILURES
from cardioclarity.explain import Explanation
from cardioclarity.measured import Alarms, Figure, Measured, Realised
from cardioclarity.report.view import Expectation, ModelView, PageView, Quarantine, RecordRow
from cardioclarity.vocabulary import EventLabel, Head, Reason, Severity, State

RATE_HZ = 360.0
LIMITS = {"tachycardia_bpm": 100.0, "bradycardia_bpm": 50.0, "pause_s": 2.0}
WAVES = ((-0.17, 0.025, 0.13), (-0.032, 0.010, -0.12), (0.0, 0.012, 1.15), (0.034, 0.012, -0.28), (0.26, 0.05, 0.28))
UNUSUAL_WAVES = ((-0.02, 0.045, 1.4), (0.10, 0.05, -0.8), (0.32, 0.06, -0.4))


def heart(time_s: NDArray[np.float64], waves: tuple[tuple[float, float, float], ...]) -> NDArray[np.float64]:
    """Draw one beat whose R peak is at 0 s, in millivolts."""
    return sum(
        (height * np.exp(-0.5 * ((time_s - centre) / width) ** 2) for centre, width, height in waves),
        np.zeros_like(time_s),
    )


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Make a row of the table `events`: an unusual beat at 60 s."""
    row = {
        "event_id": f"{number:032x}",
        "record_id": f"{0xA1B2C3D4 + 977 * number:08x}" * 4,
        "segment_id": "5" * 32,
        "kind": Head.BEAT,
        "label": EventLabel.UNUSUAL_BEAT,
        "start_sample": round(59.85 * RATE_HZ),
        "end_sample": round(60.4 * RATE_HZ),
        "lead": "MLII",
        "score": 18.2,
        "p_value": 3.1e-7,
        "severity": Severity.MEDIUM,
        "model_id": "c71e" * 8,
        "run_id": "20261126T020000-1a2b3c4d",
    } | changes
    return row | {"start_s": row["start_sample"] / RATE_HZ, "end_s": row["end_sample"] / RATE_HZ}


@functools.cache
def strip_of(seed: int, *, unusual: bool) -> dict[str, Any]:
    """Make two minutes of 75 beats a minute with one early, unusual beat at 60 s, and its strip from 57 s on."""
    rng = np.random.default_rng(seed)
    n_samples = round(120 * RATE_HZ)
    peak_s = np.cumsum(np.full(150, 0.8) + rng.normal(0, 0.015, 150)) - 0.4
    here = int(np.argmin(np.abs(peak_s - 60)))
    peak_s += 60 - peak_s[here]
    if unusual:  # early, with a compensatory pause
        peak_s[:here] += 0.22
    start = round(57 * RATE_HZ)
    time_s = (start + np.arange(round(9 * RATE_HZ))) / RATE_HZ
    made = np.full_like(time_s, np.nan)
    signal = rng.normal(0, 0.012, len(time_s)) + 0.03 * np.sin(time_s)
    for number in np.flatnonzero(np.abs(peak_s - 61.5) < 6):
        at_s = peak_s[number]
        signal += heart(time_s - at_s, UNUSUAL_WAVES if unusual and number == here else WAVES)
        window = (time_s >= at_s - 0.25) & (time_s < at_s + 0.45)
        made[window] = heart(time_s[window] - at_s, WAVES) * 0.97
    rpeaks = np.rint(peak_s[(peak_s > 0) & (peak_s < 120)] * RATE_HZ).astype(np.int64)
    rr_s = np.diff(rpeaks, prepend=rpeaks[0]).astype(np.float32) / RATE_HZ
    rr_s[0] = np.nan
    windows = np.arange(0, n_samples, round(10 * RATE_HZ))
    return {
        "rate_hz": RATE_HZ,
        "n_samples": n_samples,
        "start_sample": start,
        "signal_mv": signal.astype(np.float32),
        "band_hz": (0.5, 40.0),
        "reconstruction_mv": made.astype(np.float32),
        "without_reconstruction": "",
        "rpeaks": rpeaks,
        "rr_s": rr_s,
        "window_start": windows,
        "window_readable": windows != windows[8],
    }


def explanation(row: dict[str, Any], *, seed: int = 0, unusual: bool = True, **changes: Any) -> Explanation:
    """Explain an event; its flagged beats are those inside it."""
    strip = strip_of(seed, unusual=unusual)
    inside = (strip["rpeaks"] >= row["start_sample"]) & (strip["rpeaks"] < row["end_sample"])
    return Explanation(**{"event": row, "flagged": (row["kind"] == Head.BEAT) & inside} | strip | changes)


def run(**changes: Any) -> dict[str, Any]:
    """Make a row of the table `runs`."""
    return {
        "run_id": "20261126T020000-1a2b3c4d",
        "verb": "score",
        "state": "completed",
        "started_at": dt.datetime(2026, 11, 26, 2, 0, tzinfo=dt.UTC),
        "finished_at": dt.datetime(2026, 11, 26, 2, 7, 31, tzinfo=dt.UTC),
        "inputs": 12_431,
        "done": 480,
        "quarantined": 8,
        "already_done": 11_943,
        "model_id": "c71e" * 8,
        "code_version": "0.1.0",
    } | changes


def kinds() -> list[dict[str, Any]]:
    """Make one event of each look: pause, tachycardia, unusual beat, irregular rhythm, noise, and many more."""
    rate: dict[str, Any] = {"kind": Head.RATE, "p_value": None}
    at = round(60 * RATE_HZ)
    rows = [
        event(0, **rate, label=EventLabel.PAUSE, score=3.1, severity=Severity.HIGH),
        event(1, severity=Severity.HIGH, p_value=3.1e-9),
        event(
            2,
            **rate,
            label=EventLabel.TACHYCARDIA,
            score=162.4,
            severity=Severity.HIGH,
            start_sample=at,
            end_sample=at + round(40 * RATE_HZ),
        ),
        event(3, kind=Head.RHYTHM, label=EventLabel.IRREGULAR_RHYTHM, end_sample=at + round(10 * RATE_HZ)),
        event(4, kind=Head.QUALITY, label=EventLabel.NOISE, p_value=None, severity=Severity.LOW, lead="V1"),
    ]
    return rows + [event(number, p_value=1e-6 * number) for number in range(5, 60)]


def records() -> list[RecordRow]:
    """Make a record of each state."""

    def states(**changes: State) -> dict[Head, State]:
        return dict.fromkeys(Head, State.NORMAL) | {Head(head): state for head, state in changes.items()}

    rows = [
        ("a1", states(beat=State.ANOMALOUS), (48.0, 74.0, 121.0), 2214, 1.0, 12),
        ("b2", states(rate=State.ANOMALOUS, rhythm=State.ANOMALOUS), (62.0, 110.0, 162.0), 3320, 0.97, 9),
        ("c3", dict.fromkeys(Head, State.UNREADABLE), (None, None, None), 0, 0.12, 0),
        ("d4", states(rhythm=State.UNSCORABLE), (71.0, 71.0, 72.0), 11, 1.0, 0),
        *((f"e{number}", states(), (55.0, 68.0, 96.0), 2050, 1.0, 0) for number in range(8)),
    ]
    return [
        RecordRow(
            record_id=(name * 16)[:32],
            duration_s=1805.6,
            states=answers,
            heart_rate_bpm=bpm,
            n_beats=n_beats,
            readable=readable,
            n_events=n_events,
        )
        for name, answers, bpm, n_beats, readable, n_events in rows
    ]


def model(**changes: Any) -> ModelView:
    """Make what a model says that does well but for fusion beats and one patient."""

    def figure(what: str, auroc: float, patients: int = 6, abnormal: int = 900) -> Figure:
        enough = patients >= 5
        low, high = (auroc - 0.03, min(auroc + 0.01, 1.0)) if enough else (None, None)
        counts = {"patients": patients, "abnormal": abnormal, "normal": 11_250, "normal_patients": 8}
        return Figure(what=what, auroc=auroc, low=low, high=high, **counts)

    classes = (figure("F", 0.9123, 1, 11), figure("S", 0.9571), figure("V", 0.9941, abnormal=6_120))
    beat = Measured(
        item="beat",
        patients=8,
        records=9,
        overall=figure("all", 0.9876),
        classes=classes,
        patient_mean=figure("mean over patients", 0.9612),
        worst_patients=tuple(figure(name, auroc, 1) for name, auroc in (("0f1e2d3c", 0.8123), ("aa00bb11", 0.9012))),
    )
    patients = [Alarms(what=f"{at:08x}", alarms=at, items=2100, hours=0.49) for at in range(6)]
    return ModelView(
        **{
            "detectors": ("ae-dense", "quality", "rhythm", "template"),
            "patients": {"fitting": 19, "stopping": 5, "calibrating": 8},
            "is_disjoint": True,
            "warnings": (),
            "hours": 16.04,
            "measured": {"beat": beat},
            "realised": (
                Realised.of("beat", 1.0, patients),
                Realised.of("rhythm", 1 / 24, [Alarms(what="a" * 8, alarms=0, items=170, hours=0.47)]),
            ),
            "failures": KNOWN_FAILURES,
            "not_measured": ("rhythm", "rate", "quality", "noise", "subgroups"),
        }
        | changes
    )


def view(**changes: Any) -> PageView:
    """Make all that a page says about an archive that never was."""
    events = kinds()[:50]
    return PageView(
        **{
            "run": run(),
            "model": model(),
            "n_archives": 2,
            "warnings": (),
            "counts": {
                State.NORMAL: 11_862,
                State.ANOMALOUS: 311,
                State.UNREADABLE: 201,
                State.UNSCORABLE: 40,
            },
            "quarantine": (
                Quarantine(
                    reason=Reason.TRUNCATED,
                    count=14,
                    example="the signal file has 1,902,145 bytes, its header needs 1,950,000",
                ),
                Quarantine(
                    reason=Reason.BAD_GAIN, count=3, example="ADC gain '9x9/xX' is not gain[(baseline)][/units]"
                ),
            ),
            "expectations": (
                Expectation(head=Head.BEAT, alarms_per_hour=1.0, hours=6210.4, found=7301),
                Expectation(head=Head.RHYTHM, alarms_per_hour=1 / 24, hours=6105.0, found=311),
            ),
            "events": events,
            "n_events": 8599,
            "explanations": {
                row["event_id"]: explanation(row, seed=number % 3, unusual=row["kind"] == Head.BEAT)
                for number, row in enumerate(events)
            },
            "event_counts": {
                (Head.BEAT, EventLabel.UNUSUAL_BEAT): {"high": 212, "medium": 3100, "low": 3989},
                (Head.RATE, EventLabel.TACHYCARDIA): {"high": 12, "medium": 61, "low": 0},
                (Head.RATE, EventLabel.PAUSE): {"high": 3, "medium": 9},
                (Head.RHYTHM, EventLabel.IRREGULAR_RHYTHM): {"medium": 311},
                (Head.QUALITY, EventLabel.NOISE): {"low": 902},
            },
            "records": records(),
            "unreadable_s": {EventLabel.NOISE: 41_220.0, EventLabel.FLAT_LINE: 12_010.0},
            "limits": LIMITS,
        }
        | changes
    )
