"""Heart rate per window, and the episodes in which it breaks a limit or changes at once: fixed rules, no learning."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.filtering import runs
from cardioclarity.vocabulary import EventLabel, Severity

_SEVERE_TACHYCARDIA_BPM = 150.0
_SEVERE_BRADYCARDIA_BPM = 40.0
_SEVERE_PAUSE_S = 3.0
_CHANGE_BEATS = 8

_CHILD_LIMITS_BPM: Final = (
    *((1, 90.0, 181.0), (2, 82.0, 156.0), (3, 76.0, 142.0), (4, 70.0, 136.0), (6, 65.0, 131.0)),
    *((8, 59.0, 123.0), (12, 52.0, 115.0), (15, 47.0, 108.0), (18, 43.0, 104.0)),
)
"""Younger than so many years → 1st and 99th centile of the heart rate of healthy children."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A stretch in which a rate limit is broken.

    Attributes:
        label: Tachycardia, bradycardia, pause or abrupt rate change.
        start_sample: First sample: of the first window; of a pause, the R peak before it; of a change, the first R peak
            of the 17 that show it.
        end_sample: One past the last sample: of the last window; of a pause, the R peak that ends it; of a change, the
            last R peak.
        value: The extreme of the windows' rates in bpm; of a pause, its length in seconds; of a change, the ratio of the
            rate after it to the rate before.
        severity: Medium, or high beyond 150 bpm, below 40 bpm, from 3 s on.
    """

    label: EventLabel
    start_sample: int
    end_sample: int
    value: float
    severity: Severity


def child_limits(age: int | None) -> tuple[float, float] | None:
    """Give the least and the largest usual heart rate of a child in bpm; None from 18 years on and at no known age.

    A child in its first year has one pair of limits, though its rate falls fast: 1st centile at birth, 99th of the first
    three months.

    Source: 1st and 99th centiles by age, Fleming et al., Lancet 377 (2011), 10.1016/S0140-6736(10)62226-X, web table 5.
    """
    if age is None:
        return None
    return next(((low, high) for below, low, high in _CHILD_LIMITS_BPM if age < below), None)


def touching(
    rpeaks: NDArray[np.int64], window_start: NDArray[np.int64], *, n_samples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the RR intervals that touch each window.

    Interval i runs from R peak i - 1 to R peak i and touches the window [a, b) if it ends after a and begins before b.

    Args:
        rpeaks: (beat,) int64, ascending sample indices.
        window_start: (window,) int64, ascending; a window ends where the next begins.
        n_samples: Length of the record: the end of the last window.

    Returns:
        first, stop: (window,) int64 each; the intervals first, first + 1, ..., stop - 1, none where stop <= first.
    """
    window_end = np.append(window_start[1:], n_samples)
    first = np.maximum(np.searchsorted(rpeaks, window_start, side="right"), 1)
    stop = np.minimum(np.searchsorted(rpeaks, window_end, side="left") + 1, len(rpeaks))
    return first, stop


def mean_rate(
    rpeaks: NDArray[np.int64], rr_s: NDArray[np.float32], window_start: NDArray[np.int64], *, n_samples: int
) -> NDArray[np.float32]:
    """Compute 60 / mean RR of the intervals that touch each window.

    The mean, since the median flips between the two intervals of bigeminy (F1 of tachycardia 0.937 against 0.971).

    Args:
        rpeaks: (beat,) int64, ascending sample indices.
        rr_s: (beat,) float32, interval to the previous R peak; NaN where unknown, which is left out.
        window_start: (window,) int64.
        n_samples: Length of the record.

    Returns:
        (window,) float32, beats per minute, to 0.001 so that the rounding of an interval breaks no limit that it only
        reaches; NaN where no interval is known.
    """
    first, stop = touching(rpeaks, window_start, n_samples=n_samples)
    stop = np.maximum(stop, first)
    is_known = ~np.isnan(rr_s)
    total_s = np.concatenate([[0.0], np.cumsum(np.where(is_known, rr_s, 0), dtype=np.float64)])
    count = np.concatenate([[0], np.cumsum(is_known)])
    first, stop = np.minimum(first, len(rr_s)), np.minimum(stop, len(rr_s))
    n_known, sum_s = count[stop] - count[first], total_s[stop] - total_s[first]
    rate = np.full(len(window_start), np.nan, np.float32)
    has_rate = n_known > 0
    rate[has_rate] = np.round(60 * n_known[has_rate] / sum_s[has_rate], 3)
    return rate


def episodes(  # noqa: PLR0913  # arrays of one record and four limits, all by name
    *,
    rpeaks: NDArray[np.int64],
    rr_s: NDArray[np.float32],
    rate_hz: float,
    n_samples: int,
    window_start: NDArray[np.int64],
    window_readable: NDArray[np.bool_],
    tachycardia_bpm: float,
    bradycardia_bpm: float,
    pause_s: float,
    rate_change: float,
) -> list[Episode]:
    """Find tachycardia, bradycardia, pauses and abrupt changes in the readable part of a record.

    Args:
        rpeaks: (beat,) int64, ascending sample indices.
        rr_s: (beat,) float32, interval to the previous R peak; NaN where unknown.
        rate_hz: Samples per second.
        n_samples: Length of the record.
        window_start: (window,) int64, first sample of each window.
        window_readable: (window,) bool; windows that are not never count.
        tachycardia_bpm: A mean rate above is tachycardia; neighbouring windows make one episode.
        bradycardia_bpm: A mean rate below is bradycardia; neighbouring windows make one episode.
        pause_s: An interval of at least this length is a pause, if every window it touches is readable: a lead that has
            fallen off is no asystole.
        rate_change: A mean interval of eight beats that differs by more than this ratio from that of the eight before is
            an abrupt change, if every window from the first beat to the last is readable and every interval is known;
            of changes that overlap the largest counts.

    Returns:
        Episodes in the order of their start, all of them inside the record.

    Source: limits of the 2018 ACC/AHA/HRS bradycardia guideline; MIT-BIH figures by `python -m bench signal`.
    """
    rate_bpm = mean_rate(rpeaks, rr_s, window_start, n_samples=n_samples)
    found: list[Episode] = []
    for label, breaks, extreme in (
        (EventLabel.TACHYCARDIA, rate_bpm > tachycardia_bpm, np.max),
        (EventLabel.BRADYCARDIA, rate_bpm < bradycardia_bpm, np.min),
    ):
        for start, stop in zip(*runs(breaks & window_readable), strict=True):
            value = float(extreme(rate_bpm[start:stop]))
            end_sample = int(window_start[stop]) if stop < len(window_start) else n_samples
            found.append(_episode(label, int(window_start[start]), end_sample, value))
    readable = _readable_between(rpeaks, window_start, window_readable)
    found += _pauses(rpeaks, rr_s, readable, rate_hz, pause_s)
    found += _changes(rpeaks, np.where(np.append(False, readable), rr_s, np.nan)[: len(rr_s)], rate_change)
    return sorted(found, key=lambda episode: (episode.start_sample, episode.label))


def _pauses(
    rpeaks: NDArray[np.int64], rr_s: NDArray[np.float32], readable: NDArray[np.bool_], rate_hz: float, pause_s: float
) -> list[Episode]:
    """One episode per interval of at least `pause_s` whose windows are all readable."""
    length_s = np.diff(rpeaks) / rate_hz
    ends = np.flatnonzero((length_s >= pause_s) & readable & ~np.isnan(rr_s[1:])) + 1
    return [
        _episode(EventLabel.PAUSE, int(rpeaks[end - 1]), int(rpeaks[end]), float(length_s[end - 1])) for end in ends
    ]


def _changes(rpeaks: NDArray[np.int64], rr_s: NDArray[np.floating], rate_change: float) -> list[Episode]:
    """One episode per stretch of beats at which the eight intervals from there on differ from the eight before.

    Of those that share intervals the largest stands.
    """
    if len(rr_s) < 2 * _CHANGE_BEATS:
        return []
    mean_s = np.lib.stride_tricks.sliding_window_view(rr_s, _CHANGE_BEATS).mean(axis=1)
    change = np.log(mean_s[:-_CHANGE_BEATS] / mean_s[_CHANGE_BEATS:])  # > 0: faster afterwards
    size = np.abs(change)
    largest = [
        int(start + size[start:stop].argmax()) for start, stop in zip(*runs(size > np.log(rate_change)), strict=True)
    ]
    is_near = np.zeros(len(size), bool)
    found = []
    for at in sorted(largest, key=lambda at: -size[at]):
        if not is_near[at]:
            is_near[max(at - 2 * _CHANGE_BEATS + 1, 0) : at + 2 * _CHANGE_BEATS] = True
            first, last = int(rpeaks[max(at - 1, 0)]), int(rpeaks[at + 2 * _CHANGE_BEATS - 1])
            found.append(_episode(EventLabel.ABRUPT_RATE_CHANGE, first, last, float(np.exp(change[at]))))
    return found


def _readable_between(
    rpeaks: NDArray[np.int64], window_start: NDArray[np.int64], window_readable: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(beat - 1,) bool: every window between an R peak and the next one, both included, is readable."""
    window = np.searchsorted(window_start, rpeaks, side="right") - 1
    unreadable = np.concatenate([[0], np.cumsum(~window_readable)])
    between: NDArray[np.bool_] = unreadable[window[1:] + 1] == unreadable[window[:-1]]
    return between


def _episode(label: EventLabel, start_sample: int, end_sample: int, value: float) -> Episode:
    """Put the severity to an episode."""
    is_severe = {
        EventLabel.TACHYCARDIA: value > _SEVERE_TACHYCARDIA_BPM,
        EventLabel.BRADYCARDIA: value < _SEVERE_BRADYCARDIA_BPM,
        EventLabel.PAUSE: value >= _SEVERE_PAUSE_S,
        EventLabel.ABRUPT_RATE_CHANGE: False,
    }[label]
    severity = Severity.HIGH if is_severe else Severity.MEDIUM
    return Episode(label=label, start_sample=start_sample, end_sample=end_sample, value=value, severity=severity)
