"""What is waste and what is not, class by class."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import table_rows
from leavings import MODEL, SEGMENT, at_once, gc, leave_all, of_classes, pass_time, replaced, sizes, used

from cardioclarity import models
from cardioclarity.config import VerifyConfig
from cardioclarity.tables import lineage, publish, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.verify import verify
from cardioclarity.waste import KEPT, KINDS, Amount


@pytest.fixture
def root(used_road, scratch):
    return used(used_road, scratch)


def test_pages_and_objects_of_strangers_stay(root):
    at_once(root)
    strangers = ["reports/r/index.html", "notes.txt", "tables/scores/part-0000.snappy.parquet", "segments/readme.md"]
    for key in strangers:
        root.put_new(key, b"x")
    pass_time(root.url, 400)

    assert not set(gc(root).classes) - set(KINDS)
    assert set(strangers) <= sizes(root).keys()


def test_one_young_object_keeps_a_whole_segment_or_model_since_a_run_may_be_at_it(root):
    left = leave_all(root)
    pass_time(root.url, 30, only="^(segments|models)/")
    for kind in ("segments", "models"):
        os.utime(Path(root.url, left[kind][1]))
    shutil.rmtree(Path(root.url, f"tables/records/segment_id={SEGMENT}"))
    shutil.rmtree(Path(root.url, f"tables/events/model_id={MODEL}"))

    gc(root)

    assert {*left["segments"], *left["models"]} <= sizes(root).keys()


def test_old_objects_of_a_segment_stay_while_a_young_row_is_staged_for_it(root):
    left = leave_all(root)
    pass_time(root.url, 30, only="^(segments|models)/")

    gc(root)
    assert {*left["segments"], *left["models"]} <= sizes(root).keys()

    pass_time(root.url, 8)
    gc(root)
    assert not {*left["segments"], *left["models"]} & sizes(root).keys()


def test_an_old_file_that_was_replaced_lately_stays_for_the_readers_that_opened_the_table_before(root, used_road):
    long_ago = replaced(root)
    pass_time(root.url, 30)
    used_road.to(root.url).score()  # judges again: files of 30 days ago give way now
    lately = replaced(root) - long_ago
    assert len(lately) == 4

    gc(root)

    assert replaced(root) == lately


@pytest.mark.parametrize("staged", [True, False])
def test_vacuum_lists_the_same_files(root, staged):
    """The referee is deltalake, whose own clock and ours are the same here."""
    if staged:
        leave_all(root)
    pass_time(root.url, 9, only=r"\.parquet$")
    listed = set()
    for table in SCHEMAS:
        paths = snapshot.open_table(root, table).vacuum(retention_hours=168, dry_run=True, full=True)
        listed |= {f"tables/{table}/{path}" for path in paths}
    before = sizes(root).keys()

    gc(root)

    gone = {key for key in before - sizes(root).keys() if key.endswith(".parquet")}
    assert gone == listed
    assert bool(gone) == staged  # what was replaced was replaced today


def crown(root, number):
    """Make a model that is only a description, and the champion of it."""
    description = json.dumps({"number": number}).encode()
    model_id = hashlib.sha256(description).hexdigest()[:32]
    root.put_new(f"models/{model_id}/model.json", description)
    models.crown(root, model_id, chosen_by="test", run_id=f"run{number}")
    return model_id


def test_models_that_scores_or_the_history_name_stay(root):
    used_model = models.champion(root)
    at_once(root)
    crowned = [crown(root, number) for number in range(2, 2 + KEPT)]
    root.put_new(f"models/{MODEL}/model.json", b"{}")
    pass_time(root.url, 8)

    freed = gc(root)

    assert of_classes(freed).keys() == {"champions", "models"}
    assert models.history(root) == dict(zip(range(2, 2 + KEPT), crowned, strict=True))
    assert f"models/{MODEL}/model.json" not in sizes(root)
    assert {f"models/{model_id}/model.json" for model_id in crowned} <= sizes(root).keys()
    assert f"models/{used_model}/model.json" in sizes(root)  # no champion any more, but scores name it
    assert models.champion(root) == crowned[-1]
    assert lineage.vouched(root).missing(sizes(root)) == []


def test_a_model_that_a_person_trained_stays_though_nothing_was_scored_with_it(root):
    root.put_new(f"models/{MODEL}/model.json", b"{}")
    publish.record_run(root, table_rows.of_run("trained", verb="train", model_id=MODEL))
    pass_time(root.url, 400)

    gc(root)

    assert f"models/{MODEL}/model.json" in sizes(root)


def test_what_a_kill_left_half_written_in_a_folder_is_counted_by_verify_and_goes_when_its_grace_is_over(root):
    at_once(root)
    half = [
        Path(root.url, f"segments/{SEGMENT}.zarr/signal/c/0/.tmp-0123456789abcdef"),
        Path(root.url, "tables/scores/.tmp-0123456789abcdef"),
        Path(root.url, f"tables/scores/_delta_log/{9:020d}.json#1"),
    ]
    for path in half:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10)
    found = verify(VerifyConfig(root=root.url, read_data=True))
    assert found.damaged == ()
    assert found.unreferenced == {"temporary files": (2, 20), "half-written commits": (1, 10)}

    pass_time(root.url, 6.9)
    assert gc(root).total == Amount()
    pass_time(root.url, 31)
    freed = gc(root)

    assert freed.classes["temporary"] == Amount(2, 20)
    assert not any(path.exists() for path in half)
    assert verify(VerifyConfig(root=root.url)).unreferenced == {}


def test_young_entries_of_the_history_stay_however_many_and_their_models_too(root):
    crowned = [crown(root, number) for number in range(2, 2 + 2 * KEPT)]
    pass_time(root.url, 8, only="^models/[0-9a-f]{32}/")

    gc(root)

    assert len(models.history(root)) == 1 + 2 * KEPT
    assert {f"models/{model_id}/model.json" for model_id in crowned} <= sizes(root).keys()


def test_no_model_goes_while_a_training_runs_or_the_history_cannot_be_read(root, caplog):
    root.replace(f"models/{MODEL}/model.json", b"{}")
    pass_time(root.url, 8)
    root.replace("models/staged-20260101T020000-0a0b0c0d-ab.npz", b"x")
    gc(root)
    assert f"models/{MODEL}/model.json" in sizes(root)

    pass_time(root.url, 8)
    root.replace("models/champion/00000002.json", b"{")
    gc(root)
    assert f"models/{MODEL}/model.json" in sizes(root)
    assert "cannot be read" in caplog.text

    root.delete("models/champion/00000002.json")
    gc(root)
    assert f"models/{MODEL}/model.json" not in sizes(root)


def test_lineage_before_the_last_files_goes_and_what_is_vouched_for_stays(root):
    for number in range(30):
        lineage.vouch(root, f"2026112{number // 10}T02000{number % 10}-aaaaaaaa")
    told = lineage.vouched(root)
    at_once(root, dry_run=True)
    pass_time(root.url, 8)

    freed = gc(root)

    files = [key for key in sizes(root) if key.startswith("lineage/")]
    assert len(files) == KEPT
    assert freed.classes["lineage"].objects == 34 - KEPT
    assert lineage.vouched(root) == told


def test_no_lineage_goes_when_a_file_of_it_is_damaged(root, caplog):
    for number in range(30):
        lineage.vouch(root, f"2026112{number // 10}T02000{number % 10}-aaaaaaaa")
    pass_time(root.url, 8)
    root.replace(next(key for key in sizes(root) if key.startswith("lineage/")), b"{}")

    assert gc(root).classes["lineage"] == Amount()
    assert "no lineage is freed" in caplog.text
