"""A rhythm is strange by how far its RR features lie above those of normal windows; nothing adapts to the record."""

from dataclasses import replace

import numpy as np
import pytest
from builders import examples, normals
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.detectors.rhythm import FittedRhythm, Rhythm
from cardioclarity.examples import RHYTHM_FEATURES, Examples


@pytest.fixture(scope="module")
def fitted() -> FittedRhythm:
    training = normals(5, 120, seed=0)
    return Rhythm().fit(training, held_out=training, seed=0)


def with_rhythm(record: Examples, **features: float) -> Examples:
    """Set features of the first window."""
    rhythm = np.full_like(record.rhythm, 0.05)
    for name, value in features.items():
        rhythm[0, RHYTHM_FEATURES.index(name)] = value
    return replace(record, rhythm=rhythm)


@pytest.mark.parametrize("name", RHYTHM_FEATURES)
def test_a_window_is_stranger_the_larger_any_of_its_features(fitted, name):
    record = examples(60, seed=30)

    scores = [float(fitted.score(with_rhythm(record, **{name: value}))[0]) for value in (0.05, 0.5, 1.0, 2.0)]

    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 1


@pytest.mark.parametrize("name", RHYTHM_FEATURES)
def test_a_feature_below_the_normal_one_is_not_strange(fitted, name):
    record = examples(60, seed=30)

    low, usual = (fitted.score(with_rhythm(record, **{name: value}))[0] for value in (-1.0, 0.05))

    assert low <= usual


def test_the_score_is_the_sum_over_features_of_a_bounded_function_of_z():
    fitted = FittedRhythm(centre=np.zeros(8), scale=np.full(8, 0.1))
    record = with_rhythm(examples(60, seed=30), spread=0.3)

    score = fitted.score(
        replace(record, rhythm=np.where(record.rhythm == np.float32(0.3), 0.3, 0.0).astype(np.float32))
    )

    assert score[0] == pytest.approx(np.log(2.0))
    assert score[1] == 0.0


def test_a_window_without_features_is_not_scored(fitted):
    record = examples(60, seed=31)
    rhythm = record.rhythm.copy()
    rhythm[1] = np.nan
    rhythm[2, 3] = np.nan

    scores = fitted.score(replace(record, rhythm=rhythm))

    assert np.isnan(scores[1:3]).all()
    assert np.isfinite(np.delete(scores, [1, 2])).all()


def test_only_normal_windows_with_features_teach_it():
    training = normals(4, 120, seed=0)
    spoilt = []
    masks = []
    for record in training.records:
        rhythm = record.rhythm.copy()
        rhythm[0], rhythm[1] = 100.0, np.nan
        spoilt.append(replace(record, rhythm=rhythm))
        masks.append(np.arange(len(rhythm)) != 0)
    expected = replace(training, windows=tuple(np.arange(len(mask)) > 1 for mask in masks))

    learned = Rhythm().fit(replace(training, records=tuple(spoilt), windows=tuple(masks)), held_out=training, seed=0)
    reference = Rhythm().fit(expected, held_out=training, seed=0)

    np.testing.assert_array_equal(learned.centre, reference.centre)
    np.testing.assert_array_equal(learned.scale, reference.scale)


def test_a_feature_that_never_varies_in_normal_windows_keeps_a_floor():
    training = normals(3, 120, seed=0)
    constant = tuple(replace(record, rhythm=np.zeros_like(record.rhythm)) for record in training.records)

    fitted = Rhythm().fit(replace(training, records=constant), held_out=training, seed=0)

    assert fitted.scale.tolist() == [0.4, 0.02, *[0.05] * 6]
    assert np.isfinite(fitted.score(examples(60, seed=5))).all()


def test_one_long_record_does_not_own_the_population():
    training = normals(5, 120, seed=0)
    long = training.records[0]
    n = 50_000
    restless = replace(
        long,
        rhythm=np.full((n, 8), 0.9, np.float32),
        window_start=np.arange(n),
        quality=np.zeros((n, 2, 6), np.float32),
    )
    with_long = replace(
        training,
        records=(restless, *(training.records[1:] * 8)),
        patients=(training.patients[0], *(training.patients[1:] * 8)),
        beats=(training.beats[0], *(training.beats[1:] * 8)),
        windows=(np.ones(n, bool), *(training.windows[1:] * 8)),
    )

    fitted = Rhythm().fit(with_long, held_out=training, seed=0)

    assert (fitted.centre < 0.1).all()


def test_without_any_normal_window_it_abstains():
    training = normals(2, 120, seed=0)
    none = replace(training, windows=tuple(np.zeros_like(mask) for mask in training.windows))

    fitted = Rhythm().fit(none, held_out=training, seed=0)

    assert np.isnan(fitted.score(examples(60, seed=5))).all()


def test_its_numbers_are_sealed(fitted):
    for array in (fitted.centre, fitted.scale):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=8), st.floats(0, 1e3))
@settings(max_examples=40, deadline=None)
def test_raising_all_features_never_lowers_the_score(values, step):
    fitted = FittedRhythm(centre=np.full(8, 0.1), scale=np.full(8, 0.05))
    record = examples(60, seed=30)
    rhythm = np.tile(np.float32(values), (len(record.window_start), 1))

    low, high = (fitted.score(replace(record, rhythm=rhythm + np.float32(by)))[0] for by in (0.0, step))

    assert 0 <= low <= high < np.inf
