"""The nouns of a judgement: what was found, where alarms begin, what each head says, and each anomaly."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardioclarity.vocabulary import EventLabel, Head, Severity, State, StateReason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What the detectors found in one record: a struct of arrays; all of it is stored in the table `beats`.

    Attributes:
        record_id: The record.
        rate_hz: Its sampling rate.
        n_samples: Its length in samples.
        lead: The lead that was analysed first.
        rpeaks: (beat,) int64, sample index of each R peak, ascending.
        rr_s: (beat,) float32, interval to the previous R peak; NaN where unknown.
        beat_readable: (beat,) bool, the beat lies in a readable window.
        beat_members: Name → (beat,) float32, raw scores; NaN abstains.
        beat_score: (beat,) float32, the beat head's rank; NaN where nothing could score.
        beat_p: (beat,) float32, calibrated p-value; NaN with the score.
        window_start: (window,) int64, first sample of each window.
        window_readable: (window,) bool.
        window_reason: (window,) one StateReason each, empty where readable.
        window_members: Name → (window,) float32, raw scores.
        rhythm_score: (window,) float32, the rhythm head's rank.
        rhythm_p: (window,) float32, calibrated p-value.
    """

    record_id: str
    rate_hz: float
    n_samples: int
    lead: str
    rpeaks: NDArray[np.int64]
    rr_s: NDArray[np.float32]
    beat_readable: NDArray[np.bool_]
    beat_members: Mapping[str, NDArray[np.float32]]
    beat_score: NDArray[np.float32]
    beat_p: NDArray[np.float32]
    window_start: NDArray[np.int64]
    window_readable: NDArray[np.bool_]
    window_reason: tuple[str, ...]
    window_members: Mapping[str, NDArray[np.float32]]
    rhythm_score: NDArray[np.float32]
    rhythm_p: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Where an alarm begins.

    Attributes:
        beat_p: A readable beat with a p-value at or below is unusual.
        rhythm_p: A readable window with a p-value at or below is irregular.
        population_median: A record whose median population score is above differs from the training population.
        tachycardia_bpm: A window whose mean rate is above is tachycardia.
        bradycardia_bpm: A window whose mean rate is below is bradycardia.
        pause_s: An RR interval of at least this length is a pause.
        rate_change: A rate that changes by more than this ratio from eight beats to the next eight changes abruptly.
    """

    beat_p: float
    rhythm_p: float
    population_median: float
    tachycardia_bpm: float = 100.0
    bradycardia_bpm: float = 50.0
    pause_s: float = 2.0
    rate_change: float = 1.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one head says of one record; a row of the table `scores`.

    Attributes:
        head: The question.
        state: The answer.
        score: The largest score of the head; None where it could not score.
        p_value: The smallest p-value; None for fixed rules or without a score.
        n_events: Number of events of this kind.
        coverage: Share of the record on which the head could decide, 0 to 1.
        reasons: Words of `StateReason`, sorted.
        heart_rate_median_bpm: Median rate over the readable windows; None without.
        heart_rate_min_bpm: Smallest of them.
        heart_rate_max_bpm: Largest of them.
        n_beats: Readable beats.
    """

    head: Head
    state: State
    score: float | None
    p_value: float | None
    n_events: int
    coverage: float
    reasons: tuple[StateReason, ...]
    heart_rate_median_bpm: float | None
    heart_rate_min_bpm: float | None
    heart_rate_max_bpm: float | None
    n_beats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One anomaly; a row of the table `events`.

    Attributes:
        kind: The head that found it.
        label: What it is called.
        start_sample: First sample.
        end_sample: One past the last sample.
        lead: The lead that was analysed first.
        score: What ranks it: bpm or seconds for rate rules, the head's score otherwise.
        p_value: Smallest p-value inside; None for fixed rules.
        severity: How soon to look.
    """

    kind: Head
    label: EventLabel
    start_sample: int
    end_sample: int
    lead: str
    score: float
    p_value: float | None
    severity: Severity

    def id(self, record_id: str, model_id: str) -> str:
        """Name the event by record, model, kind, label, start and lead: 32 hexadecimal digits."""
        parts = (record_id, model_id, self.kind, self.label, str(self.start_sample), self.lead)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]
