"""A process that has imported everything and forks others: a real process starts in milliseconds, not in seconds.

One line of JSON on stdin is one job; the answers are its process id at once, and how it ended. Each job leads a process
group of its own, so that a kill takes its children with it.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults.road import Road

TESTS = Path(__file__).parents[1]


class Zygote:
    """The other end of the pipe; one job at a time.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, *within: str, **environment: str) -> None:
        """Start it.

        Args:
            within: A command that runs it, such as ``unshare``.
            environment: Variables beside those of this process.
        """
        self._process = subprocess.Popen(
            [*within, sys.executable, "-W", "ignore", "-m", "faults.zygote"],
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._answer() == {"ready": True}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # the end of its stdin ends it

    def start(self, road: Road, steps: tuple[str, ...], **how: Any) -> int:
        """Start a job; gives its process id.

        Args:
            road: What to work on.
            steps: What to do, one after the other.
            how: ``file_bytes``: no file may become larger; ``log``: a file for its stderr.
        """
        assert self._process.stdin is not None
        job = {"road": road.as_json(), "steps": steps, **how}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def wait(self) -> dict[str, Any]:
        """Wait for the end of the job: ``code`` as a shell would tell it, negative where a signal ended it, ``error``."""
        return self._answer()

    def run(self, road: Road, steps: tuple[str, ...], **how: Any) -> dict[str, Any]:
        self.start(road, steps, **how)
        return self.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the zygote is gone: {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def kill(pid: int) -> None:
    """Kill a whole group as the machine does when memory is short: at once, with no last words."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it was done
        return


def _serve() -> None:
    _tell({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(reading)
            _work(job, writing)
        os.close(writing)
        _tell({"pid": pid})
        with os.fdopen(reading) as pipe:
            error = pipe.read()
        _, status = os.waitpid(pid, 0)
        _tell({"code": os.waitstatus_to_exitcode(status), "error": error})


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _work(job: dict[str, Any], writing: int) -> None:
    """Do a job as the command line does: one sentence and code 1 for an error of ours, a traceback for a mistake."""
    from cardioclarity.errors import CardioClarityError

    code = 0
    try:
        os.dup2(os.open(job.get("log", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        if limit := job.get("file_bytes"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        Road.from_json(job["road"]).go(tuple(job["steps"]))
    except CardioClarityError as error:
        code = 1
        os.write(writing, f"error: {error}".encode())
    except BaseException:  # noqa: BLE001 - told to the test, which fails
        code = 70
        os.write(writing, traceback.format_exc().encode())
    os._exit(code)


if __name__ == "__main__":
    _serve()
