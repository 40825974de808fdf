"""A rate counts the intervals that touch a window; an episode lies inside the record, where the signal can be read."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.rates import Episode, child_limits, episodes, mean_rate, touching
from cardioclarity.vocabulary import EventLabel, Severity

RATE_HZ = 100.0
WINDOW = 1000


def record(rr_s, *, first_s=0.5, seconds=None):
    """R peaks of given intervals and the windows of their record."""
    rpeaks = np.round((first_s + np.r_[0, np.cumsum(rr_s)]) * RATE_HZ).astype(np.int64)
    rr = np.r_[np.nan, np.diff(rpeaks) / RATE_HZ].astype(np.float32)
    n_samples = round(seconds * RATE_HZ) if seconds else int(rpeaks[-1]) + 50
    return rpeaks, rr, np.arange(0, n_samples, WINDOW), n_samples


def find(beat_rr_s, *, unreadable=(), **changes):
    rpeaks, rr, window_start, n_samples = record(beat_rr_s)
    readable = np.ones(len(window_start), bool)
    readable[list(unreadable)] = False
    values = {
        "rpeaks": rpeaks,
        "rr_s": rr,
        "rate_hz": RATE_HZ,
        "n_samples": n_samples,
        "window_start": window_start,
        "window_readable": readable,
        "tachycardia_bpm": 100.0,
        "bradycardia_bpm": 50.0,
        "pause_s": 2.0,
        "rate_change": 1.4,
    }
    return episodes(**values | changes)


@settings(max_examples=60)
@given(
    rpeaks=st.sets(st.integers(0, 99), max_size=12),
    width=st.integers(1, 40),
    n_samples=st.just(100),
)
def test_an_interval_touches_a_window_if_it_ends_after_its_start_and_begins_before_its_end(rpeaks, width, n_samples):
    rpeaks = np.array(sorted(rpeaks), np.int64)
    window_start = np.arange(0, n_samples, width)

    first, stop = touching(rpeaks, window_start, n_samples=n_samples)

    for begin, low, high in zip(window_start, first, stop, strict=True):
        end = min(begin + width, n_samples)
        touched = [i for i in range(1, len(rpeaks)) if rpeaks[i] > begin and rpeaks[i - 1] < end]
        assert list(range(low, high)) == touched


def test_the_rate_of_a_steady_pulse_is_sixty_over_its_interval():
    rpeaks, rr_s, window_start, n_samples = record([0.75] * 80)

    rate_bpm = mean_rate(rpeaks, rr_s, window_start, n_samples=n_samples)

    assert rate_bpm.dtype == np.float32
    np.testing.assert_allclose(rate_bpm, 80.0)


def test_bigeminy_has_the_rate_of_its_mean_interval():
    rpeaks, rr_s, window_start, n_samples = record([0.4, 0.8] * 60)

    np.testing.assert_allclose(mean_rate(rpeaks, rr_s, window_start, n_samples=n_samples)[1:-1], 100.0, rtol=0.03)


def test_unknown_intervals_are_left_out_of_the_rate_and_none_gives_no_rate():
    rpeaks, rr_s, window_start, n_samples = record([1.0] * 9 + [21.0] + [0.5] * 10)
    rr_s[10] = np.nan

    rate_bpm = mean_rate(rpeaks, rr_s, window_start, n_samples=n_samples)

    np.testing.assert_allclose(rate_bpm, [60, np.nan, np.nan, 120])


@pytest.mark.parametrize("n_beats", [0, 1])
def test_fewer_than_two_beats_have_no_rate_and_no_episode(n_beats):
    rpeaks, rr_s = np.arange(n_beats) * 10, np.full(n_beats, np.nan, np.float32)

    assert np.isnan(mean_rate(rpeaks, rr_s, np.array([0, 50]), n_samples=90)).all()
    assert find([1.0], rpeaks=rpeaks, rr_s=rr_s) == []


def test_a_record_without_samples_has_no_rate_and_no_episode():
    nothing = np.zeros(0, np.int64)

    assert mean_rate(nothing, nothing.astype(np.float32), nothing, n_samples=0).shape == (0,)
    assert find([1.0], window_start=nothing, window_readable=nothing.astype(bool), rpeaks=nothing, rr_s=nothing) == []


def test_neighbouring_fast_windows_make_one_episode_with_their_highest_rate():
    found = find([1.0] * 20 + [0.5] * 20 + [0.45] * 44 + [1.0] * 30, rate_change=9.0)

    assert len(found) == 1
    assert (found[0].label, found[0].severity) == (EventLabel.TACHYCARDIA, Severity.MEDIUM)
    assert (found[0].start_sample, found[0].end_sample) == (2 * WINDOW, 5 * WINDOW)
    assert found[0].value == pytest.approx(60 / 0.45, abs=0.5)


def test_neighbouring_slow_windows_make_one_episode_with_their_lowest_rate():
    found = find([1.0] * 20 + [1.3] * 10 + [1.4] * 12 + [1.0] * 20, rate_change=9.0)

    assert [episode.label for episode in found] == [EventLabel.BRADYCARDIA]
    assert found[0].value == pytest.approx(60 / 1.4, abs=0.5)


def test_an_unreadable_window_divides_an_episode():
    found = find([0.5] * 100, unreadable=[2])

    assert [(e.start_sample, e.end_sample) for e in found] == [(0, 2000), (3000, 5100)]


def test_a_rate_at_the_limit_is_neither_fast_nor_slow():
    assert find([0.6] * 60) == []
    assert find([1.2] * 60) == []


def test_the_last_episode_ends_with_the_record():
    rpeaks, *_, n_samples = record([0.5] * 50)

    assert find([0.5] * 50)[-1].end_sample == n_samples == rpeaks[-1] + 50


@pytest.mark.parametrize(
    ("rr_s", "label", "severity"),
    [
        ([0.4] * 80, EventLabel.TACHYCARDIA, Severity.MEDIUM),
        ([0.39] * 80, EventLabel.TACHYCARDIA, Severity.HIGH),
        ([1.5] * 30, EventLabel.BRADYCARDIA, Severity.MEDIUM),
        ([1.6] * 30, EventLabel.BRADYCARDIA, Severity.HIGH),
        ([0.8] * 10 + [2.99] + [0.8] * 10, EventLabel.PAUSE, Severity.MEDIUM),
        ([0.8] * 10 + [3.0] + [0.8] * 10, EventLabel.PAUSE, Severity.HIGH),
    ],
)
def test_severity_is_high_beyond_150_below_40_and_from_3_s_on(rr_s, label, severity):
    assert [(episode.label, episode.severity) for episode in find(rr_s)] == [(label, severity)]


def test_a_pause_runs_from_r_peak_to_r_peak_and_its_value_is_its_length():
    rr_s = [0.8] * 10 + [2.0] + [0.8] * 10
    rpeaks, *_ = record(rr_s)

    assert find(rr_s) == [
        Episode(
            label=EventLabel.PAUSE,
            start_sample=rpeaks[10],
            end_sample=rpeaks[11],
            value=2.0,
            severity=Severity.MEDIUM,
        )
    ]


def test_an_interval_just_short_of_the_limit_is_no_pause():
    assert find([0.8] * 10 + [1.99] + [0.8] * 10) == []


@pytest.mark.parametrize(("unreadable", "n_pauses"), [((0,), 0), ((1,), 0), ((2,), 1), ((), 1)])
def test_a_pause_counts_only_if_every_window_it_touches_is_readable(unreadable, n_pauses):
    found = find([0.9] * 10 + [2.5] + [0.9] * 20, unreadable=unreadable)

    assert sum(episode.label is EventLabel.PAUSE for episode in found) == n_pauses


def test_an_interval_across_missing_signal_is_no_pause():
    rr_s = [0.8] * 10 + [2.5] + [0.8] * 10
    _, rr, *_ = record(rr_s)
    rr[11] = np.nan

    assert find(rr_s, rr_s=rr) == []


@settings(max_examples=60, deadline=None)
@given(
    rr_s=st.lists(st.sampled_from([0.3, 0.5, 0.8, 1.4, 2.5, 3.5]), min_size=1, max_size=60),
    unreadable=st.sets(st.integers(0, 4)),
)
def test_episodes_lie_inside_the_record_in_the_order_of_their_start_and_never_in_unreadable_windows(rr_s, unreadable):
    _, _, window_start, n_samples = record(rr_s)
    inside = [window for window in unreadable if window < len(window_start)]

    found = find(rr_s, unreadable=inside)

    assert [episode.start_sample for episode in found] == sorted(episode.start_sample for episode in found)
    for episode in found:
        assert 0 <= episode.start_sample < episode.end_sample <= n_samples
        touched = range(episode.start_sample // WINDOW, -(-episode.end_sample // WINDOW))
        assert not set(touched) & unreadable


# ------------------------------------------------------------------------------------------------ abrupt changes


def changes(rr_s, **how):
    return [episode for episode in find(rr_s, **how) if episode.label is EventLabel.ABRUPT_RATE_CHANGE]


@pytest.mark.parametrize(("after_s", "ratio"), [(0.5, 1.6), (1.18, 0.8 / 1.18)])
def test_a_rate_that_changes_at_once_is_one_event_whose_value_is_the_ratio_of_the_rates(after_s, ratio):
    (change,) = changes([0.8] * 30 + [after_s] * 30)

    assert change.value == pytest.approx(ratio, rel=0.01)
    assert change.start_sample == round((0.5 + 22 * 0.8) * RATE_HZ)
    assert change.end_sample == round((0.5 + 30 * 0.8 + 8 * after_s) * RATE_HZ)


@pytest.mark.parametrize(
    "rr_s", [[0.8] * 30 + [0.6] * 30, np.geomspace(0.9, 0.5, 60).tolist(), [0.6, 1.0] * 30, [0.8] * 15]
)
def test_a_small_or_slow_change_a_pattern_and_a_few_beats_are_no_abrupt_change(rr_s):
    assert not changes(rr_s)


def test_of_two_changes_that_share_beats_the_larger_counts():
    before, between, after = [0.8] * 30, [0.5] * 10, [1.0] * 30

    (change,) = changes([*before, *between, *after])

    assert change.value == pytest.approx(0.5, rel=0.01)
    assert len(changes([*before, *between, *between, *after])) == 2


@given(
    st.lists(
        st.sampled_from([0.4, 0.6, 0.9, 1.4]).flatmap(lambda rr: st.integers(3, 20).map(lambda n: [rr] * n)), max_size=8
    )
)
def test_changes_never_overlap(stretches):
    found = changes([0.8] * 17 + [*chain.from_iterable(stretches)])

    spans = [(change.start_sample, change.end_sample) for change in found]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_a_change_across_an_unreadable_stretch_is_not_known():
    assert changes([0.8] * 30 + [0.5] * 40)
    assert not changes([0.8] * 30 + [0.5] * 40, unreadable=[2])


@pytest.mark.parametrize(
    ("age", "limits"),
    [
        (0, (90.0, 181.0)),
        (3, (70.0, 136.0)),
        (11, (52.0, 115.0)),
        (12, (47.0, 108.0)),
        (17, (43.0, 104.0)),
        (18, None),
        (None, None),
    ],
)
def test_a_child_has_the_limits_of_its_age_and_an_adult_has_none(age, limits):
    assert child_limits(age) == limits
