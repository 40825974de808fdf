"""Windows of one record: where each lies, and what a mask, a signal or a row of values comes to in it."""

import numpy as np
from numpy.typing import NDArray


def window_starts(n_samples: int, *, rate_hz: float, window_s: float) -> NDArray[np.int64]:
    """First sample of each window; they do not overlap, and what is left at the end is a shorter window of its own."""
    return np.arange(0, n_samples, max(1, round(window_s * rate_hz)), dtype=np.int64)


def window_ends(window_start: NDArray[np.int64], *, n_samples: int) -> NDArray[np.int64]:
    """(window,) sample past each window: the first of the next one, or the record's end."""
    return np.append(window_start[1:], n_samples)[: len(window_start)]


def of_windows(
    values: NDArray[np.bool_], window_start: NDArray[np.int64], samples: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Give each sample the value of the window that it lies in.

    Args:
        values: (window,) bool.
        window_start: (window,) int64, ascending from 0.
        samples: (sample,) int64 sample indices, such as R peaks.

    Returns:
        (sample,) bool; False throughout where there is no window.
    """
    if not len(values):
        return np.zeros(len(samples), bool)
    found: NDArray[np.bool_] = values[np.searchsorted(window_start, samples, side="right") - 1]
    return found


def window_share(mask: NDArray[np.bool_], window_start: NDArray[np.int64]) -> NDArray[np.float64]:
    """(window,) share of True in each window of a (sample,) mask."""
    if len(window_start) == 0:
        return np.zeros(0)
    counts = np.add.reduceat(mask, window_start, dtype=np.int32)
    share: NDArray[np.float64] = counts / np.diff(np.append(window_start, len(mask)))
    return share


def root_mean_square(signal: NDArray[np.float32], window_start: NDArray[np.int64]) -> NDArray[np.float32]:
    """(window,) float32 root mean square of a (sample,) signal over its known samples; NaN without any."""
    if len(window_start) == 0:
        return np.zeros(0, np.float32)
    squares = np.square(signal)
    is_missing = np.isnan(squares)
    squares[is_missing] = 0
    known = np.diff(np.append(window_start, len(signal))) * (1 - window_share(is_missing, window_start))
    sums = np.add.reduceat(squares, window_start)  # pairwise sums; float64 here would copy a whole 24-h lead
    return np.where(known > 0, np.sqrt(sums / np.maximum(known, 1)), np.nan).astype(np.float32)


def as_rows(values: NDArray[np.floating], counts: NDArray[np.int64]) -> NDArray[np.floating]:
    """Lay values that follow each other, `counts[i]` for row i, into (row, largest count), filled with NaN."""
    rows = np.full((len(counts), int(counts.max(initial=0))), np.nan, np.float32)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = values
    return rows


def quantile_of_known(rows: NDArray[np.floating], share: float) -> NDArray[np.floating]:
    """(row,) quantile of the entries of (row, column) that are not NaN, interpolated; NaN where there are none."""
    if rows.shape[1] == 0:
        return np.full(len(rows), np.nan, rows.dtype)
    ordered = np.sort(rows, axis=1)  # NaN goes last
    position = share * np.maximum((~np.isnan(rows)).sum(axis=1) - 1, 0)
    low = np.floor(position).astype(np.int64)
    high = np.ceil(position).astype(np.int64)
    below = np.take_along_axis(ordered, low[:, None], axis=1)[:, 0]
    above = np.take_along_axis(ordered, high[:, None], axis=1)[:, 0]
    quantile: NDArray[np.floating] = (below + (above - below) * (position - low)).astype(rows.dtype)
    return quantile
