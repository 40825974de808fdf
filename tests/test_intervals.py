"""An interval tells how a figure would scatter with other patients, and is the same in every run."""

import numpy as np
import pytest

from cardioclarity.intervals import N_DRAWS, Draws, interval


def everyone(n):
    return Draws.of(np.ones(n, bool))


def test_an_interval_over_patients_holds_the_value_and_narrows_with_their_number():
    def width(n):
        values = np.random.default_rng(1).normal(size=n)
        low, high = interval(everyone(n).of_values(values, np.mean), n_patients=n)
        assert low < values.mean() < high
        return high - low

    assert width(400) < width(25) / 2


def test_the_same_patients_give_the_same_draws():
    assert np.array_equal(everyone(7).drawn, everyone(7).drawn)
    assert everyone(7).drawn.shape == (N_DRAWS, 7)


def test_a_draw_holds_as_many_patients_as_may_be_drawn_and_no_other():
    draws = Draws.of(np.array([True, False, True]))

    assert (draws.weights.sum(axis=1) == 2).all()
    assert (draws.weights[:, 1] == 0).all()


def test_a_patient_without_a_value_tells_nothing():
    values = np.array([1.0, np.nan, 3.0])

    found = everyone(3).of_values(values, np.mean)

    assert set(np.unique(found[~np.isnan(found)]).round(3)) <= {1.0, 1.667, 2.0, 2.333, 3.0}
    assert np.isnan(found).any()  # some draws hold nobody else


def test_summed_counts_follow_the_draws():
    draws = everyone(2)

    found = draws.of_counts(np.array([[1.0, 10.0], [5.0, 10.0]]), lambda sums: sums[:, 0] / sums[:, 1])

    assert set(found.round(3)) == {0.1, 0.3, 0.5}


@pytest.mark.parametrize(("values", "n"), [(np.full(9, np.nan), 5), (np.ones(9), 1), (np.ones(9), 4)])
def test_where_nothing_is_known_of_others_there_is_no_interval(values, n):
    assert all(np.isnan(interval(values, n_patients=n)))
