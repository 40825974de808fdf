"""Two publishers on the same segments, killed at every commit: no reader ever sees half a run, and the end is one state."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import publishers
import pytest
from publishers import MODEL, SEGMENTS
from table_rows import new_root, rows

from cardioclarity.tables import audit, catalog, publish
from cardioclarity.vocabulary import Head


@pytest.fixture(scope="module")
def processes():
    """Three processes, for two publishers and a reader; to start one takes longer than all its runs."""
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    ("store", "n_runs", "seed"),
    [
        ("folder", 10, 1),
        pytest.param("s3", 4, 1, marks=pytest.mark.service),
        *(pytest.param("folder", 60, seed, marks=pytest.mark.soak) for seed in range(2, 12)),
        *(pytest.param("s3", 30, seed, marks=[pytest.mark.soak, pytest.mark.service]) for seed in range(2, 8)),
    ],
)
def test_readers_see_whole_runs_only_and_the_end_is_one_state(request, tmp_path, processes, store, n_runs, seed):
    root = new_root(tmp_path if store == "folder" else request.getfixturevalue("s3"))

    place = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}

    reading = processes.submit(publishers.watch, root.url, place)
    publishing = [processes.submit(publishers.publish_runs, root.url, place, name, n_runs, seed) for name in "ab"]
    try:
        told = [publisher.result() for publisher in publishing]
    finally:
        root.put_new("stop", b"")
    watched = reading.result()

    assert watched.wrong == []
    assert watched.accepted > 1
    assert len(watched.states) > 1, "the reader has watched"
    assert sum(len(each.completed) + len(each.abandoned) for each in told) == 2 * n_runs
    assert all(each.kills for each in told)
    print(f"{n_runs=} {seed=} {store}: {told}, {watched.accepted} reads, {watched.sent_back} sent back")  # noqa: T201

    publish.sweep_leftovers(root, MODEL, "last")
    assert audit.problems(root, read_data=True) == []
    assert publishers.look(root, publishers.Watched()) == []
    assert_one_state(root, abandoned={run_id for each in told for run_id in each.abandoned})


def assert_one_state(root, abandoned):
    """Each segment is scored once, and beside what the scores name lies only what killed runs have never switched on."""
    found = catalog.results(root, model_id=MODEL)
    assert found.segment_ids == tuple(SEGMENTS)
    assert len(rows(root, "scores")) == len(SEGMENTS) * len(Head)
    live = {table: {(row["segment_id"], row["run_id"]) for row in rows(root, table)} for table in ("events", "beats")}
    named = {
        "events": {(segment, found.run_of(segment)) for segment in SEGMENTS},
        "beats": {(segment, found.evidence_run(segment)) for segment in SEGMENTS},
    }
    for table, pairs in live.items():
        assert named[table] <= pairs
        assert {run_id for _, run_id in pairs - named[table]} <= abandoned
