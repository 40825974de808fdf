"""evaluate and detectors on the command line: a table or one JSON object, files where asked, and exit codes."""

import json

import pytest
from labelled import write

from cardioclarity.__main__ import run
from cardioclarity.detectors import REGISTRY


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return str(write(tmp_path_factory.mktemp("archive"), ("100", "101"), duration_s=30.0))


def test_a_protocol_ends_with_a_table_and_writes_the_files_that_were_asked_for(archive, tmp_path, capsys):
    markdown, page = tmp_path / "out.md", tmp_path / "out.html"

    run(
        [
            *("evaluate", "--protocol", "rpeaks", "--archive", archive),
            *("--markdown", str(markdown), "--html", str(page)),
        ]
    )

    said = capsys.readouterr().out
    assert "rpeak_sensitivity" in said
    assert "tested: 2 patients, 2 records" in said
    assert "| rpeaks | rpeak_sensitivity | channel:1 |" in markdown.read_text()
    assert "rpeak_sensitivity" in page.read_text()


def test_as_json_it_is_one_object_with_the_figures(archive, capsys):
    run(["evaluate", "--protocol", "rate", "--archive", archive, "--json"])

    told = json.loads(capsys.readouterr().out)
    assert told["verb"] == "evaluate"
    assert {one["name"] for one in told["metrics"]} == {"rate_mae_bpm", "rate_event_f1"}
    assert told["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--protocol", "rpeak"), 1, "did you mean rpeaks"),
        (("--protocol", "ds1-ds2"), 1, "42 of the 44 records of protocol ds1-ds2 are missing: 106"),
        (("--protocol", "rpeaks", "--seeds", "0"), 2, "seeds 0: give at least 1"),
        (("--protocol", "ds1-cv", "--model", "0" * 32, "--root", "nowhere"), 1, "has no model"),
        (("--protocol", "rpeaks", "--model", "0" * 32), 2, "protocol rpeaks fits nothing: leave out --model"),
        (("--protocol", "rpeaks", "--markdown", "no-such-folder/out.md"), 2, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(archive, capsys, arguments, code, said):
    assert run(["evaluate", "--archive", archive, *arguments]) == code

    assert said in capsys.readouterr().err


def test_a_file_that_keeps_a_patient_on_both_sides_is_refused(archive, tmp_path, capsys):
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'kind = "beats"\n[train]\nrecords = ["100"]\n[test]\nrecords = ["101"]\n[patients]\n100 = "p"\n101 = "p"'
    )

    assert run(["evaluate", "--archive", archive, "--protocol", str(mine)]) == 2

    assert "both sides: p" in capsys.readouterr().err


def test_detectors_lists_every_registered_one_with_what_it_is(capsys):
    run(["detectors"])
    lines = capsys.readouterr().out.splitlines()
    run(["detectors", "--json"])
    told = json.loads(capsys.readouterr().out)

    assert [line.split()[0] for line in lines] == ["name", *REGISTRY]
    assert [one["name"] for one in told["detectors"]] == list(REGISTRY)
    assert all(len(one["what"]) > 20 for one in told["detectors"])
