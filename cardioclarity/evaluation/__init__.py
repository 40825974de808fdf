"""Evaluation: a protocol run on an archive, without a root and without touching one; figures with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cardioclarity import models, training
from cardioclarity.config import EvaluateConfig
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation import beats, noise, rates, rhythm, rpeaks, series, twelve
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import Protocol, load
from cardioclarity.evaluation.results import Evaluation, Found
from cardioclarity.evaluation.subjects import Subject, gather
from cardioclarity.storage import Storage, open_storage

FIT_NOTHING = ("rpeaks", "rate")
"""Kinds that measure what has no model."""

DRAW_NOTHING = ("rhythm", "noise")
"""Kinds that measure a head whose fit draws nothing; a model's training records are left out instead of refused."""


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Run a protocol.

    Args:
        config: Which one, on which archives, with which fits.

    Returns:
        Every figure with its interval.

    Raises:
        NotFoundError: No such protocol, archive or model, records that are missing, or a model that was trained on records
            of the test.
        UsageError: The protocol contradicts itself, has a patient on both sides, or has no use for a setting.
        StorageError: A store did not answer.
    """
    protocol = load(config.protocol)
    _check_use(config, protocol)
    training.check_names(config.detectors)
    archives = [open_storage(url, config.archive_storage) for url in config.archives]
    also = tuple(open_storage(url, config.archive_storage) for url in config.also)
    plan = Plan(seeds=tuple(range(config.seeds)), detectors=config.detectors, also=also, unlabelled=config.unlabelled)
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
    is_drawn = plan.model is None and protocol.kind not in (*FIT_NOTHING, *DRAW_NOTHING)
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


def _check_use(config: EvaluateConfig, protocol: Protocol) -> None:
    """Refuse a setting that the protocol would ignore: its figures would be taken for what they are not."""
    given = {
        "--model": config.model is not None,
        "--seeds": config.seeds != 1,
        "--detector": bool(config.detectors),
        "--also": bool(config.also),
        "--unlabelled": config.unlabelled,
    }
    if protocol.kind in FIT_NOTHING:
        useless, why = given, "fits nothing"
    elif protocol.kind in DRAW_NOTHING:
        useless, why = given | {"--model": False}, "draws nothing and fits no beat detector"
    elif protocol.kind != "beats":
        useless = {flag: given[flag] for flag in ("--also", "--unlabelled")}
        why = "fits on its own records alone, all of them normal"
    else:
        return
    if named := " and ".join(flag for flag in useless if useless[flag]):
        raise UsageError(f"protocol {protocol.name} {why}: leave out {named}, which would not change a figure")


def _apart(
    protocol: Protocol, subjects: dict[str, Subject], trained: frozenset[str]
) -> tuple[dict[str, Subject], tuple[str, ...]]:
    """Keep training and test apart: leave records out that a model has seen, or refuse where the protocol names them.

    Patients whom the protocol knows to stand on both sides are tested on their other records, and a note says which.
    """
    if not trained:
        return subjects, ()
    if protocol.kind in DRAW_NOTHING or protocol.n_folds:
        tested = set(subjects)
    else:
        tested = {name for split in protocol.splits(tuple(subjects)) for name in split.test}
    fitted = {name for name, one in subjects.items() if one.read().record_id[: models.ID_PREFIX] in trained}
    patients = {subjects[name].patient for name in fitted}
    seen = [name for name in subjects if name in tested and subjects[name].patient in patients]
    known = [name for name in seen if name not in fitted and subjects[name].patient in protocol.known_overlap]
    seen = [name for name in seen if name not in known]
    notes = tuple(
        f"record {name} is tested though the model was trained on its patient, {subjects[name].patient}, who stands on both"
        " sides of the public split"
        for name in known
    )
    if not seen:
        return subjects, notes
    if protocol.kind not in DRAW_NOTHING:
        raise NotFoundError(
            f"the model was trained on patients of {len(seen)} of the {len(tested)} records that protocol {protocol.name}"
            f" tests, such as {seen[0]}: such a test proves nothing; train on other records, or leave out --model and let the protocol fit"
        )
    if len(seen) == len(subjects):
        raise NotFoundError(
            f"the model was trained on the patients of all {len(seen)} records of the archive; none is left to test"
        )
    left = {name: subject for name, subject in subjects.items() if name not in set(seen)}
    return left, (
        *notes,
        f"{len(seen)} of {len(subjects)} records are left out: the model was trained on their patients",
    )
