"""A window holds what lies between its first sample and the next window's, and knows what it does not know."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.windows import (
    as_rows,
    of_windows,
    quantile_of_known,
    root_mean_square,
    window_ends,
    window_share,
    window_starts,
)

RATE_HZ = 200.0
WIDTH = 2000
NAN = np.float32(np.nan)


@st.composite
def any_windows(draw):
    """Length of a record in samples, and where its windows start."""
    n_samples, width = draw(st.integers(0, 60)), draw(st.integers(1, 25))
    return n_samples, window_starts(n_samples, rate_hz=1.0, window_s=width)


@pytest.mark.parametrize(
    ("n_samples", "expected"), [(0, []), (1, [0]), (2000, [0]), (2001, [0, 2000]), (4000, [0, 2000])]
)
def test_windows_follow_each_other_and_the_rest_is_one_of_its_own(n_samples, expected):
    window_start = window_starts(n_samples, rate_hz=RATE_HZ, window_s=10.0)

    assert window_start.dtype == np.int64
    np.testing.assert_array_equal(window_start, expected)


@given(any_windows())
def test_windows_cover_every_sample_once(record):
    n_samples, window_start = record

    ends = window_ends(window_start, n_samples=n_samples)

    covered = [sample for start, end in zip(window_start, ends, strict=True) for sample in range(start, end)]
    assert covered == list(range(n_samples))


@given(record=any_windows(), data=st.data())
def test_a_sample_has_the_value_of_the_window_that_holds_it(record, data):
    n_samples, window_start = record
    values = np.array(data.draw(st.lists(st.booleans(), min_size=len(window_start), max_size=len(window_start))), bool)
    samples = np.arange(n_samples)

    found = of_windows(values, window_start, samples)

    ends = window_ends(window_start, n_samples=n_samples)
    for start, end, value in zip(window_start, ends, values, strict=True):
        assert (found[start:end] == value).all()


def test_where_there_is_no_window_no_sample_is_in_one():
    assert not of_windows(np.zeros(0, bool), np.zeros(0, np.int64), np.array([0, 5])).any()


@given(st.lists(st.lists(st.floats(-9, 9, width=32), max_size=4), max_size=6))
def test_a_row_holds_its_own_values_and_then_nothing(given_rows):
    values = np.array([value for row in given_rows for value in row], np.float32)

    rows = as_rows(values, np.array([len(row) for row in given_rows], np.int64))

    for row, expected in zip(rows, given_rows, strict=True):
        np.testing.assert_array_equal(row[: len(expected)], np.array(expected, np.float32))
        assert np.isnan(row[len(expected) :]).all()


@given(mask=st.lists(st.booleans(), max_size=40), width=st.integers(1, 50))
def test_the_share_of_a_mask_is_its_mean_over_each_window(mask, width):
    mask = np.array(mask, bool)
    window_start = np.arange(0, len(mask), width)

    shares = window_share(mask, window_start)

    np.testing.assert_allclose(shares, [mask[start : start + width].mean() for start in window_start])


def test_the_root_mean_square_leaves_out_missing_samples():
    signal = np.full(3 * WIDTH, 2, np.float32)
    signal[1::2] = -2
    signal[500:1900] = NAN
    signal[WIDTH : 2 * WIDTH] = NAN

    np.testing.assert_allclose(root_mean_square(signal, np.arange(3) * WIDTH), [2, NAN, 2])
    assert root_mean_square(signal[:0], np.zeros(0, np.int64)).shape == (0,)


@given(
    rows=st.lists(st.lists(st.floats(-9, 9) | st.just(np.nan), min_size=5, max_size=5), max_size=6),
    share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_a_quantile_of_the_known_is_that_of_the_row_without_its_nan(rows, share):
    rows = np.array(rows, float).reshape(-1, 5)

    found = quantile_of_known(rows, share)

    for row, value in zip(rows, found, strict=True):
        known = row[~np.isnan(row)]
        expected = np.quantile(known, share) if len(known) else np.nan
        np.testing.assert_allclose(value, expected, atol=1e-12)


def test_rows_without_columns_have_no_quantile():
    assert np.isnan(quantile_of_known(np.zeros((2, 0)), 0.5)).all()
