"""What tests share: the real data, where it is."""

import os
import shutil
from pathlib import Path

import pytest
import roots
from hypothesis import settings

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
