"""What a network reads: a beat among beats near it, an interval among intervals around it; itself and its echo left out."""

from dataclasses import replace

import numpy as np
import pytest
from builders import examples, normals
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.detectors.networks import INTERVALS, NEIGHBOURS
from cardioclarity.detectors.protocol import Normals
from cardioclarity.detectors.readings import Neighbourhood, Reading, Tachogram, Window, common_leads, draw
from cardioclarity.examples import Examples

NEAR, RR = Neighbourhood(), Tachogram()
PER_BEAT = ("rpeaks", "rr_s", "late", "beats", "long", "whole")


def numbered(n_beats: int, *, seed: int = 0) -> Examples:
    """A record in which every sample of beat i is i."""
    record = examples(n_beats, seed=seed)
    beats = np.broadcast_to(np.arange(n_beats, dtype=np.float32)[:, None, None] % 50, record.beats.shape)
    return replace(record, beats=beats.copy(), whole=np.ones(n_beats, bool))


def read_of(reading: Reading, record: Examples, n_leads: int, beats: np.ndarray | None = None) -> list[np.ndarray]:
    """What is read of some beats, of all without."""
    read = reading.read(record, n_leads)
    rows = np.arange(len(read.beats)) if beats is None else np.searchsorted(read.beats, beats)
    assert beats is None or np.array_equal(read.beats[rows], beats)
    return [values.numpy() for values in read.inputs(rows)]


def all_normal(*records: Examples) -> Normals:
    return Normals(
        records=records,
        patients=tuple(record.record_id for record in records),
        beats=tuple(np.ones(len(record.rpeaks), bool) for record in records),
        windows=tuple(np.ones(len(record.window_start), bool) for record in records),
    )


@given(n_beats=st.integers(4, 50), seed=st.integers(0, 5))
def test_the_neighbours_of_a_beat_are_others_of_the_nearest_24(n_beats, seed):
    record = numbered(n_beats, seed=seed)

    near, beat = read_of(NEAR, record, 2)

    assert near.shape == (n_beats, NEIGHBOURS, 2, 70)
    np.testing.assert_array_equal(beat[:, 0, 0], np.arange(n_beats))
    apart = np.abs(near[:, :, 0, 0] - beat[:, :1, 0])
    assert apart.min() >= 1
    assert apart.max() <= 24
    assert all(len(set(row)) == min(NEIGHBOURS, n_beats - 1) for row in near[:, :, 0, 0].tolist())


def test_the_latest_of_the_beats_around_are_the_neighbours():
    record = numbered(45)
    rr_s = np.full(45, 0.6, np.float32)
    late = [10, 13, 17, 19, 26, 28, 31, 33]
    rr_s[late] = 0.9

    near, _ = read_of(NEAR, replace(record, rr_s=rr_s), 1, np.array([22]))

    assert near[0, :, 0, 0].tolist() == late


def test_a_beat_that_is_not_whole_is_nobodys_neighbour():
    record = numbered(30)
    record = replace(record, whole=np.arange(30) % 3 != 1)

    near, _ = read_of(NEAR, record, 1)

    assert not set(near[:, :, 0, 0].ravel().astype(int).tolist()) & set(range(1, 30, 3))


@pytest.mark.parametrize("n_beats", [1, 2, 3])
def test_a_record_of_hardly_any_beat_has_no_neighbourhood(n_beats):
    record = numbered(10)
    few = replace(record, **{name: getattr(record, name)[:n_beats] for name in PER_BEAT})

    assert not len(NEAR.read(few, 1).beats)
    assert read_of(NEAR, few, 1)[0].shape == (0, NEIGHBOURS, 1, 70)


@given(rows=st.sets(st.integers(0, 39), min_size=1, max_size=12))
def test_what_is_read_of_a_beat_does_not_depend_on_which_others_are_asked_for(rows):
    record = numbered(40)
    chosen = np.array(sorted(rows))

    for reading in (NEAR, RR):
        whole = reading.read(record, 2).beats
        asked = np.intersect1d(chosen, whole)
        for all_of_it, part in zip(read_of(reading, record, 2), read_of(reading, record, 2, asked), strict=True):
            np.testing.assert_array_equal(part, all_of_it[np.searchsorted(whole, asked)])


def test_an_interval_is_read_without_itself_and_the_one_after_it():
    record = examples(80)
    rr_s = np.full(80, 0.8, np.float32)
    rr_s[40], rr_s[41] = 0.4, 1.2

    others, interval = read_of(RR, replace(record, rr_s=rr_s), 1, np.array([40]))

    np.testing.assert_allclose(others[0, :-1], 0.0, atol=1e-6)
    np.testing.assert_allclose(interval, np.log(0.5), rtol=1e-5)
    np.testing.assert_allclose(others[0, -1], np.log(0.8) + 0.25, rtol=1e-5)


@given(scale=st.floats(0.7, 1.4))
def test_only_the_level_knows_how_fast_a_heart_beats(scale):
    record = examples(60)

    slow, fast = (read_of(RR, replace(record, rr_s=record.rr_s * np.float32(by)), 1) for by in (1.0, scale))

    np.testing.assert_allclose(slow[0][:, :-1], fast[0][:, :-1], atol=2e-5)
    np.testing.assert_allclose(slow[1], fast[1], atol=2e-5)
    np.testing.assert_allclose(fast[0][:, -1] - slow[0][:, -1], np.log(scale), atol=2e-5)


def test_few_intervals_are_filled_up_with_their_level():
    record = examples(60)
    few = replace(record, rr_s=np.where(np.arange(60) < 12, record.rr_s, np.nan).astype(np.float32))

    others, _ = read_of(RR, few, 1)

    assert others.shape == (11, INTERVALS + 1)  # the first beat has no interval
    assert (others[:, 9:-1] == 0).all()
    assert (others[:, :9] != 0).any()


def test_no_interval_across_a_gap_is_read():
    record = examples(60)
    rr_s = record.rr_s.copy()
    rr_s[20] = np.nan

    assert 20 not in RR.read(replace(record, rr_s=rr_s), 1).beats
    assert np.isfinite(read_of(RR, replace(record, rr_s=rr_s), 1, np.array([21]))[0]).all()


def test_a_long_record_teaches_no_more_than_700_beats_and_the_seed_draws_them():
    record = examples(900)
    marked = record.beats.copy()
    marked[:] = np.arange(900, dtype=np.float32)[:, None, None] / 900
    marking = all_normal(replace(record, beats=marked))
    drawn = [draw(Window(name="beats"), marking, 1, np.random.default_rng(seed))[0][:, 0, 0] for seed in (0, 0, 1)]

    assert [len(set(one)) for one in drawn] == [700] * 3
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_most_records_decide_how_many_leads_are_read():
    two, one = normals(3, 60).records, [examples(60, 1, seed) for seed in range(9, 11)]

    assert common_leads(all_normal(*two, *one), at_most=None) == 2
    assert common_leads(all_normal(*two, *one), at_most=1) == 1
    assert common_leads(all_normal(), at_most=None) == 1


def test_arrays_that_may_not_be_written_to_are_read_all_the_same():
    record = examples(60)
    sealed = replace(record, beats=record.beats.copy(), rr_s=record.rr_s.copy())
    for array in (sealed.beats, sealed.rr_s):
        array.setflags(write=False)

    for reading in (Window(name="beats"), NEAR, RR):
        for ours, theirs in zip(read_of(reading, sealed, 2), read_of(reading, record, 2), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@given(size=st.floats(60.0, 1e30))
def test_what_no_heart_does_is_bounded(size):
    record = examples(20)
    loud = replace(record, beats=record.beats * np.float32(size))

    (read,) = read_of(Window(name="beats"), loud, 2)

    assert np.abs(read).max() == 50.0
