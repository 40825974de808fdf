"""Training is repeatable by its seed, keeps patients apart, and says what it learned from."""

import shutil

import pytest
from faults.crash import Operations

from cardioclarity import models
from cardioclarity.cohort import draw
from cardioclarity.config import ConvertConfig, ScoreConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import DamageError, NotFoundError, UsageError
from cardioclarity.score import SCORE
from cardioclarity.storage import open_storage
from cardioclarity.storage.folder import Folder
from cardioclarity.synthetic.archive import MIT, wfdb_files
from cardioclarity.synthetic.pacing import Scene
from cardioclarity.synthetic.phantom import ecg
from cardioclarity.tables import catalog
from cardioclarity.train import TRAIN
from cardioclarity.work import drive


def train(root, **settings):
    return drive(TRAIN, TrainConfig(root=str(root), detectors=("template",), **settings), map)


def test_one_seed_gives_one_model_and_another_seed_another(root):
    first, second, other = train(root, seed=1), train(root, seed=1), train(root, seed=2)

    assert first.model_id == second.model_id != other.model_id


def test_archives_of_unlike_rates_and_leads_in_one_root_teach_one_model(tmp_path):
    root = str(tmp_path / "root")
    for archive, rate_hz, leads in (
        ("holter", 360.0, ("MLII", "V1")),
        ("ward", 128.0, ("V1", "V5")),
        ("one", 250.0, ("II",)),
    ):
        folder = tmp_path / archive
        folder.mkdir()
        for number in range(3):
            scene = Scene(
                name=f"{archive}{number}",
                seed=number,
                duration_s=75.0,
                rate_hz=rate_hz,
                leads=leads,
                pvc_per_hour=300.0,
            )
            for key, data in wfdb_files(ecg(scene), MIT).items():
                (folder / key).write_bytes(data)
        drive(CONVERT, ConvertConfig(archive=str(folder), root=root), map)

    summary = drive(TRAIN, TrainConfig(root=root, detectors=("template", "pca")), map)
    scored = drive(SCORE, ScoreConfig(root=root), map)

    learned = models.description(open_storage(root), summary.model_id)["training"]
    assert (summary.done, learned["records"]) == (9, 9)
    assert learned["rates_hz"] == [128.0, 250.0, 360.0]
    assert {"MLII", "V1", "II"} <= set(learned["leads"])
    assert scored.done == 9


def test_the_first_model_is_champion_and_a_later_one_only_where_asked(root):
    shutil.rmtree(root / "models")

    first = train(root, seed=1)
    second = train(root, seed=2)
    third = train(root, seed=3, champion=True)

    assert [first.champion, second.champion, third.champion] == [first.model_id, first.model_id, third.model_id]


def test_nothing_staged_is_left_behind(root):
    train(root)

    assert not [path for path in (root / "models").rglob("*") if "staged" in path.name]


def test_the_model_says_what_it_learned_from(root):
    summary = train(root, seed=5)

    card = (root / "models" / summary.model_id / "CARD.md").read_text()
    assert "- seed: 5" in card
    assert "patients" in card
    assert "research use only" in card.lower()
    assert "None" not in card
    assert summary.warnings
    assert summary.warnings[0] in card


def test_only_the_drawn_records_are_used(root):
    assert train(root, max_records=3).done == 3


def test_a_root_without_a_record_says_what_to_do(tmp_path):
    with pytest.raises(NotFoundError, match="cardioclarity convert"):
        train(tmp_path / "nowhere")


def test_an_unknown_detector_is_refused_by_name_before_anything_is_prepared(root):
    with pytest.raises(NotFoundError, match="'ae-huge'"):
        TRAIN.plan(TrainConfig(root=str(root), detectors=("ae-huge",)))


def test_the_trained_model_can_be_loaded(root):
    summary = train(root)

    model = models.load(open_storage(str(root)), summary.model_id)

    assert set(model.members) >= {"template", "rhythm", "quality"}


def test_nothing_staged_is_left_behind_where_the_fit_fails(root):
    config = TrainConfig(root=str(root), detectors=("template",))
    plan = TRAIN.plan(config)

    def receipts():
        for unit in plan.units:
            yield TRAIN.run(unit)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TRAIN.finish(config, plan, receipts())
    assert not [path for path in (root / "models").rglob("*") if "staged" in path.name]


def test_the_model_is_named_before_what_was_staged_for_it_goes(root):
    """As long as something is staged, gc frees no model: in between there is no moment in which nothing names it."""
    with Operations() as done:
        train(root, champion=True)

    first = min(at for at, name in enumerate(done.names) if name.startswith("delete models/staged-"))
    assert {"put_new models/champion/00000002.json", "create_write_transaction runs"} <= set(done.names[:first])


@pytest.fixture
def nothing_can_be_deleted(monkeypatch):
    def refuse(self, key):
        raise PermissionError(13, "no right to delete", key)

    monkeypatch.setattr(Folder, "delete", refuse)


@pytest.mark.usefixtures("nothing_can_be_deleted")
def test_what_cannot_be_deleted_fails_no_training_and_hides_no_error(root, caplog):
    config = TrainConfig(root=str(root), detectors=("template",))
    plan = TRAIN.plan(config)

    def receipts():
        yield TRAIN.run(plan.units[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TRAIN.finish(config, plan, receipts())
    assert train(root).state == "completed"
    assert "left behind until gc frees them" in caplog.text


def test_a_damaged_segment_teaches_nothing_and_is_written_down(root):
    storage = open_storage(str(root))
    shard = min((root / "segments").rglob("c/*/*/*"), key=lambda path: path.stat().st_size)
    sound = shard.read_bytes()
    shard.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))

    summary = train(root)

    aside = [row for row in catalog.quarantine(storage) if row["stage"] == "train"]
    assert summary.quarantined == len(aside) > 0
    assert {row["reason"] for row in aside} == {"damaged"}
    shard.write_bytes(sound)
    assert train(root).quarantined == 0
    assert not [row for row in catalog.quarantine(storage) if row["stage"] == "train"]


def test_where_every_drawn_segment_is_damaged_the_damage_is_said_and_no_model_is_made(root):
    for shard in (path for path in (root / "segments").rglob("signal/c/**/*") if path.is_file()):
        shard.write_bytes(shard.read_bytes()[:-1])
    before = sorted((root / "models").iterdir())

    with pytest.raises(DamageError, match=r"all \d+ drawn records are set aside \(\d+ x damaged\).*its manifest says"):
        train(root)

    assert sorted((root / "models").iterdir()) == before
    assert [row for row in catalog.quarantine(open_storage(str(root))) if row["stage"] == "train"]


def test_the_hours_bound_what_is_trained_on(root):
    records = catalog.records(open_storage(str(root)))
    two_shortest_h = sorted(record.duration_s for record in records)[1] * 2 / 3600

    assert 1 <= train(root, max_hours=two_shortest_h).done < len(records)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"max_records": 0}, {"max_hours": 0.0}, {"minutes_per_record": -1.0}])
def test_sizes_that_cannot_be_meant_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrainConfig(root="r", **wrong)


def test_the_card_says_how_well_beats_of_held_out_patients_are_ranked(root):
    model_id = train(root, seed=next(seed for seed in range(20) if _ill_patient_calibrates(root, seed))).model_id

    card = (root / "models" / model_id / "CARD.md").read_text()
    assert "class S: AUROC" in card
    assert "class F: AUROC not measured (none there" in card
    assert "too few patients" in card
    assert "worst patients, by a record of theirs" in card


def test_the_card_says_what_was_not_measured(root):
    model_id = train(root, seed=next(seed for seed in range(20) if not _ill_patient_calibrates(root, seed))).model_id

    card = (root / "models" / model_id / "CARD.md").read_text()
    assert "\n- beat: not measured" in card
    assert "- subgroups: not measured" in card


def _ill_patient_calibrates(root, seed):
    records = catalog.records(open_storage(str(root)))
    ill = max(records, key=lambda record: record.duration_s).record_id
    order = sorted((record.record_id for record in records), key=lambda name: draw(seed, name))
    return order[0] == ill


def test_the_model_lists_the_records_that_it_has_seen(root):
    model_id = train(root).model_id
    ids = {
        row["record_id"][: models.ID_PREFIX]
        for row in catalog.pinned(open_storage(str(root))).iter_records(("record_id",))
    }

    assert models.trained_on(open_storage(str(root)), model_id)
    assert models.trained_on(open_storage(str(root)), model_id) <= ids
