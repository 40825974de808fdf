"""Items are ranked within their patients' draws, seed by seed."""

import numpy as np
import pytest

from cardioclarity.evaluation.ranked import Items, ranked


def test_a_figure_counts_the_patients_and_items_of_its_subset_and_averages_the_seeds():
    items = Items(
        scores=(np.array([3.0, 1.0, 2.0, 0.0]), np.array([0.0, 1.0, 2.0, 3.0])),
        positive=np.array([True, False, True, False]),
        patients=("a", "a", "b", "c"),
    )

    whole = ranked("s", "m", "all", items, np.ones(4, bool))
    part = ranked("s", "m", "part", items, np.array([True, True, False, False]))

    assert whole.seeds == (1.0, 0.25)
    assert whole.value == pytest.approx(0.625)
    assert (whole.n_patients, whole.n_items) == (3, 4)
    assert (part.n_patients, part.n_items) == (1, 2)
    assert np.isnan(part.low)


def test_a_subset_of_one_kind_is_not_defined():
    items = Items(scores=(np.array([1.0, 2.0]),), positive=np.array([True, False]), patients=("a", "b"))

    assert np.isnan(ranked("s", "m", "none", items, np.array([True, False])).value)
