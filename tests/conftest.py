"""What tests share: the real data, where it is; a root that has gone the whole road; the S3 servers."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import roots
from faults.road import Road, fast_folder, write_archive
from hypothesis import settings
from servers import BUCKET, Server
from servers import ceph as cephs
from servers import seaweed as seaweedfs

from cardioclarity.storage import open_storage

# The same examples on every machine, and no deadline: a busy machine is no defect.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real ECG files; a test that needs it is skipped with the reason where it is absent."""
    default = Path(__file__).parents[1] / "../shared/data"
    folder = Path(os.environ.get("CARDIOCLARITY_DATA") or default).resolve()
    if not (folder / "mitdb").is_dir():
        pytest.skip("no real ECG data: set CARDIOCLARITY_DATA to a folder that holds mitdb/")
    return folder


@pytest.fixture(scope="session")
def scored(tmp_path_factory) -> Path:
    """A small root that has been converted, trained and scored; for reading only."""
    return Path(roots.scored(tmp_path_factory.getbasetemp()))


@pytest.fixture
def root(scored, tmp_path) -> Path:
    """A copy of it, of one's own."""
    return shutil.copytree(scored, tmp_path / "root")


@pytest.fixture(scope="session")
def fast() -> Iterator[Path]:
    """A folder in memory, emptied at the end."""
    with fast_folder() as folder:
        yield folder


@pytest.fixture
def scratch(fast) -> Iterator[Path]:
    """A folder in memory, of one's own."""
    folder = fast / uuid.uuid4().hex
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def used_road(fast) -> Road:
    """A root that was converted, trained, scored and judged again; for reading only."""
    write_archive(open_storage(str(fast / "used-archive")))
    road = Road(archive=str(fast / "used-archive"), root=str(fast / "used"))
    return road.go(("convert", "train", "score", "judge_again"))


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory) -> Iterator[Server]:
    """A real S3 server, one for all workers of this run; it is a part of the test extra, so its absence is an error."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with seaweedfs.shared(base / "seaweedfs") as server:
        yield server


@pytest.fixture
def s3(seaweed, monkeypatch) -> str:
    """The URL of a fresh prefix on it, with the AWS environment set."""
    seaweed.set_environment(monkeypatch)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def ceph(tmp_path_factory) -> Iterator[Server]:
    """A second S3 server, older and less exact; for `make soak`, which installs it where it can."""
    if (lack := cephs.missing()) is not None:
        pytest.skip(f"no Ceph: {lack} is not installed; tests/servers/install-ceph installs it on Debian")
    with cephs.running(tmp_path_factory.mktemp("ceph")) as server:
        yield server


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what tests have told of how much they tried, whichever worker ran them."""
    passed = terminalreporter.stats.get("passed", [])
    if told := [line for report in passed for name, line in report.user_properties if name == "told"]:
        terminalreporter.section("tried")
        for line in told:
            terminalreporter.write_line(line)
