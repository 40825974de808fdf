"""Measures of a ranking, from scores and truths."""

import numpy as np
from numpy.typing import NDArray


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive ranks above a negative, ties counting half.

    Args:
        scores: (item,) float, higher is stranger.
        positive: (item,) bool.

    Returns:
        0 to 1; NaN where one of the two kinds is absent.

    Source: Mann and Whitney 1947, 10.1214/aoms/1177730491.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mean_rank[inverse][positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
