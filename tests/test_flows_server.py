"""A server, a process worker and the file `prefect.yaml` are enough: nights run, say what they did, and fail aloud."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import prefect_server
import psutil
import pytest
from roots import ILL, NORMAL

from cardioclarity import models
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, ecg, wfdb_files
from cardioclarity.tables import catalog
from cardioclarity.vocabulary import Head

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

DEPLOYED = ("backfill", "convert", "nightly", "score", "train")
N_RECORDS = len(NORMAL) + 1


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with an archive of five records and a broken one, and a root that does not exist yet."""
    folder = tmp_path_factory.mktemp("site")
    archive = open_storage(str(folder / "archive"))
    for scene in (*NORMAL, ILL):
        for key, data in wfdb_files(ecg(scene), MIT).items():
            archive.put_new(key, data)
    archive.put_new("broken/ROE-RICHARD.hea", b"ROE-RICHARD 1 360 1000\nROE-RICHARD.dat 212 200 11 1024 0 0 0 II\n")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with prefect_server.running(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="module")
def deployed(server, site):
    """All deployments, made in a folder that holds `prefect.yaml` and nothing else."""
    folder = server.folder / "deploy"
    folder.mkdir()
    shutil.copy(Path(__file__).parents[1] / "prefect.yaml", folder)
    places = {"CARDIOCLARITY_ARCHIVE": str(site / "archive"), "CARDIOCLARITY_ROOT": str(site / "root")}
    result = server.prefect("deploy", "--all", folder=folder, **places)
    assert result.returncode == 0, result.stdout + result.stderr
    return {name: server.get(f"/deployments/name/{name}/{name}") for name in DEPLOYED}


@pytest.fixture(scope="module")
def run(server, deployed):
    """Run a deployment to its end, as a person does: exit code and run."""

    def run(name, *parameters):
        options = [word for parameter in parameters for word in ("-p", parameter)]
        result = server.prefect("deployment", "run", f"{name}/{name}", *options, "--watch", "--watch-timeout", "200")
        return result.returncode, server.latest_run(deployed[name]["id"])

    return run


@pytest.fixture(scope="module")
def night_without_model(run):
    return run("nightly")


@pytest.fixture(scope="module")
def training(run, night_without_model):
    return run("train", 'detector=["template"]')


@pytest.fixture(scope="module")
def night(run, training):
    return run("nightly")


@pytest.fixture(scope="module")
def quiet_night(run, night):
    return run("nightly")


def test_deployments_need_no_code_of_their_own(deployed):
    assert {name: deployment["entrypoint"] for name, deployment in deployed.items()} == {
        name: f"flows.{name}.{name}" for name in DEPLOYED
    }
    assert all(deployment["pull_steps"] == [] and deployment["path"] is None for deployment in deployed.values())


def test_deployments_know_their_places(deployed, site):
    places = {"archive": str(site / "archive"), "root": str(site / "root")}

    for name, deployment in deployed.items():
        asked = deployment["parameter_openapi_schema"]["required"]
        assert deployment["parameters"] == {place: places[place] for place in asked}, name


def test_the_night_is_scheduled_once_a_day_in_utc(deployed):
    schedules = [
        (s["schedule"]["cron"], s["schedule"]["timezone"], s["active"]) for s in deployed["nightly"]["schedules"]
    ]

    assert schedules == [("15 2 * * *", "UTC", True)]
    assert not any(deployment["schedules"] for name, deployment in deployed.items() if name != "nightly")


@pytest.mark.parametrize("name", ["nightly", "backfill"])
def test_what_writes_for_hours_does_not_overtake_itself(deployed, name):
    limits = deployed[name]["global_concurrency_limit"]["limit"], deployed[name]["concurrency_options"]

    assert (limits[0], limits[1]["collision_strategy"]) == (1, "CANCEL_NEW")


def test_a_backfill_waits_behind_the_night(deployed, server):
    queues = {
        queue["name"]: queue["priority"] for queue in server.find(f"/work_pools/{prefect_server.POOL}/queues/filter")
    }

    assert queues[deployed["backfill"]["work_queue_name"]] > queues[deployed["nightly"]["work_queue_name"]]


def test_a_night_without_a_model_fails_and_says_what_to_do(night_without_model, server):
    code, run = night_without_model

    assert (code, run["state"]["type"]) == (1, "FAILED")
    said = "\n".join(line["message"] for line in server.logs(run["id"]))
    assert "has no champion model; run: cardioclarity train --root" in said


def test_a_training_makes_the_champion(training, site):
    code, run = training

    assert (code, run["state"]["name"]) == (0, "Completed")
    assert models.champion(open_storage(str(site / "root"))) in run["state"]["message"]


def test_a_night_ends_completed_with_four_verdicts_per_record(night, site):
    code, run = night
    root = open_storage(str(site / "root"))

    assert (code, run["state"]["name"]) == (0, "Completed")
    assert f"score: {N_RECORDS} records: {N_RECORDS} done, 0 set aside" in run["state"]["message"]
    assert len(catalog.scores(root, model_id=models.champion(root))) == len(Head) * N_RECORDS


def test_a_night_leaves_its_counts_its_sentences_and_its_page(night, server, site):
    artifacts = server.artifacts(night[1]["id"])

    assert artifacts.keys() == {f"{verb}-{kind}" for verb in ("convert", "score") for kind in ("counts", "summary")} | {
        "report"
    }
    table = {row["what"]: row["count"] for row in server.table(artifacts["score-counts"])}
    assert (table["records"], table["done"], table["set aside"]) == (N_RECORDS, N_RECORDS, 0)
    assert f"- score: {N_RECORDS} records" in artifacts["score-summary"]["data"]
    assert "Research use only" in artifacts["score-summary"]["data"]
    page = artifacts["report"]["data"].split("`")[1]
    assert "<html" in Path(page).read_text(encoding="utf-8")[:200]
    assert Path(page).is_relative_to(site / "root")


def test_what_was_set_aside_is_counted_by_its_reason_and_never_named(night_without_model, server):
    artifacts = server.artifacts(night_without_model[1]["id"])

    table = {row["what"]: row["count"] for row in server.table(artifacts["convert-counts"])}
    assert (table["set aside"], table["set aside: missing_file"]) == (1, 1)
    assert "- set aside, missing_file: 1" in artifacts["convert-summary"]["data"]
    assert "ROE-RICHARD" not in str(artifacts)


def test_a_run_can_be_followed_in_its_log(night, server):
    said = [(line["name"], line["message"]) for line in server.logs(night[1]["id"])]

    assert any(name == "cardioclarity.flows" and "score: 1 of " in message for name, message in said)
    assert any(name == "cardioclarity.score" for name, _ in said)


def test_a_second_night_has_nothing_to_do(quiet_night, server, site):
    code, run = quiet_night

    assert (code, run["state"]["name"], run["state"]["type"]) == (0, "NothingNew", "COMPLETED")
    assert "report" not in server.artifacts(run["id"])
    assert len(list((site / "root/reports").iterdir())) == 1


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("alarms_per_hour=often", "'often' is not of type 'number'"),
        ("alarms=1", "'alarms'"),
    ],
)
def test_a_mistyped_parameter_is_refused_before_the_run_exists(deployed, server, parameter, sentence):
    before = len(server.runs(deployed["nightly"]["id"]))

    result = server.prefect("deployment", "run", "nightly/nightly", "-p", parameter)

    assert result.returncode == 1
    assert sentence in result.stdout + result.stderr
    assert len(server.runs(deployed["nightly"]["id"])) == before


def test_a_level_that_cannot_be_meant_is_one_sentence_and_usage_in_the_shell(quiet_night, server, site):
    result = shell(server, site, "--alarms-per-hour", "-1")

    assert result.returncode == 2
    assert "error: alarms_per_hour -1.0: give a positive number" in result.stderr.splitlines()


def test_the_shell_runs_a_flow_on_the_server_that_is_there(quiet_night, server, site):
    result = shell(server, site)

    assert result.returncode == 0, result.stderr
    assert "NothingNew" in result.stderr


def shell(server, site, *arguments):
    command = [sys.executable, "-m", "flows.nightly", "--archive", "archive", "--root", "root", *arguments]
    return subprocess.run(command, cwd=site, env=server.env, capture_output=True, text=True, timeout=200, check=False)


def test_a_night_whose_process_is_killed_ends_crashed_and_the_next_one_may_start(quiet_night, deployed, server):
    deployment = deployed["nightly"]
    assert server.prefect("deployment", "run", "nightly/nightly").returncode == 0

    until(lambda: psutil.Process(server.worker).children())[0].kill()

    run = until(lambda: next((run for run in server.runs(deployment["id"])[:1] if run["end_time"]), None))
    assert run["state"]["type"] == "CRASHED"
    until(lambda: server.get("/deployments/name/nightly/nightly")["global_concurrency_limit"]["active_slots"] == 0)


def test_the_schedule_starts_a_night_by_itself(quiet_night, deployed, server):
    deployment, seen = deployed["nightly"]["id"], {run["id"] for run in server.runs(deployed["nightly"]["id"])}
    schedule = f"/deployments/{deployment}/schedules/{deployed['nightly']['schedules'][0]['id']}"

    def ended():
        own = [run for run in server.runs(deployment) if run["id"] not in seen and run["auto_scheduled"]]
        return [run["state"]["name"] for run in own if run["end_time"]]

    server.change(schedule, schedule={"cron": "* * * * *", "timezone": "UTC"})
    states = until(ended)
    server.change(schedule, active=False)

    assert states == ["NothingNew"]


def until(reached):
    """Look until there is something, for at most four minutes."""
    deadline = time.monotonic() + 240
    while not (found := reached()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found
