"""A command speaks in sentences, or in one JSON object, and its exit code says how it ended."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from cardioclarity.synthetic import MIT, Scene, ecg, wfdb_files


@pytest.fixture
def archive(tmp_path):
    for key, data in wfdb_files(ecg(Scene(name="a", seed=3, duration_s=15.0, rate_hz=360.0)), MIT).items():
        path = tmp_path / "archive" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "archive"


COMMANDS = [
    "demo",
    "convert",
    "train",
    "score",
    "report",
    "evaluate",
    "detectors",
    "runs",
    "models",
    "verify",
    "gc",
    "doctor",
]


def command(*arguments):
    return [sys.executable, "-m", "cardioclarity", *map(str, arguments)]


def cardioclarity(*arguments, cwd=None):
    """Run the command as a user does; stdin, stdout and stderr are no terminal."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, timeout=240)


def last_json(ended):
    return json.loads(ended.stdout.splitlines()[-1])


def test_convert_says_what_it_did_and_then_that_nothing_is_new(archive, tmp_path):
    first = cardioclarity("convert", archive, "--root", tmp_path / "new")
    second = cardioclarity("convert", archive, "--root", tmp_path / "new", "--json")

    assert first.returncode == 0
    assert "convert: 1 records: 1 done, 0 set aside, 0 already done" in first.stdout
    assert last_json(second) | {"run_id": "", "seconds": 0} == {
        "verb": "convert",
        "run_id": "",
        "state": "nothing_new",
        "inputs": 1,
        "done": 0,
        "quarantined": 0,
        "already_done": 1,
        "seconds": 0,
    }


def test_an_archive_of_broken_files_ends_with_three_and_all_of_them_in_quarantine(archive, tmp_path):
    (archive / "a.dat").write_bytes(b"")

    ended = cardioclarity("convert", archive, "--root", tmp_path / "new", "--json")

    assert ended.returncode == 3
    assert (last_json(ended)["done"], last_json(ended)["quarantined"]) == (0, 1)


def test_score_names_its_model_and_counts_events_per_head(root):
    result = last_json(cardioclarity("score", "--root", root, "--alarms-per-hour", "50", "--json"))

    assert set(result) == {
        *("verb", "run_id", "state", "inputs", "done", "quarantined", "already_done", "seconds", "model_id", "events"),
    }
    assert set(result["events"]) == {"rate", "rhythm", "beat", "quality"}


def test_train_names_model_and_champion(root):
    ended = cardioclarity("train", "--root", root, "--detector", "template", "--seed", "9", "--json")

    assert ended.returncode == 0
    assert {"model_id", "champion"} <= last_json(ended).keys()
    assert last_json(ended)["champion"] != last_json(ended)["model_id"]


def test_report_says_where_the_page_is(root, tmp_path):
    ended = cardioclarity("report", "--root", root, "--output", tmp_path / "page.html")

    assert ended.returncode == 0
    assert str(tmp_path / "page.html") in ended.stdout
    assert (tmp_path / "page.html").read_text().lower().startswith("<!doctype html>")


def test_runs_are_listed_and_a_missing_night_fails(root):
    recent = cardioclarity("runs", "--root", root, "--expect-within", "26h")
    missing = cardioclarity("runs", "--root", root, "--expect-within", "0m")

    assert recent.returncode == 0
    assert [line.split()[1] for line in recent.stdout.splitlines()] == ["verb", "score", "train", "convert"]
    assert missing.returncode == 1
    assert "no scoring run ended within 0m" in missing.stderr


def test_the_champion_can_be_moved_forward_and_back(root):
    first = last_json(cardioclarity("models", "--root", root, "--json"))["champion"]
    trained = last_json(cardioclarity("train", "--root", root, "--detector", "template", "--champion", "--json"))
    back = last_json(cardioclarity("models", "--root", root, "--use", first, "--json"))

    assert trained["champion"] == trained["model_id"] != first
    assert back["champion"] == first
    assert len(back["models"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["convert", "nowhere", "--root", "new"], 1, "archive nowhere does not exist"),
        (["convert", "empty", "--root", "new"], 1, "holds no ECG record"),
        (["score", "--root", "nowhere"], 1, "nowhere is no CardioClarity root"),
        (["train", "--root", "nowhere"], 1, "cardioclarity convert"),
        (["report", "--root", "nowhere"], 1, "nowhere is no CardioClarity root"),
        (["models", "--root", "nowhere"], 1, "nowhere is no CardioClarity root"),
        (["train", "--root", "root", "--detector", "magic"], 1, "'magic'"),
        (["score", "--root", "root", "--model", "0" * 32], 1, "has no model"),
        (["report", "--root", "root", "--run", "never"], 1, "no scoring run 'never'"),
        (["models", "--root", "root", "--use", "0" * 32], 1, "has no model"),
        (["score", "--root", "root", "--alarms-per-hour", "0"], 2, "alarms_per_hour 0"),
        (["score", "--root", "root", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], 2, "exclude"),
        (["score", "--root", "root", "--pause-s", "soon"], 2, "pause-s"),
        (["runs", "--root", "root", "--expect-within", "soon"], 2, "such as 26h"),
        (["convert", "empty", "--root", "new", "--annon"], 2, "--anon"),
        (["konvert"], 2, "convert"),
        (["score", "--root", ""], 2, "--root is empty"),
        (["train", "--root", "root", "--seed", "-1"], 2, "seed -1"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_exit_code_and_no_traceback(root, arguments, code, sentence):
    (root.parent / "empty").mkdir()

    ended = cardioclarity(*arguments, cwd=root.parent)

    assert ended.returncode == code
    assert sentence in " ".join(ended.stderr.replace("│", " ").split())
    assert "Traceback" not in ended.stderr
    assert not (root.parent / "new").exists()


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in cardioclarity("score", "--root", tmp_path / "nowhere", "--debug").stderr


def test_a_root_that_cannot_be_read_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")

    ended = cardioclarity("score", "--root", tmp_path / "file")

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr


def test_version_and_help_say_what_the_software_is_not_for():
    assert "Research use only" in cardioclarity("--version").stdout
    assert "Research use only" in cardioclarity("--help").stdout


def test_the_command_line_starts_without_heavy_libraries():
    code = "import sys; sys.argv = ['cardioclarity', '--help']\ntry:\n    from cardioclarity.__main__ import main; main()\n"
    code += "except SystemExit:\n    pass\nprint(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "torch", "zarr", "xarray", "dask", "distributed", "prefect", "pyarrow", "scipy"} & set(loaded)


def test_the_commands_are_listed_in_the_order_in_which_they_are_needed():
    listed = [line.split(":")[0].strip() for line in cardioclarity("--help").stdout.splitlines() if ":" in line]

    assert [name for name in listed if name in COMMANDS] == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_with_an_example(name):
    ended = cardioclarity(name, "--help")

    assert ended.returncode == 0
    assert f"Example: cardioclarity {name} " in ended.stdout
    assert "--json" in ended.stdout
    assert name == "detectors" or {f"--root-{option}" for option in STORAGE_OPTIONS} <= set(flags_in(ended.stdout))
    assert "default: <" not in ended.stdout


STORAGE_OPTIONS = ("endpoint-url", "region", "profile", "addressing-style", "anon")


def flags_in(help_text):
    return re.findall(r"--[a-z-]+", help_text)


@pytest.mark.parametrize("name", ["convert", "demo"])
def test_the_archive_is_reached_by_options_of_its_own(name):
    flags = set(flags_in(cardioclarity(name, "--help").stdout))

    assert {f"--{place}-{option}" for place in ("archive", "root") for option in STORAGE_OPTIONS} <= flags
    assert "--anon" in flags


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--root-endpoint-url", "https://KEY:HUSH@host"], "an endpoint never holds credentials"),
        (["--root-endpoint-url", "127.0.0.1:9000"], "is no address"),
        (["--archive-addressing-style", "vhost"], "addressing-style"),
        (["--archive-profile", "x", "--anon"], "exclude each other"),
    ],
)
def test_storage_options_that_cannot_be_meant_are_refused_and_no_secret_is_shown(tmp_path, options, sentence):
    ended = cardioclarity("convert", "archive", "--root", "new", *options, cwd=tmp_path)

    assert ended.returncode == 2
    assert sentence in " ".join(ended.stderr.replace("│", " ").split())
    assert "HUSH" not in ended.stdout + ended.stderr
    assert not list(tmp_path.iterdir())


def test_the_doctor_speaks_line_by_line_and_sums_up(root):
    ended = cardioclarity("doctor", "--root", root)

    verdicts = {line.split()[0] for line in ended.stdout.splitlines()[:-1]}
    assert ended.returncode == 0
    assert {"ok"} <= verdicts <= {"ok", "note", "warning"}, "a warning where the disk of the tests is nearly full"
    expected = "degraded: it works" if "warning" in verdicts else "ok: all is well"
    assert ended.stdout.splitlines()[-1].startswith(f"doctor: {expected}")


def test_the_doctor_refuses_with_one_and_says_it_in_json_too(tmp_path):
    (tmp_path / "file").write_text("no folder")

    ended = cardioclarity("doctor", "--root", tmp_path / "file", "--json")

    assert ended.returncode == 1
    assert last_json(ended)["health"] == "refused"
    assert {"what", "verdict", "said"} == set(last_json(ended)["findings"][0])
    assert "Traceback" not in ended.stderr


def test_the_doctor_takes_the_root_of_the_environment_and_no_other(tmp_path, monkeypatch):
    monkeypatch.delenv("CARDIOCLARITY_ROOT", raising=False)
    alone = last_json(cardioclarity("doctor", "--json", cwd=tmp_path))
    monkeypatch.setenv("CARDIOCLARITY_ROOT", "here")
    meant = last_json(cardioclarity("doctor", "--json", cwd=tmp_path))

    assert (alone["root"], meant["root"]) == (None, "here")
    assert not list(tmp_path.iterdir())


def test_worker_processes_tell_their_units_too(archive_of_three, tmp_path):
    cardioclarity("convert", archive_of_three, "--root", tmp_path / "new")
    trained = cardioclarity("train", "--root", tmp_path / "new", "--detector", "template", "--workers", "1", "-v")
    quiet = cardioclarity("train", "--root", tmp_path / "new", "--detector", "template", "--workers", "1", "--quiet")

    assert [line for line in trained.stderr.splitlines() if line.startswith("unit ")]
    assert quiet.stderr == ""


@pytest.fixture
def archive_of_three(archive):
    for n in range(2):
        scene = Scene(name=f"more/{n}", seed=n, duration_s=60.0, rate_hz=360.0)
        for key, data in wfdb_files(ecg(scene), MIT).items():
            (archive / key).parent.mkdir(exist_ok=True)
            (archive / key).write_bytes(data)
    return archive


@pytest.mark.parametrize("n_children", [1, 2], ids=["before", "during"])
def test_an_interrupt_while_a_worker_starts_is_one_line(archive, tmp_path, n_children):
    arguments = ("convert", archive, "--root", tmp_path / "new", "--workers", "1")
    with subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        process = psutil.Process(running.pid)
        while (
            running.poll() is None and len(process.children()) < n_children
        ):  # multiprocessing's own one, then the worker
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        _, errors = running.communicate(timeout=120)

    assert running.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("interrupted; run the same command again")


@pytest.mark.parametrize("buffering", ["", "1"])
def test_a_reader_that_has_seen_enough_changes_nothing(root, buffering):
    env = os.environ | {"PYTHONUNBUFFERED": buffering}
    with subprocess.Popen(
        command("runs", "--root", root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as running:
        running.stdout.close()
        errors = running.stderr.read()

    assert running.returncode == 0
    assert errors == ""


def test_a_damaged_model_is_never_made_champion(root):
    champion = last_json(cardioclarity("models", "--root", root, "--json"))["champion"]
    weights = root / "models" / champion / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    ended = cardioclarity("models", "--root", root, "--use", champion)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


def test_models_shows_the_state_of_each_one_that_is_damaged_too(root):
    first = last_json(cardioclarity("models", "--root", root, "--json"))["champion"]
    other = last_json(cardioclarity("train", "--root", root, "--detector", "template", "--json"))["model_id"]
    weights = root / "models" / first / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (root / "models" / other / "model.json").unlink()

    rows = {row["model_id"]: row for row in last_json(cardioclarity("models", "--root", root, "--json"))["models"]}
    shown = cardioclarity("models", "--root", root).stdout

    assert {model_id: row["state"] for model_id, row in rows.items()} == {
        first: "weights.safetensors digest",
        other: "model.json missing",
    }
    assert all(row["damaged"] for row in rows.values())
    assert "weights.safetensors digest" in shown
    assert "model.json missing" in shown
