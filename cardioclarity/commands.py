"""One function per command: arguments → settings → verb → sentences for people or one JSON object."""

import datetime as dt
import json as json_text
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import Parameter

from cardioclarity.config import (
    ConvertConfig,
    ParallelConfig,
    ReportConfig,
    ScoreConfig,
    StorageOptions,
    TrainConfig,
    default_root,
)
from cardioclarity.errors import ExitCode, UsageError
from cardioclarity.work import Plan, Receipt, U, Verb, complete

C = TypeVar("C")
O = TypeVar("O")  # noqa: E741


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a command speaks.

    Attributes:
        json: Print one JSON object as the last line of stdout instead of sentences.
        quiet: Only errors on stderr.
        verbose: One line per unit of work on stderr, also on a terminal.
        debug: Show the traceback of an error.
    """

    json: bool = False
    quiet: Annotated[bool, Parameter(alias="-q")] = False
    verbose: Annotated[bool, Parameter(alias="-v")] = False
    debug: bool = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where the work runs.

    Attributes:
        workers: Local worker processes; 0 works in this process. By default the amount of work decides.
        scheduler: Address of a running Dask scheduler, such as tcp://127.0.0.1:8786.
    """

    workers: int | None = None
    scheduler: str | None = None


_OUTPUT, _WHERE, _TRAIN, _SCORE = Output(), Where(), TrainConfig(root=""), ScoreConfig(root="")
_Root = Annotated[
    str | None, Parameter(help="Folder or URL of the deployment [CARDIOCLARITY_ROOT, ./cardioclarity-data].")
]


def convert(  # noqa: PLR0913 - one argument per flag
    archive: str,
    /,
    *,
    root: _Root = None,
    anon: bool = False,
    retry_quarantined: bool = False,
    patients: str | None = None,
    where: Where = _WHERE,
    output: Output = _OUTPUT,
) -> int:
    """Read an archive into the root; only what is new.

    Example: cardioclarity convert ./ecg --root ./results

    Args:
        archive: Folder or URL of the ECG files, such as s3://bucket/prefix.
        root: Folder or URL of the deployment.
        anon: Read the archive, a public bucket, without credentials.
        retry_quarantined: Try again what was set aside and has not changed since.
        patients: CSV file with the columns source_key and patient, where the archive knows who is who.
        where: Where the work runs.
        output: How the command speaks.
    """
    from cardioclarity.convert import CONVERT

    config = ConvertConfig(
        archive=archive,
        root=_root(root),
        archive_storage=StorageOptions(anon=anon),
        retry_quarantined=retry_quarantined,
        patients=patients,
    )
    return _run(CONVERT, config, where, output)


def train(  # noqa: PLR0913 - one argument per flag
    *,
    root: _Root = None,
    detector: tuple[str, ...] = (),
    seed: int = 0,
    champion: bool = False,
    max_records: int = _TRAIN.max_records,
    minutes_per_record: float = _TRAIN.minutes_per_record,
    max_hours: float = _TRAIN.max_hours,
    where: Where = _WHERE,
    output: Output = _OUTPUT,
) -> int:
    """Fit and calibrate a model on the normal beats of the root.

    Example: cardioclarity train --root ./results

    Args:
        root: Folder or URL of the deployment.
        detector: A detector to fit, repeat for several; the default ensemble without.
        seed: Makes the fit repeatable on a CPU.
        champion: Make it the champion even where the root has one.
        max_records: Train on at most so many records, drawn by the seed.
        minutes_per_record: Of a longer record only its beginning is used.
        max_hours: Train on at most so many hours in all; about 9 MB of memory each.
        where: Where the records are prepared.
        output: How the command speaks.
    """
    from cardioclarity.train import TRAIN

    config = TrainConfig(
        root=_root(root),
        detectors=detector,
        seed=seed,
        champion=champion,
        max_records=max_records,
        minutes_per_record=minutes_per_record,
        max_hours=max_hours,
    )
    return _run(TRAIN, config, where, output)


def score(  # noqa: PLR0913 - one argument per flag
    *,
    root: _Root = None,
    model: str | None = None,
    alarms_per_hour: float = _SCORE.alarms_per_hour,
    rhythm_alarms_per_hour: float = _SCORE.rhythm_alarms_per_hour,
    tachycardia_bpm: float = _SCORE.tachycardia_bpm,
    bradycardia_bpm: float = _SCORE.bradycardia_bpm,
    pause_s: float = _SCORE.pause_s,
    where: Where = _WHERE,
    output: Output = _OUTPUT,
) -> int:
    """Score what the model has not scored yet, and publish.

    Where only a level or limit changed, stored evidence is judged again and no signal is read.

    Example: cardioclarity score --root ./results --alarms-per-hour 0.5

    Args:
        root: Folder or URL of the deployment.
        model: Id of the model; the champion without.
        alarms_per_hour: Accepted false alarms of the beat head per hour of normal ECG.
        rhythm_alarms_per_hour: The same for the rhythm head.
        tachycardia_bpm: A 10-s window whose mean rate is above is tachycardia.
        bradycardia_bpm: A 10-s window whose mean rate is below is bradycardia.
        pause_s: An RR interval of at least this length is a pause.
        where: Where the work runs.
        output: How the command speaks.
    """
    from cardioclarity.score import SCORE

    config = ScoreConfig(
        root=_root(root),
        model=model,
        alarms_per_hour=alarms_per_hour,
        rhythm_alarms_per_hour=rhythm_alarms_per_hour,
        tachycardia_bpm=tachycardia_bpm,
        bradycardia_bpm=bradycardia_bpm,
        pause_s=pause_s,
    )
    return _run(SCORE, config, where, output)


def report(
    *,
    root: _Root = None,
    run: str | None = None,
    output_file: Annotated[str | None, Parameter(name="--output")] = None,
    max_events: int = 50,
    output: Output = _OUTPUT,
) -> int:
    """Write the page of a scoring run: one HTML file that opens offline.

    Example: cardioclarity report --root ./results

    Args:
        root: Folder or URL of the deployment.
        run: Id of the scoring run; the latest without.
        output_file: File to write; below the root without.
        max_events: How many events get a strip.
        output: How the command speaks.
    """
    from cardioclarity.report import report as write_report

    started = time.perf_counter()
    with _speaking(output):
        config = ReportConfig(root=_root(root), run=run, output=output_file, max_events=max_events)
        result = write_report(config)
    if output.json:
        _say_json({"verb": "report", "run_id": result.run_id, "path": result.path, "seconds": _since(started)})
    else:
        _say(f"report: {result.path}")
    return ExitCode.DONE


def runs(*, root: _Root = None, expect_within: str | None = None, output: Output = _OUTPUT) -> int:
    """List the runs, the newest first.

    Example: cardioclarity runs --root ./results --expect-within 26h

    Args:
        root: Folder or URL of the deployment.
        expect_within: Fail when no scoring run has ended within this time, such as 26h or 45m.
        output: How the command speaks.
    """
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog

    age = None if expect_within is None else _duration(expect_within)
    storage = open_storage(_root(root))
    catalog.require_root(storage)
    rows = catalog.runs(storage)
    scored = [row["finished_at"] for row in rows if row["verb"] == "score"]
    missing = age is not None and not any(dt.datetime.now(dt.UTC) - finished <= age for finished in scored)
    columns = ("run_id", "verb", "state", "inputs", "done", "quarantined", "already_done", "model_id", "finished_at")
    if output.json:
        _say_json({"verb": "runs", "runs": [{name: row[name] for name in columns} for row in rows]})
    else:
        _say_table(columns, [[row[name] for name in columns] for row in rows])
    if missing:
        last = max(scored, default=None)
        print(f"error: no scoring run ended within {expect_within}; the last one: {last or 'never'}", file=sys.stderr)  # noqa: T201
    return ExitCode.FAILED if missing else ExitCode.DONE


def models(*, root: _Root = None, use: str | None = None, output: Output = _OUTPUT) -> int:
    """List the models, and move the champion forward or back.

    Example: cardioclarity models --root ./results --use 4f1c…

    Args:
        root: Folder or URL of the deployment.
        use: Id of the model that the nightly flow shall use from now on.
        output: How the command speaks.
    """
    from cardioclarity import models as store
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog
    from cardioclarity.work import new_run_id

    storage = open_storage(_root(root))
    catalog.require_root(storage)
    if use is not None:
        store.load(storage, use)  # a damaged model is never made champion
        store.crown(storage, use, chosen_by="models", run_id=new_run_id())
    rows = store.list_models(storage)
    if output.json:
        _say_json({"verb": "models", "champion": store.champion(storage), "models": rows})
    else:
        columns = ("model_id", "champion", "detectors", "patients", "normal_beats", "seed")
        _say_table(columns, [[row[name] for name in columns] for row in rows])
    return ExitCode.DONE


def demo(
    *, archive: str | None = None, root: str = "./cardioclarity-data/demo", seed: int = 0, output: Output = _OUTPUT
) -> int:
    """Show the whole road on a synthetic archive, or on your own records.

    Example: cardioclarity demo --archive ./ecg

    Args:
        archive: Folder or URL of your own records; a synthetic archive without.
        root: Folder of the deployment to make.
        seed: Makes another synthetic archive and another model.
        output: How the command speaks.
    """
    from cardioclarity.demo import play

    with _speaking(output):
        outcome = play(archive=archive, root=root, seed=seed, say=lambda line: None if output.json else _say(line))
    if output.json:
        _say_json(outcome.as_json())
    return outcome.exit_code


def _run(verb: Verb[C, U, O], config: C, where: Where, output: Output) -> int:
    """Plan, run and publish with a display, then say what came of it."""
    from cardioclarity import parallel

    started = time.perf_counter()
    with _speaking(output) as on_terminal:
        plan = verb.plan(config)
        place = ParallelConfig(workers=where.workers, scheduler=where.scheduler)
        with _progress(verb.name, plan, shown=on_terminal) as told, parallel.mapper(place) as mapper:
            summary = complete(verb, config, plan, mapper, told)
    if output.json:
        _say_json(summary.as_json() | {"seconds": _since(started)})
    else:
        for line in summary.lines():
            _say(line)
    return ExitCode.QUARANTINED if summary.quarantined else ExitCode.DONE


@contextmanager
def _speaking(output: Output) -> Iterator[bool]:
    """Send the log to stderr for the time of a command; hand out whether a display belongs there too."""
    on_terminal = sys.stderr.isatty() and not (output.quiet or output.json or output.verbose)
    level = logging.ERROR if output.quiet else logging.WARNING if on_terminal else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s" if level != logging.INFO else "%(message)s"))
    logger = logging.getLogger("cardioclarity")
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield on_terminal
    finally:
        logger.removeHandler(handler)


@contextmanager
def _progress(verb: str, plan: Plan[U], *, shown: bool) -> Iterator[Callable[[Receipt[O]], object]]:
    if not shown or not plan.expected_units:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=plan.expected_units)
        rest = "fit and save" if verb == "train" else "publish"

        def told(_: Receipt[O]) -> None:
            progress.advance(task)
            if progress.finished:
                progress.update(task, description=f"{verb}: {rest}", total=None)

        yield told


def _root(root: str | None) -> str:
    """Take the root that was given, else the default; an empty one is an unset variable of some script."""
    if root is not None and not root.strip():
        raise UsageError("--root is empty: give a folder or URL, or leave it out")
    return default_root() if root is None else root


def _duration(text: str) -> dt.timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if match is None:
        raise UsageError(f"duration {text!r}: give a number and m, h or d, such as 26h")
    unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
    try:
        return dt.timedelta(**{unit: float(match[1])})
    except OverflowError:
        raise UsageError(f"duration {text!r} is longer than anything that is kept") from None


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the command line speaks to people


def _say_json(content: dict[str, object]) -> None:
    _say(json_text.dumps(content, default=str))


def _say_table(columns: tuple[str, ...], rows: list[list[object]]) -> None:
    """Print rows under their column names, as wide as their longest cell; times to the second."""
    shown = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    for row in [list(columns), *shown]:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)
