"""S5, S6: many short ECGs through `convert` and `score`: pace, memory of the driver, and what a unit costs by itself."""

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import psutil

from bench.rows import Row
from cardioclarity.config import ConvertConfig, ParallelConfig, ScoreConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.parallel import mapper
from cardioclarity.score import SCORE
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.archive import short_records, write_archive
from cardioclarity.train import TRAIN
from cardioclarity.work import Receipt, drive

T = TypeVar("T")

LEADS: Final = ("I", "II")
WORKERS: Final = 2
SEED: Final = 0
WARM_UP: Final = 100
"""Units until both workers have loaded what they need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a driver says of itself.

    Attributes:
        convert_s: By the wall clock.
        score_s: By the wall clock.
        cpu_s: Of both, the workers included.
        peak_bytes: Peak of its resident memory.
    """

    convert_s: float
    score_s: float
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A unit with nothing to do."""

    id: str
    inputs: tuple[str, ...] = ()


def measure(*, n_records: tuple[int, int] = (200, 2000), n_units: int = 2000) -> list[Row]:
    """Convert and score archives of two sizes, each in a driver of its own; then hand out units with nothing to do.

    The model is the template detector alone, so that the road weighs more than the networks.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        _in_child(_make_model, scratch / "model")
        few, many = (_in_child(_run, scratch, n) for n in n_records)
    unit_cpu_s = _in_child(_hand_out, n_units)
    n, seconds = n_records[1], many.convert_s + many.score_s
    what = f"{n} synthetic 10-s ECGs of {len(LEADS)} leads"
    return [
        Row(goal="S5", what=f"{what}: convert", unit="s", ours=many.convert_s),
        Row(goal="S5", what=f"{what}: score", unit="s", ours=many.score_s),
        Row(goal="S5", what=f"{what}: both", unit="records/s", ours=n / seconds),
        Row(goal="S5", what=f"{what}: both, a record", unit="CPU ms", ours=1000 * many.cpu_s / n),
        Row(
            goal="S6",
            what=f"peak memory of the driver, against {n_records[0]} records",
            unit="MB",
            ours=many.peak_bytes / 1e6,
            peer=few.peak_bytes / 1e6,
            ratio=many.peak_bytes / few.peak_bytes,
            at_most=1.1,
        ),
        Row(
            goal="S5",
            what=f"an empty unit on {WORKERS} workers, driver and workers together",
            unit="CPU ms",
            ours=1000 * unit_cpu_s,
            at_most=10.0,
        ),
    ]


def _in_child(call: Callable[..., T], *arguments: object) -> T:
    """Call in a fresh process: peaks of memory and times of children are then of this call alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def _make_model(root: Path) -> None:
    archive = root / "archive"
    write_archive(open_storage(str(archive)).put_new, seed=SEED)
    drive(CONVERT, ConvertConfig(archive=str(archive), root=str(root)), map)
    drive(TRAIN, TrainConfig(root=str(root), detectors=("template",), seed=SEED), map)


def _run(scratch: Path, n_records: int) -> Ran:
    archive, root = scratch / f"archive-{n_records}", scratch / f"root-{n_records}"
    for key, data in short_records(n_records, seed=SEED, leads=LEADS):
        file = archive / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    shutil.copytree(scratch / "model" / "models", root / "models")
    cpu_s = _cpu_s()
    with mapper(ParallelConfig(workers=WORKERS)) as spread:
        started = time.perf_counter()
        drive(CONVERT, ConvertConfig(archive=str(archive), root=str(root)), spread)
        converted = time.perf_counter()
        drive(SCORE, ScoreConfig(root=str(root)), spread)
        scored = time.perf_counter()
    return Ran(
        convert_s=converted - started,
        score_s=scored - converted,
        cpu_s=_cpu_s() - cpu_s,
        peak_bytes=_peak_bytes(),
    )


def _peak_bytes() -> int:
    """Peak of resident memory since this program was loaded; `ru_maxrss` would count the parent's too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _hand_out(n_units: int) -> float:
    """CPU seconds per unit of this process and its workers, the start of the cluster and its end left out."""
    units = (Tick(id=str(number)) for number in range(WARM_UP + n_units + 1))
    with mapper(ParallelConfig(workers=WORKERS)) as spread:
        receipts = iter(spread(_tick, units))
        assert sum(1 for _ in islice(receipts, WARM_UP)) == WARM_UP
        before_s = _cpu_s()
        assert sum(1 for _ in islice(receipts, n_units)) == n_units
        seconds = _cpu_s() - before_s
        assert sum(1 for _ in receipts) == 1
    return seconds / n_units


def _cpu_s() -> float:
    """CPU seconds so far of this process and those below it that live."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    seconds: float = sum(spent.user + spent.system for spent in times)
    return seconds


def _tick(unit: Tick) -> Receipt[None]:
    return Receipt(unit_id=unit.id, done=0)
