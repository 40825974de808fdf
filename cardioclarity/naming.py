"""What a stretch of irregular rhythm is called, and the beats at which it begins and ends; no name changes a score."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.events import Evidence
from cardioclarity.filtering import expand
from cardioclarity.rates import mean_rate, touching
from cardioclarity.regularity import early_beats, repeats, rhythm
from cardioclarity.vocabulary import EventLabel
from cardioclarity.windows import as_rows, quantile_of_known, window_ends

_UNUSUAL_P: Final = 0.01  # 99.7 % of V beats, 75 % of S and 1.5 % of N beats of DS1 are at or below
_SHARE: Final = 0.5  # of the window's beats, for a pattern to name it
_ECTOPIC_SHARE: Final = 0.2
_ENTROPY: Final = 2.0
_SPREAD: Final = 0.09
_FAST_BPM: Final = 100.0
_VERY_FAST_BPM: Final = 120.0
_STEADY: Final = 0.06
_CLEARLY_UNUSUAL: Final = 30.0  # of the record view; early beats of usual shape stay below
_FAST_S: Final = 0.75  # longest interval inside a fast run
_BEFORE_R_S: Final = 0.25
_AFTER_R_S: Final = 0.45

_FAST: Final = frozenset({EventLabel.FAST_RHYTHM, EventLabel.FAST_RUN_OF_UNUSUAL_BEATS})


def window_names(evidence: Evidence) -> tuple[EventLabel, ...]:
    """Name each window by the pattern of its beats.

    A beat is unusual where the beat head says so at p ≤ 0.01. A run of three or more of them over half of the window is
    fast above 100 bpm; among the fast ones those of clearly unusual shape have a name of their own. Irregularly irregular:
    what is left without early and unusual beats has neither a usual interval nor a usual step. Then bigeminy,
    trigeminy, a slower run, a fast steady rhythm, a fifth of the beats early or unusual. The first that fits counts.

    Args:
        evidence: Of one record.

    Returns:
        (window,) labels; `IRREGULAR_RHYTHM` where no pattern is clear. Whether a window is flagged plays no part.

    Source: limits set by eye on DS1 of MIT-BIH and held against CPSC 2021; confusion of names in docs/experiments.md.
    """
    unusual, early = _unusual(evidence), early_beats(evidence.rr_s)
    ends = window_ends(evidence.window_start, n_samples=evidence.n_samples)
    first, stop = touching(evidence.rpeaks, evidence.window_start, n_samples=evidence.n_samples)
    stop = np.maximum(first, stop)
    centre_s = (evidence.window_start + ends) / (2 * evidence.rate_hz)
    features = rhythm(evidence.rpeaks / evidence.rate_hz, evidence.rr_s, unusual, centre_s, first=first, stop=stop)
    entropy, spread, _, _, _, bigeminy, trigeminy, run = features.T
    rate_bpm = mean_rate(evidence.rpeaks, evidence.rr_s, evidence.window_start, n_samples=evidence.n_samples)
    shape = evidence.beat_members.get("template", np.full(len(unusual), np.nan, np.float32))
    shape_of_run = quantile_of_known(_rows(np.where(repeats(unusual, 1), shape, np.float32(np.nan)), first, stop), 0.5)
    ectopic = _rows((unusual | early).astype(np.float32), first, stop)
    is_fast_run = (run >= _SHARE) & (rate_bpm > _FAST_BPM)
    named = (
        (is_fast_run & (shape_of_run >= _CLEARLY_UNUSUAL), EventLabel.FAST_RUN_OF_UNUSUAL_BEATS),
        (is_fast_run & ~(shape_of_run >= _CLEARLY_UNUSUAL), EventLabel.FAST_RHYTHM),
        ((entropy >= _ENTROPY) & (spread >= _SPREAD), EventLabel.IRREGULARLY_IRREGULAR),
        (bigeminy >= _SHARE, EventLabel.BIGEMINY),
        (trigeminy >= _SHARE, EventLabel.TRIGEMINY),
        ((run >= _SHARE) & ~is_fast_run, EventLabel.RUN_OF_UNUSUAL_BEATS),
        ((rate_bpm > _VERY_FAST_BPM) & (spread < _STEADY), EventLabel.FAST_RHYTHM),
        (np.nansum(ectopic, axis=1) >= _ECTOPIC_SHARE * np.maximum(stop - first, 1), EventLabel.FREQUENT_ECTOPY),
    )
    names = np.full(len(centre_s), len(named))
    for place, (is_so, _) in reversed(list(enumerate(named))):
        names[is_so & np.isfinite(run)] = place
    labels = (*(label for _, label in named), EventLabel.IRREGULAR_RHYTHM)
    return tuple(labels[place] for place in names.tolist())


def borders(evidence: Evidence, label: EventLabel, *, start: int, stop: int, reach: tuple[int, int]) -> tuple[int, int]:
    """Find the samples at which a named stretch begins and ends.

    Args:
        evidence: Of one record.
        label: Its name.
        start: First sample of its first window.
        stop: One past the last sample of its last window.
        reach: First and last sample to which the beats of its pattern may be followed.

    Returns:
        From 0.25 s before the first R peak of the pattern to 0.45 s after the last, inside `reach`; the windows' own
        borders where the pattern is not one of beats, and at an end where the beat lies more than a window inside.
    """
    pattern = _pattern(evidence, label)
    inside = np.flatnonzero(pattern & (evidence.rpeaks >= reach[0]) & (evidence.rpeaks < reach[1]))
    if len(inside) < 2:
        return start, stop
    first = max(reach[0], int(evidence.rpeaks[inside[0]] - round(_BEFORE_R_S * evidence.rate_hz)))
    last = min(reach[1], int(evidence.rpeaks[inside[-1]] + round(_AFTER_R_S * evidence.rate_hz)))
    width = int(evidence.window_start[1]) if len(evidence.window_start) > 1 else evidence.n_samples
    begins_here = first < stop and first - start <= width
    ends_here = last > start and stop - last <= width
    return first if begins_here else start, last if ends_here else stop


def _pattern(evidence: Evidence, label: EventLabel) -> NDArray[np.bool_]:
    """Mark the (beat,) beats that make the pattern of a name; none where it is not one of single beats."""
    unusual = _unusual(evidence)
    if label in {EventLabel.BIGEMINY, EventLabel.TRIGEMINY}:
        lag = 2 if label is EventLabel.BIGEMINY else 3
        return repeats(unusual, lag) | repeats(early_beats(evidence.rr_s), lag)
    if label in _FAST:
        return repeats(unusual & (evidence.rr_s < _FAST_S), 1)
    return np.zeros(len(unusual), bool)


def _unusual(evidence: Evidence) -> NDArray[np.bool_]:
    """(beat,) bool: the beat head finds it unusual at one in a hundred."""
    unusual: NDArray[np.bool_] = evidence.beat_readable & (evidence.beat_p <= _UNUSUAL_P)
    return unusual


def _rows(values: NDArray[np.float32], first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.floating]:
    """(window, most beats) the values of each window's beats, filled with NaN."""
    return as_rows(values[expand(first, stop)], stop - first)
