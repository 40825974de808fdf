"""Ways to do the same work, timed in turn in one process on one core."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Seconds = NDArray[np.float64]
"""(round, item, clock) float64; the clocks are CPU time of this process, then wall time."""

CPU, WALL = 0, 1


def in_turn(ways: Mapping[str, Callable[[T], object]], items: Sequence[T], *, rounds: int) -> dict[str, Seconds]:
    """Let each way do all items, round after round, so that a noisy moment of the machine harms every way alike.

    Args:
        ways: Name → what to call with an item.
        items: What each way works on.
        rounds: How often.

    Returns:
        Name → seconds.
    """
    names = list(ways)
    seconds: dict[str, Seconds] = {name: np.zeros((rounds, len(items), 2)) for name in names}
    with _one_core():
        for turn in range(rounds):
            start = turn % len(names)  # nobody always comes after the same other, with what that one left in the cache
            for name in names[start:] + names[:start]:
                for at, item in enumerate(items):
                    seconds[name][turn, at] = timed(partial(ways[name], item))[
                        1:
                    ]  # the result is let go before the next
    return seconds


def least(seconds: Seconds, clock: int = CPU) -> float:
    """Sum over the items of each one's least time: the work itself, with the least of what disturbed it."""
    return float(seconds[..., clock].min(axis=0).sum())


def middle(seconds: Seconds, clock: int = CPU) -> float:
    """Sum over the items of each one's median time."""
    return float(np.median(seconds[..., clock], axis=0).sum())


def share(limit: Seconds, ours: Seconds, clock: int = CPU) -> float:
    """Median over the rounds of the share of a limit that we reach, side by side."""
    return float(np.median(limit[..., clock].sum(axis=1) / ours[..., clock].sum(axis=1)))


def timed(call: Callable[[], T]) -> tuple[T, float, float]:
    """Call something: its result, CPU seconds of this process and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return result, time.process_time() - cpu, time.perf_counter() - wall


@contextmanager
def _one_core() -> Iterator[None]:
    """Pin this process, and keep blosc from threads of its own; a bare codec has none either."""
    cores, threads = os.sched_getaffinity(0), numcodecs.blosc.use_threads
    os.sched_setaffinity(0, {min(cores)})
    numcodecs.blosc.use_threads = False
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        numcodecs.blosc.use_threads = threads
