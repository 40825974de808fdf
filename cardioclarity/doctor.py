"""Says in clear words what this machine has, and whether a root can be trusted with a night's work."""

import datetime as dt
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version, system
from typing import Final

from cardioclarity import models
from cardioclarity.errors import DamageError, ExitCode
from cardioclarity.probes import LITTLE_SPACE, Clock, Finding, Verdict, judged, probe
from cardioclarity.storage import Storage
from cardioclarity.tables import catalog, runs, snapshot
from cardioclarity.tables.schemas import SCHEMA_VERSION, SCHEMAS

_TRIAL_BYTES: Final = 32 << 20
_SLOW_BYTES_PER_S: Final = 20e6
_LIBRARIES: Final = ("pyarrow", "s3fs")


class Health(StrEnum):
    """What all findings together mean."""

    OK = "ok"
    DEGRADED = "degraded"
    REFUSED = "refused"

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told; what is degraded works."""
        return ExitCode.FAILED if self == Health.REFUSED else ExitCode.DONE


def health(findings: Iterable[Finding]) -> Health:
    """Sum up: the worst finding decides."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.REFUSED in verdicts:
        return Health.REFUSED
    return Health.DEGRADED if Verdict.WARNING in verdicts else Health.OK


def utc_now() -> dt.datetime:
    """Read this machine's clock."""
    return dt.datetime.now(dt.UTC)


def examine(root: Storage | None, clock: Clock = utc_now) -> Iterator[Finding]:
    """Look at this machine and, where one is given, at a root.

    Args:
        root: The deployment, which need not exist yet; nothing of the trial stays in it.
        clock: This machine's.

    Yields:
        One finding after the other, as they come.
    """
    yield from _machine()
    if root is None:
        said = f"{clock():%Y-%m-%d %H:%M:%S} UTC; give --root to compare it with the store's"
        yield Finding(what="clock", verdict=Verdict.NOTE, said=said)
        return
    is_reached = True
    for finding in probe(root, clock):
        is_reached &= (finding.what, finding.verdict) != ("list", Verdict.REFUSED)
        yield finding
    if is_reached:
        yield from _contents(root, clock)


def _machine() -> Iterator[Finding]:
    yield Finding(what="python", verdict=Verdict.OK, said=f"{python_version()} on {system()} {machine()}")
    numbers = {name: number for name, number in runs.versions().items() if name != "python"}
    numbers |= {name: version(name) for name in _LIBRARIES}
    named = ", ".join(f"{name} {number}" for name, number in sorted(numbers.items()))
    yield Finding(what="libraries", verdict=Verdict.OK, said=f"cardioclarity {version('cardioclarity')}; {named}")
    yield _fast_client()
    from cardioclarity.detectors.fitting import best_device  # loads torch, which takes seconds

    yield Finding(what="device", verdict=Verdict.OK, said=f"networks run on {best_device()}")
    yield _temporary_folder(Path(tempfile.gettempdir()))


def _fast_client() -> Finding:
    """Say which client reads and writes objects."""
    if importlib.util.find_spec("obstore") is None:
        said = "s3fs; faster with the extra: pip install 'cardioclarity[fast]'"
        return Finding(what="S3 client", verdict=Verdict.NOTE, said=said)
    if os.environ.get("CARDIOCLARITY_S3_CLIENT") == "s3fs":
        return Finding(what="S3 client", verdict=Verdict.NOTE, said="s3fs, as CARDIOCLARITY_S3_CLIENT asks")
    return Finding(what="S3 client", verdict=Verdict.OK, said=f"obstore {version('obstore')} (extra `fast`)")


def _temporary_folder(folder: Path) -> Finding:
    """Write some bytes, durably, and see how long it takes and how much room is left."""
    block = os.urandom(1 << 20)
    try:
        free = shutil.disk_usage(folder).free
        started = time.perf_counter()
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(_TRIAL_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        speed = _TRIAL_BYTES / (time.perf_counter() - started)
    except OSError as error:
        said = f"{folder} cannot be written ({error.strerror}); free some space, or set TMPDIR to another folder"
        return Finding(what="temporary folder", verdict=Verdict.REFUSED, said=said)
    said = f"{folder}: {free / 1e9:.1f} GB free, {speed / 1e6:.0f} MB/s"
    if free < LITTLE_SPACE or speed < _SLOW_BYTES_PER_S:
        return Finding(what="temporary folder", verdict=Verdict.WARNING, said=f"{said}; set TMPDIR to a better one")
    return Finding(what="temporary folder", verdict=Verdict.OK, said=said)


def _contents(root: Storage, clock: Clock) -> Iterator[Finding]:
    """Look at what the root holds; a root without model or scores is young, not ill."""
    finding = judged("format", lambda: _format(root))
    yield finding
    if finding.verdict == Verdict.OK:
        yield judged("champion", lambda: _champion(root))
        yield judged("last scoring", lambda: _last_scoring(root, clock))


def _format(root: Storage) -> tuple[Verdict, str]:
    if not snapshot.exists(root, "records"):
        snapshot.require_plain_place(root)
        return Verdict.NOTE, f"no tables yet; make them with: cardioclarity convert ARCHIVE --root {root.name}"
    for table in SCHEMAS:
        snapshot.open_table(root, table)
    return Verdict.OK, f"{len(SCHEMAS)} tables of schema version {SCHEMA_VERSION}"


def _champion(root: Storage) -> tuple[Verdict, str]:
    champion = models.champion(root)
    if champion is None:
        return Verdict.NOTE, f"none yet; make one with: cardioclarity train --root {root.name}"
    try:
        models.load(root, champion)
    except DamageError as error:
        return Verdict.WARNING, f"{error}; see: cardioclarity verify --root {root.name} --read-data"
    return Verdict.OK, champion


def _last_scoring(root: Storage, clock: Clock) -> tuple[Verdict, str]:
    ended = [row for row in catalog.runs(root) if row["verb"] == "score"]
    if not ended:
        return Verdict.NOTE, f"none yet; start one with: cardioclarity score --root {root.name}"
    last = max(ended, key=lambda row: row["finished_at"])
    hours = (clock() - last["finished_at"]).total_seconds() / 3600
    return Verdict.OK, f"{hours:.1f} h ago, {last['state']}"
