"""S5, S6: `convert` plans a listing of a million records: seconds and memory of the driver, against a tenth of it."""

import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from bench.drives import in_child, peak_bytes
from bench.rounds import timed
from bench.rows import Row
from cardioclarity.config import ConvertConfig
from cardioclarity.convert import UNIT_RECORDS, plan_listing
from cardioclarity.readers.archive import group
from cardioclarity.storage import open_storage
from cardioclarity.tables import deliveries, publish
from cardioclarity.tables.deliveries import Delivery, Origin

IN_A_FOLDER: Final = 1000


class File(NamedTuple):
    """An object as a store lists it."""

    key: str
    size: int = 10_000
    version: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a plan took.

    Attributes:
        wall_s: By the wall clock.
        cpu_s: Of this process.
        peak_bytes: Peak of its resident memory.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measure(*, n_records: tuple[int, int] = (100_000, 1_000_000)) -> list[Row]:
    """Plan archives of two sizes that no store holds, each in a process of its own: all new, then with half known."""
    with tempfile.TemporaryDirectory() as folder:
        taken = [_of_size(Path(folder, f"{n}"), n) for n in n_records]
    rows = []
    for what, few, many in zip(("all new", "half of it known"), *taken, strict=True):
        whole = f"plan {n_records[1]} listed records, {what}"
        few_ms, many_ms = (1000 * one.cpu_s / n for one, n in zip((few, many), n_records, strict=True))
        rows += [
            Row(goal="S5", what=whole, unit="s", ours=many.wall_s),
            Row(
                goal="S5",
                what=f"{whole}: a record, against {n_records[0]}",
                unit="CPU ms",
                ours=many_ms,
                peer=few_ms,
                ratio=many_ms / few_ms,
                at_most=1.1,
            ),
            Row(
                goal="S6",
                what=f"{whole}: peak memory, against {n_records[0]}",
                unit="MB",
                ours=many.peak_bytes / 1e6,
                peer=few.peak_bytes / 1e6,
                ratio=many.peak_bytes / few.peak_bytes,
                at_most=1.1,
            ),
        ]
    return rows


def _of_size(folder: Path, n: int) -> list[Planned]:
    folder.mkdir()
    all_new = in_child(_plan, folder, n)
    in_child(_deliver_half, folder, n)
    return [all_new, in_child(_plan, folder, n)]


def _listing(n: int) -> Iterator[File]:
    """So many records of two files each."""
    for number in range(n):
        for suffix in ("dat", "hea"):
            yield File(f"{number // IN_A_FOLDER:06d}/{number:09d}.{suffix}")


def _plan(folder: Path, n: int) -> Planned:
    """Plan and go through the units."""
    config = ConvertConfig(archive=str(folder), root=str(folder / "root"))

    def planned() -> int:
        plan = plan_listing(config, _listing(n))
        return plan.already_done + sum(len(unit.sources) for unit in plan.units)

    found, cpu_s, wall_s = timed(planned)
    assert found == n
    return Planned(wall_s=wall_s, cpu_s=cpu_s, peak_bytes=peak_bytes(os.getpid()))


def _deliver_half(folder: Path, n: int) -> None:
    """Let the table `sources` know every second record."""
    root = open_storage(str(folder / "root"))
    seen_at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    origin = Origin(
        archive=open_storage(str(folder)).url, run_id="20260101T000000-00000000", unit_id="u", seen_at=seen_at
    )
    staged = []
    known = islice(group(_listing(n)), 0, None, 2)
    while sources := list(islice(known, UNIT_RECORDS)):
        rows = [
            Delivery(key=source.key, version=source.version, digest="0" * 64, record_id="0" * 32, reason=None)
            for source in sources
        ]
        staged.append(deliveries.stage_sources(root, rows, origin))
    publish.upsert(root, "sources", staged, run_id=origin.run_id)
