"""Law: what a network cannot draw again scores high; a score depends on the beat and the weights and on nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import examples, normals
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cardioclarity.detectors.autoencoder import (
    Autoencoder,
    FittedAutoencoder,
    context,
    convolutional,
    dense,
    intervals,
)
from cardioclarity.detectors.fitting import Settings, best_device
from cardioclarity.detectors.protocol import Normals
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples

UNUSUAL = (40, 61, 80)
DENSE = replace(dense(), settings=Settings(epochs=12))
CONV = replace(convolutional(), settings=Settings(epochs=15))
CONTEXT = replace(context(), settings=replace(context().settings, epochs=12))
INTERVALS = replace(intervals(), settings=replace(intervals().settings, epochs=20))
SETTINGS = {"dense": DENSE, "conv": CONV, "context": CONTEXT, "intervals": INTERVALS}
BOTH = pytest.mark.parametrize("name", ["dense", "conv"])
EVERY = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def fitted() -> dict[str, FittedAutoencoder]:
    patients, others = normals(5), normals(2, seed=50)
    return {name: detector.fit(patients, held_out=others, seed=0) for name, detector in SETTINGS.items()}


def settings_of(name: str) -> Autoencoder:
    return SETTINGS[name]


def rows(given: Examples, chosen: np.ndarray) -> Examples:
    """The same record with some of its beats."""
    per_beat = ("rpeaks", "rr_s", "late", "beats", "long", "whole")
    return replace(given, **{name: getattr(given, name)[chosen] for name in per_beat})


@BOTH
def test_a_beat_unlike_the_normal_ones_scores_higher_than_all_of_them(fitted, name):
    seen = examples(seed=77, unusual=UNUSUAL)
    scores = fitted[name].score(seen)
    near = {other + step for other in UNUSUAL for step in (-1, 0, 1)}  # the long window sees the neighbours
    normal = [beat for beat in np.flatnonzero(seen.whole) if beat not in near]
    assert scores[list(UNUSUAL)].min() > scores[normal].max()


@BOTH
def test_a_normal_beat_of_an_unseen_patient_is_drawn_with_less_than_half_its_energy_missing(fitted, name):
    seen = examples(seed=77)
    window = seen.beats[:, :1] if name == "dense" else seen.long
    energy = np.square(window).mean(axis=(1, 2))
    assert (fitted[name].score(seen) < np.log(energy / 2))[seen.whole].all()


@BOTH
def test_every_beat_gets_a_finite_score_or_none_where_a_window_is_not_whole(fitted, name):
    seen = examples(seed=77)
    scores = fitted[name].score(seen)
    assert scores.shape == seen.rpeaks.shape
    assert scores.dtype == np.float32
    assert not seen.whole.all()
    assert np.array_equal(np.isfinite(scores), seen.whole)


@BOTH
def test_the_score_is_the_logarithm_of_the_mean_squared_error_of_what_is_drawn(fitted, name):
    seen = examples(seed=77)
    drawn = fitted[name].reconstruct(seen)
    window = seen.beats if name == "dense" else seen.long
    error = np.square(drawn - window[:, : drawn.shape[1]]).mean(axis=(1, 2))
    np.testing.assert_allclose(fitted[name].score(seen), np.log(error), rtol=1e-4)


@BOTH
def test_what_is_drawn_has_the_leads_and_samples_of_its_window_and_abstains_with_the_score(fitted, name):
    seen = examples(seed=77)
    drawn = fitted[name].reconstruct(seen)
    assert drawn.shape == {"dense": (120, 1, 140), "conv": (120, 2, 160)}[name]
    assert drawn.dtype == np.float32
    assert np.array_equal(np.isfinite(drawn).all(axis=(1, 2)), seen.whole)
    assert np.isnan(drawn[~seen.whole]).all()


@EVERY
def test_what_was_stored_and_loaded_scores_the_same_bits(fitted, name):
    seen = examples(seed=77, n_beats=300)
    stored = {key: value.copy() for key, value in fitted[name].arrays().items()}
    again = settings_of(name).load(stored)
    assert np.array_equal(again.score(seen), fitted[name].score(seen), equal_nan=True)
    assert again.arrays().keys() == stored.keys()
    assert all(np.array_equal(again.arrays()[key], stored[key]) for key in stored)


@EVERY
def test_stored_arrays_are_contiguous_and_sealed_and_what_is_loaded_does_not_follow_its_source(fitted, name):
    assert all(v.flags.c_contiguous and not v.flags.writeable for v in fitted[name].arrays().values())
    source = {key: value.copy() for key, value in fitted[name].arrays().items()}
    loaded = settings_of(name).load(source)
    for value in source.values():
        value[...] = 0
    seen = examples(seed=77)
    assert np.array_equal(loaded.score(seen), fitted[name].score(seen), equal_nan=True)


@BOTH
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(40)), n=st.integers(1, 40))
def test_a_beat_scores_alike_in_any_company(fitted, name, order, n):
    seen = examples(seed=77, n_beats=40)
    chosen = np.array(order[:n])
    expected = fitted[name].score(seen)[chosen]
    np.testing.assert_allclose(fitted[name].score(rows(seen, chosen)), expected, atol=1e-5, rtol=0)


@BOTH
def test_a_long_record_scores_as_its_parts(fitted, name):
    seen = examples(seed=77, n_beats=700)  # more than one batch
    parts = [fitted[name].score(rows(seen, part)) for part in np.array_split(np.arange(700), 5)]
    np.testing.assert_allclose(fitted[name].score(seen), np.concatenate(parts), atol=1e-5, rtol=0)


@EVERY
@pytest.mark.skipif(best_device().type != "cpu", reason="bits repeat on a CPU only")
def test_one_seed_gives_one_set_of_arrays_and_another_seed_another(name):
    detector = replace(settings_of(name), settings=Settings(epochs=1))
    patients, others = normals(2, 60), normals(1, 60, seed=50)
    first, again, other = (detector.fit(patients, held_out=others, seed=seed).arrays() for seed in (1, 1, 2))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not all(np.array_equal(first[key], other[key]) for key in first)


@BOTH
@settings(max_examples=25, deadline=None)
@given(value=st.floats(width=32, allow_nan=True, allow_infinity=True), at=st.integers(0, 139))
@example(value=2.0**100, at=50)  # its square is no float32
@example(value=-np.inf, at=50)
def test_no_sample_whatever_its_value_makes_a_score_infinite_or_reaches_another_beat(fitted, name, value, at):
    seen = examples(seed=77, n_beats=12)
    beats, long = seen.beats.copy(), seen.long.copy()
    beats[5, 0, at] = long[5, 0, at] = value
    scores = fitted[name].score(replace(seen, beats=beats, long=long))
    assert not np.isinf(scores).any()
    assert np.isnan(scores[5]) == (not np.isfinite(np.float32(value)))
    others = np.arange(12) != 5
    np.testing.assert_allclose(scores[others], fitted[name].score(seen)[others], atol=1e-5, rtol=0)


def test_a_beat_that_is_drawn_without_any_error_still_has_a_finite_score(fitted):
    silent = {key: np.zeros_like(value) for key, value in fitted["dense"].arrays().items()}
    silent["shape"] = fitted["dense"].arrays()["shape"]
    seen = examples(seed=77)
    flat = replace(seen, beats=np.zeros_like(seen.beats))
    assert np.isfinite(DENSE.load(silent).score(flat)[seen.whole]).all()


@BOTH
@pytest.mark.parametrize("amplitude_mv", [np.nan, 0.0, -1.0, np.inf])
def test_a_record_whose_amplitude_is_unknown_is_not_scored(fitted, name, amplitude_mv):
    seen = examples(seed=77)
    unknown = replace(seen, amplitude_mv=np.array([amplitude_mv, 1.0], np.float32))
    assert np.isnan(fitted[name].score(unknown)).all()
    assert np.isnan(fitted[name].reconstruct(unknown)).all()


def test_a_record_with_fewer_leads_than_the_network_reads_is_not_scored(fitted):
    assert fitted["conv"].n_leads == 2
    single = examples(seed=77, n_leads=1)
    assert np.isnan(fitted["conv"].score(single)).all()
    assert fitted["conv"].reconstruct(single).shape == (120, 2, 160)
    triple = replace(convolutional(), settings=Settings(epochs=1)).fit(normals(1, 60, 3), held_out=whole([]), seed=0)
    assert np.isnan(triple.reconstruct(examples(seed=77))).all()


def test_a_lead_that_the_network_does_not_read_changes_nothing(fitted):
    seen = examples(seed=77, n_leads=3)
    beats, long = seen.beats.copy(), seen.long.copy()
    beats[:, 1:] = long[:, 2:] = np.nan
    broken = replace(seen, beats=beats, long=long, amplitude_mv=np.array([1.0, 1.0, np.nan], np.float32))
    for network in (fitted["dense"], fitted["conv"]):
        assert np.array_equal(network.score(broken), network.score(seen), equal_nan=True)


@BOTH
def test_a_record_without_beats_has_no_scores(fitted, name):
    empty = rows(examples(seed=77), np.zeros(0, np.int64))
    assert fitted[name].score(empty).shape == (0,)
    assert fitted[name].reconstruct(empty).shape[0] == 0


def test_the_network_reads_as_many_leads_as_most_records_have():
    single = [examples(60, 1, seed) for seed in range(3)]
    double = [examples(60, 2, seed) for seed in range(3, 5)]
    detector = replace(convolutional(), settings=Settings(epochs=1))
    assert detector.fit(whole(single + double), held_out=whole([]), seed=0).n_leads == 1
    assert detector.fit(whole(double + single[:1]), held_out=whole([]), seed=0).n_leads == 2


def whole(records: list[Examples]) -> Normals:
    return Normals(
        records=tuple(records),
        patients=tuple(record.record_id for record in records),
        beats=tuple(np.ones(len(record.rpeaks), bool) for record in records),
        windows=tuple(np.ones(len(record.window_start), bool) for record in records),
    )


def test_only_normal_beats_are_learned():
    detector, unusual = replace(dense(), settings=Settings(epochs=2)), range(10, 30)
    patients, others = normals(1, unusual=unusual), normals(1, seed=50)
    record = patients.records[0]
    beats = record.beats.copy()
    beats[list(unusual)] = 7.0
    changed = replace(patients, records=(replace(record, beats=beats),))
    first, again = (detector.fit(seen, held_out=others, seed=0).arrays() for seen in (patients, changed))
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_a_fit_without_a_single_usable_beat_says_so():
    record = examples(60)
    unusable = whole([replace(record, whole=np.zeros(60, bool))])
    for seen in (unusable, whole([])):
        with pytest.raises(NotFoundError, match=f"none of the {len(seen.records)} records .* add records"):
            DENSE.fit(seen, held_out=whole([]), seed=0)


def test_the_history_tells_of_the_fit_and_is_not_stored(fitted):
    history = fitted["dense"].history
    assert history is not None
    assert history.held_out_loss[history.best_epoch] == min(history.held_out_loss)
    assert DENSE.load(fitted["dense"].arrays()).history is None


def test_importing_and_scoring_leave_the_threads_of_the_process_alone(fitted):
    n_threads = torch.get_num_threads()
    fitted["conv"].score(examples(seed=77))
    assert torch.get_num_threads() == n_threads


def test_the_networks_are_as_large_as_designed(fitted):
    sizes = {
        name: sum(value.size for part, value in one.arrays().items() if part != "shape") for name, one in fitted.items()
    }

    assert sizes == {"dense": 10_484, "conv": 78_706, "context": 6_196, "intervals": 4_425}


@pytest.mark.parametrize("name", ["context", "intervals"])
def test_an_early_wide_beat_scores_higher_than_all_normal_ones_by_what_is_near_it(fitted, name):
    seen = examples(seed=77, unusual=UNUSUAL)
    scores = fitted[name].score(seen)
    near = {other + step for other in UNUSUAL for step in (-1, 0, 1)}
    normal = [beat for beat in range(len(scores)) if beat not in near and np.isfinite(scores[beat])]
    assert scores[list(UNUSUAL)].min() > scores[normal].max()


def test_a_beat_takes_no_part_in_what_is_expected_of_it(fitted):
    seen = examples(seed=77)
    beats = seen.beats.copy()
    beats[60] = -beats[60]
    changed = fitted["context"].score(replace(seen, beats=beats))
    assert changed[60] > fitted["context"].score(seen)[60] + 1
    distant = np.abs(np.arange(120) - 60) > 24  # no nearer beat than these can have it among its neighbours
    np.testing.assert_allclose(changed[distant], fitted["context"].score(seen)[distant], rtol=1e-6)


def test_a_late_beat_is_not_strange(fitted):
    seen = examples(seed=77)
    rr_s = seen.rr_s.copy()
    rr_s[60] *= 1.8
    assert fitted["intervals"].score(replace(seen, rr_s=rr_s))[60] < np.nanmedian(fitted["intervals"].score(seen))


def test_a_network_that_draws_nothing_has_no_window(fitted):
    assert {name: network.window for name, network in fitted.items()} == {
        "dense": "beats",
        "conv": "long",
        "context": None,
        "intervals": None,
    }


def test_where_nobody_says_what_is_normal_the_strangest_beats_teach_nothing():
    patients, others = normals(4, 150, unusual=range(20, 150, 12)), normals(2, 100, seed=50)
    all_of_them = replace(patients, beats=tuple(np.ones_like(mask) for mask in patients.beats))
    seen = examples(seed=77, unusual=UNUSUAL)
    normal = np.setdiff1d(np.flatnonzero(seen.whole), UNUSUAL)
    apart = []
    for unlabelled in (False, True):
        learned = DENSE.fit(replace(all_of_them, unlabelled=unlabelled), held_out=others, seed=0).score(seen)
        apart.append(np.median(learned[list(UNUSUAL)]) - np.median(learned[normal]))
    assert apart[1] > apart[0]
