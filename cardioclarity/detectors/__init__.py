"""Detectors: found by name, imported when first used."""

from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal

from cardioclarity.detectors.protocol import Detector
from cardioclarity.errors import NotFoundError
from cardioclarity.vocabulary import Head

View = Literal["record", "population", "context"]
"""What a beat is held against: the record's own beats, the beats of the population, or the beats near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Where a detector stands and what it looks at.

    Attributes:
        target: ``module:callable``; called without arguments it gives the detector's default settings.
        item: What one score belongs to.
        head: The question that the detector helps to answer.
        view: Of a beat detector, what it holds a beat against.
    """

    target: str
    item: Literal["beat", "window"]
    head: Head
    view: View | None = None


def _of_beats(target: str, view: View) -> Registered:
    return Registered(target=f"cardioclarity.detectors.{target}", item="beat", head=Head.BEAT, view=view)


def _of_windows(target: str, head: Head) -> Registered:
    return Registered(target=f"cardioclarity.detectors.{target}", item="window", head=head)


REGISTRY: Final = {
    "template": _of_beats("template:Template", "record"),
    "ae-dense": _of_beats("autoencoder:dense", "population"),
    "ae-conv": _of_beats("autoencoder:convolutional", "population"),
    "pca": _of_beats("linear:residual", "population"),
    "density": _of_beats("linear:density", "population"),
    "ae-context": _of_beats("autoencoder:context", "context"),
    "ae-intervals": _of_beats("autoencoder:intervals", "context"),
    "rhythm": _of_windows("rhythm:Rhythm", Head.RHYTHM),
    "quality": _of_windows("quality:Quality", Head.QUALITY),
}
"""Every detector by the name that the command line, the model folder and the reports use."""


def detector(name: str) -> Detector:
    """Make a detector with its default settings.

    Args:
        name: A key of `REGISTRY`.

    Returns:
        The settings, ready to be fitted or to load what a fit has stored.

    Raises:
        NotFoundError: No detector has that name; the message lists those that exist.
    """
    if name not in REGISTRY:
        raise NotFoundError(f"detector {name!r} does not exist; there are: {', '.join(sorted(REGISTRY))}")
    module, _, attribute = REGISTRY[name].target.partition(":")
    made: Detector = getattr(import_module(module), attribute)()
    return made


def describe(name: str) -> str:
    """Say in a line what a detector looks at.

    Args:
        name: A key of `REGISTRY`.
    """
    path, _, attribute = REGISTRY[name].target.partition(":")
    module = import_module(path)
    made = getattr(module, attribute)
    return str((module if isinstance(made, type) else made).__doc__).strip().partition("\n")[0]


def column(name: str) -> str:
    """Name the table column that holds a detector's scores."""
    return name.replace("-", "_")
