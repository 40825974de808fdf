"""A detection takes the class of the one reference beat it stands for, or none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.record import Annotations
from cardioclarity.references import (
    beat_classes,
    flutter,
    inside,
    normal_beats,
    normal_windows,
    pairs,
    rhythm_stretches,
    window_rhythms,
)

RATE_HZ = 100.0


def annotations(*rows):
    rows = sorted(rows)
    return Annotations(
        sample=np.array([row[0] for row in rows], np.int64),
        symbol=tuple(row[1] for row in rows),
        aux=tuple(row[2] if len(row) > 2 else "" for row in rows),
    )


@given(
    st.lists(st.integers(0, 400), unique=True, max_size=12).map(sorted),
    st.lists(st.integers(0, 400), unique=True, max_size=12).map(sorted),
)
def test_each_reference_serves_at_most_one_detection_within_150_ms(peaks, references):
    classes = beat_classes(
        np.array(peaks, np.int64), annotations(*[(sample, "V") for sample in references]), rate_hz=RATE_HZ
    )

    taken = [peak for peak, name in zip(peaks, classes, strict=True) if name]
    assert len(taken) <= len(references)
    assert all(min(abs(peak - reference) for reference in references) <= 15 for peak in taken)


def test_detections_on_the_references_take_their_classes():
    marks = annotations((10, "N"), (50, "A"), (60, "+", "(N"), (90, "V"), (130, "F"), (170, "/"))

    classes = beat_classes(np.array([10, 52, 88, 130, 171, 300]), marks, rate_hz=RATE_HZ)

    assert classes.tolist() == ["N", "S", "V", "F", "Q", ""]


def test_of_two_detections_at_one_beat_only_the_nearer_takes_its_class():
    assert beat_classes(np.array([48, 53]), annotations((52, "N"), (200, "N")), rate_hz=RATE_HZ).tolist() == ["", "N"]


@given(
    st.lists(st.integers(0, 400), unique=True, max_size=12).map(sorted),
    st.lists(st.integers(0, 400), unique=True, max_size=12).map(sorted),
    st.integers(0, 60),
)
def test_pairs_are_one_to_one_within_reach_in_order_and_none_is_left_out_that_both_sides_want(peaks, references, reach):
    peaks, references = np.array(peaks, np.int64), np.array(references, np.int64)

    detected, reference = pairs(peaks, references, reach=reach)

    apart = np.abs(peaks[:, None] - references)
    assert (np.diff(detected) > 0).all()
    assert (np.diff(reference) > 0).all()
    assert (apart[detected, reference] <= reach).all()
    for peak, beat in np.argwhere(apart <= reach).tolist():
        is_wanted = (np.delete(apart[peak], beat) > apart[peak, beat]).all()
        is_wanted &= (np.delete(apart[:, beat], peak) > apart[peak, beat]).all()
        assert not is_wanted or (peak, beat) in zip(detected.tolist(), reference.tolist(), strict=True)


def test_beats_in_atrial_fibrillation_are_not_normal():
    marks = annotations((0, "+", "(N"), (50, "N"), (100, "+", "(AFIB"), (150, "N"), (200, "+", "(N"), (250, "N"))

    assert normal_beats(np.array([50, 150, 250]), marks, rate_hz=RATE_HZ).tolist() == [True, False, True]


def test_a_window_is_normal_only_with_normal_beats_in_it_and_ten_seconds_around():
    beats = [(sample, "N") for sample in range(50, 8000, 100)]
    marks = annotations(*beats, (4050 + 20, "V"))
    starts = np.arange(0, 8000, 1000)

    normal = normal_windows(starts, marks, n_samples=8000, rate_hz=RATE_HZ)

    assert normal.tolist() == [True, True, True, False, False, False, True, True]


def test_a_window_without_a_reference_beat_is_not_known_to_be_normal():
    assert not normal_windows(np.array([0, 1000]), annotations(), n_samples=2000, rate_hz=RATE_HZ).any()


def test_a_window_that_touches_another_rhythm_is_not_normal():
    marks = annotations((0, "+", "(N"), (50, "N"), (1500, "N"), (1990, "+", "(B"), (2500, "N"))

    assert normal_windows(np.array([0, 1000, 2000]), marks, n_samples=3000, rate_hz=RATE_HZ).tolist() == [
        True,
        False,
        False,
    ]


def test_rhythms_last_until_the_next_one():
    marks = annotations((5, "+", "(N"), (50, "+", "(AFIB"), (70, "N"), (90, "+", ""))

    assert [(word, start, end) for word, start, end in rhythm_stretches(marks)] == [("N", 5, 50), ("AFIB", 50, 90)]


def test_flutter_lasts_from_its_opening_mark_to_the_next_closing_one_or_to_the_end():
    marks = annotations((5, "]"), (10, "["), (12, "["), (20, "]"), (30, "["))

    assert flutter(marks).tolist() == [[10, 20], [30, np.iinfo(np.int64).max]]
    assert flutter(Annotations.none()).shape == (0, 2)


def test_a_sample_on_the_edge_or_within_the_margin_is_inside():
    samples = np.array([7, 8, 10, 20, 22, 23, 40])

    assert inside(samples, np.array([[10, 20]]), margin=2).tolist() == [False, True, True, True, True, False, False]
    assert inside(samples, np.array([[30, np.iinfo(np.int64).max]]), margin=2).tolist() == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("rhythms", "word"),
    [
        ([(0, "(N")], "N"),
        ([], ""),
        ([(50, "(N")], ""),
        ([(0, "(N"), (50, "(AFIB")], "AFIB"),
        ([(0, "(N"), (51, "(AFIB")], ""),
        ([(0, "(VT"), (20, "(B"), (70, "(N")], "B"),
        ([(0, "(VT"), (40, "(B"), (80, "(N")], ""),
        ([(0, "(PREX")], ""),
        ([(0, "(P"), (99, "(N")], ""),
    ],
)
def test_a_window_is_sinus_throughout_or_half_in_arrhythmia_or_left_out(rhythms, word):
    marks = [(at, "+", word) for at, word in rhythms]

    assert window_rhythms(np.array([0]), np.array([100]), annotations(*marks)).tolist() == [word]


def test_a_short_last_window_is_judged_by_its_own_length():
    marks = annotations((0, "+", "(N"), (130, "+", "(AFIB"))

    words = window_rhythms(np.array([0, 100]), np.array([100, 140]), marks)

    assert words.tolist() == ["N", ""]
    assert window_rhythms(np.array([100]), np.array([160]), marks).tolist() == ["AFIB"]
