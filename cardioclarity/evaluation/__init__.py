"""Evaluation: a protocol run on an archive, without a root and without touching one; figures with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cardioclarity import models, training
from cardioclarity.config import EvaluateConfig
from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation import beats, noise, rates, rhythm, rpeaks, series, twelve
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import Protocol, load
from cardioclarity.evaluation.results import Evaluation, Found
from cardioclarity.evaluation.subjects import Subject, gather
from cardioclarity.storage import Storage, open_storage

TAKE_WHAT_IS_THERE = ("rhythm", "noise", "rpeaks", "rate")
"""Kinds of which a model's training records are left out instead of refused; where they fit, they draw nothing."""


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
    if protocol.kind == "series":
        return run(protocol, {}, archives, plan, model=config.model)
    if protocol.kind == "records":
        protocol = twelve.resolved(protocol, archives)
    subjects, notes = _apart(protocol, gather(protocol, archives), trained)
    return run(protocol, subjects, archives, plan, model=config.model, notes=notes)


def run(
    protocol: Protocol,
    subjects: Mapping[str, Subject],
    archives: Sequence[Storage],
    plan: Plan,
    *,
    model: str | None = None,
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Measure what a protocol asks on records at hand.

    Args:
        protocol: The protocol.
        subjects: Its records.
        archives: Where else to look: for noise, and for series.
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
        "rhythm": lambda: rhythm.measure(protocol, subjects, plan.model),
        "noise": lambda: noise.measure(protocol, subjects, archives, plan.model),
        "series": lambda: series.measure(protocol, archives, plan),
        "records": lambda: twelve.measure(protocol, subjects, plan),
    }
    found = measures[protocol.kind]()
    is_drawn = plan.model is None and protocol.kind not in TAKE_WHAT_IS_THERE
    return Evaluation(
        protocol=protocol.name,
        title=protocol.title,
        source=protocol.source,
        split=protocol.split_in_words() if plan.model is None else "every tested record is tested by the given model",
        model=model,
        detectors=plan.detectors,
        seeds=plan.seeds if is_drawn else (),
        found=replace(found, notes=(*notes, *found.notes)),
        versions=versions(),
    )


def _apart(
    protocol: Protocol, subjects: dict[str, Subject], trained: frozenset[str]
) -> tuple[dict[str, Subject], tuple[str, ...]]:
    """Keep training and test apart: leave records out that a model has seen, or refuse where the protocol names them."""
    if not trained:
        return subjects, ()
    if protocol.kind in TAKE_WHAT_IS_THERE or protocol.n_folds:
        tested = set(subjects)
    else:
        tested = {name for split in protocol.splits(tuple(subjects)) for name in split.test}
    patients = {
        subject.patient for subject in subjects.values() if subject.read().record_id[: models.ID_PREFIX] in trained
    } - set(protocol.known_overlap)
    seen = [name for name in subjects if name in tested and subjects[name].patient in patients]
    if not seen:
        return subjects, ()
    if protocol.kind not in TAKE_WHAT_IS_THERE:
        raise NotFoundError(
            f"the model was trained on patients of {len(seen)} of the {len(tested)} records that protocol {protocol.name}"
            f" tests, such as {seen[0]}: such a test proves nothing; train on other records, or leave out --model and let the protocol fit"
        )
    if len(seen) == len(subjects):
        raise NotFoundError(
            f"the model was trained on the patients of all {len(seen)} records of the archive; none is left to test"
        )
    left = {name: subject for name, subject in subjects.items() if name not in set(seen)}
    return left, (f"{len(seen)} of {len(subjects)} records are left out: the model was trained on their patients",)
