"""verify finds every damaged object and names it, takes nothing sound for damage, and says how to mend it."""

import hashlib
import json
import re
import shutil
from collections import Counter

import pyarrow as pa
import pytest
import table_rows
from damaged_roots import Harm, kind_of, objects, sibling, two_of_everything
from deltalake import write_deltalake

from cardioclarity.commands import damage
from cardioclarity.commands.speaking import Output
from cardioclarity.config import VerifyConfig
from cardioclarity.errors import CardioClarityError, ExitCode, NotFoundError, UsageError
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import publish, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.verify import verify
from cardioclarity.verify.findings import Spares
from cardioclarity.verify.signals import check_segments
from cardioclarity.vocabulary import Problem

HARMS = ("flip", "missing", "truncated", "appended", "swapped")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A root with two of everything; whoever damages it undoes that."""
    return two_of_everything(tmp_path_factory.mktemp("two")) / "root"


@pytest.fixture
def root(scored, tmp_path):
    return shutil.copytree(scored, tmp_path / "root")


def found(root, **settings):
    return verify(VerifyConfig(root=str(root), read_data=True, **settings))


def keys(verified):
    return {damage.key for damage in verified.damaged}


def does_no_harm(root, how, key):
    """Tell what nobody can call damage, since upkeep or a killed run leaves the same.

    Commits before a checkpoint, and the newest file of lineage, which no later one names; of runs in one second the name
    does not tell which was later. The hint that leads to a checkpoint is written over by Delta, and Delta does without it.
    """
    if key.endswith("_last_checkpoint"):
        return True
    if how != "missing":
        return False
    log = key.partition("_delta_log/")[0]
    checkpoints = [other for other in objects(root) if other.startswith(log) and ".checkpoint." in other]
    before = any("_delta_log/" in key and key.rpartition("/")[2][:20] < c.rpartition("/")[2][:20] for c in checkpoints)
    others = [other for other in objects(root) if other.startswith("lineage/") and other != key]
    unnamed = key.startswith("lineage/") and key not in json.loads((root / max(others)).read_text())["earlier"]
    return before or unnamed


def cases(root, how, *, every):
    """Objects of the root to be damaged; one of each kind, or every one."""
    seen = set()
    for key in reversed(objects(root)):  # of runs, lineage and champions the newest, whose loss is told last
        usable = not does_no_harm(root, how, key) and (how != "swapped" or sibling(root, key))
        if usable and (every or kind_of(key) not in seen):
            seen.add(kind_of(key))
            yield key


def missed(root, how, *, every=False, seed=0):
    """Damage one object after the other; returns the number of cases and those that verify did not name."""
    n, silent = 0, []
    for key in cases(root, how, every=every):
        harm = Harm(root, key, how, seed)
        n += 1
        if key not in keys(found(root)):
            silent.append(key)
        harm.undo()
    return n, silent


def test_a_sound_root_has_no_damage_and_nothing_unreferenced(scored):
    verified = found(scored)

    assert verified.damaged == ()
    assert verified.unreferenced == {}
    assert verified.objects >= len(objects(scored))


@pytest.mark.parametrize(
    ("how", "at_least"), [("flip", 26), ("missing", 26), ("truncated", 26), ("appended", 26), ("swapped", 24)]
)
def test_damage_to_an_object_of_any_kind_is_found_and_named(scored, how, at_least):
    n, silent = missed(scored, how)

    assert silent == []
    assert n >= at_least
    assert found(scored).damaged == ()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("how", HARMS)
def test_damage_to_every_object_is_found_and_named(scored, how, seed):
    n, silent = missed(scored, how, every=True, seed=seed)

    assert silent == []
    assert n >= 90


def test_what_upkeep_or_a_killed_run_leaves_is_no_damage(scored):
    for key in filter(lambda key: does_no_harm(scored, "missing", key), objects(scored)):
        harm = Harm(scored, key, "missing")
        assert found(scored).damaged == ()
        harm.undo()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version":99,"size":1,"sizeInBytes":1}'])
def test_a_hint_that_leads_nowhere_is_found_and_a_repair_deletes_it(root, content):
    key = next(key for key in objects(root) if key.endswith("_last_checkpoint"))
    (root / key).write_text(content)

    assert key in keys(found(root, repair=True))
    assert not (root / key).exists()
    assert found(root).damaged == ()


def test_the_newest_lineage_lost_leaves_commits_that_are_not_vouched_for(root):
    # Of runs in one second the name does not tell which was later; the last one vouches for the most objects.
    max((root / "lineage").iterdir(), key=lambda path: len(json.loads(path.read_text())["objects"])).unlink()

    assert "commits not vouched for yet" in found(root).unreferenced


def test_two_swapped_objects_are_both_called_swapped(scored):
    for kind in ("segments/*.json", "models/*/weights.safetensors", "models/champion/*.json"):
        key = next(key for key in objects(scored) if kind_of(key) == kind)
        harm = Harm(scored, key, "swapped")
        swapped = {damage.key: damage.problem for damage in found(scored).damaged}
        harm.undo()
        assert swapped[key] == swapped[sibling(scored, key)] == Problem.SWAPPED


def test_objects_that_nothing_names_are_counted_and_are_no_damage(root):
    segment = next((root / "segments").glob("*.zarr"))
    shutil.copytree(segment, root / "segments" / f"{'0' * 32}.zarr")
    staged = next((root / "tables" / "scores").rglob("*.parquet"))
    shutil.copy(staged, staged.with_name(f"never-committed-{'0' * 64}.parquet"))
    (root / "models" / "staged-run-segment.npz").write_bytes(b"arrays")
    half = root / "models" / ("0" * 32)
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"weights")

    verified = found(root)

    assert verified.damaged == ()
    n_objects = {kind: n for kind, (n, _) in verified.unreferenced.items()}
    assert n_objects == {"segments": sum(path.is_file() for path in segment.rglob("*")), "table files": 1, "models": 2}


@pytest.mark.parametrize("how", ["missing", "truncated", "appended"])
def test_names_and_sizes_are_compared_without_reading_the_data(scored, how):
    for pattern in ("segments/*.zarr/signal/*", "tables/scores/*"):
        key = next(key for key in objects(scored) if kind_of(key).startswith(pattern.rstrip("*")) and "log" not in key)
        harm = Harm(scored, key, how)
        verified = verify(VerifyConfig(root=str(scored)))
        harm.undo()
        assert keys(verified) == {key}


def test_a_flipped_bit_is_found_in_exactly_one_of_n_parts(scored):
    key = next(key for key in objects(scored) if kind_of(key) == "segments/*.zarr/signal/*")
    harm = Harm(scored, key, "flip")
    parts = [keys(found(scored, subset=f"{k}/3")) for k in (1, 2, 3)]
    plain = keys(verify(VerifyConfig(root=str(scored))))
    harm.undo()

    assert sorted(map(len, parts)) == [0, 0, 1]
    assert plain == set()


@pytest.mark.parametrize("subset", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_a_part_that_there_is_not_is_refused(subset):
    with pytest.raises(UsageError, match="subset"):
        VerifyConfig(root="root", read_data=True, subset=subset)


def test_a_part_of_nothing_is_refused():
    with pytest.raises(UsageError, match="--read-data"):
        VerifyConfig(root="root", subset="1/3")


def test_damaged_signal_touches_the_records_of_its_shard_and_says_the_command(scored):
    key = next(key for key in objects(scored) if kind_of(key) == "segments/*.zarr/signal/*")
    harm = Harm(scored, key, "flip")
    (hurt,) = found(scored).damaged
    harm.undo()

    manifest = json.loads((scored / f"{key.partition('.zarr')[0]}.json").read_text())
    assert hurt.affects == tuple(sorted(manifest["record_ids"]))
    assert f"cardioclarity verify --root {scored} --read-data --repair" in hurt.mend


def test_a_table_whose_log_cannot_be_read_is_damage_and_the_rest_is_checked(root):
    for commit in (root / "tables" / "sources" / "_delta_log").iterdir():
        commit.unlink()
    shard = next((root / "segments").rglob("signal/c/*/*/*"))
    shard.unlink()

    named = keys(found(root))

    assert str(shard.relative_to(root)) in named
    assert any(key.startswith("tables/sources/_delta_log/") for key in named)


def test_each_log_is_opened_once_and_each_file_of_events_and_evidence_fetched_once(scored, monkeypatch):
    opens, fetches = Counter(), Counter()
    open_any, fetch = snapshot.open_any, Storage.fetch

    def opening(root, table):
        opens[table] += 1
        return open_any(root, table)

    def fetching(self, key):
        fetches[key] += 1
        return fetch(self, key)

    monkeypatch.setattr(snapshot, "open_any", opening)
    monkeypatch.setattr(Storage, "fetch", fetching)
    assert found(scored).damaged == ()

    assert opens == dict.fromkeys(SCHEMAS, 1)
    bulk = {key: n for key, n in fetches.items() if re.match(r"tables/(events|beats)/(?!_delta_log)", key)}
    assert bulk
    assert set(bulk.values()) == {1}


def test_rows_of_the_catalog_are_read_when_the_turn_of_their_segment_comes(tmp_path, monkeypatch):
    root = table_rows.new_root(tmp_path)
    for number in range(30):
        staged = table_rows.stage(root, "records", table_rows.of_records([f"r{number}"]), segment_id=f"{number:032x}")
        publish.add(root, "records", [staged], run_id=f"run{number}")
    live = snapshot.live_files(snapshot.open_table(root, "records"))
    fetch, fetched = Storage.fetch, []
    monkeypatch.setattr(Storage, "fetch", lambda self, key: fetched.append(key) or fetch(self, key))

    checked = check_segments(root, live, chosen=lambda _: False, spares=Spares())
    first = next(checked)

    assert sum(key.startswith("tables/records/") for key in fetched) <= 10
    assert [hurt.affects for _, (hurt,) in (first, *checked)] == [(f"r{number}",) for number in range(30)]


def test_a_part_of_a_model_that_nothing_names_is_not_missed(root):
    description = json.dumps({"format_version": 1, "files": {"CARD.md": "0" * 64}}).encode()
    model_id = hashlib.sha256(description).hexdigest()[:32]
    (root / "models" / model_id).mkdir()
    (root / "models" / model_id / "model.json").write_bytes(description)
    assert found(root).damaged == ()

    publish.record_run(open_storage(str(root)), table_rows.of_run("trained", verb="train", model_id=model_id))
    assert keys(found(root)) == {f"models/{model_id}/CARD.md"}


def test_no_root_is_no_root(tmp_path):
    with pytest.raises(NotFoundError, match="no CardioClarity root"):
        verify(VerifyConfig(root=str(tmp_path)))


@pytest.mark.parametrize("place", ["", "tables/records", "tables/events", "tables/invoices"])
def test_a_place_of_other_software_is_one_sentence_and_no_damage(tmp_path, place):
    write_deltalake(str(tmp_path / place), pa.table({"day": ["monday"]}))

    with pytest.raises(CardioClarityError, match=r"no CardioClarity root|that CardioClarity did not make"):
        verify(VerifyConfig(root=str(tmp_path), repair=True))


def test_a_root_that_has_lost_the_logs_of_all_its_tables_is_damaged_and_no_strange_place(root):
    for table in SCHEMAS:
        shutil.rmtree(root / "tables" / table / "_delta_log")

    assert {f"tables/{table}/_delta_log/" for table in SCHEMAS} <= keys(found(root))


def test_the_command_ends_with_four_where_there_is_damage_and_with_zero_where_there_is_none(scored, capsys):
    key = next(key for key in objects(scored) if kind_of(key) == "models/*/CARD.md")

    sound = damage.verify(root=str(scored), read_data=True, output=Output(json=True))
    harm = Harm(scored, key, "flip")
    hurt = damage.verify(root=str(scored), read_data=True, output=Output(json=True))
    damage.verify(root=str(scored), read_data=True)
    harm.undo()

    first, second, *lines = capsys.readouterr().out.splitlines()
    assert (sound, hurt) == (ExitCode.DONE, ExitCode.DAMAGED)
    assert json.loads(first)["damaged"] == []
    (named,) = json.loads(second)["damaged"]
    assert {"key", "problem", "affects", "mend"} <= named.keys()
    assert (named["key"], named["problem"]) == (key, "digest")
    assert any(line.startswith(f"digest: {key}") for line in lines)
