"""A patient's false alarms are counted by the calibration of the others: he has no say in his own level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity import realised as module
from cardioclarity.calibration import Calibration
from cardioclarity.config import ScoreConfig
from cardioclarity.realised import ASKED, Sample, Unseen, realised
from cardioclarity.vocabulary import Head

PER_HOUR = 3600.0


def scores(seeds, n=400, shift=0.0):
    return [np.random.default_rng(seed).normal(size=n).astype(np.float32) + np.float32(shift) for seed in seeds]


def sample(found, patients=None):
    names = patients or [f"p{at}" for at in range(len(found))]
    return Sample(
        records=[f"{at:032x}"[::-1] for at in range(len(found))],
        patients=names,
        scores=found,
        chosen=[np.ones(len(one), bool) for one in found],
    )


def unseen(of, per_hour=None):
    def p_values(calibrations, row):
        return calibrations["view"].p_values(of.scores[row][of.chosen[row]])

    paces = per_hour if per_hour is not None else dict.fromkeys(of.patients, PER_HOUR)
    return Unseen(records=of.records, patients=of.patients, p_values=p_values, per_hour=paces)


def counted(of, **paces):
    return realised(Head.BEAT, unseen(of, **paces), {"view": of})


def test_the_levels_that_are_tried_are_those_that_score_asks_for_and_one_per_hour():
    config = ScoreConfig(root="r")

    assert {1.0, config.alarms_per_hour} == set(ASKED[Head.BEAT])
    assert {1.0, config.rhythm_alarms_per_hour} == set(ASKED[Head.RHYTHM])


def test_a_patient_stranger_than_all_others_alarms_in_every_item_whatever_his_share_of_the_sample():
    found = [*scores(range(4)), *scores([9], n=4000, shift=50.0)]

    (of_one,) = counted(sample(found))

    assert of_one.largest == of_one.worst[0].per_hour == PER_HOUR
    assert of_one.mean > PER_HOUR / 6
    assert (of_one.worst[0].what, of_one.worst[0].alarms) == (f"{4:032x}"[::-1][:8], 4000)


def test_each_patient_is_judged_by_exactly_the_others():
    of = sample(scores(range(5), n=3000))
    level = 1.0 / PER_HOUR

    (found,) = counted(of)

    expected = []
    for row in range(5):
        others = [other for other in range(5) if other != row]
        whose = np.repeat([of.patients[other] for other in others], 3000)
        calibration = Calibration.fit(np.concatenate([of.scores[other] for other in others]), whose)
        expected.append(int((calibration.p_values(of.scores[row]) <= level).sum()))
    assert found.alarms == sum(expected)
    assert found.largest == pytest.approx(max(expected) * PER_HOUR / 3000)


def test_patients_alike_meet_about_as_many_alarms_as_were_asked_for():
    (found,) = counted(sample(scores(range(40), n=7200)))

    assert found.hours == pytest.approx(80)
    assert found.mean == pytest.approx(1.0, abs=0.3)


def test_two_records_of_one_patient_are_left_out_together():
    found = [*scores(range(3)), *scores([3, 4], shift=50.0)]

    (of_one,) = counted(sample(found, ["a", "b", "c", "d", "d"]))

    assert of_one.patients == 4
    assert of_one.worst[0].alarms == 800


@pytest.mark.parametrize("n", [0, 1, 2])
def test_of_two_patients_nothing_is_told(n):
    assert counted(sample(scores(range(n)))) == ()


def test_hours_are_those_of_the_patients_own_pace_and_who_has_none_is_left_out():
    of = sample(scores(range(4)))

    (found,) = counted(of, per_hour={"p0": 4000.0, "p1": 8000.0, "p2": 4000.0})

    assert found.patients == 3
    assert found.hours == pytest.approx(0.1 + 0.05 + 0.1)


def test_the_level_follows_from_the_pace_of_the_others():
    """A fast heart left out must not lower the level that it is judged by."""
    of = sample(scores(range(3), n=2000))
    slow, fast = dict.fromkeys(of.patients, 100.0), {"p0": 5000.0, "p1": 100.0, "p2": 100.0}

    of_first = [counted(of, per_hour=paces)[0] for paces in (slow, fast)]

    alarms = [{one.what: one.alarms for one in found.worst}[of.records[0][:8]] for found in of_first]
    assert alarms[0] == alarms[1] > 0


def test_items_without_a_p_value_raise_no_alarm_and_take_no_time():
    found = scores(range(4))
    found[0][:200] = np.nan

    (of_one,) = counted(sample(found))

    assert of_one.hours == pytest.approx((4 * 400 - 200) / PER_HOUR)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(5)))
def test_the_order_of_the_records_changes_nothing(order):
    found = scores(range(5))
    straight, turned = sample(found), sample([found[at] for at in order], [f"p{at}" for at in order])

    (one,), (other,) = counted(straight), counted(turned)

    assert (one.mean, one.median, one.alarms) == pytest.approx((other.mean, other.median, other.alarms))


def test_very_many_patients_are_left_out_some_at_a_time_and_each_is_counted_once(monkeypatch):
    monkeypatch.setattr(module, "_GROUPS", 3)

    (found,) = counted(sample(scores(range(10), n=50)))

    assert found.patients == 10
    assert found.hours == pytest.approx(500 / PER_HOUR)
