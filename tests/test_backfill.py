"""A backfill that is killed and started again ends with the rows of one whole run, to the last digit."""

import datetime as dt
import itertools
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from prefect_server import end_group, environment

from cardioclarity import models
from cardioclarity.config import ConvertConfig, ScoreConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.score import SCORE
from cardioclarity.segments.read import manifest
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, Episode, Scene, ecg, wfdb_files
from cardioclarity.tables import catalog
from cardioclarity.train import TRAIN
from cardioclarity.vocabulary import Head
from cardioclarity.work import drive

LEVEL = 200.0  # so few patients give wide p-values: at usual levels no beat alarms, and none could differ
LINEAGE = {"run_id", "evidence_run_id", "scored_at", "seen_at", "converted_at"}
WHERE = {"segment_id", "segment_digest"}
"""What depends on how records were grouped into segments."""

LOOP = """
import sys
from cardioclarity.config import ConvertConfig, ScoreConfig
from cardioclarity.convert import CONVERT
from cardioclarity.score import SCORE
from cardioclarity.work import RunState, drive

archive, root, batch, level = sys.argv[1:]
state = None
while state != RunState.NOTHING_NEW:
    state = drive(CONVERT, ConvertConfig(archive=archive, root=root, max_records=int(batch)), map).state
    drive(SCORE, ScoreConfig(root=root, alarms_per_hour=float(level)), map)
"""
"""The loop of the flow `backfill` without Prefect, whose server takes longer to start than a dozen records."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An archive, how large it and its batches are, and the command that backfills it up to archive and root."""

    archive: str
    n_records: int
    batch: int
    least_rows: int
    command: Callable[[str, str], list[str]]


def synthetic(folder):
    """Twelve minutes of ECG with something for every head to find."""
    archive = open_storage(str(folder / "archive"))
    for n in range(12):
        ill = (Episode(kind="pause", start_s=20.0, end_s=23.4), Episode(kind="flat", start_s=35.0, end_s=56.0))
        fibrillating = (Episode(kind="af", start_s=10.0, end_s=55.0),)
        scene = Scene(
            name=f"{n:02d}",
            seed=n,
            duration_s=60.0,
            rate_hz=360.0,
            pvc_per_hour=240.0 if n % 3 == 2 else 0.0,
            episodes={3: fibrillating, 7: fibrillating, 5: ill, 10: ill}.get(n, ()),
        )
        for key, data in wfdb_files(ecg(scene), MIT).items():
            archive.put_new(key, data)
    return Case(
        archive=archive.url,
        n_records=12,
        batch=3,
        least_rows=600,
        command=lambda archive, root: ["-c", LOOP, archive, root, "3", str(LEVEL)],
    )


def arrhythmia_database(real_data):
    """A real archive under Prefect."""
    settings = ["--batch-records", "5", "--alarms-per-hour", str(LEVEL), "--workers", "0"]
    return Case(
        archive=str(real_data / "mitdb"),
        n_records=26,
        batch=5,
        least_rows=26 * 1000,
        command=lambda archive, root: ["-m", "flows.backfill", "--archive", archive, "--root", root, *settings],
    )


REAL = [pytest.mark.real_data, pytest.mark.service, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["synthetic", pytest.param("real, under Prefect", marks=REAL)])
def case(request, tmp_path_factory):
    if request.param == "synthetic":
        return synthetic(tmp_path_factory.mktemp("synthetic"))
    return arrhythmia_database(request.getfixturevalue("real_data"))


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """The archive in one convert, one fit and one score."""
    root = tmp_path_factory.mktemp("whole") / "root"
    drive(CONVERT, ConvertConfig(archive=case.archive, root=str(root)), map)
    drive(TRAIN, TrainConfig(root=str(root), detectors=("template",), minutes_per_record=5.0), map)
    drive(SCORE, ScoreConfig(root=str(root), alarms_per_hour=LEVEL), map)
    return root


@pytest.fixture(scope="module")
def killed(case, whole, tmp_path_factory):
    """A backfill with the model of the whole, killed when its second batch had been published, and started again."""
    folder = tmp_path_factory.mktemp("batches")
    root = folder / "root"
    shutil.copytree(whole / "models", root / "models")
    with (folder / "first.log").open("wb") as log:
        first = backfill(case, root, stdout=log, start_new_session=True)
        wait_until(lambda: n_scored(root) >= 2 * case.batch, first)
        end_group(first, signal.SIGKILL)
    survived, killed_at = n_scored(root), dt.datetime.now(dt.UTC)
    with (folder / "second.log").open("wb") as log:
        second = backfill(case, root, stdout=log)
        assert second.wait(300) == 0, (folder / "second.log").read_text()
    return root, survived, killed_at


def backfill(case, root, **how):
    command = [sys.executable, *case.command(case.archive, str(root))]
    return subprocess.Popen(command, env=environment(root.parent / "prefect"), stderr=subprocess.STDOUT, **how)


def wait_until(reached, process):
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, "the backfill ended before it could be killed"
        assert time.monotonic() < deadline, "the backfill published nothing"
        time.sleep(0.05)


def n_scored(root):
    if not (root / "tables" / "records" / "_delta_log").exists():
        return 0
    storage = open_storage(str(root))
    return len(catalog.scores(storage, model_id=models.champion(storage))) // len(Head)


def comparable(rows, **more):
    dropped = LINEAGE | WHERE
    return sorted(repr([(k, v) for k, v in sorted(row.items()) if k not in dropped] + [*more.items()]) for row in rows)


def evidence(root):
    """The rows of `beats` that count, each with its record's id in place of its place in a segment."""
    storage = open_storage(str(root))
    model_id = models.champion(storage)
    current = catalog.current_scores(storage, model_id)
    found = []
    for segment in catalog.segments(storage):
        run_id = current[segment.segment_id].evidence_run_id
        columns = catalog.evidence(storage, model_id=model_id, segment_id=segment.segment_id, run_id=run_id)
        names = manifest(storage, segment.segment_id, digest=segment.digest).record_ids
        record_ids = [names[index] for index in columns["record_index"]]
        values = [columns[name] for name in columns if name != "record_index"]
        found += [repr(row) for row in zip(record_ids, *values, strict=True)]
    return sorted(found)


def test_the_kill_came_in_the_middle(case, killed):
    _, survived, _ = killed

    assert survived % case.batch == 0, "a batch is published whole or not at all"
    assert 2 * case.batch <= survived < case.n_records


def test_the_second_start_scored_only_what_was_left(case, killed):
    root, survived, killed_at = killed
    runs = [run for run in catalog.runs(open_storage(str(root))) if run["started_at"] > killed_at]

    # Killed between the scores and its line in `runs`, a batch is judged once more, from its stored evidence.
    again = sum(run["done"] for run in runs if run["verb"] == "score") - (case.n_records - survived)
    assert again in {0, case.batch}
    assert max(run["done"] for run in runs if run["verb"] == "convert") <= case.batch


def test_all_tables_hold_the_rows_of_one_whole_run(case, whole, killed):
    ours, theirs = (open_storage(str(root)) for root in (killed[0], whole))
    model_id = models.champion(theirs)

    for read in (catalog.scores, catalog.events):
        rows = [comparable(read(storage, model_id=model_id)) for storage in (ours, theirs)]
        assert rows[0] == rows[1]
    assert {event["kind"] for event in catalog.events(ours, model_id=model_id)} == set(Head)
    assert set(catalog.known_sources(ours, case.archive)) == set(catalog.known_sources(theirs, case.archive))
    records = [
        comparable({name: getattr(record, name) for name in record.__slots__} for record in catalog.records(storage))
        for storage in (ours, theirs)
    ]
    assert records[0] == records[1]
    assert len(records[0]) == case.n_records


def test_the_evidence_of_every_beat_is_that_of_one_whole_run(case, whole, killed):
    ours, theirs = evidence(killed[0]), evidence(whole)

    differing = [pair for pair in itertools.zip_longest(ours, theirs) if pair[0] != pair[1]]
    assert not differing, differing[:3]
    assert len(ours) > case.least_rows
