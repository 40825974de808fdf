"""Settings are frozen, refuse what cannot be meant, and hold no secret."""

import dataclasses
import json

import pytest

from cardioclarity import config
from cardioclarity.config import ConvertConfig, ParallelConfig, ReportConfig, ScoreConfig, StorageOptions, TrainConfig
from cardioclarity.errors import UsageError

ALL = [
    ConvertConfig(archive="a", root="r"),
    TrainConfig(root="r"),
    ScoreConfig(root="r"),
    ReportConfig(root="r"),
    ParallelConfig(),
    StorageOptions(),
]


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: type(settings).__name__)
def test_settings_are_frozen(settings):
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, "other")


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: type(settings).__name__)
def test_no_setting_can_hold_a_secret(settings):
    names = {item.name for item in dataclasses.fields(settings)}
    assert not [name for name in names if any(word in name for word in ("secret", "password", "token", "key"))]


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: type(settings).__name__)
def test_each_setting_is_explained(settings):
    for item in dataclasses.fields(settings):
        assert f"        {item.name}: " in type(settings).__doc__


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["alarms_per_hour", "rhythm_alarms_per_hour", "tachycardia_bpm", "bradycardia_bpm", "pause_s"]
)
def test_a_level_that_is_no_positive_number_is_refused_by_its_name(name, wrong):
    with pytest.raises(UsageError, match=name):
        ScoreConfig(root="r", **{name: wrong})


def test_limits_that_contradict_each_other_are_refused():
    with pytest.raises(UsageError, match="must be below"):
        ScoreConfig(root="r", bradycardia_bpm=120)


def test_workers_and_scheduler_exclude_each_other():
    with pytest.raises(UsageError, match="exclude"):
        ParallelConfig(workers=2, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="--workers -1"):
        ParallelConfig(workers=-1)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UsageError, match="max_records 0"):
        ConvertConfig(archive="a", root="r", max_records=0)


def test_equal_settings_have_one_digest_and_unlike_ones_another():
    first, second = ScoreConfig(root="r"), ScoreConfig(root="r")

    assert config.digest(first) == config.digest(second)
    assert config.digest(first) != config.digest(ScoreConfig(root="r", pause_s=3))
    assert json.loads(config.as_json(first))["pause_s"] == 2.0


def test_the_root_comes_from_the_environment_where_none_is_given(monkeypatch):
    monkeypatch.delenv("CARDIOCLARITY_ROOT", raising=False)
    assert config.default_root() == "./cardioclarity-data"

    monkeypatch.setenv("CARDIOCLARITY_ROOT", "s3://bucket/ecg")
    assert config.default_root() == "s3://bucket/ecg"
