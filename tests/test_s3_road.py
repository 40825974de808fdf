"""From an archive on S3 to a root on S3: the rows of the same commands on local files, and no secret anywhere."""

import json
import os
import re
import subprocess
import sys

import pytest
from prefect_server import environment
from s3_places import ACCESS_KEYS, LEVEL, SECRETS, as_a_user, convert_train_score, objects, write
from servers import BUCKET, READER_KEY, READER_SECRET, SECRET_KEY

from cardioclarity.__main__ import run
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import Scene
from cardioclarity.tables import catalog

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

ROWS = {"convert": ["records"], "score": ["beats", "events", "scores"]}
"""The tables whose rows do not name the archive's place."""


def row_digests(root):
    """The digests of what the last run of each verb published, without what names the run."""
    digests = {}
    for row in reversed(catalog.runs(open_storage(root))):
        found = json.loads(row["row_digests"])
        digests |= {table: found[table] for table in ROWS.get(row["verb"], ())}
    return digests


@pytest.fixture(scope="module")
def place(seaweed):
    """A prefix for this module, with the archive below it and the AWS environment set."""
    with pytest.MonkeyPatch.context() as patched:
        seaweed.set_environment(patched)
        place = f"s3://{BUCKET}/road-{os.getpid()}"
        write(open_storage(f"{place}/archive"))
        yield place


@pytest.fixture(scope="module")
def locally(tmp_path_factory):
    """The rows of the same commands on local files."""
    folder = tmp_path_factory.mktemp("locally")
    write(open_storage(str(folder / "archive")))
    convert_train_score(str(folder / "archive"), str(folder / "root"))
    return row_digests(str(folder / "root"))


@pytest.fixture(scope="module")
def road(place, seaweed):
    """The commands as a user gives them, with nothing but AWS variables; each with how it ended."""
    root = ("--root", f"{place}/road")
    commands = (
        ("convert", f"{place}/archive", *root),
        ("train", *root, "--detector", "template"),
        ("score", *root, *LEVEL),
        ("report", *root),
        ("verify", *root, "--read-data"),
        ("gc", *root, "--dry-run"),
        ("doctor", *root),
    )
    return {arguments[0]: as_a_user(seaweed.environment(), *arguments) for arguments in commands}


def test_every_command_of_the_road_succeeds(road):
    assert {name: (ended.returncode, "Traceback" in ended.stderr) for name, ended in road.items()} == dict.fromkeys(
        road, (0, False)
    ), "".join(ended.stderr for ended in road.values())


def test_the_road_says_what_it_did(road, place):
    assert "convert: 5 records: 5 done, 0 set aside" in road["convert"].stdout
    assert "score: 5 records: 5 done, 0 set aside" in road["score"].stdout
    assert road["report"].stdout.startswith(f"report: {place}/road/reports/")
    assert "0 damaged" in road["verify"].stdout
    assert "would free 0 objects" in road["gc"].stdout
    assert road["doctor"].stdout.splitlines()[-1].startswith(("doctor: ok", "doctor: degraded"))
    assert re.search(r"ok +races: \d+ races of 8 writers, each with exactly one winner", road["doctor"].stdout)


def test_the_page_is_below_the_root_and_shows_the_events(road, place):
    key = road["report"].stdout.split(f"{place}/road/")[1].strip()

    page = open_storage(f"{place}/road").fetch(key)

    assert page.lower().startswith(b"<!doctype html>")
    assert b"<svg" in page


def test_the_rows_are_those_of_local_files(road, place, locally):
    assert row_digests(f"{place}/road") == locally
    assert int(locally["events"], 16) > 0, "there is something to differ"


def test_no_secret_is_said_or_stored(road, place):
    said = "".join(ended.stdout + ended.stderr for ended in road.values())
    root = open_storage(f"{place}/road")
    stored = b"".join(root.fetch(key) for key in objects(root.url))

    assert not [secret for secret in (*SECRETS, *ACCESS_KEYS) if secret in said]
    assert not [secret for secret in (*SECRETS, *ACCESS_KEYS) if secret.encode() in stored]


def test_the_doctor_and_a_dry_run_leave_nothing(road, place):
    tops = {key.split("/")[0] for key in objects(f"{place}/road")}

    assert tops == {"lineage", "models", "reports", "segments", "tables"}


def test_the_plain_client_gives_the_same_rows(place, locally, monkeypatch):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", "s3fs")

    convert_train_score(f"{place}/archive", f"{place}/s3fs")

    assert row_digests(f"{place}/s3fs") == locally


def test_worker_processes_give_the_same_rows(place, locally):
    convert_train_score(f"{place}/archive", f"{place}/workers", "--workers", "2")

    assert row_digests(f"{place}/workers") == locally


@pytest.fixture
def profiles(tmp_path, monkeypatch, seaweed):
    """Two profiles in the AWS files and no AWS variable but those that name the files: one reads, the other owns."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    keys = {"archive": (READER_KEY, READER_SECRET), "results": (seaweed.access_key, SECRET_KEY)}
    (tmp_path / "credentials").write_text(
        "".join(
            f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
            for name, (key, secret) in keys.items()
        )
    )
    (tmp_path / "config").write_text(f"[profile archive]\nendpoint_url = {seaweed.endpoint}\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    archive = ("--archive-profile", "archive")
    root = ("--root-profile", "results", "--root-endpoint-url", seaweed.endpoint, "--root-region", "us-east-1")
    return archive, root


def test_archive_and_root_are_reached_with_credentials_of_their_own(place, locally, profiles, monkeypatch, seaweed):
    archive, root = profiles
    where = ("--root", f"{place}/profiles", *root)

    assert run(["convert", f"{place}/archive", *where, *archive, "--quiet"]) == 0
    assert run(["train", *where, "--detector", "template", "--quiet"]) == 0
    assert run(["score", *where, *LEVEL, "--quiet"]) == 0
    assert run(["report", *where, "--quiet"]) == 0
    assert run(["verify", *where, "--read-data", "--quiet"]) == 0

    seaweed.set_environment(monkeypatch)
    assert row_digests(f"{place}/profiles") == locally


def test_one_who_may_only_read_the_archive_cannot_be_the_owner_of_the_root(place, profiles, capfd):
    _, (*_, endpoint, _, _) = profiles
    swapped = ("--root-profile", "archive", "--archive-profile", "results", "--archive-endpoint-url", endpoint)

    assert run(["convert", f"{place}/archive", "--root", f"{place}/swapped", *swapped, "--quiet"]) == 1
    assert "(403)" in capfd.readouterr().err


def test_a_night_under_prefect_reads_and_writes_s3(place, tmp_path, seaweed):
    root = f"{place}/night"
    write(open_storage(f"{place}/night-archive"))
    assert run(["convert", f"{place}/night-archive", "--root", root, "--quiet"]) == 0
    assert run(["train", "--root", root, "--detector", "template", "--quiet"]) == 0
    write(open_storage(f"{place}/night-archive"), [Scene(name="new/0", seed=7, duration_s=60.0, rate_hz=360.0)])

    env = environment(tmp_path / "prefect") | seaweed.environment()
    del env["AWS_ENDPOINT_URL"]
    addresses = [f"--{store}-endpoint-url={seaweed.endpoint}" for store in ("archive", "root")]
    places = ["--archive", f"{place}/night-archive", "--root", root]
    command = [sys.executable, "-m", "flows.nightly", *places, *addresses, "--workers", "0"]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400, check=False)

    assert ended.returncode == 0, ended.stderr
    verbs = [(row["verb"], row["state"], row["done"]) for row in catalog.runs(open_storage(root))]
    assert verbs[:2] == [("score", "completed", 6), ("convert", "completed", 1)]
    assert [key for key in objects(root) if key.startswith("reports/")]
    assert not [secret for secret in SECRETS if secret in ended.stdout + ended.stderr]
