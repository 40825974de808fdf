"""The fault tests for hours: seed after seed, on a folder, on SeaweedFS and, where it is installed, on Ceph.

    python tests/faults/soak.py --minutes 60

Counts add up in docs/soak.md, which is read back at the start and written after every seed: a soak that is stopped goes
on with the next seed. What was found wrong stands there with the seed that shows it again.
"""

import argparse
import datetime as dt
import logging
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Self

if __name__ == "__main__":  # started by path, as the tests' folder is no installed package
    sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
from servers import Server, ceph, seaweed
from servers.proxy import LOST_ACKNOWLEDGEMENT, TRANSIENT, Kind

from cardioclarity.config import ScoreConfig
from cardioclarity.errors import CardioClarityError
from cardioclarity.storage import open_storage
from faults.cloud import Cloud
from faults.crash import Crash, How, Operations
from faults.killing import fresh_folder, kill_once, whole_road_s
from faults.proxied import Proxied
from faults.road import FOLLOWING, STEPS, Road, copy, fast_folder, write_archive
from faults.state import check_between, look
from faults.workers import SEGMENTS, executed, executions, go, many_units, two_workers
from faults.zygote import Zygote

PAGE = Path(__file__).parents[2] / "docs" / "soak.md"
_ROW = re.compile(r"\| ([^|]+) \| ([^|]+) \| (\d+) \| (\d+) \| (\d+) to (\d+) \| (\S+) \| ([^|]+) \|")
_COLUMNS = "| what | server | count | bad | seeds | last | version |\n|---|---|---|---|---|---|---|"
_FOUND = "## Found"
CEPH_STARTS = 3
LONGEST_S = 900
_HEAD = """\
# Soak

What was tried at random, with which seeds, and how often it ended badly: with a wrong, lost or doubled row, with half a
run seen, with an error that names nothing, or with damage. `make soak` goes on where it stopped and adds up here.
"""


@dataclass(frozen=True, kw_only=True)
class Count:
    """One line of the page: what was tried where, how often in all, and with which seeds."""

    what: str
    server: str
    count: int = 0
    bad: int = 0
    first: int = 1
    last: int = 0
    date: str = "-"
    version: str = "-"

    def line(self) -> str:
        seeds = f"{self.first} to {self.last}"
        return f"| {self.what} | {self.server} | {self.count} | {self.bad} | {seeds} | {self.date} | {self.version} |"


@dataclass
class Page:
    """The page of counts."""

    path: Path
    counts: dict[tuple[str, str], Count] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        text = path.read_text() if path.exists() else ""
        counts = {
            (what, server): Count(
                what=what,
                server=server,
                count=int(n),
                bad=int(bad),
                first=int(first),
                last=int(last),
                date=date,
                version=of,
            )
            for what, server, n, bad, first, last, date, of in _ROW.findall(text)
        }
        return cls(path, counts, [line for line in text.partition(_FOUND)[2].splitlines() if line.startswith("- ")])

    def next_seed(self, what: str, server: str) -> int:
        return self.counts.get((what, server), Count(what=what, server=server)).last + 1

    def add(self, what: str, server: str, seed: int, n: int, wrong: str | None) -> None:
        """Count one seed, and write the page as a whole."""
        old = self.counts.get((what, server), Count(what=what, server=server))
        today, code = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}", version("cardioclarity")
        self.counts[what, server] = replace(
            old, count=old.count + n, bad=old.bad + (wrong is not None), last=seed, date=today, version=code
        )
        if wrong is not None:
            self.found.append(f"- {today}, {code}, {what}, {server}, seed {seed}: {wrong}")
        lines = [_HEAD, _COLUMNS, *(self.counts[key].line() for key in sorted(self.counts))]
        lines += ["", _FOUND, "", *(self.found or ["Nothing."]), ""]
        partial = self.path.with_suffix(".partial")
        partial.write_text("\n".join(lines))
        partial.rename(self.path)


@dataclass(frozen=True)
class Trial:
    """One kind of mischief on one server: takes a seed, gives how many things went wrong on purpose."""

    what: str
    server: str
    run: Callable[[int], int]


def trials_on_a_folder(stack: ExitStack, folder: Path) -> Iterator[Trial]:
    write_archive(open_storage(str(folder / "archive")))
    (folder / "empty").mkdir()
    road = Road(archive=str(folder / "archive"), root=str(folder / "empty"))
    end = look(fresh_folder(road, folder / "end").go(STEPS).place)
    zygote = stack.enter_context(Zygote())
    clean_s = min(whole_road_s(zygote, fresh_folder(road, folder / "killed")) for _ in range(2))

    def kills(seed: int) -> int:
        at_s = random.Random(seed).uniform(0, clean_s)
        return kill_once(zygote, fresh_folder(road, folder / "killed"), at_s=at_s, end=end, here=f"at {at_s:.3f} s")

    yield Trial("process killed", "folder", kills)
    yield Trial("worker killed", "folder", worker_kills(stack, folder))


def worker_kills(stack: ExitStack, folder: Path) -> Callable[[int], int]:
    many = many_units(open_storage(str(folder / "many-archive")), str(folder / "many"))
    quiet = many.to(copy(many.root, folder / "many-quiet")).go(("score",))
    end, where = look(quiet.place), stack.enter_context(two_workers())

    def kills(seed: int) -> int:
        dice = random.Random(seed)
        kill_at = dice.sample(range(1, SEGMENTS - 1), dice.choice((1, 2)))
        road = fresh_folder(many, folder / "many-killed")
        executions(road.root).unlink(missing_ok=True)
        told = go(where, "score", ScoreConfig(root=road.root), kill_at=kill_at)
        assert (told.done, told.quarantined) == (SEGMENTS, 0), f"{kill_at}: {told}"
        assert look(road.place) == end, kill_at
        assert len(executed(road.root)) <= 1.5 * SEGMENTS, kill_at
        return len(kill_at)

    return kills


def trials_on(stack: ExitStack, name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    proxied = stack.enter_context(Proxied(server.endpoint))
    cloud = Cloud(server, proxied, monkeypatch)
    zygote = stack.enter_context(Zygote(**server.environment()))
    clean_s = min(whole_road_s(zygote, cloud.fresh()) for _ in range(2))

    def here() -> None:
        """Turn to this server; the trials of several take turns in one process."""
        server.set_environment(monkeypatch)

    def faults(kinds: Sequence[Kind], share: float) -> Callable[[int], int]:
        def walk(seed: int) -> int:
            here()
            return cloud.walk(seed, kinds=kinds, share=share, delay_s=0.05)[0].total()

        return walk

    def kills(seed: int) -> int:
        here()
        at_s = random.Random(seed).uniform(0, clean_s)
        return kill_once(zygote, cloud.fresh(), at_s=at_s, end=cloud.seen["end"], here=f"at {at_s:.3f} s")

    def crashes(seed: int) -> int:
        here()
        dice = random.Random(seed)
        step, how = dice.choice(STEPS), dice.choice((How.BEFORE, How.AFTER))
        road = cloud.fresh().go(STEPS[: STEPS.index(step)])
        at = dice.randint(1, 60 if step == "convert" else 12)
        try:
            with Operations(at=at, how=how):
                road.go((step,))
        except (Crash, CardioClarityError):
            check_between(road.place, cloud.seen[step], cloud.seen[FOLLOWING[step]], f"{step}, operation {at}, {how}")
            road.go((step,))
        else:
            return 0  # the step has fewer operations
        assert look(road.place) == cloud.seen[FOLLOWING[step]], f"{step}, operation {at}, {how}"
        return 1

    def whole(seed: int) -> int:
        here()
        road = cloud.fresh().go(STEPS)
        assert look(road.place) == cloud.seen["end"]
        assert road.verify() == ()
        return 1

    yield Trial("whole road, then verify --read-data", name, whole)
    yield Trial("fault of the store", name, faults(TRANSIENT, 0.15))
    yield Trial("lost acknowledgement", name, faults(LOST_ACKNOWLEDGEMENT, 0.4))
    yield Trial("bit flipped on the wire", name, faults((Kind.FLIPPED,), 0.1))
    yield Trial("process killed", name, kills)
    yield Trial("crash at an operation", name, crashes)


def soak(trials: Sequence[Trial], page: Page, *, seconds: float) -> int:
    """Try one seed after the other, each time of what has had the least time; tells how many ended badly."""
    spent = dict.fromkeys(range(len(trials)), 0.0)
    deadline, bad = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        number = min(spent, key=lambda n: spent[n])
        trial, started = trials[number], time.monotonic()
        seed, n, wrong = page.next_seed(trial.what, trial.server), 0, None
        try:
            with no_longer_than(LONGEST_S):
                n = trial.run(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the soak is for
            traceback.print_exc()
            wrong, bad, n = " ".join(f"{type(error).__name__}: {error}".split())[:600], bad + 1, 1
        spent[number] += time.monotonic() - started
        page.add(trial.what, trial.server, seed, int(n), wrong)
        tell(page.counts[trial.what, trial.server].line())
    return bad


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where the block hangs; only in the main thread."""

    def over(signum: int, frame: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def start_ceph(stack: ExitStack, scratch: Path) -> Server | None:
    """Start Ceph where it is installed; on a busy machine its daemons sometimes miss each other at the start."""
    if (lack := ceph.missing()) is not None:
        tell(f"no Ceph: {lack} is not installed; tests/servers/install-ceph installs it on Debian")
        return None
    for attempt in range(1, CEPH_STARTS + 1):
        (folder := scratch / f"ceph-{attempt}").mkdir()
        try:
            return stack.enter_context(ceph.running(folder))
        except (RuntimeError, subprocess.SubprocessError) as error:
            tell(f"Ceph did not start, try {attempt} of {CEPH_STARTS}: {error}")
    return None


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--only", default="", help="only trials whose what or server holds this text")
    parser.add_argument("--page", type=Path, default=PAGE, help="where counts add up (default: docs/soak.md)")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.getLogger("cardioclarity").addHandler(logging.NullHandler())  # what it warns of is the tiny archive
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        trials = list(trials_on_a_folder(stack, stack.enter_context(fast_folder())))
        servers = {"SeaweedFS": stack.enter_context(seaweed.running(scratch / "seaweedfs"))}
        if (server := start_ceph(stack, scratch)) is not None:
            servers["Ceph"] = server
        for name, server in servers.items():
            trials += trials_on(stack, name, server, monkeypatch)
        trials = [trial for trial in trials if chosen.only in trial.what or chosen.only in trial.server]
        bad = soak(trials, Page.read(chosen.page), seconds=60 * chosen.minutes)
    tell(f"{bad} ended badly; the counts stand in {chosen.page.name}")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
