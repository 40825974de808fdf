"""Damaged rows, evidence and models are never used as if they were whole: one sentence, and nothing half published."""

import json
import shutil
import subprocess
import sys

import pytest
from damaged_roots import Harm, deliver, kind_of, objects, one_of_everything, rows, score
from deltalake import DeltaTable

from cardioclarity.config import ConvertConfig, ReportConfig, TrainConfig, VerifyConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import DamageError
from cardioclarity.report import report
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.train import TRAIN
from cardioclarity.verify import verify
from cardioclarity.vocabulary import Reason
from cardioclarity.work import drive


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return one_of_everything(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound, tmp_path):
    """A folder with a copy of root and archive, of one's own; the archive has a record that is new."""
    shutil.copytree(sound, tmp_path / "copy")
    deliver(open_storage(str(tmp_path / "copy" / "archive")), 9)
    return tmp_path / "copy"


def one(folder, kind):
    return next(key for key in objects(folder / "root") if kind_of(key).startswith(kind))


def versions(folder):
    return {table: DeltaTable(str(folder / "root" / "tables" / table)).version() for table in SCHEMAS}


def convert(folder):
    return drive(CONVERT, ConvertConfig(archive=str(folder / "archive"), root=str(folder / "root")), map)


def judge_anew(folder):
    return score(folder, alarms_per_hour=99.0)


def train(folder):
    return drive(TRAIN, TrainConfig(root=str(folder / "root"), detectors=("template",)), map)


def show(folder):
    return report(ReportConfig(root=str(folder / "root")))


@pytest.mark.parametrize("how", ["flip", "missing"])
@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        (judge_anew, "tables/scores/model"),
        (judge_anew, "tables/records/seg"),
        (judge_anew, "tables/runs/*-"),
        (judge_anew, "models/*/weights"),
        (train, "tables/records/seg"),
        (show, "tables/events/model"),
        (show, "tables/scores/model"),
        (convert, "tables/sources/*-"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_damaged_stops_the_verb_with_a_sentence_and_nothing_is_published(folder, verb, kind, how):
    key = one(folder, kind)
    Harm(folder / "root", key, how)
    before = versions(folder)

    with pytest.raises(DamageError) as raised:
        verb(folder)

    assert key.rpartition("/")[2] in str(raised.value)
    assert versions(folder) == before
    assert not (folder / "root" / "reports").exists()


@pytest.mark.parametrize("how", ["flip", "missing", "truncated"])
def test_damaged_evidence_is_never_judged_again(folder, how):
    key = one(folder, "tables/beats/model")
    segment_id = key.partition("segment_id=")[2][:32]
    root = open_storage(str(folder / "root"))
    before = [row for row in rows(folder / "root", "scores")["scores"] if segment_id in row]
    Harm(folder / "root", key, how)

    summary = judge_anew(folder)

    aside = [row for row in catalog.quarantine(root) if row["stage"] == "score"]
    assert {row["record_id"] for row in aside} == set(catalog.pinned(root).record_ids(segment_id))
    assert {row["reason"] for row in aside} == {Reason.DAMAGED}
    assert summary.quarantined == len(aside)
    assert [row for row in rows(folder / "root", "scores")["scores"] if segment_id in row] == before


def test_a_convert_that_finds_quarantine_damaged_is_repeated_whole_after_the_repair(folder, sound):
    convert_again = ConvertConfig(archive=str(folder / "archive"), root=str(folder / "root"))
    (folder / "archive" / "broken" / "new.hea").write_bytes(b"new 1 360 1000\nnew.dat 212 200 11 1024 0 0 0 II\n")
    Harm(folder / "root", one(folder, "tables/quarantine/*-"), "flip")
    with pytest.raises(DamageError):
        drive(CONVERT, convert_again, map)

    verify(VerifyConfig(root=str(folder / "root"), read_data=True, repair=True))
    drive(CONVERT, convert_again, map)

    assert verify(VerifyConfig(root=str(folder / "root"), read_data=True)).damaged == ()
    delivered = DeltaTable(str(folder / "root" / "tables" / "sources")).to_pyarrow_table().to_pylist()
    assert sum(row["reason"] is not None for row in delivered) >= 2


def test_the_command_repairs_scores_again_and_ends_with_four(folder):
    key = one(folder, "tables/events/model")
    Harm(folder / "root", key, "flip")
    command = [
        sys.executable,
        "-m",
        "cardioclarity",
        "verify",
        "--root",
        str(folder / "root"),
        "--read-data",
        "--repair",
    ]

    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, timeout=240)

    assert ended.returncode == 4
    told = json.loads(ended.stdout.splitlines()[-1])
    assert [damage["key"] for damage in told["damaged"]] == [key]
    assert any("scored again" in what for what in told["repaired"])
    assert verify(VerifyConfig(root=str(folder / "root"), read_data=True)).damaged == ()


@pytest.mark.parametrize("how", ["flip", "missing"])
def test_events_that_were_damaged_when_new_ones_replaced_them_are_said(folder, caplog, how):
    key = one(folder, "tables/events/model")
    Harm(folder / "root", key, how)

    judge_anew(folder)

    (said,) = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert key in said
    assert verify(VerifyConfig(root=str(folder / "root"), read_data=True)).damaged == ()
