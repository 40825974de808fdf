"""Law: a model that loads is to the bit the one that was saved; any other byte is refused; champions are never lost."""

import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from builders import RECIPE, examples, normals
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardioclarity import models, training
from cardioclarity.card import card
from cardioclarity.ensemble import Model
from cardioclarity.errors import CardioClarityError, ConflictError, DamageError, NotFoundError
from cardioclarity.storage import Storage, open_storage

FACTS = {"seed": 0, "patients": 8, "records": 8, "normal_beats": np.int64(640), "hours": 0.2, "leads": ["MLII", "V1"]}
FILES = ("weights.safetensors", "CARD.md", "model.json")
UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def fitted() -> Model:
    return training.fit(
        normals(4, 80),
        normals(2, 80, seed=50),
        normals(2, 80, seed=60),
        recipe=RECIPE,
        detectors=(),
        seed=0,
    )


@pytest.fixture(scope="module")
def small() -> Model:
    """A model without networks, for tests that save many."""
    patients = normals(2, 80)
    return training.fit(
        patients,
        patients,
        normals(2, 80, seed=60),
        recipe=RECIPE,
        detectors=("template",),
        seed=0,
    )


@pytest.fixture
def root(tmp_path) -> Storage:
    return open_storage(str(tmp_path / "root"))


def folder(root: Storage, model_id: str) -> Path:
    return Path(root.url) / "models" / model_id


def champion_file(root: Storage, number: int) -> Path:
    return Path(root.url) / "models" / "champion" / f"{number:08d}.json"


def saved(root: Storage, model: Model, seed: int) -> str:
    return models.save(root, model, facts={"seed": seed})


# ---------------------------------------------------------------- save and load


def test_a_model_that_was_saved_and_loaded_gives_the_same_evidence_to_the_bit(root, fitted):
    loaded = models.load(root, models.save(root, fitted, facts=FACTS))
    seen = examples(seed=77, unusual=(40,))
    before, after = fitted.evidence(seen), loaded.evidence(seen)
    for name in ("beat_score", "beat_p", "rhythm_score", "rhythm_p", "beat_readable"):
        assert np.array_equal(getattr(before, name), getattr(after, name), equal_nan=True), name
    assert before.beat_members.keys() == after.beat_members.keys() >= {"template", "ae_dense", "ae_conv"}
    for name, scores in before.beat_members.items():
        assert np.array_equal(scores, after.beat_members[name], equal_nan=True), name
    assert loaded.recipe == fitted.recipe
    assert loaded.facts == fitted.facts


def test_the_id_is_the_digest_of_the_description_which_holds_the_digest_of_every_other_file(root, fitted):
    model_id = models.save(root, fitted, facts=FACTS)
    assert {path.name for path in folder(root, model_id).iterdir()} == set(FILES)
    description = (folder(root, model_id) / "model.json").read_bytes()
    assert hashlib.sha256(description).hexdigest()[:32] == model_id
    digests = json.loads(description)["files"]
    assert digests.keys() == {"weights.safetensors", "CARD.md"}
    for name, digest in digests.items():
        assert hashlib.sha256((folder(root, model_id) / name).read_bytes()).hexdigest() == digest


def test_the_description_can_be_read_without_loading_the_model_and_is_checked_as_it_is(root, small):
    model_id = models.save(root, small, facts=FACTS | {"seed": 11})
    key = f"models/{model_id}/model.json"

    assert models.description(root, model_id)["training"]["seed"] == 11
    with pytest.raises(NotFoundError):
        models.description(root, "0" * 32)
    root.replace(key, root.fetch(key)[:-1])
    with pytest.raises(DamageError):
        models.description(root, model_id)


def test_the_description_is_canonical_json_with_facts_settings_and_intended_use(root, fitted):
    model_id = models.save(root, fitted, facts=FACTS)
    description = (folder(root, model_id) / "model.json").read_text()
    document = json.loads(description)
    assert json.dumps(document, sort_keys=True, separators=(",", ":")) == description
    assert document["format_version"] == 1
    assert document["training"] == FACTS
    assert document["model"] == json.loads(json.dumps(fitted.settings()))
    assert "Not a medical device" in document["intended_use"]
    assert document["parameters"]["ae-dense"] == 10_484
    assert document["parameters"]["ae-conv"] == 78_706


def test_the_card_in_the_folder_is_that_of_the_description(root, fitted):
    model_id = models.save(root, fitted, facts=FACTS)
    document = json.loads((folder(root, model_id) / "model.json").read_text())
    del document["files"]["CARD.md"]
    assert (folder(root, model_id) / "CARD.md").read_text() == card(document)


def test_saving_the_same_model_again_changes_nothing_and_another_fact_makes_another_model(root, small):
    first = models.save(root, small, facts=FACTS)
    assert models.save(root, small, facts=FACTS) == first
    assert models.save(root, small, facts=FACTS | {"seed": 1}) != first
    assert len(models.list_models(root)) == 2


def test_the_description_is_written_last(root, small):
    written = []

    class Watched(Storage):
        def put_new(self, key, data):
            written.append(key)
            return super().put_new(key, data)

    model_id = models.save(Watched(root.url, root.name, root.options), small, facts=FACTS)
    assert written == [f"models/{model_id}/{name}" for name in FILES]


def test_a_folder_without_its_description_is_no_model(root, small):
    model_id = models.save(root, small, facts=FACTS)
    (folder(root, model_id) / "model.json").unlink()
    assert models.list_models(root) == []
    with pytest.raises(NotFoundError):
        models.load(root, model_id)


def test_a_fact_that_is_no_number_was_not_measured(root, small):
    facts = {"hours": float("nan"), "metrics": {"beat": {"AUROC": np.float64("inf")}}, "rates_hz": (np.float32(250),)}
    model_id = models.save(root, small, facts=facts)
    document = json.loads((folder(root, model_id) / "model.json").read_text())
    assert document["training"] == {"hours": None, "metrics": {"beat": {"AUROC": None}}, "rates_hz": [250.0]}
    assert "- hours: not measured" in (folder(root, model_id) / "CARD.md").read_text()


def test_no_file_of_a_model_is_a_pickle(root, fitted):
    model_id = models.save(root, fitted, facts=FACTS)
    weights = (folder(root, model_id) / "weights.safetensors").read_bytes()
    assert safetensors.numpy.load(weights).keys() == fitted.arrays().keys()
    for name in FILES:
        data = (folder(root, model_id) / name).read_bytes()
        assert not data.startswith((b"\x80", b"PK"))
        assert b"torch" not in data


def test_arrays_that_are_not_contiguous_are_stored_as_they_read(root, small):
    weights = np.arange(12.0).reshape(3, 4)
    stored = models._weights({"member.a.b": weights.T, "member.a.c": np.float64(3.0), "member.a.d": weights[:, ::2]})
    loaded = safetensors.numpy.load(stored)
    assert np.array_equal(loaded["member.a.b"], weights.T)
    assert np.array_equal(loaded["member.a.d"], weights[:, ::2])
    assert loaded["member.a.c"].shape == ()


# ---------------------------------------------------------------- damage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_refused(tmp_path_factory, small, name, data):
    root = open_storage(str(tmp_path_factory.mktemp("damaged")))
    model_id = models.save(root, small, facts=FACTS)
    path = folder(root, model_id) / name
    damaged = bytearray(path.read_bytes())
    at, bit = data.draw(st.integers(0, len(damaged) - 1)), data.draw(st.integers(0, 7))
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(DamageError, match=f"{name} of model {model_id} is damaged; restore it or train again"):
        models.load(root, model_id)


@pytest.mark.parametrize("name", ["weights.safetensors", "CARD.md"])
def test_a_lost_file_is_damage(root, small, name):
    model_id = models.save(root, small, facts=FACTS)
    (folder(root, model_id) / name).unlink()
    with pytest.raises(DamageError, match=f"{name} of model {model_id} is lost"):
        models.load(root, model_id)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(root, small, name):
    model_id = models.save(root, small, facts=FACTS)
    path = folder(root, model_id) / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamageError):
        models.load(root, model_id)


@pytest.mark.parametrize("model_id", [UNKNOWN, "../../etc/passwd", "", "champion", "F" * 32])
def test_an_unknown_model_is_refused_with_those_that_there_are(root, small, model_id):
    there = models.save(root, small, facts=FACTS)
    with pytest.raises(NotFoundError, match=f"there are: {there}"):
        models.load(root, model_id)


def test_where_there_is_no_model_the_message_says_how_to_make_one(root):
    with pytest.raises(NotFoundError, match="cardioclarity train"):
        models.load(root, UNKNOWN)


def test_messages_hold_no_absolute_path(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = open_storage("./root")
    model_id = models.save(root, small, facts=FACTS)
    (folder(root, model_id) / "CARD.md").unlink()
    for wanted in (model_id, UNKNOWN):
        with pytest.raises(CardioClarityError) as refused:
            models.load(root, wanted)
        assert str(tmp_path) not in str(refused.value)


def test_a_model_of_a_newer_version_is_refused_in_a_sentence(root, small):
    model_id = models.save(root, small, facts=FACTS)
    document = json.loads((folder(root, model_id) / "model.json").read_text()) | {"format_version": 2, "files": {}}
    newer = json.dumps(document).encode()
    newer_id = hashlib.sha256(newer).hexdigest()[:32]
    root.put_new(f"models/{newer_id}/model.json", newer)
    with pytest.raises(CardioClarityError, match=r"newer than the 1 .* upgrade cardioclarity"):
        models.load(root, newer_id)
    assert {row["model_id"] for row in models.list_models(root)} == {model_id, newer_id}


# ---------------------------------------------------------------- in memory


def test_a_model_is_read_once_per_process(root, small):
    model_id = models.save(root, small, facts=FACTS)
    first = models.load(root, model_id)
    (folder(root, model_id) / "weights.safetensors").unlink()
    assert models.load(root, model_id) is first


def test_a_failure_to_load_is_not_remembered(root, small):
    model_id = models.save(root, small, facts=FACTS)
    path = folder(root, model_id) / "weights.safetensors"
    weights = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(DamageError):
        models.load(root, model_id)
    path.write_bytes(weights)
    assert models.load(root, model_id).recipe == small.recipe


def test_the_same_id_in_another_root_is_another_model(root, small, tmp_path):
    model_id = models.save(root, small, facts=FACTS)
    models.load(root, model_id)
    with pytest.raises(NotFoundError):
        models.load(open_storage(str(tmp_path / "other")), model_id)


# ---------------------------------------------------------------- champions


def test_without_a_crown_there_is_no_champion(root, small):
    assert models.champion(root) is None
    saved(root, small, 0)
    assert models.champion(root) is None


def test_every_key_of_a_model_tells_whose_it_is_and_no_other_key_does():
    name = "0f" * 16

    assert {models.model_of(f"models/{name}/{part}") for part in ("model.json", "CARD.md")} == {name}
    assert {models.model_of(key) for key in ("models/champion/00000001.json", f"models/{name}", "notes")} == {None}


def test_the_last_one_crowned_is_champion_and_the_history_stays(root, small):
    ids = [saved(root, small, seed) for seed in range(3)]
    assert [models.crown(root, ids[seed], chosen_by="train", run_id=f"run-{seed}") for seed in range(3)] == [1, 2, 3]
    assert models.champion(root) == ids[2]
    history = [json.loads(champion_file(root, number).read_text()) for number in (1, 2, 3)]
    assert [entry["model_id"] for entry in history] == ids
    assert [entry["previous"] for entry in history] == [None, *ids[:2]]
    assert history[1]["chosen_by"] == "train"
    assert history[1]["run_id"] == "run-1"
    description = (folder(root, ids[1]) / "model.json").read_bytes()
    assert [entry["number"] for entry in history] == [1, 2, 3]
    assert history[1]["model_digest"] == hashlib.sha256(description).hexdigest()


def test_crowning_again_in_the_same_run_changes_nothing_even_after_another_was_crowned(root, small):
    first, second = saved(root, small, 0), saved(root, small, 1)
    assert models.crown(root, first, chosen_by="train", run_id="run-0") == 1
    assert models.crown(root, second, chosen_by="train", run_id="run-1") == 2
    assert models.crown(root, first, chosen_by="train", run_id="run-0") == 1
    assert models.champion(root) == second


def test_an_earlier_champion_can_come_back_in_another_run(root, small):
    first, second = saved(root, small, 0), saved(root, small, 1)
    for number, model_id in enumerate((first, second, first), start=1):
        assert models.crown(root, model_id, chosen_by="models", run_id=f"run-{number}") == number
    assert models.champion(root) == first


def test_only_a_model_that_is_there_and_whole_can_be_crowned(root, small):
    model_id = saved(root, small, 0)
    with pytest.raises(NotFoundError, match=model_id):
        models.crown(root, UNKNOWN, chosen_by="train", run_id="run")
    path = folder(root, model_id) / "model.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DamageError):
        models.crown(root, model_id, chosen_by="train", run_id="run")
    assert not champion_file(root, 1).exists()


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"model_id": 5}', b'{"model_id": "../champion"}', b"\xff"])
def test_an_entry_that_cannot_be_read_is_passed_over_and_its_number_never_used_again(root, small, broken, caplog):
    first, second = saved(root, small, 0), saved(root, small, 1)
    models.crown(root, first, chosen_by="train", run_id="run-0")
    root.put_new("models/champion/00000002.json", broken)
    assert models.champion(root) == first
    assert "00000002.json cannot be read" in caplog.text
    assert models.crown(root, second, chosen_by="train", run_id="run-1") == 3
    assert models.champion(root) == second


def test_an_entry_with_any_other_byte_or_under_another_number_is_passed_over(root, small):
    first, second = saved(root, small, 0), saved(root, small, 1)
    models.crown(root, first, chosen_by="train", run_id="run-0")
    models.crown(root, second, chosen_by="train", run_id="run-1")
    whole = champion_file(root, 2).read_bytes()
    for place in range(len(whole)):
        champion_file(root, 2).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert models.champion(root) == first, whole[place:]
    champion_file(root, 2).write_bytes(champion_file(root, 1).read_bytes())
    assert models.history(root) == {1: first, 2: None}
    champion_file(root, 2).write_bytes(whole)
    assert models.history(root) == {1: first, 2: second}


def test_a_champion_whose_model_is_gone_gives_way_to_the_one_before(root, small):
    first, second = saved(root, small, 0), saved(root, small, 1)
    models.crown(root, first, chosen_by="train", run_id="run-0")
    models.crown(root, second, chosen_by="train", run_id="run-1")
    (folder(root, second) / "model.json").unlink()
    assert models.champion(root) == first
    (folder(root, first) / "model.json").unlink()
    assert models.champion(root) is None


def test_runs_that_crown_at_once_all_stand_in_the_history(root, small):
    ids = [saved(root, small, seed) for seed in range(6)]
    numbers, start = [], threading.Barrier(6)

    def run(seed: int) -> None:
        start.wait()
        numbers.append(models.crown(root, ids[seed], chosen_by="train", run_id=f"run-{seed}"))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    history = [json.loads(champion_file(root, number).read_text()) for number in sorted(numbers)]
    assert {entry["model_id"] for entry in history} == set(ids)
    assert models.champion(root) == history[-1]["model_id"]


def test_a_run_that_loses_every_race_says_so(root, small):
    model_id = saved(root, small, 0)

    class Overtaken(Storage):
        def put_new(self, key, data):
            super().put_new(key, json.dumps({"model_id": model_id, "run_id": key}).encode())
            return super().put_new(key, data)

    with pytest.raises(ConflictError, match="run it again"):
        models.crown(Overtaken(root.url, root.name, root.options), model_id, chosen_by="train", run_id="run")


# ---------------------------------------------------------------- list


def test_the_list_tells_of_each_model_and_marks_champion_and_damage(root, small):
    good, damaged = models.save(root, small, facts=FACTS), saved(root, small, 1)
    models.crown(root, good, chosen_by="train", run_id="run")
    path = folder(root, damaged) / "model.json"
    path.write_bytes(path.read_bytes() + b" ")
    root.put_new("models/staged-run/segment.npz", b"")
    rows = {row["model_id"]: row for row in models.list_models(root)}
    assert rows.keys() == {good, damaged}
    detectors = ["quality", "rhythm", "template"]
    told = {"detectors": detectors, "records": 8, "patients": 8, "normal_beats": 640, "seed": 0}
    assert rows[good] == {"model_id": good, "champion": True, "damaged": False, **told}
    assert rows[damaged] == {"model_id": damaged, "champion": False, "damaged": True, **dict.fromkeys(told)}


def test_a_setting_that_is_no_number_is_our_own_mistake(root, small):
    broken = replace(small, facts=replace(small.facts, beats_per_hour=float("nan")))
    with pytest.raises(ValueError, match="not JSON compliant"):
        models.save(root, broken, facts=FACTS)
    assert not (Path(root.url) / "models").exists()


def test_a_model_says_which_records_it_has_seen_and_one_that_does_not_is_refused(root, small):
    telling = models.save(root, small, facts={models.RECORD_IDS: ["0123456789ab"]})
    silent = models.save(root, small, facts={})

    assert models.trained_on(root, telling) == {"0123456789ab"}
    with pytest.raises(NotFoundError, match="does not say which records it was trained on; train again"):
        models.trained_on(root, silent)
