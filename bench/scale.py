"""S5, S6: many short ECGs through `convert` and `score`: pace with one worker and two, linearity, memory, cost of a unit."""

import shutil
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import psutil

from bench.drives import Ran, convert_and_score, in_child
from bench.rows import Row
from cardioclarity.config import ConvertConfig, ParallelConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.parallel import mapper
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.archive import short_records, write_archive
from cardioclarity.train import TRAIN
from cardioclarity.work import Receipt, drive

LEADS: Final = ("I", "II")
WORKERS: Final = 2
SEED: Final = 0
WARM_UP: Final = 100
"""Units until both workers have loaded what they need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A unit with nothing to do."""

    id: str
    inputs: tuple[str, ...] = ()


def measure(*, n_records: tuple[int, int, int] = (100, 1000, 10_000), n_units: int = 2000) -> list[Row]:
    """Convert and score archives of three sizes, each in a driver of its own; then hand out units with nothing to do.

    The model is the template detector alone, so that the road weighs more than the networks.
    """
    few, some, many = n_records
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        in_child(_make_model, scratch / "model")
        _make_archives(scratch, n_records)
        alone = [in_child(_run, scratch, n, 1) for n in n_records]
        both = [in_child(_run, scratch, n, WORKERS) for n in (some, many)]
    unit_cpu_s = in_child(_hand_out, n_units)
    first_s, then_s = (
        (after.cpu_s - before.cpu_s) / n for before, after, n in ((*alone[:2], some - few), (*alone[1:], many - some))
    )
    what = f"{many} synthetic 10-s ECGs of {len(LEADS)} leads"
    return [
        Row(goal="S5", what=f"{what}: convert, {WORKERS} workers", unit="s", ours=both[1].convert_s),
        Row(goal="S5", what=f"{what}: score, {WORKERS} workers", unit="s", ours=both[1].score_s),
        Row(goal="S5", what=f"{what}: both, {WORKERS} workers", unit="records/s", ours=many / both[1].wall_s),
        Row(goal="S5", what=f"{what}: both, a record", unit="CPU ms", ours=1000 * both[1].cpu_s / many),
        Row(
            goal="S5",
            what=f"{what}: both, {WORKERS} workers against one",
            unit="s",
            ours=both[1].wall_s,
            peer=alone[2].wall_s,
            ratio=alone[2].wall_s / both[1].wall_s,
            at_least=1.8,
        ),
        Row(
            goal="S5",
            what=f"one more record between {some} and {many}, against between {few} and {some}, one worker",
            unit="CPU ms",
            ours=1000 * then_s,
            peer=1000 * first_s,
            ratio=then_s / first_s,
            at_most=1.1,
        ),
        _peak("the driver", some, both[0].driver_bytes, both[1].driver_bytes),
        _peak("a worker", some, both[0].worker_bytes, both[1].worker_bytes),
        Row(
            goal="S5",
            what=f"an empty unit on {WORKERS} workers, driver and workers together",
            unit="CPU ms",
            ours=1000 * unit_cpu_s,
            at_most=10.0,
        ),
    ]


def _peak(whose: str, n_some: int, some: int, many: int) -> Row:
    what = f"peak memory of {whose}, against {n_some} records"
    return Row(goal="S6", what=what, unit="MB", ours=many / 1e6, peer=some / 1e6, ratio=many / some, at_most=1.1)


def _make_model(root: Path) -> None:
    archive = root / "archive"
    write_archive(open_storage(str(archive)).put_new, seed=SEED)
    drive(CONVERT, ConvertConfig(archive=str(archive), root=str(root)), map)
    drive(TRAIN, TrainConfig(root=str(root), detectors=("template",), seed=SEED), map)


def _make_archives(scratch: Path, n_records: tuple[int, ...]) -> None:
    """Write the largest archive; the smaller ones hold its first records."""
    written = 0
    for key, data in short_records(max(n_records), seed=SEED, leads=LEADS):
        written += key.endswith(".hea")
        for n in n_records:
            if written <= n:
                _write(scratch / f"archive-{n}" / key, data)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _run(scratch: Path, n_records: int, workers: int) -> Ran:
    root = scratch / f"root-{n_records}-{workers}"
    shutil.copytree(scratch / "model" / "models", root / "models")
    return convert_and_score(scratch / f"archive-{n_records}", root, workers)


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
