"""The house rules that a linter cannot say."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
MODULES = sorted([*(PROJECT / "cardioclarity").rglob("*.py"), *(PROJECT / "flows").glob("*.py")])
TESTS = {path.name for path in (PROJECT / "tests").glob("test_*.py")}


def module_id(path):
    return str(path.relative_to(PROJECT))


def tree(path):
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_each_module_says_in_one_line_what_it_holds(path):
    first_line = (ast.get_docstring(tree(path)) or "").split("\n")[0]

    assert 20 <= len(first_line) <= 120
    assert first_line.endswith((".", ":"))


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_no_function_is_longer_than_eighty_lines(path):
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]

    assert not [node.name for node in functions if node.end_lineno - node.lineno + 1 > 80]


def test_nothing_is_called_utils_and_nothing_imports_the_package_root():
    assert not [path for path in MODULES if path.stem in {"utils", "common", "helpers", "base", "core", "manager"}]
    imports = re.compile(r"^\s*import cardioclarity\b", re.MULTILINE)
    assert not [module_id(path) for path in MODULES if imports.search(path.read_text())]


def test_each_module_has_a_test_file_of_its_own():
    untested = []
    for path in MODULES:
        parts = path.relative_to(PROJECT).with_suffix("").parts[1:]
        names = {f"test_{'_'.join(parts[i:])}.py" for i in range(len(parts))}
        names |= {f"test_{path.parent.name}.py"} if path.stem == "__init__" else set()
        if path.stem != "__init__" and not names & TESTS:
            untested.append(module_id(path))
    covered_elsewhere = {
        "cardioclarity/__main__.py": "test_commands.py",
        **{
            f"cardioclarity/commands/{name}.py": "test_commands.py"
            for name in ("speaking", "stores", "upkeep", "verbs")
        },
        "cardioclarity/readers/protocol.py": "test_reader_laws.py",
        "cardioclarity/readers/wfdb.py": "test_readers.py",
        "cardioclarity/detectors/protocol.py": "test_detector_laws.py",
        "cardioclarity/report/view.py": "test_report_page.py",
        "cardioclarity/report/words.py": "test_report_page.py",
        **{f"cardioclarity/storage/{name}.py": "test_storage_bucket.py" for name in ("answers", "fast", "plain")},
        "cardioclarity/storage/arguments.py": "test_storage_credentials.py",
        **{f"cardioclarity/storage/{name}.py": "test_storage_packed.py" for name in ("members", "tarred", "zipped")},
        **{f"cardioclarity/tables/{name}.py": "test_tables_publish.py" for name in ("snapshot", "staging")},
        **{f"cardioclarity/verify/{name}.py": "test_verify.py" for name in ("findings", "models", "signals", "tables")},
        "cardioclarity/verify/agreement.py": "test_verify_repair.py",
        **{module_id(path): "test_flows.py" for path in MODULES if path.parent.name == "flows"},
    }
    assert set(covered_elsewhere.values()) <= TESTS
    assert [name for name in untested if name not in covered_elsewhere] == []


OF_ONE_PLACE = re.compile(
    r"https?://(?!127\.|doi\.|keepachangelog\.com|www\.apache\.org)\S*(?:pypi|simple|npm)"
    r"|\b(?:docker\.(?:io|com)|(?:ghcr|quay|gcr|azurecr)\.io|pkg\.dev|mcr\.microsoft\.com|(?:dkr\.ecr|ecr\.aws)"
    r"|(?:pypi|pythonhosted|pytorch|conda|anaconda|npmjs)\.(?:org|com)|registry\.[\w-]+\.\w+)\b"
    r"|/(?:home|root|work)/\w+"
)
"""Hosts of images and packages, and paths of a machine: whoever installs chooses them."""


@pytest.mark.parametrize(
    "line",
    [
        "ARG BASE=docker.io/library/python:3.11",
        "FROM ghcr.io/owner/image",
        "FROM registry.gitlab.com/owner/image",
        "FROM 123.dkr.ecr.eu-central-1.amazonaws.com/image",
        "pip install --index-url https://download.pytorch.org/whl/cpu torch",
        "index = https://mirror.example/simple/",
        "cd /home/somebody",
    ],
)
def test_a_registry_is_recognised(line):
    assert OF_ONE_PLACE.search(line)


@pytest.mark.parametrize("line", ["FROM python:3.11-slim-bookworm", "torch>=2.10", "https://doi.org/10.1/simple"])
def test_what_names_no_host_passes(line):
    assert not OF_ONE_PLACE.search(line)


def test_no_source_names_a_registry_a_machine_path_or_the_place_it_was_written():
    files = [*MODULES, *(PROJECT / "bench").glob("*.py"), *(PROJECT / "docs").glob("*.md"), *PROJECT.glob("*.md")]
    files += [PROJECT / name for name in ("Makefile", "pyproject.toml", "constraints.txt", "prefect.yaml", ".ci/run")]
    files += list((PROJECT / "infra").glob("*"))

    found = {module_id(path): OF_ONE_PLACE.findall(path.read_text()) for path in files}

    assert {name: hits for name, hits in found.items() if hits} == {"infra/Dockerfile": ["/home/app"]}


def test_every_dependency_is_pinned_by_the_constraints():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [
        need for needs in (project["dependencies"], *extras) for need in needs if not need.startswith("cardioclarity[")
    ]
    pinned = {
        line.split("==")[0].split(">=")[0].lower() for line in (PROJECT / "constraints.txt").read_text().split("\n")
    }

    assert "uv" in pinned
    assert not [name for need in wanted if (name := re.split(r"[<>=]", need)[0].lower()) not in pinned]
