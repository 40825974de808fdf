"""A run vouches for every byte that decides what is visible; no byte of it can change or vanish without being told."""

import hashlib
import json
from pathlib import Path

import pytest
from table_rows import new_root, of_events, of_run, stage

from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import lineage, publish, snapshot


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.service)])
def root(request, tmp_path):
    """A new root with a champion, in a folder and on a real S3 server."""
    root = new_root(tmp_path if request.param == "folder" else request.getfixturevalue("s3"))
    root.put_new("models/champion/00000001.json", b"{}")
    return root


def add(root, run_id):
    staged = stage(root, "events", of_events([run_id]), run_id=run_id, model_id="m", segment_id="s")
    publish.add(root, "events", [staged], run_id=run_id)


def entry(root, key):
    data = root.fetch(key)
    return len(data), hashlib.sha256(data).hexdigest()


def logged(root):
    """The keys that a run has to vouch for, told in another way than the program does."""
    keys = [listed.key for listed in root.list() if not listed.key.endswith("_last_checkpoint")]
    return {key for key in keys if "/_delta_log/" in key or key.startswith("models/champion/")}


def test_a_run_vouches_for_every_commit_checkpoint_and_champion_there_is(root):
    for n in range(11):
        add(root, f"r{n:02d}")
    publish.record_run(root, of_run("run"))

    found = lineage.vouched(root)

    assert found.objects == {key: entry(root, key) for key in logged(root)}
    assert any(key.endswith(".checkpoint.parquet") for key in found.objects)
    assert found.problems == {}
    assert found.missing(logged(root)) == []


def test_what_a_run_wrote_carries_its_own_digest_and_is_the_same_when_it_is_repeated(root):
    publish.record_run(root, of_run("run"))
    (listed,) = root.list("lineage/")

    again = lineage.vouch(root, "run")

    assert again == listed.key == f"lineage/run-{hashlib.sha256(root.fetch(again)).hexdigest()}.json"
    assert [found.key for found in root.list("lineage/")] == [listed.key]


def test_what_was_vouched_for_stays_the_truth_when_the_object_changes(root):
    add(root, "r1")
    lineage.vouch(root, "r1")
    key = f"tables/events/_delta_log/{1:020d}.json"
    before = entry(root, key)

    root.replace(key, root.fetch(key).replace(b'"add"', b'"adf"'))
    add(root, "r2")
    lineage.vouch(root, "r2")

    assert lineage.vouched(root).objects[key] == before != entry(root, key)
    assert snapshot.open_table(root, "events").version() == 2, "nobody else notices"


def test_an_earlier_entry_is_carried_over_and_its_object_not_read_again(root):
    lineage.vouch(root, "r1")
    fetched = []

    class Watched(Storage):
        def fetch(self, key):
            fetched.append(key)
            return super().fetch(key)

    add(root, "r2")
    lineage.vouch(Watched(root.url, root.name, root.options), "r2")

    assert [key for key in fetched if not key.startswith("lineage/")] == [f"tables/events/_delta_log/{1:020d}.json"]


def test_runs_at_once_that_each_missed_the_others_commit_vouch_together(root):
    add(root, "r1")
    first = lineage.vouch(root, "r1")
    add(root, "r2")
    second = lineage.vouch(root, "r2")
    add(root, "r3")

    document = json.loads(root.fetch(lineage.vouch(root, "r0")))

    assert document["earlier"] == [second, first]
    assert lineage.vouched(root).objects.keys() == logged(root)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data.replace(b"r1", b"r7"), lambda data: b""])
def test_a_damaged_file_of_lineage_is_told_and_believed_in_nothing(root, change):
    add(root, "r1")
    key = lineage.vouch(root, "r1")
    objects = lineage.vouched(root).objects
    root.replace(key, change(root.fetch(key)))

    assert lineage.vouched(root) == lineage.Vouched(objects={}, problems={key: "differs from the digest in its name"})

    lineage.vouch(root, "r2")
    assert lineage.vouched(root).objects == objects


def test_a_file_of_lineage_under_a_name_of_no_run_is_told(root):
    root.put_new("lineage/notes.txt", b"")

    assert lineage.vouched(root).problems == {"lineage/notes.txt": "differs from the digest in its name"}


def test_a_lost_file_of_lineage_is_told_by_its_neighbours(root):
    keys = [lineage.vouch(root, f"r{n}") for n in range(3)]
    root.delete(keys[1])

    found = lineage.vouched(root)

    assert found.problems == {keys[1]: "is missing"}
    assert found.objects.keys() == logged(root)


def test_runs_that_vouch_for_different_bytes_contradict_each_other(root):
    lineage.vouch(root, "r1")
    document = json.loads(root.fetch(next(root.list("lineage/")).key))
    key = min(document["objects"])
    document["objects"][key] = [1, "0" * 64]
    forged = json.dumps(document).encode()
    name = f"lineage/r2-{hashlib.sha256(forged).hexdigest()}.json"
    root.put_new(name, forged)

    assert lineage.vouched(root).problems == {name: f"vouches for other bytes of {key} than an earlier file of lineage"}


def test_the_last_commit_of_a_table_does_not_vanish_unnoticed(root):
    for run_id in ("r1", "r2"):
        add(root, run_id)
    lineage.vouch(root, "r2")
    last = f"tables/events/_delta_log/{2:020d}.json"

    root.delete(last)

    assert snapshot.open_table(root, "events").version() == 1, "nobody else notices"
    assert lineage.vouched(root).missing(logged(root)) == [last]


def test_what_upkeep_may_take_away_is_not_missing(tmp_path):
    root = new_root(tmp_path)
    for n in range(12):
        add(root, f"r{n:02d}")
    for number in range(1, 26):
        root.put_new(f"models/champion/{number:08d}.json", b"{}")
    lineage.vouch(root, "run")
    log = "tables/events/_delta_log"
    checkpoint = max(listed.key for listed in root.list(f"{log}/") if listed.key.endswith(".parquet"))
    number = int(Path(checkpoint).name[:20])
    there = logged(root)
    old = {f"{log}/{n:020d}.json" for n in range(number)}
    champions = {f"models/champion/{n:08d}.json" for n in range(1, 6)}
    found = lineage.vouched(root)

    assert found.missing(there - old - champions) == []
    assert found.missing(there - {f"{log}/{number:020d}.json"}) == [f"{log}/{number:020d}.json"]
    assert found.missing(there - old - {checkpoint}) == sorted([*old, checkpoint])
    assert found.missing(there - {"models/champion/00000005.json"}) == []
    assert found.missing(there - {"models/champion/00000025.json"}) == ["models/champion/00000025.json"]


def test_an_object_that_is_taken_away_meanwhile_is_not_vouched_for(tmp_path):
    root = new_root(tmp_path)
    gone = f"tables/events/_delta_log/{0:020d}.json"

    class Cleaned(Storage):
        def fetch(self, key):
            if key == gone:
                raise FileNotFoundError(key)
            return super().fetch(key)

    lineage.vouch(Cleaned(root.url, root.name, root.options), "run")

    assert gone not in lineage.vouched(root).objects
    assert lineage.vouched(open_storage(root.url)).objects.keys() == logged(root) - {gone}


def test_what_is_withdrawn_is_vouched_for_no_more_and_not_missed(root):
    lineage.vouch(root, "r1")
    root.delete("models/champion/00000001.json")
    assert lineage.vouched(root).missing(logged(root)) == ["models/champion/00000001.json"]

    lineage.vouch(root, "r2", withdrawn=["models/champion/00000001.json"])

    assert lineage.vouched(root).objects.keys() == logged(root)
    lineage.vouch(root, "r3")
    assert lineage.vouched(root).missing(logged(root)) == []
