"""Irregular rhythm: features of the RR intervals near a window against those of the population."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.protocol import Arrays, Detector, Normals
from cardioclarity.examples import RHYTHM_FEATURES, Examples

_FLOORS: Final = (0.4, 0.02, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05)
"""Smallest spread of each of RHYTHM_FEATURES: few patients are too alike, and most windows have 0 in the one-sided ones."""

_WINDOWS_PER_RECORD: Final = 200  # one long record must not be the population
_MAD_TO_SD: Final = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Settings of the rhythm detector. There is no adaptation to the record: who fibrillates all day has no normal."""

    def fit(self, normals: Normals, /, *, held_out: Normals, seed: int) -> "FittedRhythm":  # noqa: ARG002  # medians need neither
        """Learn median and spread of each feature over the normal windows.

        Args:
            normals: At most 200 windows of each record count, evenly spread.
            held_out: Not used.
            seed: Not used.

        Returns:
            The fitted detector; it abstains everywhere where no normal window had features.
        """
        chosen = [
            _evenly(examples.rhythm[is_normal & np.isfinite(examples.rhythm).all(axis=1)])
            for examples, is_normal in zip(normals.records, normals.windows, strict=True)
        ]
        features = np.concatenate([np.empty((0, len(RHYTHM_FEATURES))), *chosen])
        if not len(features):
            nowhere = np.full(len(RHYTHM_FEATURES), np.nan)
            return FittedRhythm(centre=nowhere, scale=nowhere.copy())
        centre = np.median(features, axis=0)
        spread = _MAD_TO_SD * np.median(np.abs(features - centre), axis=0)
        return FittedRhythm(centre=centre, scale=np.maximum(spread, _FLOORS))

    def load(self, arrays: Arrays, /) -> "FittedRhythm":
        """Rebuild a fitted detector."""
        return FittedRhythm(centre=np.array(arrays["centre"], np.float64), scale=np.array(arrays["scale"], np.float64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedRhythm:
    """The rhythm detector with the population's numbers.

    Attributes:
        centre: (feature,) float64, median of each of RHYTHM_FEATURES over normal windows; NaN where unknown.
        scale: (feature,) float64, their robust spread.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Seal the numbers."""
        assert self.centre.shape == self.scale.shape == (len(RHYTHM_FEATURES),)
        self.centre.setflags(write=False)
        self.scale.setflags(write=False)

    def score(self, examples: Examples, /) -> NDArray[np.float32]:
        """Sum log(1 + z²/9) of the one-sided z of each feature.

        Args:
            examples: One record.

        Returns:
            (window,) float32; NaN where a feature is.
        """
        excess = np.maximum((examples.rhythm - self.centre) / self.scale, 0.0)
        scores: NDArray[np.float32] = np.log1p(excess**2 / 9.0).sum(axis=1).astype(np.float32)
        return scores

    def arrays(self) -> Arrays:
        """Give centre and scale."""
        return {"centre": self.centre, "scale": self.scale}


def _evenly(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep at most so many rows, evenly spread over the record."""
    if len(rows) <= _WINDOWS_PER_RECORD:
        return rows
    kept: NDArray[np.float32] = rows[np.linspace(0, len(rows) - 1, _WINDOWS_PER_RECORD).round().astype(int)]
    return kept


_: Detector = Rhythm()
