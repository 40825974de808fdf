"""One grammar of the names in a table's log: what readers look at, and what killed processes leave beside it."""

import pytest

from cardioclarity.tables import log_names

N = f"{7:020d}"


@pytest.mark.parametrize(
    ("name", "is_commit"),
    [(f"{N}.json", True), (f"{N}.checkpoint.parquet", False), (f"{N}.checkpoint.{1:010d}.{2:010d}.parquet", False)],
)
def test_commits_and_checkpoints_have_a_version_and_are_never_half_written(name, is_commit):
    key = f"tables/runs/_delta_log/{name}"

    assert log_names.version_of(key) == 7
    assert (log_names.is_commit(key), log_names.is_checkpoint(key)) == (is_commit, not is_commit)
    assert not log_names.HALF_WRITTEN.fullmatch(name)


@pytest.mark.parametrize(
    "name",
    [
        f"{N}.json#1",
        f"{N}.json#12",
        f"{N}.checkpoint.parquet#1",
        "_last_checkpoint#1",
        "_commit_0b8be0f5-6fd6-4a77-8b4f-2a3f4f6e7a11.json.tmp",
        "_commit_0b8be0f5-6fd6-4a77-8b4f-2a3f4f6e7a11.json.tmp#1",
    ],
)
def test_half_written_entries_are_known_and_are_no_entries(name):
    assert log_names.HALF_WRITTEN.fullmatch(name)
    assert log_names.version_of(f"tables/runs/_delta_log/{name}") is None


@pytest.mark.parametrize("name", ["_last_checkpoint", "7.json", f"{N}.crc", f"{N}.json.bak", "x#1"])
def test_other_names_are_neither(name):
    assert log_names.version_of(f"tables/runs/_delta_log/{name}") is None
    assert not log_names.HALF_WRITTEN.fullmatch(name)
