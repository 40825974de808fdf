"""R4: workers that are killed cost time, never a row; a unit that kills its worker each time is set aside."""

import dask
import pytest
from distributed import LocalCluster

from cardioclarity import convert
from cardioclarity.config import ConvertConfig, ParallelConfig, ScoreConfig
from cardioclarity.errors import StorageError
from cardioclarity.parallel import _CONFIG
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog
from cardioclarity.vocabulary import Reason, Stage
from faults import workers
from faults.road import copy
from faults.state import look
from faults.workers import SEGMENTS, executed, many_units, poison, two_workers


@pytest.fixture(scope="module")
def cluster():
    with two_workers() as where:
        yield where


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return many_units(open_storage(str(folder / "archive")), str(folder / "root"))


@pytest.fixture
def go(cluster):
    """Run a verb on the two workers, of which some are killed."""

    def run(road, verb, **kills):
        config = {"convert": ConvertConfig(archive=road.archive, root=road.root), "score": ScoreConfig(root=road.root)}
        return workers.go(cluster, verb, config[verb], **kills)

    return run


def test_scoring_on_workers_that_are_killed_gives_the_rows_of_a_quiet_run(go, many, tmp_path):
    quiet, killed = many.to(copy(many.root, tmp_path / "quiet")), many.to(copy(many.root, tmp_path / "killed"))
    quiet.score()

    summary = go(killed, "score", kill_at=(2, 7))

    assert (summary.done, summary.quarantined) == (SEGMENTS, 0)
    assert look(killed.place) == look(quiet.place)
    assert SEGMENTS < len(executed(killed.root)) <= 1.5 * SEGMENTS


@pytest.mark.timeout(300)
def test_a_worker_that_takes_longer_to_come_back_than_dask_waits_is_waited_for(many, tmp_path):
    """Dask would close it as it comes, blame the unit that it was given, and in the end wait for ever with no worker."""
    quiet, killed = many.to(copy(many.root, tmp_path / "quiet")), many.to(copy(many.root, tmp_path / "killed"))
    quiet.score()

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}):
        told = workers.go(ParallelConfig(workers=1), "score", ScoreConfig(root=killed.root), kill_at=(2,))

    assert (told.done, told.quarantined) == (SEGMENTS, 0)
    assert look(killed.place) == look(quiet.place)


def test_no_worker_for_minutes_is_an_error_with_a_remedy(many, tmp_path):
    config = ScoreConfig(root=str(copy(many.root, tmp_path / "root")))
    with (
        dask.config.set(_CONFIG | {"distributed.scheduler.no-workers-timeout": "2s"}),
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        pytest.raises(StorageError, match="no Dask worker has been running"),
    ):
        workers.go(ParallelConfig(scheduler=cluster.scheduler_address), "score", config)


def test_converting_on_workers_that_are_killed_gives_the_rows_of_a_quiet_run(go, many, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "UNIT_RECORDS", 1)
    quiet, killed = many.to(tmp_path / "quiet"), many.to(tmp_path / "killed")
    quiet.convert()

    summary = go(killed, "convert", kill_at=(3,))

    assert (summary.done, summary.quarantined) == (SEGMENTS, 0)
    assert look(killed.place) == look(quiet.place)
    assert SEGMENTS < len(executed(killed.root)) <= 1.5 * SEGMENTS


def test_a_unit_that_kills_its_worker_each_time_is_set_aside_and_done_once_it_is_harmless(go, many, tmp_path):
    quiet, sick = many.to(copy(many.root, tmp_path / "quiet")), many.to(copy(many.root, tmp_path / "sick"))
    quiet.score()
    victim = catalog.records(sick.place)[0]
    poison(sick.root).write_text(victim.segment_id)

    summary = go(sick, "score")

    assert (summary.done, summary.quarantined) == (SEGMENTS - 1, 1)
    rows = [row for row in catalog.quarantine(sick.place) if row["stage"] == Stage.SCORE]
    assert [(row["record_id"], row["reason"]) for row in rows] == [(victim.record_id, Reason.POISONED)]
    assert look(sick.place).results != look(quiet.place).results

    poison(sick.root).unlink()
    sick.score()

    assert look(sick.place) == look(quiet.place)
