"""From a Record to Examples: the one preparation that train, score, evaluate and explain share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


RHYTHM_FEATURES = ("mad30", "entropy30", "mad60", "entropy60", "lag3", "fast", "tachy", "slow", "trigeminy")
QUALITY_FEATURES = ("missing", "flat", "rails", "mut", "hf", "rms_mv")


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
        sinusoidal: (window,) float32, share of power near the dominant frequency in 2-8 Hz (flutter rescue).
        rhythm: (window, 9) float32, columns RHYTHM_FEATURES; NaN where fewer than 8 RR intervals are near.
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
