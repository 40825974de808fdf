"""A protocol runs from files to figures, and refuses a test that proves nothing."""

import json
from pathlib import Path

import pytest
from labelled import write

from cardioclarity.__main__ import run
from cardioclarity.config import ConvertConfig, EvaluateConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation import evaluate
from cardioclarity.evaluation.protocol import load
from cardioclarity.synthetic.pacing import Episode
from cardioclarity.train import TRAIN
from cardioclarity.work import drive

HALVES = load("ds1-ds2")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Synthetic records under the names of both halves of the public database."""
    return write(tmp_path_factory.mktemp("mitdb"), (*HALVES.train, *HALVES.test), duration_s=60.0)


def test_the_public_halves_give_every_figure_of_the_goals(database, capsys, tmp_path):
    ended = run(["evaluate", "--protocol", "ds1-ds2", "--archive", str(database), "--detector", "template", "--json"])

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = {(one["scorer"], one["name"], one["subset"]): one for one in told["metrics"]}
    assert ended in {0, None}
    assert figures["beat", "beat_auroc", "all"]["value"] > 0.9
    assert figures["beat", "beat_auroc", "all"]["n_patients"] == 22
    assert figures["beat", "beat_auroc", "without:232"]["n_patients"] == 21
    for wanted in (
        ("template", "beat_auroc", "without:232/class:V"),
        ("beat", "beat_auroc_patient_mean", "all"),
        ("beat", "beat_average_precision", "without:232"),
        ("beat", "beat_tpr_at_fpr_0.01", "without:232"),
        ("beat", "beat_fpr_at_nominal_0.01_patient_mean", "all"),
        ("beat", "beat_fpr_at_nominal_0.01_patient_p90", "all"),
        ("beat", "beat_auroc_detected", "without:232"),
        ("beat", "beat_tpr_at_fpr_0.01_detected", "without:232"),
    ):
        assert figures[wanted]["low"] <= figures[wanted]["value"] <= figures[wanted]["high"]
    assert "201/202 are one patient" in told["split"]


def test_a_record_that_is_missing_is_named_and_nothing_is_measured(tmp_path):
    folder = write(tmp_path / "mitdb", (*HALVES.train, *HALVES.test[1:-1]), duration_s=10.0)

    with pytest.raises(NotFoundError, match=r"2 of the 44 records of protocol ds1-ds2 are missing: 100, 234"):
        evaluate(EvaluateConfig(protocol="ds1-ds2", archives=(str(folder),)))


def train_on(names, database, base):
    """A root with a model of some of the records, and its id."""
    folder = base / "archive"
    folder.mkdir()
    for name in names:
        for suffix in ("hea", "dat", "atr"):
            (folder / f"{name}.{suffix}").write_bytes((database / f"{name}.{suffix}").read_bytes())
    root = str(base / "root")
    drive(CONVERT, ConvertConfig(archive=str(folder), root=root), map)
    return root, drive(TRAIN, TrainConfig(root=root, detectors=("template",)), map).model_id


@pytest.fixture(scope="module")
def trained(database, tmp_path_factory):
    """A root with a model of three of the records."""
    return train_on(("100", "103", "105"), database, tmp_path_factory.mktemp("trained"))


def test_a_model_is_not_tested_on_records_that_it_was_trained_on(database, trained):
    root, model = trained

    with pytest.raises(
        NotFoundError, match=r"trained on patients of 3 of the 22 records that protocol ds1-ds2 tests, such as 100"
    ):
        evaluate(EvaluateConfig(protocol="ds1-ds2", archives=(str(database),), root=root, model=model))


def test_a_model_is_evaluated_on_records_that_it_has_not_seen_and_nothing_is_fitted(database, trained):
    root, model = trained

    evaluation = evaluate(EvaluateConfig(protocol="ds1-cv", archives=(str(database),), root=root, model=model))

    assert evaluation.model == model
    assert evaluation.seeds == ()
    assert evaluation.found.n_records == 22
    assert "tested by the given model" in evaluation.split


def test_a_protocol_that_takes_what_is_there_leaves_out_what_the_model_has_seen_and_says_how_much(trained, tmp_path):
    root, model = trained
    af = (Episode(kind="af", start_s=30.0, end_s=60.0),)
    folder = write(tmp_path / "af", HALVES.train[:3], duration_s=60.0, episodes=af)
    for file in Path(root).with_name("archive").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())

    evaluation = evaluate(EvaluateConfig(protocol="rhythm", archives=(str(folder),), root=root, model=model))

    assert evaluation.found.n_records == 3
    assert evaluation.notes == ("3 of 6 records are left out: the model was trained on their patients",)


@pytest.mark.parametrize(("fitted", "tested"), [("201", "202"), ("202", "201")])
def test_a_patient_on_both_sides_of_a_public_split_is_tested_aloud_on_a_record_that_the_model_has_not_seen(
    fitted, tested, database, tmp_path
):
    root, model = train_on((fitted, "100", "103"), database, tmp_path)
    protocol = tmp_path / "mine.toml"
    text = (
        'kind = "beats"\nknown_overlap = ["201/202"]\n[train]\nrecords = ["101"]\n[test]\nrecords = ["200", "{}"]\n'
        '[patients]\n201 = "201/202"\n202 = "201/202"\n[calibrate]\nrecords = ["{}"]'
    )
    config = EvaluateConfig(protocol=str(protocol), archives=(str(database),), root=root, model=model)

    protocol.write_text(text.format(tested, fitted))
    assert evaluate(config).notes[0] == (
        f"record {tested} is tested though the model was trained on its patient, 201/202, who stands on both sides of the"
        " public split"
    )

    protocol.write_text(text.format(fitted, tested))
    with pytest.raises(
        NotFoundError, match=f"patients of 1 of the 2 records that protocol mine tests, such as {fitted}"
    ):
        evaluate(config)


@pytest.mark.parametrize(
    ("protocol", "given", "said"),
    [
        ("rpeaks", {"model": "m"}, "protocol rpeaks fits nothing: leave out --model, which would"),
        ("rate", {"seeds": 2, "detectors": ("template",)}, "fits nothing: leave out --seeds and --detector"),
        ("rhythm", {"seeds": 2}, "protocol rhythm draws nothing and fits no beat detector: leave out --seeds"),
        ("nstdb-noise", {"detectors": ("template",)}, "fits no beat detector: leave out --detector"),
        ("ecg5000", {"also": ("more",)}, "ecg5000 fits on its own records alone, all of them normal: leave out --also"),
        ("ecg5000", {"unlabelled": True}, "leave out --unlabelled"),
        ("rhythm", {"unlabelled": True}, "leave out --unlabelled"),
    ],
)
def test_a_setting_that_a_protocol_would_ignore_is_refused(protocol, given, said):
    with pytest.raises(UsageError, match=said):
        evaluate(EvaluateConfig(protocol=protocol, archives=("nowhere",), **given))


def test_an_unknown_detector_and_settings_that_contradict_each_other_are_refused(database):
    with pytest.raises(NotFoundError, match="beat detector 'nope' does not exist"):
        evaluate(EvaluateConfig(protocol="ds1-ds2", archives=(str(database),), detectors=("nope",)))
    for fields in (
        {"archives": ()},
        {"model": "m", "also": ("b",)},
        {"model": "m", "unlabelled": True},
        {"seeds": 0},
        {"model": "m", "seeds": 2},
        {"model": "m", "detectors": ("template",)},
    ):
        with pytest.raises(UsageError):
            EvaluateConfig(**({"protocol": "ds1-cv", "archives": ("a",)} | fields))
