"""D9: the rhythm head on the development half of MIT-BIH, patients held out fold by fold."""

from collections.abc import Sequence
from pathlib import Path

from bench import mitbih
from bench.rows import Row

GOALS = {
    "all": ("rhythm: auroc against all normal windows", 0.96),
    "clean": ("rhythm: auroc against clean ones", 0.993),
}


def measure(archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT) -> list[Row]:
    """Run the protocol `rhythm` of `cardioclarity evaluate` on some records."""
    found = mitbih.evaluate("rhythm", [archive or mitbih.archive()], names)
    rows = []
    for (_, subset), one in found.items():
        what, goal = GOALS.get(subset, (f"rhythm: auroc of {subset.removeprefix('rhythm:')}", None))
        name = "" if goal is None else "D9"
        rows.append(Row(goal=name, what=what, unit="", ours=one.value, low=one.low, high=one.high, at_least=goal))
    return rows
