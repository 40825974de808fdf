"""From a Record to Examples: the one preparation that train, score, evaluate and explain share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cardioclarity.beats import alignment, cut, intervals, late_beats, normalise, odd_beats, qrs_amplitude
from cardioclarity.filtering import band_pass, resample
from cardioclarity.rates import mean_rate, touching
from cardioclarity.readability import defects, residual, roughness, sinusoidal
from cardioclarity.record import Annotations, Record
from cardioclarity.regularity import rhythm
from cardioclarity.rpeaks import best_lead, detect_together, is_hopeless
from cardioclarity.windows import root_mean_square, window_starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every number of the preparation; it travels inside the model folder.

    Attributes:
        n_leads: Leads that are analysed; a record with fewer gives fewer.
        low_hz: Lower edge of the morphology band.
        high_hz: Upper edge of the morphology band.
        beat_rate_hz: Rate of the short beat window.
        beat_before_s: Short window before the R peak.
        beat_after_s: Short window after the R peak.
        long_rate_hz: Rate of the long window.
        long_before_s: Long window before the R peak.
        long_after_s: Long window after the R peak.
        align_s: Largest shift when a beat is aligned to the record's template.
        window_s: Length of the windows of the quality, rate and rhythm heads; they do not overlap.
        min_beats: A record with fewer beats has no template of its own.
    """

    n_leads: int = 2
    low_hz: float = 0.5
    high_hz: float = 40.0
    beat_rate_hz: float = 200.0
    beat_before_s: float = 0.25
    beat_after_s: float = 0.45
    long_rate_hz: float = 100.0
    long_before_s: float = 0.8
    long_after_s: float = 0.8
    align_s: float = 0.02
    window_s: float = 10.0
    min_beats: int = 60

    @property
    def beat_samples(self) -> int:
        """Samples of the short window: 140 with the defaults."""
        return round((self.beat_before_s + self.beat_after_s) * self.beat_rate_hz)

    @property
    def long_samples(self) -> int:
        """Samples of the long window: 160 with the defaults."""
        return round((self.long_before_s + self.long_after_s) * self.long_rate_hz)


RHYTHM_FEATURES = ("entropy", "spread", "fast", "tachy", "slow", "bigeminy", "trigeminy", "run")
QUALITY_FEATURES = ("missing", "flat", "rails", "residual", "roughness", "rms_mv")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """What detectors see of one record: a struct of arrays, one row per beat or per window.

    Attributes:
        record_id: The record.
        rate_hz: Its sampling rate.
        n_samples: Its length in samples.
        leads: (lead,) names of the analysed leads, best first.
        amplitude_mv: (lead,) float32, median peak-to-peak of the QRS over the late beats; NaN where unknown.
        rpeaks: (beat,) int64, sample index at the record's own rate, ascending.
        rr_s: (beat,) float32, interval to the previous R peak; NaN for the first beat and across missing signal.
        late: (beat,) bool, RR not shorter than the (running) median: the beats that make the template.
        beats: (beat, lead, beat_samples) float32, aligned, band-passed, median removed, in units of `amplitude_mv`.
        long: (beat, lead, long_samples) float32, band-passed, median removed, in units of `amplitude_mv`.
        whole: (beat,) bool; False where a window leaves the record or meets missing signal: no member may score it.
        window_start: (window,) int64, first sample of each window of `window_s`; the last window may be shorter.
        quality: (window, lead, 6) float32, columns QUALITY_FEATURES, per analysed lead.
        window_peaks: (window,) int32, R peaks inside the window.
        sinusoidal: (window,) float32, share of power near the dominant frequency in 2.5-8 Hz (flutter rescue).
        rhythm: (window, 8) float32, columns RHYTHM_FEATURES; NaN where fewer than 8 RR intervals are near.
        rate_bpm: (window,) float32, 60 / mean RR of the intervals that touch the window; NaN with none.
        adapted: The record has beats enough for a template of its own.
    """

    record_id: str
    rate_hz: float
    n_samples: int
    leads: tuple[str, ...]
    amplitude_mv: NDArray[np.float32]
    rpeaks: NDArray[np.int64]
    rr_s: NDArray[np.float32]
    late: NDArray[np.bool_]
    beats: NDArray[np.float32]
    long: NDArray[np.float32]
    whole: NDArray[np.bool_]
    window_start: NDArray[np.int64]
    quality: NDArray[np.float32]
    window_peaks: NDArray[np.int32]
    sinusoidal: NDArray[np.float32]
    rhythm: NDArray[np.float32]
    rate_bpm: NDArray[np.float32]
    adapted: bool


_SIMILAR_S = (0.15, 0.25)
_SIMILAR_BAND_HZ = (1.0, 40.0)
_BLOCK_SAMPLES = 1 << 20
_EXCERPTS = 60
_EXCERPT_S = 60.0
_CHEST = frozenset(
    {*(f"V{i}" for i in range(1, 10)), *(f"V{i}R" for i in range(2, 8)), "MCL1", "MCL6", "CM5", "CC5", "CS2"}
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Signals:
    """The analysed leads in the three forms that the parts need; NaN is a missing sample.

    Attributes:
        raw_mv: (lead, sample) float32, as recorded.
        short_mv: (lead, sample) float32, morphology band, at `Recipe.beat_rate_hz`.
        long_mv: (lead, sample) float32, the same at `Recipe.long_rate_hz`.
    """

    raw_mv: NDArray[np.float32]
    short_mv: NDArray[np.float32]
    long_mv: NDArray[np.float32]


def prepare(record: Record, recipe: Recipe, *, rpeaks: NDArray[np.int64] | None = None) -> Examples:
    """Turn a record into what detectors see of it.

    Args:
        record: The record; any length, any content.
        recipe: Every number of the preparation.
        rpeaks: (beat,) int64, strictly ascending reference positions inside the record, in place of detected ones
            (evaluation).

    Returns:
        Examples of the leads that `choose_leads` names; R peaks come from all of them. Whatever a part cannot know is
        NaN, or marked as not whole; nothing is infinite.
    """
    leads = choose_leads(record, recipe)
    signals = _signals(record, recipe, leads)
    rate_hz, n_samples = record.rate_hz, record.n_samples
    if rpeaks is None:
        rpeaks = detect_together(signals.raw_mv, rate_hz=rate_hz)
    is_missing = np.asarray(np.isnan(signals.raw_mv).all(axis=0), np.bool_)
    rr_s = intervals(rpeaks, is_missing, rate_hz=rate_hz)
    late = late_beats(rr_s)
    centres = _moved(rpeaks, rate_hz, recipe.beat_rate_hz)
    amplitude_mv = qrs_amplitude(signals.short_mv, centres, late, rate_hz=recipe.beat_rate_hz)
    beats, whole = _short_windows(signals, recipe, centres, late)
    long, long_whole = _long_windows(signals, recipe, _moved(rpeaks, rate_hz, recipe.long_rate_hz))
    normalise(beats, amplitude_mv)
    normalise(long, amplitude_mv)
    before = round(recipe.beat_before_s * recipe.beat_rate_hz)
    is_odd = odd_beats(beats, whole, late, rate_hz=recipe.beat_rate_hz, before=before)
    window_start = window_starts(n_samples, rate_hz=rate_hz, window_s=recipe.window_s)
    window_edge = np.append(window_start, n_samples)
    first, stop = touching(rpeaks, window_start, n_samples=n_samples)
    return Examples(
        record_id=record.record_id,
        rate_hz=rate_hz,
        n_samples=n_samples,
        leads=tuple(record.leads[lead] for lead in leads),
        amplitude_mv=amplitude_mv,
        rpeaks=rpeaks,
        rr_s=rr_s,
        late=late,
        beats=beats,
        long=long,
        whole=whole & long_whole,
        window_start=window_start,
        quality=_quality(signals, recipe, rate_hz, rpeaks, amplitude_mv),
        window_peaks=np.diff(np.searchsorted(rpeaks, window_edge)).astype(np.int32),
        sinusoidal=sinusoidal(
            signals.long_mv[0],
            _moved(window_start, rate_hz, recipe.long_rate_hz),
            rate_hz=recipe.long_rate_hz,
            window_s=recipe.window_s,
        ),
        rhythm=rhythm(
            rpeaks / rate_hz, rr_s, is_odd, (window_edge[1:] + window_edge[:-1]) / (2 * rate_hz), first=first, stop=stop
        ),
        rate_bpm=mean_rate(rpeaks, rr_s, window_start, n_samples=n_samples),
        adapted=len(rpeaks) >= recipe.min_beats,
    )


def choose_leads(record: Record, recipe: Recipe) -> tuple[int, ...]:
    """Choose the leads to analyse, by name before position.

    First comes the best lead for R peaks. After it leads of the other plane go first (chest after limb), since they see
    what it does not; the training databases pair modified lead II with a chest lead. A lead that is flat or missing for
    more than half of the time is left out, unless all are.

    Args:
        record: The record; what is longer than an hour is judged by 60 minutes spread over it.
        recipe: How many leads at most.

    Returns:
        1 to `Recipe.n_leads` indices into `Record.leads`, best first.
    """
    excerpt_mv = _millivolts(_excerpt(record), range(len(record.leads)))
    order = best_lead(excerpt_mv, rate_hz=record.rate_hz, leads=record.leads)
    usable = [lead for lead in order if not is_hopeless(excerpt_mv[lead], rate_hz=record.rate_hz)]
    if not usable:
        return order[:1]
    is_chest = record.leads[usable[0]] in _CHEST
    rest = sorted(usable[1:], key=lambda lead: (record.leads[lead] in _CHEST) == is_chest)
    return (usable[0], *rest[: recipe.n_leads - 1])


def _excerpt(record: Record) -> Record:
    """A record of at most an hour: the whole one, or minutes spread evenly over it."""
    width = round(_EXCERPT_S * record.rate_hz)
    if record.n_samples <= _EXCERPTS * width:
        return record
    starts = np.linspace(0, record.n_samples - width, _EXCERPTS).astype(np.int64)
    signal = np.concatenate([record.signal[:, start : start + width] for start in starts], axis=1)
    return replace(record, signal=signal, annotations=Annotations.none())


def _millivolts(record: Record, leads: Sequence[int]) -> NDArray[np.float32]:
    """(lead, sample) float32 of some leads, scaled in blocks: a float64 copy of a 24-h record would not fit beside it."""
    signal_mv = np.empty((len(leads), record.n_samples), np.float32)
    for row, lead in enumerate(leads):
        one = slice(lead, lead + 1)
        for start in range(0, record.n_samples, _BLOCK_SAMPLES):
            block = replace(
                record,
                leads=record.leads[one],
                source_leads=record.source_leads[one],
                signal=record.signal[one, start : start + _BLOCK_SAMPLES],
                gain=record.gain[one],
                baseline=record.baseline[one],
                annotations=Annotations.none(),
            )
            signal_mv[row, start : start + _BLOCK_SAMPLES] = block.millivolts()[0]
    return signal_mv


def _signals(record: Record, recipe: Recipe, leads: tuple[int, ...]) -> _Signals:
    """Load the leads, filter each once and resample it once to each rate."""
    raw_mv = _millivolts(record, leads)
    short = []
    for row in raw_mv:
        filtered = band_pass(row, rate_hz=record.rate_hz, low_hz=recipe.low_hz, high_hz=recipe.high_hz)
        short.append(resample(filtered, rate_hz=record.rate_hz, to_hz=recipe.beat_rate_hz))
    short_mv = np.stack(short)
    long_mv = resample(short_mv, rate_hz=recipe.beat_rate_hz, to_hz=recipe.long_rate_hz)
    return _Signals(raw_mv=raw_mv, short_mv=short_mv, long_mv=long_mv)


def _moved(samples: NDArray[np.int64], rate_hz: float, to_hz: float) -> NDArray[np.int64]:
    """The nearest sample at another rate, never past the end of a resampled signal."""
    moved: NDArray[np.int64] = np.ceil(samples * (to_hz / rate_hz) - 0.5).astype(np.int64)
    return moved


def _short_windows(
    signals: _Signals, recipe: Recipe, centres: NDArray[np.int64], late: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut the short windows after the first lead has said how to shift each beat."""
    before = round(recipe.beat_before_s * recipe.beat_rate_hz)
    after = recipe.beat_samples - before
    reach = round(recipe.align_s * recipe.beat_rate_hz)
    shift = alignment(signals.short_mv[0], centres, late, reach=reach, before=before, after=after)
    return cut(signals.short_mv, centres + shift, before=before, after=after)


def _long_windows(
    signals: _Signals, recipe: Recipe, centres: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut the long windows, not aligned: the neighbours' positions are what they show."""
    before = round(recipe.long_before_s * recipe.long_rate_hz)
    return cut(signals.long_mv, centres, before=before, after=recipe.long_samples - before)


def _quality(
    signals: _Signals, recipe: Recipe, rate_hz: float, rpeaks: NDArray[np.int64], amplitude_mv: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(window, lead, 6) float32, the columns QUALITY_FEATURES."""
    n_samples = signals.raw_mv.shape[1]
    window_start = window_starts(n_samples, rate_hz=rate_hz, window_s=recipe.window_s)
    edge = np.searchsorted(rpeaks, np.append(window_start, n_samples))
    short_hz = recipe.beat_rate_hz
    centres, short_start = _moved(rpeaks, rate_hz, short_hz), _moved(window_start, rate_hz, short_hz)
    before, after = round(_SIMILAR_S[0] * short_hz), round(_SIMILAR_S[1] * short_hz)
    quality = np.empty((len(window_start), len(amplitude_mv), len(QUALITY_FEATURES)), np.float32)
    for lead, (raw_mv, short_mv) in enumerate(zip(signals.raw_mv, signals.short_mv, strict=True)):
        shape_mv = band_pass(short_mv, rate_hz=short_hz, low_hz=_SIMILAR_BAND_HZ[0], high_hz=_SIMILAR_BAND_HZ[1])
        shapes, whole = cut(shape_mv[None], centres, before=before, after=after)
        quality[:, lead, :3] = defects(raw_mv, window_start, rate_hz=rate_hz)
        height_mv = float(amplitude_mv[lead])
        quality[:, lead, 3] = residual(shapes[:, 0], whole, edge[:-1], edge[1:], amplitude_mv=height_mv)
        quality[:, lead, 4] = roughness(short_mv, short_start, rate_hz=short_hz, amplitude_mv=height_mv)
        quality[:, lead, 5] = root_mean_square(short_mv, short_start)
    return quality
