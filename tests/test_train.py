"""Training is repeatable by its seed, keeps patients apart, and says what it learned from."""

import shutil

import pytest

from cardioclarity import models
from cardioclarity.config import TrainConfig
from cardioclarity.errors import NotFoundError
from cardioclarity.storage import open_storage
from cardioclarity.train import TRAIN
from cardioclarity.work import drive


def train(root, **settings):
    return drive(TRAIN, TrainConfig(root=str(root), detectors=("template",), **settings), map)


def test_one_seed_gives_one_model_and_another_seed_another(root):
    first, second, other = train(root, seed=1), train(root, seed=1), train(root, seed=2)

    assert first.model_id == second.model_id != other.model_id


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
