"""How every command speaks: sentences for people on stdout, a log on stderr, or one JSON object."""

import datetime as dt
import json as json_text
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from cardioclarity.config import default_root
from cardioclarity.errors import UsageError

Root = Annotated[
    str | None, Parameter(help="Folder or URL of the deployment [CARDIOCLARITY_ROOT, ./cardioclarity-data].")
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a command speaks.

    Attributes:
        json: Print one JSON object as the last line of stdout instead of sentences.
        quiet: Only errors on stderr.
        verbose: One line per unit of work on stderr, also on a terminal.
        debug: Show the traceback of an error.
    """

    json: bool = False
    quiet: Annotated[bool, Parameter(alias="-q")] = False
    verbose: Annotated[bool, Parameter(alias="-v")] = False
    debug: bool = False


@contextmanager
def speaking(output: Output) -> Iterator[bool]:
    """Send the log to stderr for the time of a command; hand out whether a display belongs there too."""
    on_terminal = sys.stderr.isatty() and not (output.quiet or output.json or output.verbose)
    level = logging.ERROR if output.quiet else logging.WARNING if on_terminal else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s" if level != logging.INFO else "%(message)s"))
    logger = logging.getLogger("cardioclarity")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield on_terminal
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def chosen_root(root: str | None) -> str:
    """Take the root that was given, else the default; an empty one is an unset variable of some script."""
    if root is not None and not root.strip():
        raise UsageError("--root is empty: give a folder or URL, or leave it out")
    return default_root() if root is None else root


def duration(text: str) -> dt.timedelta:
    """Read a length of time such as 26h, 45m or 7d.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if match is None:
        raise UsageError(f"duration {text!r}: give a number and m, h or d, such as 26h")
    unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
    try:
        return dt.timedelta(**{unit: float(match[1])})
    except OverflowError:
        raise UsageError(f"duration {text!r} is longer than anything that is kept") from None


def since(started: float) -> float:
    """Give the seconds since a reading of `time.perf_counter`, to the millisecond."""
    return round(time.perf_counter() - started, 3)


def say(line: str) -> None:
    """Print a line for people; once nobody reads any more, as behind `head`, what is left is said to nobody."""
    try:
        print(line)  # noqa: T201 - the command line speaks to people
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the rest of the process


def say_json(content: dict[str, object]) -> None:
    """Print a command's one JSON object."""
    say(json_text.dumps(content, default=str))


def say_table(columns: tuple[str, ...], rows: list[list[object]]) -> None:
    """Print rows under their column names, as wide as their longest cell; times to the second."""
    shown = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    for row in [list(columns), *shown]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)
