"""`python -m bench [NAME …]`: run the benches, print one table, write JSON."""

import argparse
import ast
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from bench.rows import Row, table

BENCHES = (
    "decode",
    "segments",
    "convert",
    "command_line",
    "planning",
    "scale",
    "holter",
    "training",
    "scoring",
    "signal",
    "detection",
    "noise",
    "rhythm",
)


def main() -> None:
    """Run the named benches, or all; the table comes at the end, what happens meanwhile goes to standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Ratios against peers, side by side in one run."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", choices=[*BENCHES, []], help=", ".join(BENCHES))
    parser.add_argument("--list", action="store_true", help="say what there is and what each measures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name:14}{_docstring(name)}" for name in BENCHES))
        return
    load = os.getloadavg()
    rows = [row for name in arguments.names or BENCHES for row in _measure(name)]
    print("\n".join(table(rows)))
    if arguments.json:
        arguments.json.write_text(as_json(rows, load=load))


def as_json(rows: Sequence[Row], *, load: tuple[float, float, float]) -> str:
    """Lay the rows out for a file, with what one must know of the machine to compare them."""
    machine = {"processors": os.cpu_count(), "python": platform.python_version(), "load_before": load}
    return json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=1)


def _docstring(name: str) -> str:
    """Read what a bench says of itself without loading what it measures."""
    spec = find_spec(f"bench.{name}")
    assert spec is not None
    assert spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""


def _measure(name: str) -> list[Row]:
    from bench.mitbih import NoDataError

    print(f"{name} …", file=sys.stderr)
    try:
        return list(import_module(f"bench.{name}").measure())
    except NoDataError as error:
        print(f"{name} left out: {error}", file=sys.stderr)
        return []


if __name__ == "__main__":
    main()
