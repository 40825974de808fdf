"""Evidence written down by hand, and any evidence at all: what the tests of judgement and tables share."""

from dataclasses import fields, replace

import numpy as np
from hypothesis import strategies as st

from cardioclarity.events import Evidence, Levels
from cardioclarity.vocabulary import StateReason

RATE_HZ = 100.0
WINDOW = 1000
LEVELS = Levels(beat_p=0.001, rhythm_p=0.001, population_median=3.0)


def evidence(
    n_windows: int = 6,
    *,
    rr_s: float = 0.8,
    flagged: dict[int, float] | None = None,
    irregular: dict[int, float] | None = None,
    unreadable: dict[int, str] | None = None,
    n_samples: int | None = None,
) -> Evidence:
    """A regular record; beats and windows named by index get a p-value, windows a reason."""
    n_samples = n_windows * WINDOW if n_samples is None else n_samples
    rpeaks = np.arange(50, n_samples - 20, round(rr_s * RATE_HZ), dtype=np.int64)
    n_beats = len(rpeaks)
    window_start = np.arange(n_windows, dtype=np.int64) * WINDOW
    reasons = [(unreadable or {}).get(i, "") for i in range(n_windows)]
    readable = np.array([not reason for reason in reasons], bool)
    beat_p, rhythm_p = np.full(n_beats, 0.5, np.float32), np.full(n_windows, 0.5, np.float32)
    for values, chosen in ((beat_p, flagged), (rhythm_p, irregular)):
        for at, p in (chosen or {}).items():
            values[at] = p
    of_window = np.searchsorted(window_start, rpeaks, side="right") - 1
    return Evidence(
        record_id="0" * 32,
        rate_hz=RATE_HZ,
        n_samples=n_samples,
        lead="MLII",
        rpeaks=rpeaks,
        rr_s=np.concatenate([[np.nan], np.diff(rpeaks) / RATE_HZ]).astype(np.float32)[:n_beats],
        beat_readable=readable[of_window] if n_windows else np.zeros(n_beats, bool),
        beat_members={"template": -np.log(beat_p), "population": np.zeros(n_beats, np.float32)},
        beat_score=-np.log(beat_p),
        beat_p=beat_p,
        window_start=window_start,
        window_readable=readable,
        window_reason=tuple(reasons),
        window_members={"rhythm": -np.log(rhythm_p), "quality": np.where(readable, -0.1, 0.7).astype(np.float32)},
        rhythm_score=-np.log(rhythm_p),
        rhythm_p=rhythm_p,
    )


def without_beats(found: Evidence) -> Evidence:
    none = np.zeros(0, np.float32)
    return replace(
        found,
        rpeaks=np.zeros(0, np.int64),
        rr_s=none,
        beat_readable=np.zeros(0, bool),
        beat_members={"template": none, "population": none},
        beat_score=none,
        beat_p=none,
        rhythm_score=np.full_like(found.rhythm_score, np.nan),
        rhythm_p=np.full_like(found.rhythm_p, np.nan),
    )


REASONS = st.sampled_from(["", "", "", StateReason.NOISE, StateReason.FLAT_LINE, StateReason.MISSING_SIGNAL])


@st.composite
def any_evidence(draw: st.DrawFn) -> Evidence:
    n_windows = draw(st.integers(0, 12))
    n_samples = max(0, n_windows * WINDOW - draw(st.integers(0, WINDOW - 1))) if n_windows else 0
    steps = draw(st.lists(st.integers(15, 400), max_size=120))
    rpeaks = np.cumsum([draw(st.integers(0, 100)), *steps]).astype(np.int64)
    rpeaks = rpeaks[rpeaks < n_samples]
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    base = evidence(n_windows, n_samples=n_samples, unreadable=dict(enumerate(draw(st.lists(REASONS, max_size=12)))))
    n = len(rpeaks)
    p = rng.choice(np.array([1e-6, 5e-4, 0.3, np.nan], np.float32), n, p=[0.15, 0.15, 0.6, 0.1])
    rhythm_p = rng.choice(np.array([1e-6, 0.3, np.nan], np.float32), n_windows)
    of_window = np.searchsorted(base.window_start, rpeaks, side="right") - 1
    rr_s = np.concatenate([[np.nan], np.diff(rpeaks) / RATE_HZ]).astype(np.float32)[:n]
    rr_s[rng.random(n) < 0.05] = np.nan
    return replace(
        base,
        rpeaks=rpeaks,
        rr_s=rr_s,
        beat_readable=base.window_readable[of_window] if n_windows else np.zeros(n, bool),
        beat_members={"template": -np.log(p), "population": rng.normal(0, 3, n).astype(np.float32)},
        beat_score=-np.log(p),
        beat_p=p,
        rhythm_score=-np.log(rhythm_p),
        rhythm_p=rhythm_p,
    )


def assert_same(stored: Evidence, fresh: Evidence) -> None:
    """Compare what was stored with what was: a member that was absent comes back as NaN."""
    for item in fields(Evidence):
        mine, theirs = getattr(stored, item.name), getattr(fresh, item.name)
        if not item.name.endswith("members"):
            np.testing.assert_array_equal(mine, theirs)
            continue
        for name, scores in mine.items():
            absent = np.full(len(scores), np.nan, np.float32)
            np.testing.assert_array_equal(scores, theirs.get(name, absent))
