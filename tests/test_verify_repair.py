"""A repair takes out what is damaged and nothing else; convert and score then give the rows of the undisturbed root."""

import random
import shutil

import pytest
from damaged_roots import Harm, kind_of, objects, one_of_everything, rows, score, sibling
from deltalake import DeltaTable

from cardioclarity import models, storage
from cardioclarity.commands import damage, upkeep
from cardioclarity.commands.speaking import Output
from cardioclarity.config import ConvertConfig, ScoreConfig, VerifyConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import DamageError, ExitCode
from cardioclarity.score import SCORE
from cardioclarity.segments import layout
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, commit, lineage
from cardioclarity.verify import Damage, Verified, repair, verify
from cardioclarity.vocabulary import Problem
from cardioclarity.work import drive


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return one_of_everything(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def undisturbed(sound):
    return rows(sound / "root")


@pytest.fixture
def folder(sound, tmp_path):
    """A folder with a copy of the root, of one's own."""
    shutil.copytree(sound / "root", tmp_path / "root")
    return tmp_path


def mended(folder, sound, *, read_data=True):
    """Repair, convert the very archive of the undisturbed root, and score; gives the rows."""
    damage.verify(root=str(folder / "root"), read_data=read_data, repair=True, output=Output(quiet=True))
    again(folder, sound)
    return rows(folder / "root")


def again(folder, sound):
    drive(CONVERT, ConvertConfig(archive=str(sound / "archive"), root=str(folder / "root")), map)
    score(folder, alarms_per_hour=2.0)


def found(folder):
    return verify(VerifyConfig(root=str(folder / "root"), read_data=True))


def one(folder, kind):
    return next(key for key in objects(folder / "root") if kind_of(key).startswith(kind))


SIGNAL = "segments/*.zarr/signal/*"
FILES = (
    SIGNAL,
    "segments/*.zarr/*/zarr.json",
    "segments/*.json",
    *(f"tables/{table}/*-" for table in ("sources", "quarantine", "runs")),
    "tables/records/seg",
    *(f"tables/{table}/model" for table in ("scores", "events", "beats")),
)


@pytest.mark.parametrize("how", ["flip", "missing"])
@pytest.mark.parametrize("kind", FILES)
def test_after_repair_convert_and_score_the_root_is_as_if_nothing_had_happened(folder, sound, undisturbed, kind, how):
    Harm(folder / "root", one(folder, kind), how)

    assert mended(folder, sound) == undisturbed
    assert found(folder).damaged == ()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("how", ["flip", "missing", "truncated", "appended", "swapped"])
def test_three_objects_damaged_at_once_are_mended(folder, sound, undisturbed, how, seed):
    root = folder / "root"
    usable = [
        key
        for key in objects(root)
        if (key.startswith("segments/") or (key.startswith("tables/") and "_delta_log" not in key))
        and (how != "swapped" or sibling(root, key))
    ]
    for key in random.Random(seed).sample(usable, 3):
        Harm(root, key, how, seed)

    assert mended(folder, sound) == undisturbed
    assert found(folder).damaged == ()


def test_what_is_missing_is_mended_without_reading_the_data(folder, sound, undisturbed):
    Harm(folder / "root", one(folder, SIGNAL), "missing")

    assert mended(folder, sound, read_data=False) == undisturbed


def test_damaged_records_stand_in_quarantine_until_convert_has_made_them_again(folder, sound):
    key = one(folder, SIGNAL)
    Harm(folder / "root", key, "flip")
    hurt = found(folder).damaged[0].affects
    root = open_storage(str(folder / "root"))

    code = damage.verify(root=str(folder / "root"), read_data=True, repair=True, output=Output(quiet=True))

    aside = [row for row in catalog.quarantine(root) if row["reason"] == "damaged"]
    assert code == ExitCode.DAMAGED
    assert sorted(row["record_id"] for row in aside) == sorted(hurt)
    assert {(row["stage"], row["archive"]) for row in aside} == {("convert", str(sound / "archive"))}
    assert not {record.record_id for record in catalog.records(root)} & set(hurt)
    again(folder, sound)
    assert [row for row in catalog.quarantine(root) if row["reason"] == "damaged"] == []
    assert set(hurt) <= {record.record_id for record in catalog.records(root)}


def test_nothing_but_the_damaged_object_is_deleted(folder):
    key = one(folder, SIGNAL)
    Harm(folder / "root", key, "flip")
    before = set(objects(folder / "root"))

    verify(VerifyConfig(root=str(folder / "root"), read_data=True, repair=True))

    assert before - set(objects(folder / "root")) == {key}


def test_a_lost_manifest_is_written_again_from_its_objects_and_no_record_leaves(folder, undisturbed):
    key = one(folder, "segments/*.json")
    path = folder / "root" / key
    manifest = path.read_bytes()
    for how in ("missing", "flip"):
        Harm(folder / "root", key, how)
        verified = verify(VerifyConfig(root=str(folder / "root"), read_data=True, repair=True))
        assert len(verified.repaired) == 1
        assert path.read_bytes() == manifest
        assert rows(folder / "root") == undisturbed


def test_a_manifest_and_a_shard_lost_at_once_make_room_for_the_segment(folder, sound, undisturbed):
    key = one(folder, SIGNAL)
    segment_id = key.split("/")[1].removesuffix(".zarr")
    Harm(folder / "root", key, "flip")
    Harm(folder / "root", layout.manifest_key(segment_id), "flip")

    assert mended(folder, sound) == undisturbed
    assert found(folder).damaged == ()


def test_a_record_whose_delivery_nobody_knows_any_more_is_mended_too(folder, sound, undisturbed):
    Harm(folder / "root", one(folder, SIGNAL), "flip")
    Harm(folder / "root", one(folder, "tables/sources/*-"), "missing")

    assert mended(folder, sound) == undisturbed
    assert found(folder).damaged == ()


def test_a_damaged_object_of_a_segment_that_left_the_catalog_makes_room_too(folder, sound, undisturbed):
    shard = one(folder, SIGNAL)
    segment_id = shard.split("/")[1].removesuffix(".zarr")
    Harm(folder / "root", shard, "flip")
    of_segment = f"tables/records/segment_id={segment_id}/"
    Harm(folder / "root", next(key for key in objects(folder / "root") if key.startswith(of_segment)), "flip")

    assert mended(folder, sound) == undisturbed
    assert found(folder).damaged == ()


@pytest.mark.parametrize("how", ["flip", "missing"])
def test_with_a_damaged_log_nothing_is_repaired(folder, how):
    Harm(folder / "root", one(folder, SIGNAL), "flip")
    log = next(key for key in objects(folder / "root") if key.startswith("tables/records/_delta_log/"))
    Harm(folder / "root", log, how)
    before = {key: (folder / "root" / key).read_bytes() for key in objects(folder / "root")}

    with pytest.raises(DamageError, match="backup"):
        verify(VerifyConfig(root=str(folder / "root"), read_data=True, repair=True))

    assert {key: (folder / "root" / key).read_bytes() for key in objects(folder / "root")} == before


def test_what_is_sound_at_a_second_look_is_left_alone(folder):
    root = open_storage(str(folder / "root"))
    segment = catalog.segments(root)[0]
    key = layout.manifest_key(segment.segment_id)
    misread = Damage(
        key=key,
        problem=Problem.DIGEST,
        affects=catalog.pinned(root).record_ids(segment.segment_id),
        mend="",
        segment_id=segment.segment_id,
        is_signal=True,
        expected=segment.digest,
        found="0" * 64,
    )
    before = objects(folder / "root")

    result = repair.mend(
        root, VerifyConfig(root=root.url, repair=True), Verified(objects=1, damaged=(misread,), unreferenced={})
    )

    assert result.repaired == ()
    assert objects(folder / "root") == before


def test_a_sound_root_is_left_as_it_is(folder):
    before = objects(folder / "root")

    assert verify(VerifyConfig(root=str(folder / "root"), read_data=True, repair=True)).repaired == ()
    assert objects(folder / "root") == before


def test_a_damaged_model_is_not_repaired_but_named_with_what_to_do(folder):
    Harm(folder / "root", one(folder, "models/*/weights"), "flip")

    verified = verify(VerifyConfig(root=str(folder / "root"), read_data=True, repair=True))

    assert verified.repaired == ()
    assert "cardioclarity train" in verified.damaged[0].mend
    assert "cardioclarity models" in verified.damaged[0].mend


class Crash(BaseException):
    """Ends a repair where nothing catches it."""


def crashing_at(monkeypatch, n):
    """Let the n-th change of the root end the process right before it; n = 0 only counts."""
    count = [0]

    def before(change):
        def changed(*arguments, **named):
            count[0] += 1
            if count[0] == n:
                raise Crash
            return change(*arguments, **named)

        return changed

    for name in ("put_new", "replace", "delete"):
        monkeypatch.setattr(storage.Storage, name, before(getattr(storage.Storage, name)))
    monkeypatch.setattr(commit, "_write", before(commit._write))
    return count


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_a_repair_that_breaks_off_anywhere_is_finished_by_the_next_one(folder, sound, undisturbed, tmp_path, step):
    root = folder / "root"
    shard = one(folder, SIGNAL)
    hurt = shard.split("/")[1].removesuffix(".zarr")
    Harm(root, shard, "flip")
    Harm(root, next(k for k in objects(root) if k.startswith("tables/records/seg") and hurt not in k), "missing")
    shutil.copytree(root, tmp_path / "kept")
    config = VerifyConfig(root=str(root), read_data=True, repair=True)
    with pytest.MonkeyPatch.context() as patch:
        n_changes = crashing_at(patch, 0)
        verify(config)
    assert n_changes[0] >= 12
    for n in range(1, n_changes[0] + 1, step):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "kept", root)
        with pytest.MonkeyPatch.context() as patch:
            crashing_at(patch, n)
            with pytest.raises(Crash):
                verify(config)
        assert mended(folder, sound) == undisturbed, n
        assert found(folder).damaged == (), n


@pytest.mark.service
def test_on_object_storage_it_is_the_same(sound, s3, undisturbed):
    root = open_storage(s3)
    for key in objects(sound / "root"):
        root.replace(key, (sound / "root" / key).read_bytes())
    shard = next(key for key in objects(sound / "root") if kind_of(key) == SIGNAL)
    events = next(key for key in objects(sound / "root") if kind_of(key).startswith("tables/events/model"))
    root.replace(shard, root.fetch(shard)[:-1] + b"x")
    root.delete(events)
    config = VerifyConfig(root=s3, read_data=True)

    named = {hurt.key for hurt in verify(config).damaged}
    damage.verify(root=s3, read_data=True, repair=True, output=Output(quiet=True))
    drive(CONVERT, ConvertConfig(archive=str(sound / "archive"), root=s3), map)
    drive(SCORE, ScoreConfig(root=s3, alarms_per_hour=2.0), map)

    assert named == {shard, events}
    assert verify(config).damaged == ()
    assert {table: len(found) for table, found in undisturbed.items()} == {
        table: DeltaTable(root.join(f"tables/{table}"), storage_options=root.delta_options())
        .to_pyarrow_table()
        .num_rows
        for table in undisturbed
    }


def crowned(folder, *, run_id="later"):
    """Let the one model of the root be chosen once more; gives the keys of the entries of the history, in order."""
    root = open_storage(str(folder / "root"))
    models.crown(root, str(models.champion(root)), chosen_by="models", run_id=run_id)
    lineage.vouch(root, run_id)
    return [key for key in objects(folder / "root") if key.startswith("models/champion/")]


@pytest.mark.parametrize("how", ["flip", "missing", "truncated"])
def test_a_damaged_entry_that_a_later_one_supersedes_is_damage_until_a_repair_takes_it_out(folder, how):
    first, last = crowned(folder)
    Harm(folder / "root", first, how)
    (hurt,) = found(folder).damaged
    assert (hurt.key, "--repair" in hurt.mend) == (first, True)

    verified = verify(VerifyConfig(root=str(folder / "root"), repair=True))

    assert first in verified.repaired[0]
    assert found(folder).damaged == ()
    assert [key for key in objects(folder / "root") if key.startswith("models/champion/")] == [last]
    crowned(folder, run_id="latest")
    assert found(folder).damaged == ()


@pytest.mark.parametrize("how", ["flip", "missing"])
def test_a_damaged_entry_that_no_later_one_supersedes_stays_damage_until_a_champion_is_chosen_again(folder, how):
    first, last = crowned(folder)
    Harm(folder / "root", last, how)

    verified = verify(VerifyConfig(root=str(folder / "root"), repair=True))

    assert verified.repaired == ()
    assert [hurt.key for hurt in found(folder).damaged] == [last]
    assert upkeep.models(root=str(folder / "root"), use=models.champion(open_storage(str(folder / "root")))) == 0
    assert verify(VerifyConfig(root=str(folder / "root"), repair=True)).damaged != ()
    assert found(folder).damaged == () or how == "missing"
    assert first in objects(folder / "root")


def test_a_repair_that_died_between_the_entry_and_its_withdrawal_is_finished_by_the_next_one(folder, monkeypatch):
    first, _ = crowned(folder)
    Harm(folder / "root", first, "flip")

    def dies(*_, **__):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(lineage, "vouch", dies)
        with pytest.raises(Crash):
            verify(VerifyConfig(root=str(folder / "root"), repair=True))
    assert [hurt.problem for hurt in found(folder).damaged] == [Problem.MISSING]

    verify(VerifyConfig(root=str(folder / "root"), repair=True))

    assert found(folder).damaged == ()
