"""A snapshot that came over a network is believed when two readings of it are alike."""

import pytest
import table_rows
from deltalake import DeltaTable

from cardioclarity.errors import StorageError
from cardioclarity.storage import open_storage
from cardioclarity.tables import snapshot

pytestmark = pytest.mark.service


@pytest.fixture
def root(s3):
    root = table_rows.new_root(s3)
    for name in ("a", "b"):
        table_rows.catalogue(root, [name], segment=name, run_id=f"run-{name}")
    return root


def reading(root, version):
    return DeltaTable(root.join("tables/records"), version=version, storage_options=root.delta_options())


def test_two_readings_of_one_version_are_alike_and_those_of_two_are_not(root):
    assert snapshot._are_alike(reading(root, 2), reading(root, 2))
    assert not snapshot._are_alike(reading(root, 2), reading(root, 1))
    assert not snapshot._are_alike(reading(root, 1), reading(root, 0))


def test_a_log_that_reads_differently_now_and_then_is_read_again_and_one_that_always_does_is_an_error(
    root, monkeypatch
):
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "2")
    answers = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_are_alike", lambda *_: next(answers))
        assert len(snapshot.live_files(snapshot.open_table(root, "records"))) == 2
    assert next(answers, None) is None

    monkeypatch.setattr(snapshot, "_are_alike", lambda *_: False)
    with pytest.raises(StorageError, match=r"cannot open tables/records/ .*two readings of the log differ.* run again"):
        snapshot.open_table(root, "records")


def test_a_log_in_a_folder_is_read_once(tmp_path, monkeypatch):
    root = table_rows.new_root(tmp_path)
    monkeypatch.setattr(snapshot, "_are_alike", lambda *_: pytest.fail("read twice"))

    snapshot.open_table(open_storage(root.url), "records")
