"""The commands that say how well it works: a protocol run on a database, and the detectors that there are."""

import time
from typing import TYPE_CHECKING, Final

from cardioclarity.commands.speaking import Output, Root, chosen_root, say, say_json, say_table, since, speaking
from cardioclarity.commands.stores import ARCHIVE_STORAGE, ROOT_STORAGE, ArchiveStorage, RootStorage
from cardioclarity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from cardioclarity.evaluation.results import Evaluation

_OUTPUT: Final = Output()


def evaluate(  # noqa: PLR0913 - one argument per flag
    *,
    protocol: str,
    archive: tuple[str, ...],
    root: Root = None,
    model: str | None = None,
    seeds: int = 1,
    detector: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    unlabelled: bool = False,
    markdown: str | None = None,
    html: str | None = None,
    root_storage: RootStorage = ROOT_STORAGE,
    archive_storage: ArchiveStorage = ARCHIVE_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Run a protocol on a labelled database, and say how well it works, with intervals over patients.

    Nothing is written but the files asked for. Without --model the protocol fits its own, on the records it names. One that
    fits nothing, such as rpeaks, refuses --model and every setting of a fit.

    Example: cardioclarity evaluate --protocol ds1-ds2 --archive ./mitdb --markdown result.md

    Args:
        protocol: Name of a protocol that comes with the software, such as ds1-ds2, or path of a file of splits.
        archive: Folder or URL of the database; repeat for several.
        root: Folder or URL of the deployment that holds the model.
        model: Id of a model to evaluate, in place of the protocol's own fits.
        seeds: Number of fits, with seeds 0, 1 and so on, whose figures are averaged.
        detector: A detector of the fit, repeat for several; the default ensemble and all others beside it without.
        also: Folder or URL of another archive whose normal hearts every fit of beats learns from; none of it is tested.
        unlabelled: Fit beats as if no record said which are normal, to see what labels are worth.
        markdown: File to write the table to.
        html: File to write a page with figures to.
        root_storage: How to reach the root.
        archive_storage: How to reach the archives.
        output: How the command speaks.
    """
    from cardioclarity.config import EvaluateConfig
    from cardioclarity.evaluation import evaluate as run

    started = time.perf_counter()
    with speaking(output):
        config = EvaluateConfig(
            protocol=protocol,
            archives=archive,
            archive_storage=archive_storage.options,
            root=chosen_root(root),
            root_storage=root_storage.options,
            model=model,
            seeds=seeds,
            detectors=detector,
            also=also,
            unlabelled=unlabelled,
        )
        for file in (markdown, html):
            _check_writable(file)
        evaluation = run(config)
    if output.json:
        say_json(evaluation.as_json() | {"seconds": since(started)})
    else:
        for line in evaluation.lines():
            say(line)
    with speaking(output):
        _write(evaluation, markdown=markdown, html=html)
    return ExitCode.DONE


def _check_writable(file: str | None) -> None:
    """Refuse a place where nothing can be written before hours of fits, not after them."""
    from pathlib import Path

    if file is not None and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise UsageError(f"{file} cannot be written: give the name of a file in a folder that exists")


def _write(evaluation: "Evaluation", *, markdown: str | None, html: str | None) -> None:
    """Write the files that were asked for."""
    from pathlib import Path

    if markdown is not None:
        Path(markdown).write_text(evaluation.markdown(), encoding="utf-8")
    if html is not None:
        from cardioclarity.evaluation.page import render

        Path(html).write_text(render(evaluation), encoding="utf-8")


def detectors(*, output: Output = _OUTPUT) -> int:
    """List the detectors: what each looks at, and which of them make the default model.

    Example: cardioclarity detectors --json

    Args:
        output: How the command speaks.
    """
    from cardioclarity.detectors import REGISTRY, describe
    from cardioclarity.training import DEFAULT_BEAT_DETECTORS
    from cardioclarity.vocabulary import Head

    rows: list[dict[str, object]] = [
        {
            "name": name,
            "head": registered.head.value,
            "item": registered.item,
            "default": registered.head is not Head.BEAT or name in DEFAULT_BEAT_DETECTORS,
            "what": describe(name),
        }
        for name, registered in REGISTRY.items()
    ]
    if output.json:
        say_json({"verb": "detectors", "detectors": rows})
    else:
        say_table(tuple(rows[0]), [[_yes_or_no(value) for value in row.values()] for row in rows])
    return ExitCode.DONE


def _yes_or_no(value: object) -> object:
    return value if not isinstance(value, bool) else "yes" if value else "no"
