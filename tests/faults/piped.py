"""A process of ours at the other end of two pipes: a line of JSON goes in, a line of JSON comes out."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TESTS = Path(__file__).parents[1]


class Piped:
    """This end of the pipes.

    Attributes:
        pid: Process id of the other end.
    """

    def __init__(self, module: str, *arguments: str, within: Sequence[str] = (), **environment: str) -> None:
        """Start it.

        Args:
            module: What it runs.
            arguments: Those of the module.
            within: A command that runs it, such as ``unshare``.
            environment: Variables beside those of this process.
        """
        self._process = subprocess.Popen(
            [*within, sys.executable, "-W", "ignore", "-m", module, *arguments],
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # the end of its stdin ends it

    def ask(self, told: dict[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the other end is gone: {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def tell(answer: dict[str, Any]) -> None:
    """Say a line, as the other end."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
