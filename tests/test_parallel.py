"""Where units run changes nothing: each gives one receipt, few are under way at a time, and a killer harms no other."""

import gc
import os
import resource
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from parallel_units import Piece, die_if_poison, pieces, raise_if_bad, succeed, tell_environment

from cardioclarity import work
from cardioclarity.config import ParallelConfig
from cardioclarity.errors import StorageError, UsageError
from cardioclarity.parallel import INSECURE_VARIABLE, mapper
from cardioclarity.vocabulary import Reason, Stage

TWO_WORKERS = ParallelConfig(workers=2)
WINDOW = 16


@pytest.fixture(scope="module")
def scheduler():
    """A cluster that somebody else has started."""
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def spread(scheduler):
    """The map on that cluster; it stays open for the whole module."""
    with mapper(ParallelConfig(scheduler=scheduler)) as apply:
        yield apply


def test_every_unit_gives_one_receipt_from_a_worker_process(spread):
    units = pieces(40)

    receipts = list(spread(succeed, iter(units)))

    assert sorted(receipt.unit_id for receipt in receipts) == sorted(unit.id for unit in units)
    assert os.getpid() not in {receipt.output for receipt in receipts}
    assert len({receipt.output for receipt in receipts}) == 2


def test_equal_units_are_all_run(spread):
    first, second = (list(spread(succeed, iter([Piece(id="same")] * 3))) for _ in range(2))

    assert [receipt.unit_id for receipt in (*first, *second)] == ["same"] * 6


def test_receipts_come_as_they_are_ready(spread):
    slow, *fast = [Piece(id="slow", pause_s=1.0), *pieces(10)]

    receipts = list(spread(succeed, iter([slow, *fast])))

    assert len(receipts) == 11
    assert receipts[0].unit_id != "slow"


def test_a_unit_that_kills_its_worker_is_set_aside_and_all_others_are_done(spread):
    poison = Piece(id="poison", n=3, stage=Stage.SCORE)
    units = [*pieces(8), poison, Piece(id="after", n=2)]

    receipts = {receipt.unit_id: receipt for receipt in spread(die_if_poison, iter(units))}

    assert receipts.keys() == {unit.id for unit in units}
    dead = receipts.pop("poison")
    assert dead.done == 0
    assert dead.output is None
    assert tuple(row.input for row in dead.quarantined) == poison.inputs
    assert {(row.stage, row.reason) for row in dead.quarantined} == {(Stage.SCORE, Reason.POISONED)}
    assert sum(receipt.done for receipt in receipts.values()) == 10
    assert not any(receipt.quarantined for receipt in receipts.values())


def test_an_error_of_our_own_is_raised_here(spread):
    with pytest.raises(AssertionError, match="this is our own mistake"):
        list(spread(raise_if_bad, iter([*pieces(5), Piece(id="bad")])))


def test_the_units_under_way_never_exceed_the_window_and_memory_stays_flat(spread):
    from distributed import Future
    from distributed.scheduler import TaskState

    out, most, kept = 0, 0, []

    def counted():
        nonlocal out, most
        for unit in pieces(2000):
            out += 1
            most = max(most, out)
            yield unit

    peak_kb = []
    for i, _ in enumerate(spread(succeed, counted())):
        out -= 1
        if i % 650 == 600:
            kept.append(sum(type(thing) in {Future, TaskState} for thing in gc.get_objects()))
            peak_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    assert out == 0
    assert WINDOW / 2 < most <= WINDOW
    assert max(kept) < 10 * WINDOW
    assert peak_kb[-1] - peak_kb[0] < 40_000


def test_units_beyond_the_first_are_taken_only_when_receipts_are_read():
    taken = []

    def noting():
        for unit in pieces(5):
            taken.append(unit.id)
            yield unit

    with mapper(ParallelConfig(workers=0)) as apply:
        receipts = iter(apply(succeed, noting()))
        assert taken == []
        next(receipts)

    assert taken == ["u0"]


@pytest.mark.parametrize("where", [ParallelConfig(workers=0), ParallelConfig()])
def test_no_process_is_started_for_two_units_where_nobody_asked(where):
    with mapper(where) as apply:
        receipts = list(apply(succeed, iter(pieces(2))))

    assert {receipt.output for receipt in receipts} == {os.getpid()}


def test_two_units_get_the_workers_that_were_asked_for():
    with mapper(TWO_WORKERS) as apply:
        receipts = list(apply(succeed, iter(pieces(2))))

    assert os.getpid() not in {receipt.output for receipt in receipts}


def test_no_process_is_started_where_none_is_wanted():
    with mapper(ParallelConfig(workers=0)) as apply:
        receipts = list(apply(succeed, iter(pieces(9))))

    assert [receipt.unit_id for receipt in receipts] == [f"u{i}" for i in range(9)]
    assert {receipt.output for receipt in receipts} == {os.getpid()}


@pytest.mark.parametrize("where", [ParallelConfig(), ParallelConfig(scheduler="tcp://127.0.0.1:9")])
def test_no_unit_needs_no_worker(where):
    with mapper(where) as apply:
        assert list(apply(succeed, iter([]))) == []


def test_a_failure_while_receipts_are_read_leaves_no_worker_and_the_environment_as_it_was(monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    before = dict(os.environ)
    seen = []

    def read_one():
        with mapper(TWO_WORKERS) as apply:
            for receipt in apply(tell_environment, iter(pieces(20))):
                seen.append(receipt.output)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_one()

    assert seen[0]["MKL_NUM_THREADS"] == "1"
    assert seen[0]["OPENBLAS_NUM_THREADS"] == "7", "what the user has set holds"
    assert dict(os.environ) == before
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen[0]["PID"]), 0)


def test_a_whole_verb_runs_on_a_cluster(scheduler):
    def plan(config):
        return work.Plan(run_id="r", started_at=None, already_done=0, units=pieces(config))

    def finish(config, plan, receipts):
        done = sum(receipt.done for receipt in receipts)
        return work.Summary(
            verb="v", run_id="r", state=work.RunState.COMPLETED, done=done, quarantined=0, already_done=0
        )

    with mapper(ParallelConfig(scheduler=scheduler)) as apply:
        summary = work.drive(work.Verb(name="v", plan=plan, run=succeed, finish=finish), 30, apply)

    assert summary.done == 30


def test_a_scheduler_that_does_not_answer_is_an_error_with_a_remedy():
    address = "tcp://127.0.0.1:9"

    with (
        mapper(ParallelConfig(scheduler=address)) as apply,
        pytest.raises(StorageError, match=rf"{address}.* start one with `dask scheduler`"),
    ):
        list(apply(succeed, iter(pieces(1))))


def test_tls_without_certificates_is_an_error_with_a_remedy():
    with (
        mapper(ParallelConfig(scheduler="tls://127.0.0.1:9")) as apply,
        pytest.raises(StorageError, match="TLS__CA_FILE"),
    ):
        list(apply(succeed, iter(pieces(1))))


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.7:8786", "10.0.0.7:8786", "tcp://dask.example:8786", "tcp://[fe80::1]:8786"]
)
def test_plain_tcp_to_another_machine_is_refused(address):
    with (
        pytest.raises(UsageError, match=r"lets anyone on the network run code.*tls://"),
        mapper(ParallelConfig(scheduler=address)),
    ):
        pass


@pytest.mark.parametrize("address", ["http://127.0.0.1:8786", "nonsense://x", "tcp://", ""])
def test_an_address_of_another_kind_is_refused(address):
    with (
        pytest.raises(UsageError, match=r"give tcp://127\.0\.0\.1:PORT or tls://HOST:PORT"),
        mapper(ParallelConfig(scheduler=address)),
    ):
        pass


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "127.0.0.2:9", "localhost:9", "tcp://[::1]:9", "tls://dask.example:8786"]
)
def test_this_machine_and_tls_are_allowed(address):
    with mapper(ParallelConfig(scheduler=address)) as apply:
        assert list(apply(succeed, iter([]))) == []


def test_plain_tcp_can_be_allowed_by_the_environment(monkeypatch):
    monkeypatch.setenv(INSECURE_VARIABLE, "1")

    with mapper(ParallelConfig(scheduler="tcp://10.0.0.7:8786")) as apply:
        assert list(apply(succeed, iter([]))) == []


PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from parallel_units import Piece, die_if_poison, pieces
from cardioclarity.config import ParallelConfig
from cardioclarity.parallel import mapper

if __name__ == "__main__":
    with mapper(ParallelConfig(workers=2)) as apply:
        receipts = list(apply(die_if_poison, iter([*pieces(6), Piece(id="poison")])))
        workers = {receipt.output for receipt in receipts if receipt.output}
        running = [worker for worker in workers if os.path.exists(f"/proc/{worker}")]
    print(len(receipts), sum(len(receipt.quarantined) for receipt in receipts), running, os.getpid() in workers)
"""


def test_a_cluster_of_its_own_prints_nothing_when_workers_die_and_ends_with_the_last_receipt(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    ended = subprocess.run(
        [sys.executable, "-W", "error", str(program), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7 1 [] False\n", "")
