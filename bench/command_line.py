"""S10: what `cardioclarity --help` costs, beside `prefect --help`."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.rows import Row

HEAVY = ("numpy", "scipy", "torch", "zarr", "pyarrow", "deltalake", "distributed", "prefect")


def measure(*, runs: int = 15) -> list[Row]:
    """Run the installed command as a child and take its CPU seconds."""
    ours = [_cpu_s("cardioclarity") for _ in range(runs)]
    peer = _cpu_s("prefect")
    middle, loaded = statistics.median(ours), _heavy_modules()
    return [
        Row(goal="S10", what=f"cardioclarity --help, least of {runs}", unit="CPU s", ours=min(ours), at_most=0.4),
        Row(
            goal="S10",
            what="the same, median, against prefect --help once",
            unit="CPU s",
            ours=middle,
            peer=peer,
            ratio=peer / middle,
        ),
        Row(goal="S10", what="numpy and other heavy libraries loaded", unit="libraries", ours=loaded, at_most=0.0),
    ]


def _cpu_s(command: str) -> float:
    """User and system time of one child."""
    child = subprocess.Popen([Path(sys.executable).with_name(command), "--help"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{command} --help ended with {child.returncode}"
    return usage.ru_utime + usage.ru_stime


def _heavy_modules() -> int:
    """How many of the heavy libraries a child has loaded once it has printed its help."""
    script = (
        "import atexit, sys; from cardioclarity.__main__ import main; sys.argv = ['cardioclarity', '--help']; "
        f"atexit.register(lambda: print(len({set(HEAVY)!r} & set(sys.modules)), file=sys.stderr)); main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stderr)
