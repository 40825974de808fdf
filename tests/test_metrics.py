"""The area under the curve is the share of pairs that are ranked right."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity import metrics
from cardioclarity.metrics import LEAST_NEGATIVE, LEAST_POSITIVE, Ranking, auroc, patient_aurocs

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


def plain_average_precision(scores, positive):
    """By its definition: over thresholds, precision times the recall that the threshold adds."""
    area = recall = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        new = positive[flagged].sum() / positive.sum()
        area, recall = area + (new - recall) * positive[flagged].mean(), new
    return area


def plain_tpr(scores, positive, fpr):
    """By its definition: the most that any threshold catches while it flags so few negatives."""
    allowed = [np.inf, *(t for t in set(scores.tolist()) if (scores[~positive] >= t).mean() <= fpr + 1e-12)]
    return max((scores[positive] >= t).mean() for t in allowed)


def plain_auroc(scores, positive):
    """By its definition: the share of pairs that are in order, ties counting half."""
    higher = scores[positive][:, None] - scores[~positive][None]
    return (higher > 0).mean() + (higher == 0).mean() / 2


ITEMS = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30)


def arrays(items):
    scores, positive, patient = map(np.array, zip(*items, strict=True))
    return scores.astype(np.float32), positive.astype(bool), patient.astype(np.int64)


@given(ITEMS)
def test_a_ranking_gives_what_the_plain_definitions_give(items):
    scores, positive, patient = arrays(items)
    ranking = Ranking.of(scores, positive, patient, n_patients=4)

    if positive.any() and not positive.all():
        assert ranking.auroc()[0] == pytest.approx(plain_auroc(scores, positive))
        assert ranking.tpr_at_fpr(0.25)[0] == pytest.approx(plain_tpr(scores, positive, 0.25))
    else:
        assert np.isnan(ranking.auroc()[0])
        assert np.isnan(ranking.tpr_at_fpr(0.25)[0])
    if positive.any():
        assert ranking.average_precision()[0] == pytest.approx(plain_average_precision(scores, positive))


@given(ITEMS, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_patient_with_weight_two_counts_as_if_it_stood_there_twice(items, weights):
    scores, positive, patient = arrays(items)
    repeated = np.repeat(np.arange(len(scores)), np.array(weights)[patient])
    weighted, plain = (
        Ranking.of(scores, positive, patient, n_patients=4),
        Ranking.of(scores[repeated], positive[repeated]),
    )
    drawn = np.array([weights], np.float64)

    for measure in (Ranking.auroc, Ranking.average_precision, lambda one, w=None: one.tpr_at_fpr(0.3, w)):
        assert measure(weighted, drawn)[0] == pytest.approx(measure(plain)[0], nan_ok=True)


@given(ITEMS, st.randoms(use_true_random=False))
def test_the_order_of_the_items_changes_no_bit(items, random):
    mixed = random.sample(items, len(items))
    one, other = (Ranking.of(*arrays(some), n_patients=4) for some in (items, mixed))

    for measure in (Ranking.auroc, Ranking.average_precision, lambda one: one.tpr_at_fpr(0.3)):
        assert np.array_equal(measure(one), measure(other), equal_nan=True)


def test_blocks_of_thresholds_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    scores, positive, patient = rng.normal(size=500), rng.random(500) < 0.3, rng.integers(0, 5, 500)
    drawn = rng.integers(0, 3, (7, 5)).astype(np.float64)
    whole = Ranking.of(scores, positive, patient, n_patients=5)
    expected = whole.auroc(drawn), whole.average_precision(drawn), whole.tpr_at_fpr(0.1, drawn), *whole.curve()

    monkeypatch.setattr(metrics, "_BLOCK", 50)

    cut = whole.auroc(drawn), whole.average_precision(drawn), whole.tpr_at_fpr(0.1, drawn), *whole.curve()
    assert all(np.allclose(a, b, rtol=1e-12) for a, b in zip(expected, cut, strict=True))


def test_what_was_missed_ranks_below_everything():
    ranking = Ranking.of(np.array([-np.inf, 2.0, 1.0, 0.0]), np.array([True, True, False, False]))

    assert ranking.auroc()[0] == 0.5
    assert ranking.tpr_at_fpr(0.0)[0] == 0.5


def test_a_score_that_is_no_number_is_our_own_mistake():
    with pytest.raises(AssertionError, match="no rank"):
        Ranking.of(np.array([np.nan, 1.0]), np.array([True, False]))


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "is_told"),
    [
        (LEAST_POSITIVE, LEAST_NEGATIVE, True),
        (LEAST_POSITIVE - 1, LEAST_NEGATIVE, False),
        (LEAST_POSITIVE, LEAST_NEGATIVE - 1, False),
    ],
)
def test_a_patient_has_an_area_of_its_own_from_so_many_items_of_either_kind_on(n_positive, n_negative, is_told):
    positive = np.repeat([True, False], [n_positive, n_negative])
    scores, patient = np.arange(len(positive), 0.0, -1.0), np.ones(len(positive), np.int64)

    of_nobody, own = patient_aurocs(scores, positive, patient, n_patients=2)

    assert math.isnan(of_nobody)
    assert (own == 1.0) if is_told else math.isnan(own)
