"""Ceph's S3 gateway from Debian: monitor, manager, one OSD in memory and the gateway, on loopback."""

import contextlib
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from servers import ACCESS_KEY, SECRET_KEY, Server, kill_group, wait_for_first_write

PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
START_S = 180

CONF = """\
[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{mon}]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
keyring = /dev/null
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data = {folder}/mon
mgr_data = {folder}/mgr
mgr_initial_modules =
mgr_standby_modules = false
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{rgw}
rgw_enable_usage_log = false
"""


def missing() -> str | None:
    """Name a program that is not installed."""
    return next((program for program in PROGRAMS if shutil.which(program) is None), None)


@dataclass(frozen=True)
class _Cluster:
    folder: Path

    @property
    def common(self) -> Sequence[str]:
        return ("-c", str(self.folder / "ceph.conf"))

    def run(self, program: str, *arguments: str) -> str:
        """Run a command of the cluster to its end."""
        command = [program, *self.common, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=START_S, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout

    @contextlib.contextmanager
    def daemon(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a daemon beside the test."""
        with (self.folder / f"{program}.out").open("wb") as output:
            process = subprocess.Popen(
                [program, *self.common, "-f", *arguments],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            kill_group(process)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run a cluster of one node in an empty folder."""
    cluster = _Cluster(folder)
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    mon, rgw = _free_ports()
    (folder / "ceph.conf").write_text(CONF.format(fsid=fsid, mon=mon, rgw=rgw, folder=folder))
    for name in ("mon", "mgr", "osd", "rgw"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        # With --add instead of --addv the clients hang on a port that is not the standard one.
        address = f"[v1:127.0.0.1:{mon}]"
        cluster.run("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, str(folder / "monmap"))
        cluster.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(folder / "monmap"))
        stack.enter_context(cluster.daemon("ceph-mon", "-i", "a"))
        stack.enter_context(cluster.daemon("ceph-mgr", "-i", "a"))
        cluster.run("ceph", "osd", "new", osd)
        cluster.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        stack.enter_context(cluster.daemon("ceph-osd", "-i", "0"))
        gateway = stack.enter_context(cluster.daemon("radosgw", "-n", "client.rgw"))
        _make_user(cluster)
        server = Server(endpoint=f"http://127.0.0.1:{rgw}")
        if not wait_for_first_write(server, lambda: gateway.poll() is None, START_S):
            raise RuntimeError(f"Ceph takes no write:\n{(folder / 'radosgw.out').read_text()[-2000:]}")
        yield server


def _make_user(cluster: _Cluster) -> None:
    cluster.run(
        "radosgw-admin",
        *("user", "create", "--uid", "test", "--display-name", "test"),
        *("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY),
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
