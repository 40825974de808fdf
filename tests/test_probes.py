"""A promise of a store is believed only when it was kept before our eyes, and nothing of the trial is left."""

import contextlib
import datetime as dt

import pytest
from scripted_store import running
from servers import Server, proxy

from cardioclarity import probes
from cardioclarity.probes import Verdict
from cardioclarity.storage import open_storage

PROMISES = ["clock", "list", "write", "read", "create once", "races"]


def now():
    return dt.datetime.now(dt.UTC)


def by_name(findings):
    return {finding.what: finding for finding in findings}


def verdicts(findings):
    return {finding.what: finding.verdict for finding in findings}


def up_to(what, findings):
    """Stop after a finding; the doctor clears up at once then."""
    with contextlib.closing(findings):
        found = {}
        while what not in found:
            found |= by_name([next(findings)])
    return found


@pytest.fixture
def brief(monkeypatch):
    """Give up at once on a store that does not answer."""
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")


def test_a_folder_keeps_every_promise_and_is_left_as_it_was(tmp_path):
    found = verdicts(probes.probe(open_storage(str(tmp_path / "new")), now))

    assert list(found) == [*PROMISES, "space", "tables", "delete"]
    assert {found[what] for what in (*PROMISES, "tables", "delete")} == {Verdict.OK}
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_a_root_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")

    found = list(probes.probe(open_storage(str(tmp_path / "file")), now))

    assert Verdict.REFUSED in {finding.verdict for finding in found}
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize(
    ("minutes", "verdict", "said"),
    [
        (-2, Verdict.WARNING, "behind"),
        (2, Verdict.WARNING, "ahead of"),
        (20, Verdict.REFUSED, "set this machine's clock"),
        (0, Verdict.OK, "no more than a minute"),
    ],
)
def test_a_clock_is_compared_with_the_stores(tmp_path, minutes, verdict, said):
    off = dt.timedelta(minutes=minutes)

    found = by_name(probes.probe(open_storage(str(tmp_path)), lambda: now() + off))["clock"]

    assert found.verdict == verdict
    assert said in found.said


@pytest.mark.service
@pytest.mark.parametrize("client", ["obstore", "s3fs"])
def test_a_good_bucket_keeps_every_promise_and_nothing_is_left(s3, client, monkeypatch):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", client)
    root = open_storage(f"{s3}/root")

    found = verdicts(probes.probe(root, now))

    assert list(found) == [*PROMISES, "uploads", "versions", "lifecycle", "tables", "delete"]
    assert {found[what] for what in (*PROMISES, "uploads", "lifecycle", "tables", "delete")} == {Verdict.OK}
    assert list(root.list()) == []


def test_a_store_that_overwrites_is_refused_whatever_it_answers(monkeypatch, brief):
    with running() as store:
        Server(endpoint=store.endpoint).set_environment(monkeypatch)
        store.overwrites = True

        found = up_to("races", probes.probe(open_storage("s3://bucket/root"), now))

        assert found["create once"].verdict == Verdict.REFUSED
        assert "overwrote" in found["create once"].said
        assert found["races"].verdict == Verdict.REFUSED
        assert "8 winners" in found["races"].said
        assert not store.objects


def test_a_store_that_takes_uploads_with_wrong_checksums_is_degraded(monkeypatch, brief):
    with running() as store:
        Server(endpoint=store.endpoint).set_environment(monkeypatch)

        found = up_to("uploads", probes.probe(open_storage("s3://bucket/root"), now))

        assert found["uploads"].verdict == Verdict.WARNING
        assert "verify --read-data" in found["uploads"].said
        assert {found[what].verdict for what in ("create once", "races")} == {Verdict.OK}
        assert not store.objects


@pytest.mark.service
@pytest.mark.parametrize(("skew_s", "verdict"), [(120.0, Verdict.WARNING), (1200.0, Verdict.REFUSED)])
def test_a_store_whose_clock_is_off_says_so(s3, seaweed, monkeypatch, brief, skew_s, verdict):
    with proxy.faulty(seaweed.endpoint, share=0.0, skew_s=skew_s) as between:
        seaweed.at(between.url).set_environment(monkeypatch)

        found = up_to("clock", probes.probe(open_storage(f"{s3}/root"), now))

    assert found["clock"].verdict == verdict
    assert "clock" in found["clock"].said
