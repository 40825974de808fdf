"""Examples of patients that never lived: what the tests of detectors, ensemble and models share."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.protocol import Normals
from cardioclarity.examples import QUALITY_FEATURES, RHYTHM_FEATURES, Examples, Recipe

RECIPE = Recipe()
RATE_HZ = 250.0

# Centre s, width s and height of P, Q, R, S and T, relative to the R peak; heights are shares of the QRS amplitude.
WAVES = np.array(
    [(-0.16, 0.020, 0.10), (-0.03, 0.010, -0.10), (0.0, 0.012, 0.80), (0.03, 0.012, -0.20), (0.26, 0.045, 0.25)]
)
# A beat without P, wide, of reversed T: what a ventricular beat looks like.
UNUSUAL_WAVES = np.array([(-0.02, 0.045, 0.9), (0.09, 0.050, -0.7), (0.30, 0.060, -0.35)])


def shape(waves: NDArray[np.float64], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the waves, each a (centre, width, height), at any times."""
    centre, width, height = (waves[:, column] for column in range(3))
    return (height * np.exp(-0.5 * ((time_s[..., None] - centre) / width) ** 2)).sum(axis=-1)


def patient(rng: np.random.Generator, n_leads: int) -> list[NDArray[np.float64]]:
    """One heart seen by each lead: positions, widths and heights vary between patients and leads."""
    heart = WAVES * (1 + rng.normal(0, (0.05, 0.1, 0.2), WAVES.shape))
    return [heart * (1 + rng.normal(0, (0.0, 0.05, 0.3), WAVES.shape)) for _ in range(n_leads)]


def examples(
    n_beats: int = 120, n_leads: int = 2, seed: int = 0, *, unusual: Sequence[int] = (), recipe: Recipe = RECIPE
) -> Examples:
    """Make the examples of one patient.

    Args:
        n_beats: Number of beats.
        n_leads: Number of leads.
        seed: Names the patient: equal seeds give equal examples.
        unusual: Beats that come early and look ventricular.
        recipe: Sizes of the windows.
    """
    rng = np.random.default_rng(seed)
    rr_s = rng.uniform(0.7, 0.95) + np.cumsum(rng.normal(0, 0.004, n_beats)) * 0.1 + rng.normal(0, 0.015, n_beats)
    is_unusual = np.zeros(n_beats, bool)
    is_unusual[list(unusual)] = True
    rr_s[is_unusual] *= 0.6
    peak_s = 1.0 + np.cumsum(rr_s)
    hearts = patient(rng, n_leads)

    def windows(before_s: float, n_samples: int, rate_hz: float) -> NDArray[np.float32]:
        time_s = np.arange(n_samples) / rate_hz - before_s
        around = np.zeros((n_beats, n_leads, n_samples))
        for shift in (-1, 0, 1):  # the beat itself and its neighbours, where the window reaches them
            other = np.clip(np.arange(n_beats) + shift, 0, n_beats - 1)
            distance_s = np.where(np.arange(n_beats) + shift == other, peak_s[other] - peak_s, 10.0)
            at_s = time_s - distance_s[:, None]
            for lead, heart in enumerate(hearts):
                wave = np.where(is_unusual[other][:, None], shape(UNUSUAL_WAVES, at_s), shape(heart, at_s))
                around[:, lead] += wave
        around += rng.normal(0, 0.01, around.shape)
        return (around - np.median(around, axis=-1, keepdims=True)).astype(np.float32)

    n_samples = round((peak_s[-1] + 1.0) * RATE_HZ)
    step = round(recipe.window_s * RATE_HZ)
    window_start = np.arange(0, n_samples, step)
    rpeaks = np.round(peak_s * RATE_HZ).astype(np.int64)
    inside = np.searchsorted(window_start, rpeaks, "right") - 1
    n_windows = len(window_start)
    known_rr_s = np.where(np.arange(n_beats) == 0, np.nan, rr_s)
    with_rr = inside[1:]
    count = np.bincount(with_rr, minlength=n_windows)
    total_s = np.bincount(with_rr, weights=rr_s[1:], minlength=n_windows)
    return Examples(
        record_id=f"{seed:032x}",
        rate_hz=RATE_HZ,
        n_samples=n_samples,
        leads=("MLII", "V1", "V2", "V3", "V4", "V5", "V6")[:n_leads],
        amplitude_mv=rng.uniform(0.8, 1.6, n_leads).astype(np.float32),
        rpeaks=rpeaks,
        rr_s=known_rr_s.astype(np.float32),
        late=rr_s >= np.median(rr_s),
        beats=windows(recipe.beat_before_s, recipe.beat_samples, recipe.beat_rate_hz),
        long=windows(recipe.long_before_s, recipe.long_samples, recipe.long_rate_hz),
        whole=(np.arange(n_beats) > 0) & (np.arange(n_beats) < n_beats - 1),
        window_start=window_start.astype(np.int64),
        quality=quality(rng, n_windows, n_leads),
        window_peaks=np.bincount(inside, minlength=n_windows).astype(np.int32),
        sinusoidal=rng.uniform(0.1, 0.4, n_windows).astype(np.float32),
        rhythm=np.abs(rng.normal(0.05, 0.02, (n_windows, len(RHYTHM_FEATURES)))).astype(np.float32),
        rate_bpm=np.where(count > 0, 60.0 * count / np.where(count > 0, total_s, 1.0), np.nan).astype(np.float32),
        adapted=n_beats >= recipe.min_beats,
    )


def quality(rng: np.random.Generator, n_windows: int, n_leads: int) -> NDArray[np.float32]:
    """Quality features of clean signal: nothing missing, flat or railed; beats alike; little noise."""
    features = np.zeros((n_windows, n_leads, len(QUALITY_FEATURES)), np.float32)
    features[..., QUALITY_FEATURES.index("residual")] = rng.uniform(0.005, 0.03, features.shape[:2])
    features[..., QUALITY_FEATURES.index("roughness")] = rng.uniform(0.005, 0.015, features.shape[:2])
    features[..., QUALITY_FEATURES.index("rms_mv")] = rng.uniform(0.1, 0.3, features.shape[:2])
    return features


def normals(
    n_records: int = 4, n_beats: int = 120, n_leads: int = 2, seed: int = 0, *, unusual: Sequence[int] = ()
) -> Normals:
    """Make several patients; every beat is normal but the `unusual` ones, every window is.

    Patients of neighbouring seeds are unrelated, but `normals(n, seed=s)` and `normals(n, seed=s + n)` share none.
    """
    records = tuple(examples(n_beats, n_leads, seed + i, unusual=unusual) for i in range(n_records))
    masks = [np.ones(n_beats, bool) for _ in records]
    for mask in masks:
        mask[list(unusual)] = False
    return Normals(
        records=records,
        patients=tuple(record.record_id for record in records),
        beats=tuple(masks),
        windows=tuple(np.ones(len(record.window_start), bool) for record in records),
    )


def spoil(record: Examples, windows: Sequence[int], feature: str, value: float) -> Examples:
    """Give some windows of a record another value of a quality feature, on every lead."""
    features = record.quality.copy()
    features[list(windows), :, QUALITY_FEATURES.index(feature)] = value
    return replace(record, quality=features)
