"""Beats fall where the scene says: its rate, its rhythm episodes, its early beats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.synthetic.pacing import MARGIN_S, Beats, Episode, Scene, beats

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=25, deadline=None)


def pace(seed: int, *, duration_s: float = 300.0, **plan) -> Beats:
    scene = Scene(name="x", seed=seed, duration_s=duration_s, rate_hz=250.0, **plan)
    return beats(scene, np.random.default_rng(seed))


def intervals_within(paced: Beats, start_s: float, end_s: float) -> np.ndarray:
    whole = (paced.time_s <= end_s) & (paced.time_s - paced.rr_s >= start_s)
    return paced.rr_s[whole]


@given(seed=SEEDS, resting_bpm=st.floats(55, 95))
@MANY
def test_a_sinus_rhythm_keeps_to_its_resting_rate(seed, resting_bpm):
    paced = pace(seed, resting_bpm=resting_bpm)

    bpm = 60 / paced.rr_s[1:]
    assert np.mean(bpm) == pytest.approx(resting_bpm, rel=0.08)
    assert bpm.min() > 0.85 * resting_bpm
    assert bpm.max() < 1.18 * resting_bpm
    assert set(paced.symbol) == {"N"}
    assert not paced.fibrillating.any()


@given(seed=SEEDS)
@MANY
def test_beats_ascend_and_reach_beyond_both_ends(seed):
    paced = pace(seed, duration_s=20.0, pvc_per_hour=400, pac_per_hour=400)

    assert (np.diff(paced.time_s) > 0.3).all()
    assert -MARGIN_S <= paced.time_s[0] < 0
    assert 20 < paced.time_s[-1] <= 20 + MARGIN_S + 1
    np.testing.assert_allclose(paced.rr_s[1:], np.diff(paced.time_s))
    assert paced.rr_s[0] == pytest.approx(paced.rr_s[1])


def test_the_heart_rate_breathes():
    paced = pace(7, duration_s=1200.0, resting_bpm=75)

    grid = np.interp(np.arange(0, 1200, 0.25), paced.time_s, paced.rr_s)
    power = np.abs(np.fft.rfft(grid - grid.mean())) ** 2
    frequency = np.fft.rfftfreq(len(grid), 0.25)
    breathing, between, mayer = (
        power[(frequency > low) & (frequency < high)].mean() for low, high in ((0.22, 0.28), (0.15, 0.2), (0.08, 0.12))
    )
    assert breathing > 5 * between
    assert mayer > 5 * between


@given(seed=SEEDS, kind=st.sampled_from(["tachycardia", "bradycardia"]), resting_bpm=st.floats(55, 95))
@MANY
def test_tachycardia_is_above_110_and_bradycardia_below_45_from_end_to_end(seed, kind, resting_bpm):
    paced = pace(seed, resting_bpm=resting_bpm, episodes=(Episode(kind=kind, start_s=100, end_s=160),))

    bpm = 60 / intervals_within(paced, 100, 160)
    assert len(bpm) > 25
    assert bpm.min() > 110 if kind == "tachycardia" else bpm.max() < 45
    away = 60 / np.concatenate([intervals_within(paced, 0, 90), intervals_within(paced, 170, 300)])
    assert 0.85 * resting_bpm < away.min() <= away.max() < 1.18 * resting_bpm


@given(seed=SEEDS, start_s=st.floats(20, 200), length_s=st.floats(2.5, 4))
@MANY
def test_a_pause_is_one_interval_of_its_length(seed, start_s, length_s):
    paced = pace(seed, episodes=(Episode(kind="pause", start_s=start_s, end_s=start_s + length_s),))

    longest = paced.rr_s.argmax()
    assert paced.rr_s[longest] == pytest.approx(length_s, abs=1e-6)
    assert start_s - 1.3 < paced.time_s[longest - 1] <= start_s
    assert np.delete(paced.rr_s, longest).max() < 1.3


def test_two_pauses_are_two():
    plan = (Episode(kind="pause", start_s=50, end_s=53), Episode(kind="pause", start_s=90, end_s=93.5))

    paced = pace(1, episodes=plan)

    np.testing.assert_allclose(np.sort(paced.rr_s)[-2:], [3, 3.5])


def test_a_pause_that_fills_everything_leaves_no_beat():
    paced = pace(1, duration_s=30, episodes=(Episode(kind="pause", start_s=-MARGIN_S, end_s=30 + MARGIN_S),))

    assert not ((paced.time_s > -1) & (paced.time_s < 31)).any()
    assert len(paced.rr_s) == len(paced.symbol) == len(paced.fibrillating) == len(paced.time_s)


@given(seed=SEEDS)
@MANY
def test_fibrillation_is_irregular_and_its_intervals_do_not_follow_one_another(seed):
    paced = pace(seed, duration_s=400, episodes=(Episode(kind="af", start_s=100, end_s=300),))

    inside = intervals_within(paced, 101, 299)
    outside = intervals_within(paced, 0, 90)
    assert inside.std() / inside.mean() > 0.15
    assert inside.std() / inside.mean() > 2.5 * outside.std() / outside.mean()
    assert abs(np.corrcoef(inside[1:], inside[:-1])[0, 1]) < 0.3
    assert inside.min() > 0.3
    in_episode = (paced.time_s > 101) & (paced.time_s < 299)
    assert paced.fibrillating[in_episode].all()
    assert not paced.fibrillating[(paced.time_s < 99) | (paced.time_s > 302)].any()
    assert set(paced.symbol) == {"N"}


@given(seed=SEEDS)
@MANY
def test_in_bigeminy_every_other_beat_is_ventricular_and_early(seed):
    paced = pace(seed, episodes=(Episode(kind="bigeminy", start_s=100, end_s=140),))

    ventricular = np.flatnonzero(paced.symbol == "V")
    assert (np.diff(ventricular) == 2).all()
    assert paced.time_s[ventricular[0]] > 100
    assert paced.time_s[ventricular[-1]] < 140
    assert len(ventricular) > 0.4 * ((paced.time_s > 100) & (paced.time_s < 140)).sum()
    assert (paced.rr_s[ventricular] < 0.8 * paced.rr_s[ventricular + 1]).all()


@given(seed=SEEDS, per_hour=st.integers(12, 240))
@MANY
def test_ventricular_beats_are_as_many_as_planned_early_and_compensated(seed, per_hour):
    paced = pace(seed, duration_s=600.0, pvc_per_hour=per_hour)

    at = np.flatnonzero(paced.symbol == "V")
    before = paced.rr_s[at - 1]
    assert len(at) == round(per_hour / 6)
    assert (paced.rr_s[at] < 0.8 * before).all()
    np.testing.assert_allclose(paced.rr_s[at] + paced.rr_s[at + 1], 2 * before, rtol=0.2)
    assert (np.diff(at) >= 5).all()


@given(seed=SEEDS, per_hour=st.integers(60, 240))
@MANY
def test_atrial_beats_are_early_and_reset_the_sinus_node(seed, per_hour):
    paced = pace(seed, duration_s=600.0, pac_per_hour=per_hour)

    at = np.flatnonzero(paced.symbol == "A")
    before = paced.rr_s[at - 1]
    assert len(at) == round(per_hour / 6)
    assert (paced.rr_s[at] < 0.85 * before).all()
    assert np.mean((paced.rr_s[at] + paced.rr_s[at + 1]) / before) < 1.92  # less than two intervals


@given(seed=SEEDS)
@MANY
def test_early_beats_keep_away_from_episodes_and_both_ends(seed):
    episodes = (Episode(kind="pause", start_s=60, end_s=63), Episode(kind="noise", start_s=150, end_s=180))

    paced = pace(seed, pvc_per_hour=600, pac_per_hour=600, episodes=episodes)

    early = paced.time_s[paced.symbol != "N"]
    assert len(early) > 10
    assert early.min() > 5
    assert early.max() < 295
    assert not any(((early > e.start_s - 5) & (early < e.end_s + 5)).any() for e in episodes)


def test_the_beats_follow_from_the_seed():
    plan = {"pvc_per_hour": 60, "pac_per_hour": 60, "episodes": (Episode(kind="af", start_s=100, end_s=160),)}

    first, again, other = pace(5, **plan), pace(5, **plan), pace(6, **plan)

    np.testing.assert_array_equal(first.time_s, again.time_s)
    np.testing.assert_array_equal(first.symbol, again.symbol)
    assert not np.array_equal(first.time_s[:100], other.time_s[:100])


def test_an_episode_without_length_is_our_own_mistake():
    with pytest.raises(AssertionError):
        Episode(kind="af", start_s=3, end_s=3)
