"""From an event's row back to its signal: all that one strip needs to show why the event was raised."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cardioclarity import models
from cardioclarity.ensemble import Model
from cardioclarity.errors import NotFoundError
from cardioclarity.events import Evidence
from cardioclarity.evidence import stored_evidence
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.filtering import band_pass
from cardioclarity.record import Annotations, Record
from cardioclarity.segments.read import read
from cardioclarity.storage import Storage
from cardioclarity.tables import catalog
from cardioclarity.tables.runs import judgement
from cardioclarity.vocabulary import Head

STRIP_S: Final = 9.0
"""A strip shows so much, a third of it before the onset; a record of up to 10 s is shown whole."""
_WHOLE_S: Final = 10.0
_SETTLE_S: Final = 25.0  # read on both sides, so that the filter gives what it gives on the whole record
Signal = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """One event with the signal around it and the rhythm of its record.

    Attributes:
        event: The row of the table `events`.
        rate_hz: Sampling rate of the record.
        n_samples: Length of the record in samples.
        start_sample: Where the strip begins in the record.
        signal_mv: (sample,) float32, the event's lead without its offset; NaN where the signal is missing.
        band_hz: The band the signal was filtered to; None where it is shown as recorded.
        reconstruction_mv: (sample,) float32, what the autoencoder makes of the beats; NaN where it says nothing.
        without_reconstruction: Why an event of the beat head has no reconstruction; empty where it has one, and for other
            events, which need none.
        rpeaks: (beat,) int64, every R peak of the record.
        rr_s: (beat,) float32, interval to the previous R peak; NaN where unknown.
        flagged: (beat,) bool, the beats for which an event of the beat head was raised; none for other events.
        window_start: (window,) int64, first sample of each quality window.
        window_readable: (window,) bool.
    """

    event: Mapping[str, Any]
    rate_hz: float
    n_samples: int
    start_sample: int
    signal_mv: Signal
    band_hz: tuple[float, float] | None
    reconstruction_mv: Signal
    without_reconstruction: str
    rpeaks: NDArray[np.int64]
    rr_s: Signal
    flagged: NDArray[np.bool_]
    window_start: NDArray[np.int64]
    window_readable: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that the arrays belong to each other."""
        assert self.signal_mv.shape == self.reconstruction_mv.shape
        assert self.rpeaks.shape == self.rr_s.shape == self.flagged.shape
        assert self.window_start.shape == self.window_readable.shape


def explain(root: Storage, events: Iterable[Mapping[str, Any]], *, model_id: str) -> Iterator[Explanation]:
    """Go back from events to their signals.

    Each segment is opened once, each record read once and prepared once, however many events it has.

    Args:
        root: The deployment.
        events: Rows of the table `events`, all of this model.
        model_id: The model that raised them.

    Yields:
        One explanation per event, in the order of the events.

    Raises:
        NotFoundError: The model, or the evidence of a segment, is gone.
        DamageError: Stored bytes differ from their manifest.
        StorageError: The store did not answer.
    """
    wanted = list(events)
    model = models.load(root, model_id)
    judged_by = {run["run_id"]: judgement(json.loads(run["config"])) for run in catalog.runs(root)}
    by_segment: dict[str, list[Mapping[str, Any]]] = {}
    for event in wanted:
        by_segment.setdefault(event["segment_id"], []).append(event)
    ready: dict[str, Explanation] = {}
    for event in wanted:
        for found in _of_segment(root, by_segment.pop(event["segment_id"], ()), model, model_id, judged_by):
            ready[found.event["event_id"]] = found
        yield ready.pop(event["event_id"])


def _of_segment(
    root: Storage,
    events: Sequence[Mapping[str, Any]],
    model: Model,
    model_id: str,
    judged_by: Mapping[str, Mapping[str, float]],
) -> Iterator[Explanation]:
    """Explain the events of one segment, record by record."""
    if not events:
        return
    segment_id = events[0]["segment_id"]
    known = {record.record_id: record for record in catalog.records(root, segment_ids=[segment_id])}
    scores = catalog.current_scores(root, model_id).get(segment_id)
    if scores is None:
        raise NotFoundError(f"{root.name}: model {model_id} has no scores of segment {segment_id} any more; run again")
    stored = stored_evidence(root, segment_id, model_id=model_id, run_id=scores.evidence_run_id)
    level = model.levels(**judged_by.get(scores.run_id, judgement({}))).beat_p
    only = {event["record_id"] for event in events}
    digest = next(record.segment_digest for record in known.values())
    for index, record in read(root, segment_id, digest=digest, only=only):
        evidence = stored.of_record(index, known[record.record_id])
        yield from _of_record(
            record, [event for event in events if event["record_id"] == record.record_id], model, evidence, level
        )


def _of_record(
    record: Record, events: Sequence[Mapping[str, Any]], model: Model, evidence: Evidence, level: float
) -> Iterator[Explanation]:
    """Explain the events of one record; only a beat event needs the examples."""
    is_beat = [event["kind"] == Head.BEAT for event in events]
    examples = prepare(record, model.recipe) if any(is_beat) else None
    for event in events:
        start, stop = _strip(record, event["start_sample"])
        shown_mv, band_hz, wide = _signal(record, event, model.recipe, start, stop)
        made, without = np.full(stop - start, np.nan, np.float32), ""
        flagged = np.zeros(len(evidence.rpeaks), bool)
        if examples is not None and event["kind"] == Head.BEAT:
            made, without = _redrawn(model, examples, event["lead"], wide, slice(start, stop))
            inside = (evidence.rpeaks >= event["start_sample"]) & (evidence.rpeaks < event["end_sample"])
            flagged = inside & evidence.beat_readable & (evidence.beat_p <= level)
        yield Explanation(
            event=event,
            rate_hz=record.rate_hz,
            n_samples=record.n_samples,
            start_sample=start,
            signal_mv=shown_mv,
            band_hz=band_hz,
            reconstruction_mv=made,
            without_reconstruction=without,
            rpeaks=evidence.rpeaks,
            rr_s=evidence.rr_s,
            flagged=flagged,
            window_start=evidence.window_start,
            window_readable=evidence.window_readable,
        )


def _strip(record: Record, onset: int) -> tuple[int, int]:
    """Choose what a strip shows: the first sample and the one past the last."""
    if record.duration_s <= _WHOLE_S:
        return 0, record.n_samples
    length = round(STRIP_S * record.rate_hz)
    start = min(max(0, onset - length // 3), record.n_samples - length)
    return start, start + length


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wide:
    """The band-passed lead on and around a strip, in the seconds of the record."""

    rate_hz: float
    first: int
    signal_mv: Signal

    def at(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Interpolate at any times; NaN beyond the ends and next to missing samples."""
        places = time_s * self.rate_hz - self.first
        return np.interp(places, np.arange(len(self.signal_mv)), self.signal_mv, left=np.nan, right=np.nan)


def _signal(
    record: Record, event: Mapping[str, Any], recipe: Recipe, start: int, stop: int
) -> tuple[Signal, tuple[float, float] | None, _Wide]:
    """Take the event's lead: as the detectors saw it, or as recorded where the question is its quality.

    A filter hides what makes a signal unreadable, so those strips are unfiltered, with only their median removed.
    """
    margin = round(_SETTLE_S * record.rate_hz)
    first, last = max(0, start - margin), min(record.n_samples, stop + margin)
    row = record.leads.index(event["lead"])
    one = replace(
        record,
        leads=record.leads[row : row + 1],
        source_leads=record.source_leads[row : row + 1],
        signal=record.signal[row : row + 1, first:last],
        gain=record.gain[row : row + 1],
        baseline=record.baseline[row : row + 1],
        annotations=Annotations.none(),
    )
    raw_mv = one.millivolts()[0]
    band_hz = (recipe.low_hz, recipe.high_hz)
    filtered_mv = band_pass(raw_mv, rate_hz=record.rate_hz, low_hz=band_hz[0], high_hz=band_hz[1])
    wide = _Wide(rate_hz=record.rate_hz, first=first, signal_mv=filtered_mv)
    shown = slice(start - first, stop - first)
    if event["kind"] != Head.QUALITY:
        return filtered_mv[shown], band_hz, wide
    known = raw_mv[shown][np.isfinite(raw_mv[shown])]
    return raw_mv[shown] - (np.median(known) if len(known) else np.float32(0)), None, wide


@runtime_checkable
class _Redraws(Protocol):
    """A member that can draw a beat again."""

    @property
    def window(self) -> str | None:
        """The array of `Examples` that it draws again, beats or long; None where it does not draw."""

    def reconstruct(self, examples: Examples, /) -> NDArray[np.float32]:
        """(beat, lead, sample) in units of the amplitude; NaN where it abstains."""


def _redrawn(model: Model, examples: Examples, lead: str, wide: _Wide, strip: slice) -> tuple[Signal, str]:
    """Draw the beats of a strip as an autoencoder remembers normal ones, that of the short window first; or say why not."""
    nothing = np.full(strip.stop - strip.start, np.nan, np.float32)
    members = {
        member.window: member for member in model.members.values() if isinstance(member, _Redraws) and member.window
    }
    if not members:
        return nothing, "the model has no autoencoder"
    if examples.leads[0] != lead:
        return nothing, "the autoencoder reads another lead"
    window, member = min(members.items(), key=lambda found: found[0] != "beats")
    near = _beats_of(examples, strip)
    made = member.reconstruct(near)[:, 0]
    usable = np.isfinite(made).all(axis=1)
    if not usable.any():
        return nothing, "the autoencoder cannot read these beats"
    drawn = examples.amplitude_mv[0] * made[usable]
    seen = examples.amplitude_mv[0] * getattr(near, window)[usable, 0]
    before_s, after_s, rate_hz = _window(model.recipe, window)
    grid_s = np.arange(seen.shape[1]) / rate_hz - before_s
    origin_s, offset_mv = _place(seen, near.rpeaks[usable], grid_s, wide, model.recipe)
    return _paste(drawn + offset_mv[:, None], origin_s, (before_s, after_s, rate_hz), wide.rate_hz, strip), ""


def _window(recipe: Recipe, window: str) -> tuple[float, float, float]:
    """Give the seconds before and after the R peak and the rate of a member's window."""
    if window == "beats":
        return recipe.beat_before_s, recipe.beat_after_s, recipe.beat_rate_hz
    return recipe.long_before_s, recipe.long_after_s, recipe.long_rate_hz


def _beats_of(examples: Examples, strip: slice) -> Examples:
    """Keep the beats whose R peak lies in the strip."""
    chosen = slice(*np.searchsorted(examples.rpeaks, [strip.start, strip.stop]).tolist())
    per_beat = ("rpeaks", "rr_s", "late", "beats", "long", "whole")
    return replace(examples, **{name: getattr(examples, name)[chosen] for name in per_beat})


def _place(
    seen_mv: NDArray[np.float32], rpeaks: NDArray[np.int64], grid_s: NDArray[np.float64], wide: _Wide, recipe: Recipe
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find where the preparation cut each beat, and what it took away.

    Examples keep neither the shift that aligned a beat nor its median, but their beats are the signal itself: the shift
    under which a beat lies closest to the signal is the one, and the median difference there is the offset.

    Returns:
        origin_s: (beat,) the time that the beat's window calls zero.
        offset_mv: (beat,) to be added to a beat.
    """
    step_s = 1 / recipe.beat_rate_hz
    reach = round(recipe.align_s * recipe.beat_rate_hz) + 1
    origins_s = rpeaks[:, None] / wide.rate_hz + np.arange(-reach, reach + 0.5, 0.5) * step_s
    difference = wide.at(origins_s[:, :, None] + grid_s) - seen_mv[:, None, :]
    difference = np.where(np.isnan(difference), 0.0, difference)
    offset_mv = np.median(difference, axis=2)
    best = np.abs(difference - offset_mv[:, :, None]).mean(axis=2).argmin(axis=1)
    beat = np.arange(len(rpeaks))
    return origins_s[beat, best], offset_mv[beat, best]


def _paste(
    beats_mv: NDArray[np.float64],
    origin_s: NDArray[np.float64],
    window: tuple[float, float, float],
    rate_hz: float,
    strip: slice,
) -> Signal:
    """Lay beats on the samples of a strip; where two windows overlap the later beat is shown."""
    before_s, after_s, beat_rate_hz = window
    time_s = np.arange(strip.start, strip.stop) / rate_hz
    beat = np.searchsorted(origin_s - before_s, time_s, "right") - 1
    place = (time_s - origin_s[beat] + before_s) * beat_rate_hz
    last = beats_mv.shape[1] - 1
    inside = (beat >= 0) & (place >= 0) & (place <= min(last, (before_s + after_s) * beat_rate_hz))
    left = np.clip(place.astype(np.int64), 0, last - 1)
    share = place - left
    values = beats_mv[beat, left] * (1 - share) + beats_mv[beat, left + 1] * share
    return np.where(inside, values, np.nan).astype(np.float32)
