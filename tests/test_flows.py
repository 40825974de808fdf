"""Flows are thin: the command line's names and numbers, a temporary server where there is none, no relative folders."""

import inspect
import os
import subprocess
import sys
import tomllib
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect_server import environment

from cardioclarity.commands import stores, verbs
from cardioclarity.config import ConvertConfig, StorageOptions, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import UsageError
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, ecg, wfdb_files
from cardioclarity.tables import catalog
from cardioclarity.train import TRAIN
from cardioclarity.work import drive
from flows import steps

HERE = Path(__file__).parents[1]
DEPLOYMENTS = {d["name"]: d for d in yaml.safe_load((HERE / "prefect.yaml").read_text())["deployments"]}
COMMANDS = ("convert", "train", "score")
PLACES = ("archive", "root", "patients")


def flow(name):
    return getattr(import_module(f"flows.{name}"), name)


def parameters(function):
    return inspect.signature(function).parameters


def flags(command):
    """What a command takes, a group of options by the names of its fields, with their defaults."""
    found = {}
    for name, parameter in parameters(command).items():
        group = parameter.default
        found |= asdict(group) if is_dataclass(group) else {name: group}
    return found


def test_five_flows_are_deployed_under_their_own_names():
    assert {name: d["entrypoint"] for name, d in DEPLOYMENTS.items()} == {
        name: f"flows.{name}.{name}" for name in ("nightly", "backfill", "convert", "train", "score")
    }


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_starts_an_importable_flow_and_sets_only_what_the_flow_asks_for(name):
    asked = parameters(flow(name).fn)

    assert flow(name).name == name
    required = {parameter.name for parameter in asked.values() if parameter.default is parameter.empty}
    assert required <= DEPLOYMENTS[name]["parameters"].keys() <= asked.keys()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_reads_its_places_from_the_environment(name):
    assert all(
        value == "{{ $CARDIOCLARITY_%s }}" % place.upper()  # noqa: UP031 - braces
        for place, value in DEPLOYMENTS[name]["parameters"].items()
    )


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_no_flow_retries_or_stores_results(name):
    assert (flow(name).retries, flow(name).persist_result) == (0, False)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flow_takes_what_its_command_takes(name):
    options = flags(getattr(verbs, name))

    # A flow writes into its root, so it never reaches it without credentials.
    assert parameters(flow(name).fn).keys() == options.keys() - {"json", "quiet", "verbose", "debug", "root_anon"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_number_has_one_default_in_flows_and_commands(name):
    defaults = {key: value for command in COMMANDS for key, value in flags(getattr(verbs, command)).items()}
    shared = {p.name: p.default for p in parameters(flow(name).fn).values() if p.name in defaults}

    assert "root" in shared
    assert {k: v for k, v in shared.items() if k not in PLACES} == {k: defaults[k] for k in shared if k not in PLACES}


@pytest.mark.parametrize("place", ["archive", "root"])
def test_commands_and_flows_name_every_storage_option_alike(place):
    options = {"archive": stores.ArchiveStorage, "root": stores.RootStorage}[place]
    given = {
        f"{place}_{field.name}": f"{field.name}.example" for field in fields(StorageOptions) if field.name != "anon"
    }
    given |= {f"{place}_endpoint_url": "https://s3.example.org", f"{place}_addressing_style": "virtual"}
    whole = StorageOptions(**{key.removeprefix(f"{place}_"): value for key, value in given.items()})

    assert options(**given).options == whole
    assert steps.storage(*(given[f"{place}_{field.name}"] for field in fields(whole) if field.name != "anon")) == whole
    assert given.keys() <= parameters(flow("convert").fn).keys()


def test_a_field_of_the_form_that_was_left_empty_decides_nothing():
    assert steps.storage("", "", "", None, anon=False) == StorageOptions()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_parameter_is_explained_in_the_form(name):
    described = flow(name).parameters.model_dump()["properties"]

    assert all(described[parameter].get("description") for parameter in parameters(flow(name).fn))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_relative_root_is_refused_by_the_flow(name):
    places = {place: "/absolute" for place in ("archive",) if place in parameters(flow(name).fn)}

    with pytest.raises(UsageError, match=r"root 'results' is a relative folder.*give an absolute path or a URL"):
        flow(name).fn(**places, root="results")


@pytest.mark.parametrize("name", ["nightly", "backfill", "convert"])
@pytest.mark.parametrize("place", ["archive", "patients"])
def test_a_relative_archive_or_patients_file_is_refused_too(name, place):
    with pytest.raises(UsageError, match=f"{place} 'ecg' is a relative folder"):
        flow(name).fn(**{"archive": "/absolute", "root": "/absolute"} | {place: "ecg"})


def test_a_deployment_made_without_its_variables_says_which_one_was_missing():
    with pytest.raises(UsageError, match=r"root is empty: .*CARDIOCLARITY_ROOT.*deploy"):
        flow("score").fn(root="")


def test_a_parameter_that_does_not_exist_is_refused_in_the_shell_before_any_server_starts(tmp_path):
    result = shell(tmp_path, "nightly", "--archive", "a", "--root", "b", "--alarms", "1")

    assert result.returncode not in {0, None}
    assert "--alarms" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "temporary server" not in result.stderr


@pytest.mark.service
@pytest.mark.timeout(300)
def test_a_night_runs_without_a_server_on_folders_relative_to_the_shell(tmp_path):
    import roots

    archive = open_storage(str(tmp_path / "archive"))
    for scene in roots.NORMAL:
        for key, data in wfdb_files(ecg(scene), MIT).items():
            archive.put_new(key, data)
    root = str(tmp_path / "root")
    drive(CONVERT, ConvertConfig(archive=archive.url, root=root), map)
    drive(TRAIN, TrainConfig(root=root, detectors=("template",)), map)

    result = shell(tmp_path, "nightly", "--archive", "archive", "--root", "root", "--workers", "0")

    assert result.returncode == 0, result.stderr
    verbs = [(run["verb"], run["state"], run["done"]) for run in catalog.runs(open_storage(root))]
    assert verbs[:2] == [("score", "completed", 4), ("convert", "nothing_new", 0)]
    assert len(list((tmp_path / "root/reports").glob("*/index.html"))) == 1


def shell(folder, name, *arguments):
    env = environment(folder / "prefect", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    command = [sys.executable, "-m", f"flows.{name}", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False)


def test_every_package_is_in_the_wheel_that_a_worker_installs():
    listed = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [file.parent for top in ("cardioclarity", "flows") for file in (HERE / top).rglob("__init__.py")]

    assert sorted(listed) == sorted(".".join(folder.relative_to(HERE).parts) for folder in found)


def test_a_temporary_server_has_two_minutes_to_start():
    code = "import flows.nightly; from prefect.settings import get_current_settings as now;"
    code += "print(now().server.ephemeral.startup_timeout_seconds)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "120"
