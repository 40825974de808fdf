"""The map on a Dask cluster: bounded, in any order, and a unit that kills its worker harms no other."""

import concurrent.futures
import ipaddress
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cardioclarity.config import ParallelConfig
from cardioclarity.errors import StorageError, UsageError
from cardioclarity.vocabulary import Reason
from cardioclarity.work import Mapper, Quarantined, Receipt

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

INSECURE_VARIABLE: Final = "CARDIOCLARITY_INSECURE_SCHEDULER"
"""Environment variable that allows plain TCP to another machine."""

_INLINE_UNITS: Final = 2  # a cluster takes longer to start than so few units take to run
_UNITS_PER_THREAD: Final = 4
_SMALLEST_WINDOW: Final = 16
_CONNECT_S: Final = 5
_RESTART_S: Final = 15
_NOISY: Final = ("distributed", "distributed.client", "tornado", "tornado.application")
_WORKER_ENVIRONMENT: Final = {  # read by libraries when they load, so it has to stand before the process starts
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "RAYON")},
    # glibc gives large arrays back at once, yet keeps blocks of a few MB for the next filter: Dask's own 64 KiB would have
    # the kernel zero each anew: 11 s of system time per 24-h record in place of 7.
    "MALLOC_MMAP_THRESHOLD_": f"{16 << 20}",
    "MALLOC_TRIM_THRESHOLD_": f"{64 << 20}",
    "DASK_LOGGING__DISTRIBUTED": "critical",  # holds from a worker's first line on, also of one that ends as it starts
}
_LEVEL_VARIABLE: Final = "DASK_LOGGING__CARDIOCLARITY"
_CONFIG: Final = {
    "distributed.scheduler.allowed-failures": 1,  # with 0 a unit that only waited on a dead worker is blamed
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.no-workers-timeout": "5 minutes",  # else units wait for ever where none comes back
    # After 15 s Dask gives up the place of a worker that died, and closes the one that is taking it.
    "distributed.deploy.lost-worker-timeout": "365 days",
    # Receipts are tiny, so spilling would hide a leak and pausing would stall the run; a decoder is a child process.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.daemon": False,
}


@contextmanager
def mapper(where: ParallelConfig) -> Iterator[Mapper[Any, Any]]:
    """Give the map that runs units where the settings say, until the block ends.

    Where nothing is asked for, up to two units run in this process, and more start one worker process per processor;
    else as many workers as are asked for, at most one per unit. Local workers end with the last receipt. At no time are more units handed out than four per
    worker (sixteen at least), so that memory does not grow with the archive. An error that a unit raises is raised here.
    A unit that kills its worker twice is put aside and run again with nothing beside it; where it kills again, its inputs
    are quarantined as `poisoned`, at the unit's own `stage`.

    A ``tls://`` scheduler takes its certificates from Dask's own settings, ``DASK_DISTRIBUTED__COMM__TLS__CA_FILE``,
    ``…__CLIENT__CERT`` and ``…__CLIENT__KEY``.

    Args:
        where: Where to run.

    Raises:
        UsageError: The scheduler's address is none, or plain TCP beyond this machine.
        StorageError: While mapping: the scheduler cannot be reached, or was lost.
    """
    if where.scheduler is not None:
        _check_address(where.scheduler)
    with ExitStack() as stack:

        def spread(run: Callable[[Any], Receipt[Any]], units: "Iterable[Any]") -> Iterator[Receipt[Any]]:
            head, rest, n_workers = _peek(units, where)
            if n_workers == 0:
                yield from map(run, itertools.chain(head, rest))
                return
            with stack.enter_context(ExitStack()) as call:  # the outer one closes it where receipts are left unread
                connect = _cluster(n_workers) if where.scheduler is None else _client(where.scheduler)
                yield from _spread(call.enter_context(connect), run, itertools.chain(head, rest))

        yield spread


def _peek(units: "Iterable[Any]", where: ParallelConfig) -> tuple[list[Any], Iterator[Any], int]:
    """Look at the first units to tell how many workers they are worth; 0 where none."""
    rest = iter(units)
    if where.workers == 0:
        return [], rest, 0
    from dask.system import CPU_COUNT  # heeds the limits of a container

    wanted = where.workers or CPU_COUNT
    head = list(itertools.islice(rest, max(wanted, _INLINE_UNITS + 1)))
    is_free = where.scheduler is None and where.workers is None
    if not head or (is_free and len(head) <= _INLINE_UNITS):
        return head, rest, 0
    return head, rest, min(wanted, len(head))


def _spread(
    client: Any,  # noqa: ANN401 - distributed has no types
    run: Callable[[Any], Receipt[Any]],
    units: Iterator[Any],
) -> Iterator[Receipt[Any]]:
    """Yield a receipt per unit: passes over the cluster, each followed by its suspects, one at a time."""
    n_threads = sum(client.nthreads().values())
    window = max(_SMALLEST_WINDOW, _UNITS_PER_THREAD * n_threads)
    log.info("%d worker threads, at most %d units handed out", n_threads, window)
    suspects: list[Any] = []
    while True:
        yield from _pass(client, run, units, window=window, suspects=suspects)
        if not suspects:
            return
        for unit in suspects:
            yield _alone(client, run, unit)
        suspects.clear()


def _pass(
    client: Any,  # noqa: ANN401 - distributed has no types
    run: Callable[[Any], Receipt[Any]],
    units: Iterator[Any],
    *,
    window: int,
    suspects: list[Any],
) -> Iterator[Receipt[Any]]:
    """Keep the window full until the units, or the places that suspects leave in it, are used up."""
    from distributed import KilledWorker, as_completed

    running: dict[str, Any] = {}
    completed: Any = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]  # distributed has no types

    def top_up() -> None:
        batch = list(itertools.islice(units, window - len(running) - len(suspects)))
        if batch:
            futures = client.map(run, batch, pure=False)  # pure: equal units would give each other's old receipt
            running.update(zip((future.key for future in futures), batch, strict=True))
            completed.update(futures)

    top_up()
    for batch in completed.batches():
        for future in batch:
            unit = running.pop(future.key)
            try:
                receipt = _result(future)
            except KilledWorker:
                log.info("unit %s: its worker died twice; it will run alone", unit.id)
                suspects.append(unit)
            else:
                yield receipt
        top_up()


def _alone(client: Any, run: Callable[[Any], Receipt[Any]], unit: Any) -> Receipt[Any]:  # noqa: ANN401 - any unit
    """Run a unit with nothing beside it, so that there is no doubt which one kills."""
    from distributed import KilledWorker

    try:
        return _result(client.submit(run, unit, pure=False))
    except KilledWorker:
        log.info("unit %s: killed its worker again; its inputs are set aside", unit.id)
    message = f"unit {unit.id} killed its worker each time, alone too; often memory is short, or a decoder has crashed"
    quarantined = (
        Quarantined(input=name, stage=unit.stage, reason=Reason.POISONED, message=message) for name in unit.inputs
    )
    return Receipt(unit_id=unit.id, done=0, quarantined=tuple(quarantined))


def _result(future: Any) -> Receipt[Any]:  # noqa: ANN401 - distributed has no types
    """Wait for a receipt, and let go of the future even where it failed: its traceback would keep it alive."""
    from distributed.scheduler import NoWorkerError

    try:
        receipt: Receipt[Any] = future.result()
    except concurrent.futures.CancelledError as error:
        raise StorageError(
            "the connection to the Dask scheduler was lost; nothing was published, run the same command again"
        ) from error
    except NoWorkerError as error:
        raise StorageError(
            "no Dask worker has been running for minutes; nothing was published: see why they end (often memory is short),"
            " and run the same command again"
        ) from error
    finally:
        future.release()
    return receipt


@contextmanager
def _cluster(n_workers: int) -> Iterator[Any]:
    """Start worker processes on this machine, reachable from nowhere else."""
    import dask
    from distributed import Client, LocalCluster

    level = log.getEffectiveLevel()
    environment = _WORKER_ENVIRONMENT | {_LEVEL_VARIABLE: logging.getLevelName(level).lower()}
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(_same_environment())
        stack.enter_context(dask.config.set(_CONFIG | {"distributed.nanny.pre-spawn-environ": environment}))
        with _interrupts_held():
            cluster: Any = LocalCluster(  # type: ignore[no-untyped-call]  # distributed has no types
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,  # a worker that loses its scheduler at the end would complain
            )
            stack.enter_context(cluster)
        client: Any = stack.enter_context(Client(cluster))  # type: ignore[no-untyped-call]
        client.forward_logging("cardioclarity", level)  # what units say comes out here, as if they had run here
        yield client
        with suppress(TimeoutError):  # a worker that is shut down while it starts leaves a traceback on the terminal
            client.wait_for_workers(n_workers, timeout=_RESTART_S)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while workers start, since half a cluster cannot be ended in order.

    The threads and processes that start meanwhile stay deaf to it: a terminal sends it to all processes at once, and this
    one ends the others.
    """
    held: list[bool] = []
    is_main = threading.current_thread() is threading.main_thread()  # no other may set a handler, or is interrupted
    handler = signal.signal(signal.SIGINT, lambda *_: held.append(True)) if is_main else None
    resource_tracker.ensure_running()  # whoever starts it unblocks the signal for itself
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if is_main:
            signal.signal(signal.SIGINT, handler)
    if held:
        raise KeyboardInterrupt


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take back what Dask sets here for its workers: one thread would slow down what this process does next, a fit."""
    before = {
        name: os.environ.get(name)
        for name in (*_WORKER_ENVIRONMENT, _LEVEL_VARIABLE, "PYTHONHASHSEED", "__DASK_PARENT_PID")
    }
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """Connect to a scheduler that is running."""
    from distributed import Client

    with _quiet():
        try:
            client = Client(address, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
        except (OSError, TypeError) as error:  # TypeError: tls:// with no certificates set
            raise StorageError(
                f"no Dask scheduler answers at {address} within {_CONNECT_S} s; start one with `dask scheduler`, correct"
                " --scheduler, or leave it out to run on this machine; tls:// needs the certificates in"
                " DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"
            ) from error
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log lines off the terminal; what matters in them comes out as an error or a quarantine row."""
    import distributed  # noqa: F401 - puts its handlers in place

    handlers = {handler: handler.level for name in _NOISY for handler in logging.getLogger(name).handlers}
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


def _check_address(address: str) -> None:
    """Refuse plain TCP beyond this machine: who can reach such a port can run code on every worker."""
    scheme, separator, rest = address.rpartition("://")
    host = urlsplit(f"//{rest}").hostname
    if (separator and scheme not in {"tcp", "tls"}) or not host:
        raise UsageError(f"--scheduler {address}: give tcp://127.0.0.1:PORT or tls://HOST:PORT")
    if scheme == "tls" or _is_loopback(host) or os.environ.get(INSECURE_VARIABLE) == "1":
        return
    raise UsageError(
        f"--scheduler {address}: plain TCP to another machine lets anyone on the network run code on the workers;"
        f" use tls://HOST:PORT, or set {INSECURE_VARIABLE}=1 on a network that nobody else can reach"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
