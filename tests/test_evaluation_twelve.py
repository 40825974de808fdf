"""Whole records are labelled by the database's own table, and ranked by fits on pure normal ones."""

import numpy as np
import pytest

from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation import twelve
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import Protocol, load
from cardioclarity.evaluation.subjects import gather
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.archive import FINE, wfdb_files
from cardioclarity.synthetic.pacing import Scene
from cardioclarity.synthetic.phantom import ecg

STATEMENTS = """,description,diagnostic,diagnostic_class
NORM,normal,1.0,NORM
IMI,infarction,1.0,MI
CLBBB,block,1.0,CD
SR,sinus rhythm,,
"""
CODES = {
    "sure": "{'NORM': 100.0, 'SR': 0.0}",
    "unsure": "{'NORM': 80.0}",
    "mixed": "{'NORM': 100.0, 'IMI': 15.0}",
    "ill": "{'IMI': 50.0, 'CLBBB': 100.0, 'SR': 0.0}",
    "rhythm only": "{'SR': 0.0}",
}


def table(rows):
    head = "ecg_id,patient_id,scp_codes,strat_fold,filename_lr"
    lines = [f'{at},{patient},"{codes}",{fold},records/{at:05d}_lr' for at, (patient, codes, fold) in enumerate(rows)]
    return "\n".join([head, *lines]) + "\n"


def write(folder, rows):
    (folder / "ptbxl_database.csv").write_text(table(rows))
    (folder / "scp_statements.csv").write_text(STATEMENTS)
    return [open_storage(str(folder))]


def test_a_record_is_normal_for_certain_or_carries_another_superclass_or_is_dropped(tmp_path):
    archives = write(tmp_path, [(f"{at}.0", codes, 1) for at, codes in enumerate(CODES.values())])

    found = {row.name: row for row in twelve.labelled(load("ptbxl-cv"), archives)}

    assert list(found) == ["00000_lr", "00002_lr", "00003_lr"]
    assert [row.is_normal for row in found.values()] == [True, False, False]
    assert found["00003_lr"].superclasses == {"MI", "CD"}
    assert found["00003_lr"].patient == "3.0"


def test_the_sides_are_the_databases_own_folds_and_only_normal_records_are_trained_on(tmp_path):
    rows = [
        ("1", CODES["sure"], 1),
        ("2", CODES["ill"], 2),
        ("3", CODES["sure"], 9),
        ("4", CODES["ill"], 10),
        ("5", CODES["sure"], 10),
    ]

    strict = twelve.resolved(load("ptbxl-strict"), write(tmp_path, rows))

    assert (strict.train, strict.calibrate, strict.test) == (("00000_lr",), ("00002_lr",), ("00003_lr", "00004_lr"))


def test_a_part_of_the_database_without_the_tested_fold_is_refused_with_what_to_use(tmp_path):
    archives = write(tmp_path, [("1", CODES["sure"], 1)])

    with pytest.raises(NotFoundError, match=r"no record to test with, in folds 10; it has folds 1; .*ptbxl-cv"):
        twelve.resolved(load("ptbxl-strict"), archives)


def test_a_patient_in_a_trained_and_a_tested_fold_is_refused(tmp_path):
    archives = write(tmp_path, [("7.0", CODES["sure"], 1), ("7.0", CODES["ill"], 10)])

    with pytest.raises(UsageError, match=r"both sides: 7\.0"):
        twelve.resolved(load("ptbxl-strict"), archives)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"the table scp_statements\.csv of the labels is missing"):
        twelve.resolved(load("ptbxl-cv"), [open_storage(str(tmp_path))])


def test_labels_that_the_protocol_does_not_place_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"\[labels\] lacks table, statements"):
        twelve.labelled(Protocol(name="m", kind="records"), [open_storage(str(tmp_path))])


def test_records_with_wide_beats_rank_above_normal_ones_of_other_patients(tmp_path):
    rows = [(str(at), CODES["ill" if at % 3 == 2 else "sure"], 1) for at in range(18)]
    (tmp_path / "records").mkdir()
    for at, (_, codes, _) in enumerate(rows):
        scene = Scene(
            name=f"records/{at:05d}_lr",
            seed=at,
            duration_s=10.0,
            rate_hz=360.0,
            leads=("I", "II", "V1"),
            wide_qrs=codes == CODES["ill"],
        )
        for key, data in wfdb_files(ecg(scene), FINE, annotated=False).items():
            (tmp_path / key).write_bytes(data)
    archives = write(tmp_path, rows)
    protocol = twelve.resolved(Protocol(name="m", kind="records", n_folds=2, labels=load("ptbxl-cv").labels), archives)

    found = twelve.measure(protocol, gather(protocol, archives), Plan(detectors=("ae-dense",)))

    figures = {(one.scorer, one.subset): one for one in found.metrics}
    assert figures["record", "all"].value > 0.9
    assert {subset for scorer, subset in figures if scorer == "record"} >= {"all", "superclass:MI", "superclass:CD"}
    assert np.isnan(figures["record", "superclass:HYP"].value)
    assert (found.n_patients, found.n_records) == (18, 18)


@pytest.mark.real_data
def test_the_real_table_gives_the_published_counts_of_its_part(real_data):
    rows = twelve.labelled(load("ptbxl-cv"), [open_storage(str(real_data / "ptbxl"))])
    ill = [row.superclasses for row in rows if not row.is_normal]

    assert sum(row.is_normal for row in rows) == 135  # of 164, the likelihood is 100 in so many
    assert {word: sum(word in one for one in ill) for word in ("MI", "STTC", "CD", "HYP")} == {
        "MI": 37,
        "STTC": 41,
        "CD": 42,
        "HYP": 19,
    }
