"""Intervals over patients: the beats of one patient are no independent witnesses."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

N_DRAWS = 1000


def interval(statistic: Callable[[NDArray[np.int64]], float], n_patients: int) -> NDArray[np.float64]:
    """Draw as many patients with replacement, 1000 times, seed 0.

    Args:
        statistic: From the indices of the drawn patients to a number; NaN where a draw has none.
        n_patients: How many there are.

    Returns:
        (2,) float64: the 2.5 and 97.5 percentiles.
    """
    rng = np.random.default_rng(0)
    draws = np.array([statistic(rng.integers(0, n_patients, n_patients)) for _ in range(N_DRAWS)], np.float64)
    told = draws[~np.isnan(draws)]
    bounds: NDArray[np.float64] = np.percentile(told, [2.5, 97.5]) if told.size else np.full(2, np.nan)
    return bounds
