"""Units that write down each execution, and that can be made to kill their worker; importable in worker processes."""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask

from cardioclarity import parallel
from cardioclarity.config import ParallelConfig
from cardioclarity.convert import CONVERT
from cardioclarity.parallel import mapper
from cardioclarity.score import SCORE
from cardioclarity.storage import Storage
from cardioclarity.synthetic import FINE, Scene, ecg, wfdb_files
from cardioclarity.work import Receipt, Summary, Verb, complete
from faults.road import Road

SEGMENTS = 12
_PAUSE_S = 0.1
"""Long enough that units are still to come when the first receipts arrive."""


def _noted(unit: Any) -> None:
    """Write down which unit runs in which process, beside the root; end that process where the unit is poison."""
    with executions(unit.root).open("a") as log:
        log.write(f"{unit.id} {os.getpid()}\n")
    if poison(unit.root).exists() and unit.id == poison(unit.root).read_text():
        os._exit(1)
    time.sleep(_PAUSE_S)


def executions(root: str) -> Path:
    return Path(f"{root}.executions")


def poison(root: str) -> Path:
    return Path(f"{root}.poison")


def executed(root: str) -> list[tuple[str, int]]:
    """Give unit and process of each execution so far."""
    lines = [line.split() for line in executions(root).read_text().splitlines()]
    return [(unit, int(pid)) for unit, pid in lines]


def convert(unit: Any) -> Receipt[Any]:
    _noted(unit)
    return CONVERT.run(unit)


def score(unit: Any) -> Receipt[Any]:
    _noted(unit)
    return SCORE.run(unit)


NOTED: dict[str, Verb[Any, Any, Any]] = {"convert": replace(CONVERT, run=convert), "score": replace(SCORE, run=score)}
"""The verbs, with their executions written down."""


def go(where: ParallelConfig, verb: str, config: Any, *, kill_at: Collection[int] = ()) -> Summary:
    """Run a verb; when so many receipts have come, the process of the last execution is killed."""
    receipts, noted = 0, NOTED[verb]

    def told(receipt: Receipt[Any]) -> None:
        nonlocal receipts
        receipts += 1
        if receipts in kill_at:
            os.kill(executed(config.root)[-1][1], signal.SIGKILL)

    with mapper(where) as apply:
        return complete(noted, config, noted.plan(config), apply, told)


@contextmanager
def two_workers() -> Iterator[ParallelConfig]:
    """Start two real worker processes, one cluster for all runs: a worker takes seconds to start."""
    from distributed import LocalCluster

    with (
        dask.config.set(parallel._CONFIG),
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
    ):
        yield ParallelConfig(scheduler=cluster.scheduler_address)


def many_units(archive: Storage, root: str) -> Road:
    """Write records of unlike rates, so that each is a segment and a unit of its own; convert them and train."""
    for n in range(SEGMENTS):
        scene = Scene(name=f"{n:02}", seed=n, duration_s=12.0, rate_hz=250.0 + 10 * n, pvc_per_hour=500.0)
        for key, data in wfdb_files(ecg(scene), FINE).items():
            archive.put_new(key, data)
    return Road(archive=archive.url, root=root).go(("convert", "train"))
