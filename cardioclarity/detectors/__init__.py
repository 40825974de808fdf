"""Detectors: found by name, imported when first used."""

from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal

from cardioclarity.detectors.protocol import Detector
from cardioclarity.errors import NotFoundError
from cardioclarity.vocabulary import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Where a detector stands and what it looks at.

    Attributes:
        target: ``module:callable``; called without arguments it gives the detector's default settings.
        item: What one score belongs to.
        head: The question that the detector helps to answer.
    """

    target: str
    item: Literal["beat", "window"]
    head: Head


REGISTRY: Final = {
    "template": Registered(target="cardioclarity.detectors.template:Template", item="beat", head=Head.BEAT),
    "ae-dense": Registered(target="cardioclarity.detectors.autoencoder:dense", item="beat", head=Head.BEAT),
    "ae-conv": Registered(target="cardioclarity.detectors.autoencoder:convolutional", item="beat", head=Head.BEAT),
    "rhythm": Registered(target="cardioclarity.detectors.rhythm:Rhythm", item="window", head=Head.RHYTHM),
    "quality": Registered(target="cardioclarity.detectors.quality:Quality", item="window", head=Head.QUALITY),
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


def column(name: str) -> str:
    """Name the table column that holds a detector's scores."""
    return name.replace("-", "_")
