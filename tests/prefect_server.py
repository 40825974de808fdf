"""A real Prefect server with a process worker, below one folder, on a free port."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

BIN = Path(sys.executable).parent
START_S = 240
BUSY_S = 60
POOL = "cardioclarity"


def environment(home: Path, **more: str) -> dict[str, str]:
    """The variables of a process that talks to nobody but the server of this home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CARDIOCLARITY_"))}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    return kept | quiet | {"PREFECT_HOME": str(home), "COLUMNS": "400"} | more


@contextlib.contextmanager
def in_background(command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run a command beside the test and end its whole process group afterwards; gives its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process.pid
        finally:
            end_group(process, signal.SIGTERM)


def end_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal a process group, and kill what is left of it after ten seconds."""
    for signum in (how, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server.

    Attributes:
        folder: Where everything of it lives.
        api: Its HTTP interface.
        env: What a client needs.
        worker: Process id of the worker; None until it runs.
    """

    folder: Path
    api: httpx.Client
    env: Mapping[str, str]
    worker: int | None = None

    def prefect(self, *arguments: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command line of Prefect."""
        return subprocess.run(
            [str(BIN / "prefect"), "--no-prompt", *arguments],
            cwd=folder or self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def get(self, path: str) -> Any:
        return self.api.get(path).raise_for_status().json()

    def find(self, path: str, **body: object) -> Any:
        return self.api.post(path, json=body).raise_for_status().json()

    def change(self, path: str, **body: object) -> None:
        """Change something; the server says 503, and a client tries again, while another one writes to its SQLite file."""
        deadline = time.monotonic() + BUSY_S
        while (answer := self.api.patch(path, json=body)).status_code == 503 and time.monotonic() < deadline:
            time.sleep(1)
        answer.raise_for_status()

    def runs(self, deployment_id: str) -> list[dict[str, Any]]:
        """The runs of a deployment that are due, the latest first."""
        wanted = {"id": {"any_": [deployment_id]}}
        found = self.find("/flow_runs/filter", deployments=wanted, sort="EXPECTED_START_TIME_DESC")
        return [run for run in found if run["state_type"] != "SCHEDULED"]

    def latest_run(self, deployment_id: str) -> dict[str, Any]:
        return self.runs(deployment_id)[0]

    @staticmethod
    def table(artifact: Mapping[str, Any]) -> list[dict[str, Any]]:
        return json.loads(artifact["data"]) if isinstance(artifact["data"], str) else artifact["data"]

    def logs(self, run_id: str) -> list[dict[str, Any]]:
        return self.find("/logs/filter", logs={"flow_run_id": {"any_": [run_id]}}, sort="TIMESTAMP_ASC", limit=200)

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.find("/artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}})
        return {artifact["key"]: artifact for artifact in found}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start a server and a process worker of the pool, and end both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    env = environment(folder / "home", PREFECT_API_URL=url, PREFECT_WORKER_QUERY_SECONDS="2")
    start = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    work = [str(BIN / "prefect"), "worker", "start", "--pool", POOL, "--type", "process"]
    with (
        in_background(start, folder, env, folder / "server.log"),
        httpx.Client(base_url=url, timeout=30) as api,
    ):
        _wait_until_healthy(api, folder / "server.log")
        server = Server(folder=folder, api=api, env=env)
        created = server.prefect("work-pool", "create", POOL, "--type", "process")
        assert created.returncode == 0, created.stdout + created.stderr
        with in_background(work, folder, env, folder / "worker.log") as worker:
            yield replace(server, worker=worker)


def _wait_until_healthy(api: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if api.get("/health").status_code == 200:
                return
        time.sleep(0.5)
    raise TimeoutError(f"no Prefect server within {START_S} s:\n{log.read_text()[-2000:]}")
