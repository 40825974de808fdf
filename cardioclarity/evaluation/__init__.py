"""Evaluation: a protocol run on an archive, without a root and without touching one; figures with their intervals."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from cardioclarity import models, training
from cardioclarity.config import EvaluateConfig
from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation import beats, rates, rpeaks
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import Protocol, load
from cardioclarity.evaluation.results import Evaluation, Found
from cardioclarity.evaluation.subjects import Subject, gather
from cardioclarity.storage import open_storage

LEAVES_OUT = ("rhythm", "noise", "rpeaks", "rate")
"""Kinds that take what the archive holds: with a model, its training records are left out instead of refused."""

FITS_NOTHING = ("rpeaks", "rate")


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Run a protocol.

    Args:
        config: Which one, on which archives, with which fits.

    Returns:
        Every figure with its interval.

    Raises:
        NotFoundError: No such protocol, archive or model, records that are missing, or a model that was trained on records
            of the test.
        UsageError: The protocol contradicts itself, or has a patient on both sides.
        StorageError: A store did not answer.
    """
    protocol = load(config.protocol)
    training.check_names(config.detectors)
    archives = [open_storage(url, config.archive_storage) for url in config.archives]
    plan = Plan(seeds=tuple(range(config.seeds)), detectors=config.detectors)
    trained: frozenset[str] = frozenset()
    if config.model is not None:
        root = open_storage(config.root, config.root_storage)
        plan, trained = replace(plan, model=models.load(root, config.model)), models.trained_on(root, config.model)
    subjects = gather(protocol, archives)
    subjects, notes = _apart(protocol, subjects, trained)
    return run(protocol, subjects, plan, model=config.model, notes=notes)


def run(
    protocol: Protocol,
    subjects: Mapping[str, Subject],
    plan: Plan,
    *,
    model: str | None = None,
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Measure what a protocol asks on records at hand.

    Args:
        protocol: The protocol.
        subjects: Its records.
        plan: What is fitted.
        model: Id of the model in the plan.
        notes: Sentences that a reader must know.

    Raises:
        NotFoundError: The records have no annotations of the kind, or nothing to learn from.
    """
    from cardioclarity.tables.runs import versions

    measures: dict[str, Callable[[], Found]] = {
        "beats": lambda: beats.measure(protocol, subjects, plan),
        "rpeaks": lambda: rpeaks.measure(subjects),
        "rate": lambda: rates.measure(subjects),
    }
    found = measures[protocol.kind]()
    is_fitted = plan.model is None and protocol.kind not in FITS_NOTHING
    return Evaluation(
        protocol=protocol.name,
        title=protocol.title,
        source=protocol.source,
        split=protocol.split_in_words() if plan.model is None else "every record is tested by the given model",
        model=model,
        detectors=plan.detectors,
        seeds=plan.seeds if is_fitted else (),
        found=replace(found, notes=(*notes, *found.notes)),
        versions=versions(),
    )


def _apart(
    protocol: Protocol, subjects: dict[str, Subject], trained: frozenset[str]
) -> tuple[dict[str, Subject], tuple[str, ...]]:
    """Keep training and test apart: leave records out that a model has seen, or refuse where the protocol names them."""
    if not trained or protocol.kind in FITS_NOTHING:
        return subjects, ()
    tested = {name for split in protocol.splits(tuple(subjects)) for name in split.test} or set(subjects)
    seen = [
        name for name in subjects if name in tested and subjects[name].read().record_id[: models.ID_PREFIX] in trained
    ]
    if not seen:
        return subjects, ()
    if protocol.kind not in LEAVES_OUT:
        raise NotFoundError(
            f"the model was trained on {len(seen)} of the {len(tested)} records that protocol {protocol.name} tests, such as "
            f"{seen[0]}: such a test proves nothing; train on other records, or leave out --model and let the protocol fit"
        )
    if len(seen) == len(subjects):
        raise NotFoundError(f"the model was trained on all {len(seen)} records of the archive; none is left to test")
    left = {name: subject for name, subject in subjects.items() if name not in set(seen)}
    return left, (f"{len(seen)} of {len(subjects)} records are left out: the model was trained on them",)
