"""A live file gives its bytes only where its name and the log vouch for them; else it is said what is wrong and where."""

from dataclasses import replace

import pytest
import table_rows

from cardioclarity.tables import publish, snapshot
from cardioclarity.verify.files import read_file
from cardioclarity.vocabulary import Problem


@pytest.fixture
def root(tmp_path):
    root = table_rows.new_root(tmp_path)
    staged = table_rows.stage(root, "records", table_rows.of_records(["a"]), segment_id="s")
    publish.add(root, "records", [staged], run_id="run")
    return root


@pytest.fixture
def file(root):
    (file,) = snapshot.live_files(snapshot.open_table(root, "records"))
    return file


def test_sound_bytes_are_handed_out(root, file):
    assert read_file(root, file) == root.fetch(file.key)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda data: data[::-1], Problem.DIGEST),
        (lambda data: data[:-1], Problem.SIZE),
        (lambda data: data + b"x", Problem.SIZE),
    ],
)
def test_wrong_bytes_are_damage_that_says_which_they_are_and_which_they_should_be(root, file, harm, problem):
    root.replace(file.key, harm(root.fetch(file.key)))

    damage = read_file(root, file)

    assert (damage.key, damage.problem, damage.table, damage.segment_id) == (file.key, problem, "records", "s")
    assert damage.expected in file.path
    assert len(damage.found) == 64
    assert damage.found != damage.expected


def test_a_file_that_is_gone_is_missing(root, file):
    root.delete(file.key)

    assert read_file(root, file).problem == Problem.MISSING


@pytest.mark.parametrize(
    "says", [{"partition": {"segment_id": "t"}}, {"path": "segment_id=s/part-0.parquet"}, {"size": 1}]
)
def test_a_log_that_says_other_than_the_name_or_the_bytes_contradicts_them(root, file, says):
    assert read_file(root, replace(file, **says)).problem == Problem.INCONSISTENT
