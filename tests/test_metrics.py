"""The area under the curve is the share of pairs that are ranked right."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.metrics import auroc

items = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30)


@given(items)
def test_the_area_is_the_share_of_pairs_ranked_right_with_ties_half(pairs):
    scores = np.array([score for score, _ in pairs], float)
    positive = np.array([truth for _, truth in pairs])
    ups, downs = scores[positive], scores[~positive]

    area = auroc(scores, positive)

    if len(ups) == 0 or len(downs) == 0:
        assert math.isnan(area)
    else:
        wins = (ups[:, None] > downs).sum() + 0.5 * (ups[:, None] == downs).sum()
        assert area == wins / (len(ups) * len(downs)) or math.isclose(area, wins / (len(ups) * len(downs)))


@given(items)
def test_a_monotone_change_of_scores_changes_nothing(pairs):
    scores = np.array([score for score, _ in pairs], float)
    positive = np.array([truth for _, truth in pairs])

    assert np.array_equal(auroc(scores, positive), auroc(np.exp(scores) * 3, positive), equal_nan=True)
