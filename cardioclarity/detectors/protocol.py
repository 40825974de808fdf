"""What a detector is: settings that can be fitted, and a fitted thing that can score and be stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cardioclarity.examples import Examples

Arrays = Mapping[str, NDArray[np.generic]]
"""Named arrays: all that a fitted detector needs to be stored and loaded again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normals:
    """Examples of several records, whose they are, and which of their rows are normal.

    Attributes:
        records: One Examples per record.
        patients: Per record the patient.
        beats: Per record a (beat,) bool mask.
        windows: Per record a (window,) bool mask.
        unlabelled: Nothing says which rows are normal: all are taken, and some of them are not.
    """

    records: tuple[Examples, ...]
    patients: tuple[str, ...]
    beats: tuple[NDArray[np.bool_], ...]
    windows: tuple[NDArray[np.bool_], ...]
    unlabelled: bool = False

    def __post_init__(self) -> None:
        """Check that each patient and each mask belongs to a record."""
        assert len(self.patients) == len(self.records)
        for examples, beats, windows in zip(self.records, self.beats, self.windows, strict=True):
            assert beats.shape == examples.rpeaks.shape
            assert windows.shape == examples.window_start.shape


class Fitted(Protocol):
    """A fitted detector; immutable."""

    def score(self, examples: Examples, /) -> NDArray[np.float32]:
        """Score each row: (beat,) or (window,) float32, higher is stranger, NaN abstains, never infinite."""

    def arrays(self) -> Arrays:
        """All that `Detector.load` needs."""


class Detector(Protocol):
    """The settings of a detector."""

    def fit(self, normals: Normals, /, *, held_out: Normals, seed: int) -> Fitted:
        """Fit on normal rows; `held_out` (other patients) serves early stopping only."""

    def load(self, arrays: Arrays, /) -> Fitted:
        """Rebuild what `Fitted.arrays` gave; scores the same bits."""
