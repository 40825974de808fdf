"""Law: what principal components of normal beats cannot hold, or hold rarely, scores high; a covariance can be inverted."""

from dataclasses import replace

import numpy as np
import pytest
from builders import examples, normals
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.detectors.linear import density, residual, shrunk_covariance
from cardioclarity.detectors.protocol import Normals
from cardioclarity.errors import NotFoundError

UNUSUAL = (40, 61, 80)
BOTH = pytest.mark.parametrize("detector", [residual(), density()], ids=["residual", "density"])


@BOTH
def test_a_beat_unlike_the_normal_ones_scores_higher_than_nine_tenths_of_them(detector):
    fitted = detector.fit(normals(5), held_out=normals(2, seed=50), seed=0)
    seen = examples(seed=77, unusual=UNUSUAL)

    scores = fitted.score(seen)

    near = {other + step for other in UNUSUAL for step in (-1, 0, 1)}
    normal = [beat for beat in np.flatnonzero(seen.whole) if beat not in near]
    assert scores[list(UNUSUAL)].min() > np.quantile(scores[normal], 0.9)


def test_the_residual_is_what_the_first_sixteen_singular_vectors_leave():
    patients = normals(3)
    fitted = residual().fit(patients, held_out=patients, seed=0)
    seen = examples(seed=77)
    drawn = np.concatenate(
        [record.long[mask & record.whole] for record, mask in zip(patients.records, patients.beats, strict=True)]
    ).reshape(-1, 320)
    mean = drawn.mean(axis=0)
    _, _, vectors = np.linalg.svd(drawn - mean, full_matrices=False)
    apart = seen.long[seen.whole].reshape(-1, 320) - mean
    left = apart - apart @ vectors[:16].T @ vectors[:16]

    np.testing.assert_allclose(fitted.score(seen)[seen.whole], np.log((left**2).mean(axis=1)), atol=0.02)


@BOTH
def test_a_record_with_fewer_leads_than_were_learned_is_not_scored(detector):
    fitted = detector.fit(normals(3), held_out=normals(1), seed=0)

    assert fitted.n_leads == 2
    assert np.isnan(fitted.score(examples(60, 1))).all()


@BOTH
def test_where_nobody_says_what_is_normal_the_strangest_beats_are_fitted_without(detector):
    patients = normals(4, 150, unusual=range(20, 150, 12))
    everything = replace(patients, beats=tuple(np.ones_like(mask) for mask in patients.beats))
    seen = examples(seed=77, unusual=UNUSUAL)
    normal = np.setdiff1d(np.flatnonzero(seen.whole), UNUSUAL)
    apart = []
    for unlabelled in (False, True):
        scores = detector.fit(replace(everything, unlabelled=unlabelled), held_out=everything, seed=0).score(seen)
        apart.append(np.median(scores[list(UNUSUAL)]) - np.median(scores[normal]))

    assert apart[1] > apart[0]


@BOTH
def test_a_fit_without_a_normal_beat_says_so(detector):
    nobody = Normals(records=(), patients=(), beats=(), windows=())

    with pytest.raises(NotFoundError, match=r"none of the 0 records .* add records"):
        detector.fit(nobody, held_out=nobody, seed=0)


@given(n_rows=st.integers(1, 40), n_numbers=st.integers(1, 12), seed=st.integers(0, 9))
def test_a_shrunk_covariance_is_symmetric_and_positive_and_keeps_the_total_variance(n_rows, n_numbers, seed):
    rows = np.random.default_rng(seed).normal(0, 1, (n_rows, n_numbers))
    rows -= rows.mean(axis=0)

    shrunk = shrunk_covariance(rows)

    np.testing.assert_allclose(shrunk, shrunk.T)
    assert np.linalg.eigvalsh(shrunk).min() > 0
    np.testing.assert_allclose(np.trace(shrunk), (rows**2).sum() / n_rows, atol=1e-9)


def test_of_many_rows_the_sample_covariance_is_kept():
    rows = np.random.default_rng(0).normal(0, [1.0, 2.0, 3.0], (200_000, 3))

    np.testing.assert_allclose(shrunk_covariance(rows - rows.mean(axis=0)), np.diag([1.0, 4.0, 9.0]), atol=0.1)
