"""gc on the command line: what would be freed, what was, in words and in JSON."""

import json

import pytest
from leavings import leave_all, pass_time, sizes

from cardioclarity.commands.cleaning import gc, in_units
from cardioclarity.commands.speaking import Output
from cardioclarity.errors import ExitCode, UsageError
from cardioclarity.storage import open_storage
from cardioclarity.waste import KINDS


@pytest.fixture
def used(root):
    """The scored root, with what killed runs left in it 8 days ago."""
    storage = open_storage(str(root))
    leave_all(storage)
    pass_time(root, 8)
    return storage


def as_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_dry_run_says_what_would_be_freed_and_frees_nothing(used, capsys):
    before = sizes(used)

    assert gc(root=used.url, dry_run=True) == ExitCode.DONE

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["class", "objects", "size", "what"]
    assert [line.split()[0] for line in lines[1:-1]] == list(KINDS)
    assert lines[1:][list(KINDS).index("segments")].split()[:4] == ["segments", "4", "8", "B"]
    assert lines[-1].startswith("would free 12 objects, ")
    assert sizes(used) == before


def test_the_json_of_a_dry_run_is_that_of_the_run_but_for_its_name_and_time(used, capsys):
    gc(root=used.url, dry_run=True, output=Output(json=True))
    would = as_json(capsys)
    before = sizes(used)
    gc(root=used.url, output=Output(json=True))
    done = as_json(capsys)

    assert (would.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert would.pop("seconds") >= 0 <= done.pop("seconds")
    assert would == done
    assert (done["verb"], done["older_than_s"], done["allowed_objects"]) == ("gc", 604_800.0, 1000)
    assert done["classes"]["segments"] == {"objects": 4, "bytes": 8}
    assert done["objects"] == len(before) - len(sizes(used)) == sum(c["objects"] for c in done["classes"].values())
    assert done["bytes"] == sum(before.values()) - sum(sizes(used).values())


def test_what_stays_is_said_with_its_reason(used, capsys, monkeypatch):
    monkeypatch.setattr("cardioclarity.garbage.ALWAYS_ALLOWED", 2)
    monkeypatch.setattr("cardioclarity.garbage.SHARE", 10_000)

    gc(root=used.url)

    assert "left 10 objects" in (out := capsys.readouterr().out)
    assert "one run frees at most 2" in out
    assert "--force" in out


def test_a_dry_run_with_a_time_that_is_refused_without_force_says_so(used, capsys):
    gc(root=used.url, dry_run=True, older_than="1h")
    lines = capsys.readouterr().out.splitlines()
    gc(root=used.url, dry_run=True, older_than="1h", output=Output(json=True))
    short = as_json(capsys)
    gc(root=used.url, dry_run=True, older_than="1h", force=True, output=Output(json=True))
    forced = as_json(capsys)

    with pytest.raises(UsageError) as refused:
        gc(root=used.url, older_than="1h")
    assert lines[-1] == f"without --dry-run this is refused: {refused.value}"
    assert "with --force it is taken" in lines[-1]
    assert (short["needs_force"], forced["needs_force"]) == (True, False)


def test_an_age_that_is_none_is_refused_before_anything_is_read():
    with pytest.raises(UsageError, match="give a number and m, h or d"):
        gc(root="s3://nowhere", older_than="soon")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (16_234, "16.2 kB"),
        (999_400, "999 kB"),
        (999_500, "1 MB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_bytes_are_written_with_three_digits(size, text):
    assert in_units(size) == text
