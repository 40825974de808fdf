"""No row is told that does not come out of the very bytes that were staged: any other byte is a sentence, not a result."""

import threading
from dataclasses import replace

import pytest
from deltalake import write_deltalake
from table_rows import (
    new_root,
    of_beats,
    of_events,
    of_quarantine,
    of_records,
    of_run,
    of_scores,
    of_sources,
    opened,
    stage,
    version,
)

from cardioclarity.errors import DamageError
from cardioclarity.tables import catalog, checked, deliveries, publish, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.vocabulary import Stage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A root with one file in each table, made by one run."""
    root = new_root(tmp_path_factory.mktemp("root"))
    place = {"model_id": "m", "segment_id": "s"}
    publish.add_new(root, [stage(root, "records", of_records("ab"), segment_id="s")], run_id="run")
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("ab"))], run_id="run")
    publish.upsert(root, "quarantine", [stage(root, "quarantine", of_quarantine(source_key=["c"]))], run_id="run")
    publish.add(root, "beats", [stage(root, "beats", of_beats(30), **place)], run_id="run")
    publish.add(root, "events", [stage(root, "events", of_events("ef"), **place)], run_id="run")
    scores = [stage(root, "scores", of_scores("ab"), **place)]
    publish.switch_scores(root, scores, run_id="run", model_id="m", replaces={})
    publish.record_run(root, of_run("run"))
    return root


ASK = {
    "records": catalog.records,
    "sources": lambda root: list(catalog.known_sources(root, "s3://ecg")),
    "quarantine": catalog.quarantine,
    "runs": catalog.runs,
    "scores": lambda root: catalog.scores(root, model_id="m"),
    "events": lambda root: catalog.events(root, model_id="m"),
    "beats": lambda root: catalog.evidence(root, model_id="m", segment_id="s", run_id="run"),
}

MORE = {
    "segments": ("records", catalog.segments),
    "record ids": ("records", lambda root: catalog.pinned(root).record_ids("s")),
    "current scores": ("scores", lambda root: catalog.current_scores(root, "m")),
    "the run of the evidence": ("scores", lambda root: catalog.results(root, model_id="m").evidence_run("s")),
    "mended sources": ("quarantine", lambda root: deliveries.mended_sources(root, "s3://ecg")),
    "mended records": ("quarantine", lambda root: deliveries.mended_records(root, ["s"], stage=Stage.SCORE)),
}


def only_file(root, table):
    (file,) = snapshot.live_files(snapshot.open_table(root, table))
    return file


@pytest.fixture
def damaged(whole):
    """Put other bytes in the place of a table's file, or none; the file is whole again after the test."""
    kept = {}

    def damage(table, change):
        file = only_file(whole, table)
        kept[file.key] = data = kept.get(file.key) or whole.fetch(file.key)
        whole.delete(file.key)
        if (other := change(data)) is not None:
            whole.replace(file.key, other)
        return file

    yield damage
    for key, data in kept.items():
        whole.replace(key, data)


def flipped(place, bit=1):
    return lambda data: data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


@pytest.mark.parametrize("table", SCHEMAS)
def test_a_flipped_bit_anywhere_in_a_file_is_damage_and_named(whole, damaged, table):
    size = only_file(whole, table).size
    assert len(ASK[table](whole)) > 0

    for place in range(0, size, max(size // 60, 1)):
        file = damaged(table, flipped(place, 1 << place % 8))
        with pytest.raises(DamageError) as info:
            ASK[table](whole)

        assert f"{file.key} differs from the digest in its name; find all damage with: cardioclarity" in str(info.value)


@pytest.mark.parametrize("table", SCHEMAS)
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: None, "is missing"),
        (lambda data: b"", "has 0 bytes, the log says"),
        (lambda data: data[:-7], "bytes, the log says"),
        (lambda data: data + b"\0", "bytes, the log says"),
        (lambda data: bytes(len(data)), "differs from the digest"),
    ],
)
def test_a_file_that_is_lost_cut_or_overwritten_is_damage(whole, damaged, table, change, what):
    damaged(table, change)

    with pytest.raises(DamageError, match=what):
        ASK[table](whole)


@pytest.mark.parametrize("question", MORE)
def test_there_is_no_way_to_the_rows_around_the_digest(whole, damaged, question):
    table, ask = MORE[question]
    ask(whole)
    damaged(table, flipped(200))

    with pytest.raises(DamageError, match="differs from the digest"):
        ask(whole)


def test_two_files_that_have_changed_places_are_both_damage(tmp_path):
    root = new_root(tmp_path)
    for segment, ids in (("s", "ab"), ("t", "cd")):
        staged = stage(root, "records", of_records(ids), run_id=segment, segment_id=segment)
        publish.add_new(root, [staged], run_id=segment)
    first, second = (file.key for file in snapshot.live_files(snapshot.open_table(root, "records")))
    data = root.fetch(first)
    root.replace(first, root.fetch(second))
    root.replace(second, data)

    for segment in "st":
        with pytest.raises(DamageError):
            catalog.records(root, segment_ids=[segment])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"size": 1}, "bytes, the log says 1"),
        ({"n_rows": 3}, "has 2 rows, the log says 3"),
        ({"partition": {"segment_id": "t"}}, "stands in the log under another partition"),
        ({"path": "segment_id=s/part-00000.parquet"}, "has no digest in its name: CardioClarity did not write it"),
        ({"table": "sources"}, r"is no file of the table sources|is missing"),
    ],
)
def test_what_the_log_says_is_held_against_the_file(whole, change, what):
    file = replace(only_file(whole, "records"), **change)

    with pytest.raises(DamageError, match=what):
        checked.rows(whole, file)


def test_a_file_of_another_table_is_damage_although_its_digest_is_right(tmp_path):
    root = new_root(tmp_path)
    staged = stage(root, "sources", of_sources("a"))
    data = root.fetch(staged.key)
    file = snapshot.LiveFile(table="runs", path=staged.path, size=staged.size, n_rows=1, partition={})

    with pytest.raises(DamageError, match="is no file of the table runs"):
        checked.parse(root, file, data)


def test_rows_that_other_software_appended_are_not_told(tmp_path):
    root = new_root(tmp_path)
    publish.upsert(root, "sources", [stage(root, "sources", of_sources("a"))], run_id="run")
    write_deltalake(opened(root, "sources"), opened(root, "sources").to_pyarrow_table(), mode="append")

    with pytest.raises(DamageError, match="CardioClarity did not write it"):
        list(catalog.known_sources(root, "s3://ecg"))


def test_nothing_is_published_onto_damage(whole, damaged):
    staged = {
        "records": stage(whole, "records", of_records("z"), run_id="later", segment_id="s"),
        "sources": stage(whole, "sources", of_sources("z"), run_id="later"),
        "scores": stage(whole, "scores", of_scores("a"), run_id="later", model_id="m", segment_id="s"),
    }
    before = {table: version(whole, table) for table in staged}
    for table in staged:
        damaged(table, flipped(300))

    with pytest.raises(DamageError):
        publish.add_new(whole, [staged["records"]], run_id="later")
    with pytest.raises(DamageError):
        publish.upsert(whole, "sources", [staged["sources"]], run_id="later")
    with pytest.raises(DamageError):
        publish.switch_scores(whole, [staged["scores"]], run_id="later", model_id="m", replaces={"s": "run"})

    assert {table: version(whole, table) for table in staged} == before


def test_a_staged_file_that_was_damaged_before_its_commit_is_not_published(tmp_path):
    root = new_root(tmp_path)
    staged = stage(root, "sources", of_sources("ab"))
    data = root.fetch(staged.key)
    root.replace(staged.key, flipped(len(data) // 2)(data))

    with pytest.raises(DamageError, match="differs from the digest"):
        publish.upsert(root, "sources", [staged], run_id="run")

    assert version(root, "sources") == 0


def test_only_the_columns_that_are_asked_for_come_and_in_their_order(whole):
    file = only_file(whole, "scores")

    found = checked.rows(whole, file, ["segment_id", "head", "model_id"])

    assert found.schema.names == ["segment_id", "head", "model_id"]
    assert found.num_rows == file.n_rows
    assert set(found["segment_id"].to_pylist()) == {"s"}
    assert checked.rows(whole, file, ["model_id"]).num_rows == file.n_rows
    assert checked.rows(whole, file).schema.equals(SCHEMAS["scores"])


# ---------------------------------------------------------------- ahead


def test_results_come_in_the_order_of_the_items():
    assert list(checked.ahead(lambda n: n * n, iter(range(100)))) == [n * n for n in range(100)]
    assert list(checked.ahead(str, [])) == []
    assert list(checked.ahead(str, [7])) == ["7"]


def test_only_a_few_results_wait_for_a_slow_consumer():
    done, lock = [], threading.Lock()

    def job(n):
        with lock:
            done.append(n)
        return n

    for n in checked.ahead(job, range(200)):
        with lock:
            assert len(done) - n <= checked._AT_ONCE + 1


def test_the_first_failure_ends_it_and_what_has_not_begun_never_does():
    begun = []

    def job(n):
        begun.append(n)
        if n == 3:
            raise DamageError("three")
        return n

    found = checked.ahead(job, range(1000))
    with pytest.raises(DamageError, match="three"):
        list(found)

    assert len(begun) <= 3 + 1 + checked._AT_ONCE
