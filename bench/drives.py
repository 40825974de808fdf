"""One archive through `convert` and `score` in a process of its own: seconds, CPU seconds and peaks of memory."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from cardioclarity.config import ConvertConfig, ParallelConfig, ScoreConfig
from cardioclarity.convert import CONVERT
from cardioclarity.parallel import mapper
from cardioclarity.score import SCORE
from cardioclarity.work import drive

T = TypeVar("T")

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one archive took.

    Attributes:
        convert_s: By the wall clock, the start of the workers included.
        score_s: The same.
        cpu_s: Of both, the workers included.
        driver_bytes: Peak of the driver's resident memory.
        worker_bytes: The largest peak of a worker's; 0 without workers.
    """

    convert_s: float
    score_s: float
    cpu_s: float
    driver_bytes: int
    worker_bytes: int

    @property
    def wall_s(self) -> float:
        """Both verbs."""
        return self.convert_s + self.score_s


def in_child(call: Callable[..., T], *arguments: object) -> T:
    """Call in a fresh process: peaks of memory and times of children are then of this call alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def convert_and_score(archive: Path, root: Path, workers: int) -> Ran:
    """Convert an archive and score it by the champion that is in the root; without workers in this process."""
    cpu_s = _cpu_s()
    with _watched() as peaks, mapper(ParallelConfig(workers=workers)) as spread:
        started = time.perf_counter()
        drive(CONVERT, ConvertConfig(archive=str(archive), root=str(root)), spread)
        converted = time.perf_counter()
        drive(SCORE, ScoreConfig(root=str(root)), spread)
        scored = time.perf_counter()
    return Ran(
        convert_s=converted - started,
        score_s=scored - converted,
        cpu_s=_cpu_s() - cpu_s,
        driver_bytes=peak_bytes(os.getpid()),
        worker_bytes=max(peaks.values(), default=0),
    )


def peak_bytes(process: int) -> int:
    """Peak of a process's resident memory since it loaded its program; `ru_maxrss` would count the parent's too."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@contextmanager
def _watched() -> Iterator[dict[int, int]]:
    """Keep the peak of every process started below this one up to date: it is lost when one ends.

    A process that was there before is no worker, such as the resource tracker of `multiprocessing`.
    """
    peaks: dict[int, int] = {}
    done = threading.Event()
    me = psutil.Process()
    before = set(me.children(recursive=True))

    def look() -> None:
        while not done.wait(_LOOK_S):
            for child in set(me.children(recursive=True)) - before:
                with suppress(OSError, IndexError):  # it has just ended
                    peaks[child.pid] = peak_bytes(child.pid)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def _cpu_s() -> float:
    """CPU seconds so far of this process and of those below it that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
