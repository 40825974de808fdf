"""Reference annotations held against detected beats: which beats and windows are known to be normal."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.record import Annotations
from cardioclarity.vocabulary import BEAT_CLASSES

MATCH_S = 0.15
"""A detection within ±150 ms of a reference beat is that beat. Source: ANSI/AAMI EC57, 4.3.2."""

SINUS: Final = "N"
ARRHYTHMIAS: Final = ("AFIB", "AFL", "B", "T", "SVTA", "VT", "VFL", "IVR", "NOD", "BII", "AB")
"""Rhythm words that are positive; those that are neither, and mixed windows, are left out."""

_ATRIAL_FIBRILLATION = frozenset({"AFIB", "AFL"})
_CLEAN_S = 10.0


def beat_classes(rpeaks: NDArray[np.int64], annotations: Annotations, *, rate_hz: float) -> NDArray[np.str_]:
    """Give each detected beat the class of the reference beat it stands for.

    Args:
        rpeaks: (beat,) int64, ascending sample indices.
        annotations: Reference annotations of the same record.
        rate_hz: Sampling rate of both.

    Returns:
        (beat,) one-letter classes N, S, V, F, Q; empty where no reference beat belongs to the detection.
    """
    classes = np.array([BEAT_CLASSES.get(symbol, "") for symbol in annotations.symbol], dtype="<U1")
    is_beat = classes != ""
    reference, classes = annotations.sample[is_beat], classes[is_beat]
    found = np.full(len(rpeaks), "", dtype="<U1")
    detections, references = pairs(rpeaks, reference, reach=MATCH_S * rate_hz)
    found[detections] = classes[references]
    return found


def pairs(
    rpeaks: NDArray[np.int64], reference: NDArray[np.int64], *, reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair detections and reference beats one to one: each takes its nearest, and both must agree.

    Args:
        rpeaks: (beat,) int64, ascending sample indices.
        reference: (beat,) int64, ascending sample indices.
        reach: So many samples apart they may be.

    Returns:
        (pair,) each: index of the detection, index of the reference beat.
    """
    if len(reference) == 0 or len(rpeaks) == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    nearest = _nearest(reference, rpeaks)
    mutual = _nearest(rpeaks, reference)[nearest] == np.arange(len(rpeaks))
    paired = np.flatnonzero(mutual & (np.abs(reference[nearest] - rpeaks) <= reach))
    return paired, nearest[paired]


def normal_beats(rpeaks: NDArray[np.int64], annotations: Annotations, *, rate_hz: float) -> NDArray[np.bool_]:
    """Mark the beats of class N outside atrial fibrillation and flutter.

    Args:
        rpeaks: (beat,) int64, ascending sample indices.
        annotations: Reference annotations of the same record.
        rate_hz: Sampling rate of both.

    Returns:
        (beat,) bool.
    """
    normal: NDArray[np.bool_] = beat_classes(rpeaks, annotations, rate_hz=rate_hz) == "N"
    for word, start, end in rhythm_stretches(annotations):
        if word in _ATRIAL_FIBRILLATION:
            normal &= (rpeaks < start) | (rpeaks >= end)
    return normal


def normal_windows(
    window_start: NDArray[np.int64], annotations: Annotations, *, n_samples: int, rate_hz: float
) -> NDArray[np.bool_]:
    """Mark the windows in normal rhythm with nothing but N beats in them and within 10 s around.

    Args:
        window_start: (window,) int64, first sample of each window, ascending.
        annotations: Reference annotations of the same record.
        n_samples: Length of the record.
        rate_hz: Its sampling rate.

    Returns:
        (window,) bool; all False in a record without a reference beat.
    """
    window_end = np.append(window_start[1:], n_samples)
    classes = np.array([BEAT_CLASSES.get(symbol, "") for symbol in annotations.symbol], dtype="<U1")
    reference = annotations.sample[classes != ""]
    odd = annotations.sample[(classes != "") & (classes != "N")]
    margin = round(_CLEAN_S * rate_hz)
    normal = _count_between(reference, window_start, window_end) > 0
    normal &= _count_between(odd, window_start - margin, window_end + margin) == 0
    for word, start, end in rhythm_stretches(annotations):
        if word != "N":
            normal &= (window_end <= start) | (window_start >= end)
    return normal


def window_rhythms(
    window_start: NDArray[np.int64], window_end: NDArray[np.int64], annotations: Annotations
) -> NDArray[np.str_]:
    """Give each window its rhythm: sinus throughout, or at least half in one arrhythmia.

    Args:
        window_start: (window,) int64, first samples.
        window_end: (window,) int64, one past the last samples.
        annotations: Reference annotations.

    Returns:
        (window,) word, empty for mixed windows, other rhythms, and before the first annotation.
    """
    width = window_end - window_start
    held = dict.fromkeys((SINUS, *ARRHYTHMIAS), np.zeros(len(width)))
    for word, start, end in rhythm_stretches(annotations):
        if word in held:
            held[word] = held[word] + np.maximum(np.minimum(window_end, end) - np.maximum(window_start, start), 0)
    odd = np.stack([held[word] for word in ARRHYTHMIAS])
    most = np.array(ARRHYTHMIAS)[odd.argmax(axis=0)]
    words: NDArray[np.str_] = np.where(2 * odd.max(axis=0) >= width, most, np.where(held[SINUS] == width, SINUS, ""))
    return words


def rhythm_stretches(annotations: Annotations) -> list[tuple[str, int, int]]:
    """List the annotated rhythms as (word, first sample, one past the last); the last one never ends."""
    at = [i for i, symbol in enumerate(annotations.symbol) if symbol == "+"]
    starts = [int(annotations.sample[i]) for i in at]
    ends = [*starts[1:], int(np.iinfo(np.int64).max)]
    words = [annotations.aux[i].lstrip("(") for i in at]
    return [(word, start, end) for word, start, end in zip(words, starts, ends[: len(starts)], strict=True) if word]


def flutter(annotations: Annotations) -> NDArray[np.int64]:
    """Find ventricular flutter, between the annotations ``[`` and ``]``, where nobody labels beats.

    Args:
        annotations: Reference annotations of one record.

    Returns:
        (stretch, 2) int64, the first and the last sample; what is never closed lasts to the end.
    """
    stretches: list[tuple[int, int]] = []
    start: int | None = None
    for sample, symbol in zip(annotations.sample.tolist(), annotations.symbol, strict=True):
        if symbol == "[" and start is None:
            start = sample
        elif symbol == "]" and start is not None:
            stretches.append((start, sample))
            start = None
    if start is not None:
        stretches.append((start, int(np.iinfo(np.int64).max)))
    return np.array(stretches, np.int64).reshape(-1, 2)


def inside(samples: NDArray[np.int64], stretches: NDArray[np.int64], *, margin: int = 0) -> NDArray[np.bool_]:
    """Tell which samples lie within one of the stretches, both ends included.

    Args:
        samples: (sample,) int64.
        stretches: (stretch, 2) int64.
        margin: So many samples around a stretch count as inside.

    Returns:
        (sample,) bool.
    """
    found = np.zeros(len(samples), bool)
    for start, end in stretches:
        found |= (samples >= start - margin) & (samples - margin <= end)
    return found


def _nearest(sorted_values: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.intp]:
    right = np.clip(np.searchsorted(sorted_values, targets), 1, max(len(sorted_values) - 1, 1))
    right = np.minimum(right, len(sorted_values) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(sorted_values[right] - targets) < np.abs(targets - sorted_values[left])
    return np.where(nearer, right, left)


def _count_between(
    sorted_values: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.intp]:
    return np.searchsorted(sorted_values, end) - np.searchsorted(sorted_values, start)
