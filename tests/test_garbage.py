"""gc frees what nobody can need and nothing else, whatever runs beside it and wherever it is killed."""

import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import table_rows
from faults.crash import Crash, How, Operations
from leavings import at_once, check, gc, leave_all, of_classes, pass_time, replaced, sizes, used

from cardioclarity import garbage, models
from cardioclarity.config import VerifyConfig
from cardioclarity.errors import NotFoundError, StorageError, UsageError
from cardioclarity.garbage import ALWAYS_ALLOWED
from cardioclarity.storage import open_storage
from cardioclarity.tables import publish, snapshot
from cardioclarity.verify import verify
from cardioclarity.waste import KINDS, Amount

NOTHING = dict.fromkeys(KINDS, Amount())


@pytest.fixture
def root(used_road, scratch):
    return used(used_road, scratch)


def amounts(root, left):
    there = sizes(root)
    return {kind: Amount(len(keys), sum(there[key] for key in keys)) for kind, keys in left.items()}


def test_a_root_that_is_no_root_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="no CardioClarity root"):
        gc(open_storage(str(tmp_path)))


def test_a_root_in_use_has_nothing_to_free_but_what_was_replaced(root):
    gone, before = replaced(root), check(root)
    assert len(gone) == 4

    assert gc(root).classes == NOTHING
    pass_time(root.url, 8)
    freed = gc(root)

    assert of_classes(freed).keys() == {"files"}
    assert freed.total.objects == 4
    assert not gone & sizes(root).keys()
    assert check(root) == before


def test_what_killed_runs_left_goes_and_nothing_else_when_its_grace_is_over(root):
    at_once(root)
    sound, before = sizes(root), check(root)
    left = leave_all(root)
    expected = amounts(root, left)

    pass_time(root.url, 6.9)
    assert gc(root).classes == NOTHING
    pass_time(root.url, 0.2)
    everything = sizes(root)
    would = gc(root, dry_run=True)
    assert sizes(root) == everything

    freed = gc(root)

    assert freed == would
    assert of_classes(freed) == expected
    assert sizes(root) == sound
    assert check(root) == before
    assert gc(root).classes == NOTHING


def test_rows_of_a_run_that_died_before_it_published_leave_the_tables_and_their_files_go_later(root):
    before = check(root)
    model_id, segment_id = models.champion(root), next(iter(live(root, "records"))).segment_id
    staged = {
        table: table_rows.stage(root, table, rows, run_id="dead", model_id=model_id, segment_id=segment_id)
        for table, rows in (("events", table_rows.of_events(["e"])), ("beats", table_rows.of_beats(3)))
    }
    for table, file in staged.items():
        publish.add(root, table, [file], run_id="dead")
    assert gc(root).withdrawn == Amount()
    assert check(root).leftovers == {"dead": 4}

    pass_time(root.url, 8)
    would = gc(root, dry_run=True)
    freed = gc(root)

    assert freed.withdrawn == would.withdrawn == Amount(2, sum(file.size for file in staged.values()))
    assert check(root) == before
    assert check(root).leftovers == {}
    assert {file.key for file in staged.values()} <= sizes(root).keys()
    pass_time(root.url, 8)
    assert gc(root).withdrawn == Amount()
    assert not {file.key for file in staged.values()} & sizes(root).keys()


def live(root, table):
    return snapshot.live_files(snapshot.open_table(root, table))


def test_a_grace_that_a_running_night_may_outlast_needs_force(root):
    with pytest.raises(UsageError, match=r"--older-than 23h: give at least 24h .* --force"):
        gc(root, older_than=dt.timedelta(hours=23))
    assert gc(root, older_than=dt.timedelta(hours=23), dry_run=True).classes == NOTHING

    long = table_rows.of_run("slow", finished_at=table_rows.NIGHT + dt.timedelta(hours=20))
    publish.record_run(root, long)
    with pytest.raises(UsageError, match="give at least 40h"):
        gc(root, older_than=dt.timedelta(hours=39))
    gc(root, older_than=dt.timedelta(hours=40))


def test_one_run_frees_no_more_than_its_share_and_says_what_stays(root):
    at_once(root)
    n_sound = len(sizes(root))
    probes = Path(root.url, ".doctor")
    probes.mkdir()
    for number in range(ALWAYS_ALLOWED + 30):
        (probes / f"{number:04d}").write_bytes(b"x" * 10)
    pass_time(root.url, 8)

    would = gc(root, dry_run=True)
    freed = gc(root)

    assert freed == would
    assert (freed.allowed, freed.total) == (ALWAYS_ALLOWED, Amount(ALWAYS_ALLOWED, 10 * ALWAYS_ALLOWED))
    assert freed.left == Amount(30, 300)
    assert len(sizes(root)) == n_sound + 30
    assert gc(root).total.objects == 30


def test_force_frees_all_at_once_and_a_large_root_a_tenth(root, monkeypatch):
    at_once(root)
    for number in range(70):
        root.replace(f".doctor/{number:04d}", b"x")
    pass_time(root.url, 8)
    monkeypatch.setattr(garbage, "ALWAYS_ALLOWED", 2)

    assert gc(root, dry_run=True).allowed == len(sizes(root)) // 10
    assert gc(root, dry_run=True).left.objects == 70 - len(sizes(root)) // 10
    assert gc(root, force=True).total.objects == 70


def test_what_goes_together_is_never_torn_by_the_share(root, monkeypatch):
    at_once(root)
    for name in "abc":
        for part in range(40):
            root.replace(f"segments/{name * 32}.zarr/{part}", b"x")
    pass_time(root.url, 8)
    monkeypatch.setattr(garbage, "ALWAYS_ALLOWED", 50)

    freed = gc(root)

    assert freed.total.objects % 40 == 0
    assert freed.left.objects == 120 - freed.total.objects > 0


def test_killed_anywhere_the_next_run_finishes_and_nothing_that_counts_is_lost(root, used_road, scratch):
    before = check(root)
    dead = table_rows.stage(
        root, "events", table_rows.of_events(["e"]), run_id="dead", model_id=models.champion(root), segment_id="s"
    )
    publish.add(root, "events", [dead], run_id="dead")
    leave_all(root)
    pass_time(root.url, 8)
    shutil.copytree(root.url, scratch / "start")
    with Operations() as counted:
        gc(root)
    end = {key for key in sizes(root) if not key.startswith("lineage/")}
    assert len(counted.names) == 20

    for at in range(1, len(counted.names) + 1):
        for how in (How.BEFORE, How.AFTER):
            shutil.rmtree(root.url)
            shutil.copytree(scratch / "start", root.url)
            with pytest.raises(Crash), Operations(at=at, how=how):
                gc(root)
            assert check(root) == before
            gc(root)
            assert check(root) == before
            assert {key for key in sizes(root) if not key.startswith(("lineage/", ".gc/"))} == end, (at, how)


def save_model(root):
    """Save a whole model that nothing names: its training was killed before it said so."""
    files = {"CARD.md": b"card", "weights.safetensors": b"weights"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    description = json.dumps({"format_version": models.FORMAT_VERSION, "files": digests}).encode()
    model_id = hashlib.sha256(description).hexdigest()[:32]
    for name, data in (files | {models.MODEL_JSON: description}).items():
        root.put_new(f"models/{model_id}/{name}", data)
    return model_id


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_gc_killed_inside_of_a_model_leaves_waste_and_no_damage(root, at):
    at_once(root)
    model_id = save_model(root)
    pass_time(root.url, 8)
    assert verify(VerifyConfig(root=root.url)).damaged == ()

    with pytest.raises(Crash), Operations(at=at, how=How.AFTER) as done:
        gc(root)

    assert (
        done.names
        == [f"delete models/{model_id}/{name}" for name in (models.MODEL_JSON, "CARD.md", "weights.safetensors")][:at]
    )
    found = verify(VerifyConfig(root=root.url, read_data=True))
    assert found.damaged == ()
    assert found.unreferenced.get("models", (0, 0))[0] == 3 - at
    assert gc(root).classes["models"].objects == 3 - at
    assert not [key for key in sizes(root) if model_id in key]


def ends(names):
    """Number the operations of which the one before or after is of another kind."""
    kinds = [name.split("/")[0] for name in names]
    pairs = zip([None, *kinds[:-1]], kinds, [*kinds[1:], None], strict=True)
    return [at for at, (before, kind, after) in enumerate(pairs, 1) if not before == kind == after]


def orphans(road, folder):
    """A root with the segments of a convert that was killed before it published, long ago; nothing else is left of it."""
    root = folder / "orphans"
    shutil.copytree(Path(road.root, "segments"), root / "segments")
    publish.create_tables(open_storage(str(root)))
    pass_time(root, 30)
    return road.to(root)


def test_gc_at_any_point_of_a_convert_that_finds_old_orphans_costs_at_most_a_repetition(used_road, scratch):
    expected = check(used_road.place).records
    start = orphans(used_road, scratch)
    with Operations() as counted:
        used_road.to(shutil.copytree(start.root, scratch / "counted")).convert()
    failures = []

    for at in ends(counted.names):
        one = used_road.to(shutil.copytree(start.root, scratch / "one"))
        with Operations(at=at, meanwhile=lambda one=one: gc(one.place)):
            try:
                one.convert()
            except StorageError as error:
                failures.append(str(error))
                assert live(one.place, "records") == []  # the catalog never names what is gone
        one.convert()
        assert check(one.place).records == expected, counted.names[at - 1]
        shutil.rmtree(one.root)
    assert failures
    assert all("run the same command again" in failure for failure in failures)


def test_a_convert_at_any_point_of_a_gc_that_frees_old_orphans_costs_at_most_a_repetition(used_road, scratch):
    expected = check(used_road.place).records
    start = orphans(used_road, scratch)
    with Operations() as counted:
        gc(used_road.to(shutil.copytree(start.root, scratch / "counted")).place)
    assert len(counted.names) > 20
    refused = []

    for at in ends(counted.names):
        one = used_road.to(shutil.copytree(start.root, scratch / "one"))

        def convert(one=one):
            try:
                one.convert()
            except StorageError as error:
                refused.append(str(error))

        with Operations(at=at, meanwhile=convert):
            gc(one.place)
        one.convert()
        assert check(one.place).records == expected, counted.names[at - 1]
        shutil.rmtree(one.root)
    assert 0 < len(refused) < len(ends(counted.names))
    assert all("run the same command again" in refusal for refusal in refused)


@pytest.mark.service
def test_on_a_bucket_the_same_is_freed_and_the_same_stays(used_road, s3):
    root = open_storage(s3)
    for listed in used_road.place.list():
        root.put_new(listed.key, used_road.place.fetch(listed.key))
    before, n_replaced = check(root), len(replaced(root))
    left = leave_all(root)
    expected = amounts(root, left)
    assert gc(root).classes == NOTHING  # all is young
    wait_a_second(root)

    would = at_once(root, dry_run=True)
    freed = at_once(root)

    assert freed == would
    assert freed.classes["files"].objects == expected.pop("files").objects + n_replaced
    assert of_classes(freed).items() >= expected.items()
    assert not {key for keys in left.values() for key in keys} & sizes(root).keys()
    assert check(root) == before
    assert at_once(root).classes == NOTHING


def wait_a_second(root):
    """Until the store's clock, which tells whole seconds, is past all that was written."""
    newest = max(listed.modified for listed in root.list())
    while root.now() <= newest:
        pass
