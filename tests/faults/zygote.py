"""A process that has imported everything and forks others: a real process starts in milliseconds, not in seconds.

One line of JSON on stdin is one job; the answers are its process id at once, and how it ended. Each job leads a process
group of its own, so that a kill takes its children with it.
"""

import json
import os
import resource
import signal
import sys
import traceback
from typing import Any

from faults.piped import Piped, tell
from faults.road import Road


class Zygote(Piped):
    """The other end of the pipe; one job at a time."""

    def __init__(self, *within: str, **environment: str) -> None:
        """Start it.

        Args:
            within: A command that runs it, such as ``unshare``.
            environment: Variables beside those of this process.
        """
        super().__init__("faults.zygote", within=within, **{"OMP_NUM_THREADS": "1", **environment})
        assert self.answer() == {"ready": True}

    def start(self, road: Road, steps: tuple[str, ...], **how: Any) -> int:
        """Start a job; gives its process id.

        Args:
            road: What to work on.
            steps: What to do, one after the other.
            how: ``file_bytes``: no file may become larger; ``log``: a file for its stderr.
        """
        return int(self.ask({"road": road.as_json(), "steps": steps, **how})["pid"])

    def wait(self) -> dict[str, Any]:
        """Wait for the end of the job: ``code`` as a shell would tell it, negative where a signal ended it, ``error``."""
        return self.answer()

    def run(self, road: Road, steps: tuple[str, ...], **how: Any) -> dict[str, Any]:
        self.start(road, steps, **how)
        return self.wait()


def kill(pid: int) -> None:
    """Kill a whole group as the machine does when memory is short: at once, with no last words."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it was done
        return


def _serve() -> None:
    tell({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(reading)
            _work(job, writing)
        os.close(writing)
        tell({"pid": pid})
        with os.fdopen(reading) as pipe:
            error = pipe.read()
        _, status = os.waitpid(pid, 0)
        tell({"code": os.waitstatus_to_exitcode(status), "error": error})


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
