"""The commands that do the work: arguments → settings → verb → what came of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import Parameter

from cardioclarity.commands.speaking import Output, Root, chosen_root, say, say_json, since, speaking
from cardioclarity.commands.stores import ARCHIVE_STORAGE, ROOT_STORAGE, ArchiveStorage, RootStorage
from cardioclarity.config import ConvertConfig, ParallelConfig, ReportConfig, ScoreConfig, TrainConfig
from cardioclarity.errors import ExitCode
from cardioclarity.work import Plan, Receipt, U, Verb, complete

C = TypeVar("C")
O = TypeVar("O")  # noqa: E741


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


def convert(  # noqa: PLR0913 - one argument per flag
    archive: str,
    /,
    *,
    root: Root = None,
    retry_quarantined: bool = False,
    patients: str | None = None,
    where: Where = _WHERE,
    root_storage: RootStorage = ROOT_STORAGE,
    archive_storage: ArchiveStorage = ARCHIVE_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Read an archive into segments and the catalog; only what is new.

    Example: cardioclarity convert ./ecg --root ./results

    Args:
        archive: Folder or URL of the ECG files, such as s3://bucket/prefix.
        root: Folder or URL of the deployment.
        retry_quarantined: Try again what was set aside and has not changed since.
        patients: CSV file with the columns source_key and patient; one in a bucket is reached as the archive is.
        where: Where the work runs.
        root_storage: How to reach the root.
        archive_storage: How to reach the archive.
        output: How the command speaks.
    """
    from cardioclarity.convert import CONVERT

    config = ConvertConfig(
        archive=archive,
        root=chosen_root(root),
        archive_storage=archive_storage.options,
        root_storage=root_storage.options,
        retry_quarantined=retry_quarantined,
        patients=patients,
    )
    return _run(CONVERT, config, where, output)


def train(  # noqa: PLR0913 - one argument per flag
    *,
    root: Root = None,
    detector: tuple[str, ...] = (),
    seed: int = 0,
    champion: bool = False,
    max_records: int = _TRAIN.max_records,
    minutes_per_record: float = _TRAIN.minutes_per_record,
    max_hours: float = _TRAIN.max_hours,
    where: Where = _WHERE,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Fit and calibrate a model on normal beats; it becomes champion where the root has none.

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
        root_storage: How to reach the root.
        output: How the command speaks.
    """
    from cardioclarity.train import TRAIN

    config = TrainConfig(
        root=chosen_root(root),
        root_storage=root_storage.options,
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
    root: Root = None,
    model: str | None = None,
    alarms_per_hour: float = _SCORE.alarms_per_hour,
    rhythm_alarms_per_hour: float = _SCORE.rhythm_alarms_per_hour,
    tachycardia_bpm: float = _SCORE.tachycardia_bpm,
    bradycardia_bpm: float = _SCORE.bradycardia_bpm,
    pause_s: float = _SCORE.pause_s,
    rate_change: float = _SCORE.rate_change,
    where: Where = _WHERE,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Score what the model has not scored yet, and publish it whole.

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
        rate_change: A rate that changes by more than this ratio from eight beats to the next eight is an abrupt change.
        where: Where the work runs.
        root_storage: How to reach the root.
        output: How the command speaks.
    """
    from cardioclarity.score import SCORE

    config = ScoreConfig(
        root=chosen_root(root),
        root_storage=root_storage.options,
        model=model,
        alarms_per_hour=alarms_per_hour,
        rhythm_alarms_per_hour=rhythm_alarms_per_hour,
        tachycardia_bpm=tachycardia_bpm,
        bradycardia_bpm=bradycardia_bpm,
        pause_s=pause_s,
        rate_change=rate_change,
    )
    return _run(SCORE, config, where, output)


def report(
    *,
    root: Root = None,
    run: str | None = None,
    output_file: Annotated[str | None, Parameter(name="--output")] = None,
    max_events: int = 50,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Write the page of a scoring run: one HTML file that opens offline.

    Example: cardioclarity report --root ./results

    Args:
        root: Folder or URL of the deployment.
        run: Id of the scoring run; the latest without.
        output_file: File to write; below the root without.
        max_events: How many events get a strip.
        root_storage: How to reach the root.
        output: How the command speaks.
    """
    from cardioclarity.report import report as write_report

    started = time.perf_counter()
    with speaking(output):
        config = ReportConfig(
            root=chosen_root(root),
            root_storage=root_storage.options,
            run=run,
            output=output_file,
            max_events=max_events,
        )
        result = write_report(config)
    if output.json:
        told = {"verb": "report", "run_id": result.run_id, "path": result.path, "damage": list(result.damage)}
        say_json({**told, "seconds": since(started)})
    else:
        say(f"report: {result.path}")
    return ExitCode.DONE


def demo(
    *,
    archive: str | None = None,
    root: str = "./cardioclarity-data/demo",
    seed: int = 0,
    root_storage: RootStorage = ROOT_STORAGE,
    archive_storage: ArchiveStorage = ARCHIVE_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Show the whole road on a synthetic archive, or on your own records.

    Example: cardioclarity demo --archive ./ecg

    Args:
        archive: Folder or URL of your own records; a synthetic archive without.
        root: Folder of the deployment to make.
        seed: Makes another synthetic archive and another model.
        root_storage: How to reach the root.
        archive_storage: How to reach the archive.
        output: How the command speaks.
    """
    from cardioclarity.demo import play

    with speaking(output):
        outcome = play(
            archive=archive,
            root=root,
            archive_storage=archive_storage.options,
            root_storage=root_storage.options,
            seed=seed,
            say=lambda line: None if output.json else say(line),
        )
    if output.json:
        say_json(outcome.as_json())
    return outcome.exit_code


def _run(verb: Verb[C, U, O], config: C, where: Where, output: Output) -> int:
    """Plan, run and publish with a display, then say what came of it."""
    from cardioclarity import parallel

    started = time.perf_counter()
    with speaking(output) as on_terminal:
        plan = verb.plan(config)
        place = ParallelConfig(workers=where.workers, scheduler=where.scheduler)
        with _progress(verb.name, plan, shown=on_terminal) as told, parallel.mapper(place) as mapper:
            summary = complete(verb, config, plan, mapper, told)
    if output.json:
        say_json(summary.as_json() | {"seconds": since(started)})
    else:
        for line in summary.lines():
            say(line)
    return ExitCode.QUARANTINED if summary.quarantined else ExitCode.DONE


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
