"""From evidence and alarm levels to verdicts and events: pure, so that stored evidence can be judged again."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from cardioclarity import rates
from cardioclarity.events import Event, Evidence, Levels, Verdict
from cardioclarity.filtering import runs
from cardioclarity.naming import borders, window_names
from cardioclarity.vocabulary import STATE_REASON_LABEL, EventLabel, Head, Severity, State, StateReason
from cardioclarity.windows import window_ends

_BEFORE_R_S: Final = 0.25  # an event of beats begins so long before its first R peak
_AFTER_R_S: Final = 0.45
_MERGE_S: Final = 10.0  # alarms of one kind that are no further apart are one event
_RUN_BEATS: Final = 3
_EARLY_SHARE: Final = 0.85  # of the local median RR
_LOCAL_BEATS: Final = 51
_LONG_RHYTHM_S: Final = 30.0
_CLEAR: Final = 100.0  # a p-value so many times below the level is a clear alarm
_DECIDED_SHARE: Final = 0.5  # of the record; below, silence says nothing
_SHORTEST_S: Final = 10.0  # one window


def at_age(levels: Levels, age: int | None) -> Levels:
    """Give a child the rate limits of its age.

    Args:
        levels: Limits for adults; one that was set to another value than the default holds at every age.
        age: Years; None where unknown.

    Returns:
        The levels with the child's limits in place of the default ones; unchanged from 18 years on.
    """
    child = rates.child_limits(age)
    if child is None:
        return levels
    default = {field.name: field.default for field in fields(Levels)}
    chosen = dict(zip(("bradycardia_bpm", "tachycardia_bpm"), child, strict=True))
    limits = {
        name: chosen[name] if getattr(levels, name) == default[name] else getattr(levels, name) for name in chosen
    }
    return replace(levels, **limits)


def decide(evidence: Evidence, levels: Levels) -> tuple[tuple[Verdict, ...], tuple[Event, ...]]:
    """Judge one record.

    Rates are judged by fixed limits. Readable beats and windows at or below the level of p are alarms of the beat and
    the rhythm head; neighbouring ones are merged. What cannot be read is an event of the quality head, and is never
    called normal: a head that could decide on less than half of the record, and found nothing, says `unreadable`.

    Args:
        evidence: Of one record, fresh or read back from the table.
        levels: Where an alarm begins.

    Returns:
        verdicts: One per head, in the order of `Head`. Where there is an event the state is `anomalous`; only the
            quality head says `unreadable` with its events when less than half of the record is readable.
        events: In the order of their start; two of them never share label and start.
    """
    events = (
        *_rate_events(evidence, levels),
        *_rhythm_events(evidence, levels),
        *_beat_events(evidence, levels),
        *_quality_events(evidence),
    )
    rate_bpm = rates.mean_rate(evidence.rpeaks, evidence.rr_s, evidence.window_start, n_samples=evidence.n_samples)
    views = {
        Head.RATE: _rate_view(evidence, levels, rate_bpm),
        Head.RHYTHM: _rhythm_view(evidence),
        Head.BEAT: _beat_view(evidence, levels),
        Head.QUALITY: _quality_view(evidence),
    }
    readable_bpm = rate_bpm[evidence.window_readable & np.isfinite(rate_bpm)]
    verdicts = tuple(
        _verdict(head, views[head], evidence, sum(event.kind is head for event in events), readable_bpm)
        for head in Head
    )
    return verdicts, tuple(sorted(events, key=lambda event: (event.start_sample, event.kind, event.label)))


def _rate_events(evidence: Evidence, levels: Levels) -> Iterator[Event]:
    """Turn the episodes of fixed rate limits into events, ranked by bpm or seconds."""
    for episode in rates.episodes(
        rpeaks=evidence.rpeaks,
        rr_s=evidence.rr_s,
        rate_hz=evidence.rate_hz,
        n_samples=evidence.n_samples,
        window_start=evidence.window_start,
        window_readable=evidence.window_readable,
        tachycardia_bpm=levels.tachycardia_bpm,
        bradycardia_bpm=levels.bradycardia_bpm,
        pause_s=levels.pause_s,
        rate_change=levels.rate_change,
    ):
        yield Event(
            kind=Head.RATE,
            label=episode.label,
            start_sample=episode.start_sample,
            end_sample=episode.end_sample,
            lead=evidence.lead,
            score=episode.value,
            p_value=None,
            severity=episode.severity,
        )


def _rhythm_events(evidence: Evidence, levels: Levels) -> Iterator[Event]:
    """Merge neighbouring irregular windows of one name, and stretches that share beats of their pattern.

    From 30 s on, and in a fast run, it is severe.
    """
    flagged = evidence.window_readable & (evidence.rhythm_p <= levels.rhythm_p)
    if not flagged.any():
        return
    ends, names = window_ends(evidence.window_start, n_samples=evidence.n_samples), window_names(evidence)
    codes = np.array([list(EventLabel).index(name) for name in names])
    for code in np.unique(codes[flagged]).tolist():
        label = list(EventLabel)[code]
        for start, stop, start_sample, end_sample in _stretches(evidence, label, flagged, codes == code):
            lasts = ends[stop - 1] - evidence.window_start[start]
            is_severe = label is EventLabel.FAST_RUN_OF_UNUSUAL_BEATS or lasts >= _LONG_RHYTHM_S * evidence.rate_hz
            held = np.arange(start, stop)[flagged[start:stop]]
            yield Event(
                kind=Head.RHYTHM,
                label=label,
                start_sample=start_sample,
                end_sample=end_sample,
                lead=evidence.lead,
                score=float(evidence.rhythm_score[held].max()),
                p_value=float(evidence.rhythm_p[held].min()),
                severity=Severity.HIGH if is_severe else Severity.MEDIUM,
            )


def _stretches(
    evidence: Evidence, label: EventLabel, flagged: NDArray[np.bool_], named: NDArray[np.bool_]
) -> list[tuple[int, int, int, int]]:
    """Find the stretches of one name: first window, one past the last, first sample, one past the last.

    Beats of the pattern are followed into one window more, if it is readable and not flagged; two stretches that find the
    same beats there are one.
    """
    starts, ends = evidence.window_start, window_ends(evidence.window_start, n_samples=evidence.n_samples)
    may_reach = np.concatenate([[False], evidence.window_readable & ~flagged, [False]])
    found: list[tuple[int, int, int, int]] = []
    for start, stop in zip(*runs(flagged & named), strict=True):
        first, last = int(starts[start]), int(ends[stop - 1])
        reach = (
            int(starts[start - 1]) if may_reach[start] else first,
            int(ends[stop]) if may_reach[stop + 1] else last,
        )
        start_sample, end_sample = borders(evidence, label, start=first, stop=last, reach=reach)
        if found and start_sample < found[-1][3]:
            begin, _, start_sample, _ = found.pop()
        else:
            begin = int(start)
        found.append((begin, int(stop), start_sample, end_sample))
    return found


def _beat_events(evidence: Evidence, levels: Levels) -> Iterator[Event]:
    """Name each flagged beat, then merge those of one name within 10 s.

    Three or more in a row are a run, severe; a single one is early or only unusual, of medium severity where its
    p-value is a hundredth of the level or less, else low.
    """
    flagged = evidence.beat_readable & (evidence.beat_p <= levels.beat_p)
    in_run = _in_run(flagged, evidence.rpeaks, evidence.rate_hz)
    early = evidence.rr_s < _EARLY_SHARE * _local_rr_s(evidence.rr_s)
    for label, beats in (
        (EventLabel.RUN_OF_UNUSUAL_BEATS, flagged & in_run),
        (EventLabel.EARLY_BEAT, flagged & ~in_run & early),
        (EventLabel.UNUSUAL_BEAT, flagged & ~in_run & ~early),
    ):
        for group in _groups(np.flatnonzero(beats), evidence):
            yield _beat_event(label, group, evidence, levels)


def _beat_event(label: EventLabel, group: NDArray[np.int64], evidence: Evidence, levels: Levels) -> Event:
    """Make one event of neighbouring beats (ascending indices)."""
    first, last = evidence.rpeaks[group[0]], evidence.rpeaks[group[-1]]
    p_value = float(evidence.beat_p[group].min())
    severity = Severity.MEDIUM if p_value <= levels.beat_p / _CLEAR else Severity.LOW
    return Event(
        kind=Head.BEAT,
        label=label,
        start_sample=max(0, int(first - round(_BEFORE_R_S * evidence.rate_hz))),
        end_sample=min(evidence.n_samples, int(last + round(_AFTER_R_S * evidence.rate_hz))),
        lead=evidence.lead,
        score=float(evidence.beat_score[group].max()),
        p_value=p_value,
        severity=Severity.HIGH if label is EventLabel.RUN_OF_UNUSUAL_BEATS else severity,
    )


def _groups(beats: NDArray[np.int64], evidence: Evidence) -> list[NDArray[np.int64]]:
    """Split ascending beat indices where two neighbours are more than 10 s apart."""
    if not len(beats):
        return []
    apart = np.diff(evidence.rpeaks[beats]) > _MERGE_S * evidence.rate_hz
    return np.split(beats, np.flatnonzero(apart) + 1)


def _in_run(flagged: NDArray[np.bool_], rpeaks: NDArray[np.int64], rate_hz: float) -> NDArray[np.bool_]:
    """Mark (beat,) the flagged beats that stand three or more in a row, none more than 10 s after the one before."""
    in_run = np.zeros(len(flagged), bool)
    is_apart = np.diff(rpeaks, prepend=rpeaks[:1]) > _MERGE_S * rate_hz
    row = np.cumsum(~flagged | is_apart)
    in_run[flagged] = np.bincount(row[flagged])[row[flagged]] >= _RUN_BEATS
    return in_run


def _local_rr_s(rr_s: NDArray[np.float32]) -> NDArray[np.float64]:
    """Take the (beat,) running median of RR over 25 beats on each side; where RR is unknown, the record's median."""
    known = np.isfinite(rr_s)
    if not known.any():
        return np.full(len(rr_s), np.nan)
    filled = np.where(known, rr_s, np.median(rr_s[known])).astype(np.float64)
    local: NDArray[np.float64] = median_filter(filled, size=_LOCAL_BEATS, mode="nearest")
    return local


def _quality_events(evidence: Evidence) -> Iterator[Event]:
    """Merge neighbouring windows that are unreadable for the same reason."""
    ends = window_ends(evidence.window_start, n_samples=evidence.n_samples)
    reasons = np.array(evidence.window_reason, dtype=str)
    scores = evidence.window_members["quality"]
    for reason in sorted(set(reasons.tolist()) - {""}):
        for start, stop in zip(*runs(reasons == reason), strict=True):
            start_sample, end_sample = int(evidence.window_start[start]), int(ends[stop - 1])
            is_most = end_sample - start_sample > _DECIDED_SHARE * evidence.n_samples
            yield Event(
                kind=Head.QUALITY,
                label=STATE_REASON_LABEL[StateReason(reason)],
                start_sample=start_sample,
                end_sample=end_sample,
                lead=evidence.lead,
                score=float(scores[start:stop].max()),
                p_value=None,
                severity=Severity.MEDIUM if is_most else Severity.LOW,
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    """What one head found before its events are counted; `decided` is (window,) bool."""

    decided: NDArray[np.bool_]
    score: float | None
    p_value: float | None = None
    reasons: frozenset[StateReason] = frozenset()


def _rate_view(evidence: Evidence, levels: Levels, rate_bpm: NDArray[np.float32]) -> _View:
    """Score the logarithm by which a rate or an interval goes beyond its limit; negative within the limits."""
    decided = evidence.window_readable & np.isfinite(rate_bpm)
    rate, rr_s = rate_bpm[decided], evidence.rr_s[evidence.beat_readable & np.isfinite(evidence.rr_s)]
    beyond = np.concatenate([rate / levels.tachycardia_bpm, levels.bradycardia_bpm / rate, rr_s / levels.pause_s])
    return _View(decided=decided, score=float(np.log(beyond.max())) if decided.any() else None)


def _rhythm_view(evidence: Evidence) -> _View:
    """Take the strangest readable window."""
    decided = evidence.window_readable & np.isfinite(evidence.rhythm_p)
    if not decided.any():
        return _View(decided=decided, score=None)
    score, p_value = evidence.rhythm_score[decided].max(), evidence.rhythm_p[decided].min()
    return _View(decided=decided, score=float(score), p_value=float(p_value))


def _beat_view(evidence: Evidence, levels: Levels) -> _View:
    """Take the strangest readable beat, and compare the record as a whole with the population."""
    scored = evidence.beat_readable & np.isfinite(evidence.beat_p)
    decided = np.zeros(len(evidence.window_start), bool)
    if not scored.any():
        return _View(decided=decided, score=None)
    decided[np.searchsorted(evidence.window_start, evidence.rpeaks[scored], side="right") - 1] = True
    reasons = set()
    absent = np.full(len(scored), np.nan, np.float32)
    if not np.isfinite(evidence.beat_members.get("template", absent)[scored]).any():
        reasons.add(StateReason.POPULATION_ONLY)
    population = evidence.beat_members.get("population", absent)[scored]
    population = population[np.isfinite(population)]
    if len(population) and np.median(population) > levels.population_median:
        reasons.add(StateReason.DIFFERS_FROM_POPULATION)
    score, p_value = evidence.beat_score[scored].max(), evidence.beat_p[scored].min()
    return _View(decided=decided, score=float(score), p_value=float(p_value), reasons=frozenset(reasons))


def _quality_view(evidence: Evidence) -> _View:
    """Take the worst window; what is decided is what can be read."""
    scores = evidence.window_members["quality"]
    return _View(decided=evidence.window_readable, score=float(scores.max()) if len(scores) else None)


def _verdict(head: Head, view: _View, evidence: Evidence, n_events: int, readable_bpm: NDArray[np.float32]) -> Verdict:
    """Turn a head's view and the number of its events into its verdict."""
    length = window_ends(evidence.window_start, n_samples=evidence.n_samples) - evidence.window_start
    coverage = float(length[view.decided].sum() / evidence.n_samples) if len(length) else 0.0
    state = _state(head, view, evidence, n_events, coverage)
    reasons = set(view.reasons)
    if coverage < _DECIDED_SHARE or head is Head.QUALITY:
        reasons |= {StateReason(reason) for reason in evidence.window_reason if reason}
    if 0.0 < coverage < _DECIDED_SHARE:
        reasons.add(StateReason.LOW_COVERAGE)
    if state is State.UNSCORABLE:
        reasons.add(_why_unscorable(evidence))
    return Verdict(
        head=head,
        state=state,
        score=view.score,
        p_value=view.p_value,
        n_events=n_events,
        coverage=coverage,
        reasons=tuple(sorted(reasons)),
        heart_rate_median_bpm=float(np.median(readable_bpm)) if len(readable_bpm) else None,
        heart_rate_min_bpm=float(readable_bpm.min()) if len(readable_bpm) else None,
        heart_rate_max_bpm=float(readable_bpm.max()) if len(readable_bpm) else None,
        n_beats=int(evidence.beat_readable.sum()),
    )


def _state(head: Head, view: _View, evidence: Evidence, n_events: int, coverage: float) -> State:
    """Choose the state: an event speaks for itself, silence only counts where the head could decide."""
    if n_events and not (head is Head.QUALITY and coverage < _DECIDED_SHARE):
        return State.ANOMALOUS
    if coverage >= _DECIDED_SHARE:
        return State.NORMAL
    has_windows, is_readable = len(evidence.window_start) > 0, bool(evidence.window_readable.any())
    return State.UNREADABLE if has_windows and (view.decided.any() or not is_readable) else State.UNSCORABLE


def _why_unscorable(evidence: Evidence) -> StateReason:
    """Say what is lacking: length or beats."""
    is_long = evidence.n_samples >= _SHORTEST_S * evidence.rate_hz
    return StateReason.NO_BEATS if is_long and evidence.beat_readable.sum() < 2 else StateReason.TOO_SHORT
