"""The doctor looks at the machine and the root, says each finding in one sentence, and sums up without flattery."""

import socket

import pytest

from cardioclarity.config import StorageOptions
from cardioclarity.doctor import Health, examine, health
from cardioclarity.errors import ExitCode
from cardioclarity.probes import Finding, Verdict
from cardioclarity.storage import open_storage
from cardioclarity.tables.schemas import SCHEMA_VERSION
from cardioclarity.tables.snapshot import VERSION_PROPERTY


def by_name(findings):
    return {finding.what: finding for finding in findings}


@pytest.fixture
def brief(monkeypatch):
    """Give up at once on a store that does not answer."""
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")


@pytest.mark.parametrize(
    ("found", "sum_", "code"),
    [
        (["ok", "note"], "ok", ExitCode.DONE),
        (["ok", "warning", "note"], "degraded", ExitCode.DONE),
        (["refused", "warning"], "refused", ExitCode.FAILED),
        ([], "ok", ExitCode.DONE),
    ],
)
def test_the_worst_finding_decides(found, sum_, code):
    result = health(Finding(what="x", verdict=Verdict(verdict), said="") for verdict in found)

    assert (result, result.exit_code) == (Health(sum_), code)


def test_without_a_root_only_the_machine_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    found = by_name(examine(None))

    assert list(found) == ["python", "libraries", "S3 client", "device", "temporary folder", "clock"]
    assert "deltalake" in found["libraries"].said
    assert found["clock"].verdict == Verdict.NOTE
    assert not list(tmp_path.iterdir())


def test_the_client_that_is_in_use_is_named(monkeypatch):
    monkeypatch.delenv("CARDIOCLARITY_S3_CLIENT", raising=False)
    assert by_name(examine(None))["S3 client"].said.startswith("obstore")

    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", "s3fs")
    assert by_name(examine(None))["S3 client"].said.startswith("s3fs")


def test_a_temporary_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    found = by_name(examine(None))["temporary folder"]

    assert (found.verdict, "TMPDIR" in found.said) == (Verdict.REFUSED, True)


def test_a_root_is_examined_and_left_as_it_was(root):
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file())

    found = by_name(examine(open_storage(str(root))))

    assert "schema version" in found["format"].said
    assert (root / "models" / found["champion"].said).is_dir()
    assert found["last scoring"].said.endswith("completed")
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()) == before
    assert not (root / ".doctor").exists()


def test_a_young_root_is_not_ill(tmp_path):
    found = by_name(examine(open_storage(str(tmp_path / "new"))))

    assert found["format"].verdict == Verdict.NOTE
    assert "cardioclarity convert ARCHIVE --root" in found["format"].said
    assert health(found.values()) == Health.OK


def test_a_root_of_a_newer_version_is_refused(root):
    log = root / "tables" / "records" / "_delta_log" / f"{0:020}.json"
    log.write_text(log.read_text().replace(f'"{VERSION_PROPERTY}":"{SCHEMA_VERSION}"', f'"{VERSION_PROPERTY}":"99"'))

    found = by_name(examine(open_storage(str(root))))

    assert found["format"].verdict == Verdict.REFUSED
    assert "newer CardioClarity" in found["format"].said
    assert "champion" not in found


@pytest.mark.service
def test_one_who_may_only_read_is_told_what_he_may_not(s3, seaweed, monkeypatch, brief):
    seaweed.reader().set_environment(monkeypatch)

    found = by_name(examine(open_storage(f"{s3}/root")))

    assert (found["list"].verdict, found["write"].verdict) == (Verdict.OK, Verdict.REFUSED)
    assert "(403)" in found["write"].said
    assert "races" not in found
    assert found["format"].verdict == Verdict.NOTE, "reading goes on"


@pytest.mark.service
def test_a_bucket_that_is_not_there_is_one_refusal(s3, brief):
    found = by_name(examine(open_storage("s3://no-such-bucket/root")))

    assert found["list"].verdict == Verdict.REFUSED
    assert "no such bucket" in found["list"].said
    assert "format" not in found


def test_a_store_that_does_not_answer_is_one_refusal(monkeypatch, brief):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        options = StorageOptions(endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}")

        found = by_name(examine(open_storage("s3://bucket/root", options)))

    assert found["list"].verdict == Verdict.REFUSED
    assert "cannot be reached" in found["list"].said
    assert "format" not in found
