"""Laws of every detector: stored and loaded it scores the same bits, each item for itself, finite or NaN, by its seed."""

from dataclasses import fields, replace

import numpy as np
import pytest
from builders import RECIPE, examples, normals
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardioclarity.detectors import REGISTRY, column, detector
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples
from cardioclarity.tables.schemas import MEMBERS
from cardioclarity.vocabulary import Head

NAMES = sorted(REGISTRY)
FITTING, STOPPING = normals(4, 80, seed=0), normals(2, 80, seed=4)


@pytest.fixture(scope="module")
def fitted():
    return {name: detector(name).fit(FITTING, held_out=STOPPING, seed=0) for name in NAMES}


def truncated(record: Examples, n_beats: int) -> Examples:
    """Keep the first beats and every window, as a record whose other beats nobody detected."""
    per_beat = {"rpeaks", "rr_s", "late", "beats", "long", "whole"}
    kept = {item.name: getattr(record, item.name)[:n_beats] for item in fields(Examples) if item.name in per_beat}
    return replace(record, **kept, adapted=n_beats >= RECIPE.min_beats)


def n_items(name: str, record: Examples) -> int:
    return len(record.rpeaks) if REGISTRY[name].item == "beat" else len(record.window_start)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_detector_scores_the_same_bits(fitted, name):
    loaded = detector(name).load(fitted[name].arrays())

    for record in (examples(100, seed=9, unusual=(20, 40)), examples(30, 1, seed=10)):
        np.testing.assert_array_equal(loaded.score(record), fitted[name].score(record))


@pytest.mark.parametrize("name", NAMES)
def test_arrays_survive_being_loaded_and_given_again(fitted, name):
    given_once = fitted[name].arrays()
    given_again = detector(name).load(given_once).arrays()

    assert given_once.keys() == given_again.keys()
    for key, array in given_once.items():
        assert array.dtype == given_again[key].dtype
        np.testing.assert_array_equal(array, given_again[key])


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_numbers_of_at_least_one_axis(fitted, name):
    arrays = fitted[name].arrays()

    assert arrays
    assert all(array.ndim >= 1 and array.dtype.kind in "fiub" for array in arrays.values())


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_set_of_arrays(fitted, name):
    again = detector(name).fit(FITTING, held_out=STOPPING, seed=0).arrays()

    for key, array in fitted[name].arrays().items():
        np.testing.assert_array_equal(array, again[key])


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_float32_score_per_item_finite_or_nan(fitted, name):
    record = examples(90, seed=11, unusual=(30,))

    scores = fitted[name].score(record)

    assert scores.shape == (n_items(name, record),)
    assert scores.dtype == np.float32
    assert not np.isinf(scores).any()
    assert np.isfinite(scores).any()


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_the_records_scored_before(fitted, name):
    record, other = examples(90, seed=11), examples(70, seed=12, unusual=range(10, 40))
    alone = fitted[name].score(record)

    fitted[name].score(other)

    np.testing.assert_array_equal(fitted[name].score(record), alone)


@pytest.mark.parametrize("name", NAMES)
def test_scoring_changes_nothing_in_the_examples(fitted, name):
    record = examples(70, seed=13)
    before = {item.name: np.copy(getattr(record, item.name)) for item in fields(Examples)}

    fitted[name].score(record)

    for item in fields(Examples):
        np.testing.assert_array_equal(getattr(record, item.name), before[item.name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_beats", [0, 1, 2])
def test_a_record_of_hardly_any_beat_is_scored_without_an_error(fitted, name, n_beats):
    record = truncated(examples(60, seed=14), n_beats)

    scores = fitted[name].score(record)

    assert scores.shape == (n_items(name, record),)
    assert not np.isinf(scores).any()


@pytest.mark.parametrize("name", [name for name in NAMES if REGISTRY[name].item == "window"])
def test_a_window_scores_alike_without_its_neighbours(fitted, name):
    record = examples(100, seed=15)
    all_scores = fitted[name].score(record)
    per_window = {"window_start", "quality", "window_peaks", "sinusoidal", "rhythm", "rate_bpm"}

    for at in range(len(record.window_start)):
        alone = replace(record, **{key: getattr(record, key)[at : at + 1] for key in per_window})
        np.testing.assert_array_equal(fitted[name].score(alone), all_scores[at : at + 1])


@pytest.mark.parametrize("name", NAMES)
@given(scale=st.sampled_from([0.0, 1e-6, 1e6, 1e12, np.nan]), seed=st.integers(20, 22))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_signal_of_any_size_gives_no_infinite_score(fitted, name, scale, seed):
    record = examples(64, seed=seed)
    strange = replace(
        record,
        beats=record.beats * np.float32(scale),
        long=record.long * np.float32(scale),
        quality=record.quality * np.float32(scale),
        rhythm=record.rhythm * np.float32(scale),
    )

    assert not np.isinf(fitted[name].score(strange)).any()


def test_every_registered_detector_is_found_and_an_unknown_name_lists_them():
    for name in NAMES:
        assert callable(detector(name).fit)

    with pytest.raises(
        NotFoundError, match=r"'oracle' does not exist; there are: ae-context, ae-conv, .*quality, rhythm, template"
    ):
        detector("oracle")


def test_each_head_but_rate_has_a_detector_and_each_has_a_column():
    assert {registered.head for registered in REGISTRY.values()} == {Head.BEAT, Head.RHYTHM, Head.QUALITY}
    assert {column(name) for name in NAMES} <= set(MEMBERS)
    assert {name for name in NAMES if REGISTRY[name].view} == {n for n in NAMES if REGISTRY[n].head is Head.BEAT}
