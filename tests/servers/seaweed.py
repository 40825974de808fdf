"""SeaweedFS from its wheel: one server for all workers of a test run, gone when the last of them is.

Each worker holds a shared lock on one file. A keeper, the process that `python seaweed.py FOLDER` is, starts the server
and waits until it gets that lock alone: so the server ends with its users however they end.
"""

import contextlib
import fcntl
import json
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":  # started by path, as the tests' folder is no installed package
    sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import ACCESS_KEY, READER_KEY, READER_SECRET, SECRET_KEY, Server, kill_group, wait_for_first_write

WEED = Path(sys.executable).with_name("weed")
START_S = 120
_STARTS = 3
"""Between choosing ports and taking them, somebody else may."""

_HTTP_PORTS, _GRPC = range(11_000, 22_000), 10_000
"""Each has its gRPC port 10,000 above; both stay below those that the kernel gives to outgoing connections."""

_SOCKETS = Path("/tmp")
"""Where it puts unix sockets, named by port, whatever TMPDIR says."""


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Server]:
    """Use the server of a folder together with the other processes that do, starting it where none runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("w") as users:
        with (folder / "start").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # waits while an earlier server is being ended
            server = _known(folder) or _start(folder)
        yield server


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run a server of one's own in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(_STARTS):
        ports = _free_ports(4)
        server = Server(endpoint=f"http://127.0.0.1:{ports[3]}")
        with (folder / "weed.log").open("wb") as log:
            process = subprocess.Popen(
                _command(folder, ports), cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            if wait_for_first_write(server, lambda process=process: process.poll() is None, START_S):
                yield server
                return
        finally:
            kill_group(process)
            shutil.rmtree(folder / "data", ignore_errors=True)
            for port in ports:  # it leaves its sockets behind
                for left in (
                    *_SOCKETS.glob(f"seaweedfs-*-{port}.sock"),
                    *_SOCKETS.glob(f"seaweedfs-*-grpc-{port + _GRPC}.sock"),
                ):
                    left.unlink(missing_ok=True)
    raise RuntimeError(f"SeaweedFS does not start:\n{(folder / 'weed.log').read_text()[-2000:]}")


def _command(folder: Path, ports: Sequence[int]) -> Sequence[str]:
    master, volume, filer, s3 = ports
    (folder / "data").mkdir()
    identities = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, key, secret, actions in (
            ("test", ACCESS_KEY, SECRET_KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("reader", READER_KEY, READER_SECRET, ["Read", "List"]),
        )
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    return [
        str(WEED),
        "server",
        "-dir=data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        "-master.volumeSizeLimitMB=256",
        "-master.telemetry=false",
        f"-volume.port={volume}",
        "-volume.max=100",
        "-filer",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        "-s3.config=s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def _free_ports(n: int) -> Sequence[int]:
    """Find HTTP ports that are free together with the gRPC ports above them."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(_HTTP_PORTS, len(_HTTP_PORTS)):
            try:
                for each in (port, port + _GRPC):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", each))
            except OSError:
                continue
            found.append(port)
            if len(found) == n:
                return found
    raise RuntimeError("no free ports on this machine")


def _known(folder: Path) -> Server | None:
    """Read what the keeper of a running server has written; it removes the file before it ends the server."""
    try:
        return Server(endpoint=(folder / "endpoint").read_text())
    except FileNotFoundError:
        return None


def _start(folder: Path) -> Server:
    """Start a keeper and wait until its server takes writes."""
    with (folder / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    while keeper.poll() is None:
        if (server := _known(folder)) is not None:
            keeper.returncode = 0  # it outlives this process: tell Popen not to warn
            return server
        time.sleep(0.05)
    raise RuntimeError(
        f"no S3 server: install the test extra, which brings {WEED.name}; "
        f"the keeper said:\n{(folder / 'keeper.log').read_text()[-2000:]}"
    )


def _keep(folder: Path) -> None:
    """Run the server until nobody holds the lock of its users."""
    endpoint = folder / "endpoint"
    with running(folder) as server, (folder / "users").open("w") as users:
        partial = folder / "endpoint.partial"
        partial.write_text(server.endpoint)
        partial.rename(endpoint)
        fcntl.flock(users, fcntl.LOCK_EX)
        endpoint.unlink()


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
