"""Readable or not: rules on the signal itself that ask for noise beside the QRS, never whether beats look normal."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.protocol import Arrays, Detector, Normals
from cardioclarity.examples import QUALITY_FEATURES, Examples
from cardioclarity.vocabulary import StateReason

_RULES: Final = (
    *(StateReason.MISSING_SIGNAL, StateReason.FLAT_LINE, StateReason.SATURATION, StateReason.NO_QRS),
    *(StateReason.NOISE, StateReason.NOISE),
)
"""What each rule says, hard rules first; the order decides which reason is given where several fire."""

_SOFT: Final = slice(4, 6)
_SILENT: Final = np.float32(-1.0)  # the score of a rule that cannot fire
_LEAST_RESIDUAL_LIMIT: Final = 0.036
"""Chosen on the development half of MIT-BIH. Cleaner recordings must not make the limit stricter: the waves between the
beats of atrial fibrillation would then count as noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Settings of the quality detector. A window is unreadable when a rule fires on every analysed lead.

    Attributes:
        missing_share: More missing samples than this.
        flat_share: More of the window flat than this.
        rails_share: At least so many samples on the rails.
        few_peaks: Fewer R peaks than this, in a signal weaker than `weak_mv`: no QRS.
        weak_mv: Root mean square in millivolts.
        roughness_share: More roughness in the quiet moments than this share of the QRS amplitude. Fixed, because a
            quantile of clean windows would refuse beats that a person still reads.
        nominal: Share of clean windows whose beats may be too unlike on the first lead; sets the limit.
        sinusoidal_share: Above it, the soft rules do not count: flutter has no QRS that could look alike.
    """

    missing_share: float = 0.05
    flat_share: float = 0.20
    rails_share: float = 0.01
    few_peaks: int = 2
    weak_mv: float = 0.05
    roughness_share: float = 0.036
    nominal: float = 0.01
    sinusoidal_share: float = 0.45

    def fit(self, normals: Normals, /, *, held_out: Normals, seed: int) -> "FittedQuality":  # noqa: ARG002  # a quantile needs neither
        """Learn how unlike the beats of a clean window may be.

        Args:
            normals: Their normal windows are clean.
            held_out: Not used.
            seed: Not used.

        Returns:
            The fitted detector.
        """
        residual = QUALITY_FEATURES.index("residual")
        # Of the lead analysed first; a quantile over the better of all leads would refuse 27 % of atrial fibrillation.
        clean = [
            examples.quality[is_normal, 0, residual]
            for examples, is_normal in zip(normals.records, normals.windows, strict=True)
        ]
        pooled = np.concatenate([np.empty(0), *clean])
        pooled = pooled[np.isfinite(pooled)]
        limit = float(np.quantile(pooled, 1.0 - self.nominal)) if len(pooled) else 0.0
        return FittedQuality(settings=self, residual_limit=max(limit, _LEAST_RESIDUAL_LIMIT))

    def load(self, arrays: Arrays, /) -> "FittedQuality":
        """Rebuild a fitted detector."""
        return FittedQuality(settings=self, residual_limit=float(arrays["residual_limit"][0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedQuality:
    """The quality detector with its learned limit.

    Attributes:
        settings: The fixed limits.
        residual_limit: Largest `residual` of a readable window: what no other beat explains, as a share of the QRS.
    """

    settings: Quality
    residual_limit: float

    def score(self, examples: Examples, /) -> NDArray[np.float32]:
        """Say how far each window lies beyond the limits.

        Args:
            examples: One record.

        Returns:
            (window,) float32, finite; positive exactly where the window is unreadable: on the best lead, the
            largest distance of a feature to its limit, in units of that feature.
        """
        scores: NDArray[np.float32] = self._excess(examples).max(axis=2).min(axis=1)
        return scores

    def reasons(self, examples: Examples) -> tuple[str, ...]:
        """Name the rule that makes each window unreadable, as seen on the lead analysed first.

        Args:
            examples: One record.

        Returns:
            (window,) a word of `StateReason`, empty where the window is readable.
        """
        fires: NDArray[np.bool_] = self._excess(examples) > 0
        unreadable: NDArray[np.bool_] = np.all(fires.any(axis=2), axis=1)
        first_rule: NDArray[np.int64] = fires[:, 0].argmax(axis=1)
        return tuple(
            str(_RULES[rule]) if no else "" for rule, no in zip(first_rule.tolist(), unreadable.tolist(), strict=True)
        )

    def arrays(self) -> Arrays:
        """Give the learned limit."""
        return {"residual_limit": np.array([self.residual_limit], np.float64)}

    def _excess(self, examples: Examples) -> NDArray[np.float32]:
        """Compute (window, lead, rule) float32: feature minus limit, positive where the rule fires."""
        limits, features = self.settings, dict(zip(QUALITY_FEATURES, np.moveaxis(examples.quality, 2, 0), strict=True))
        at_least_rails = np.nextafter(np.float32(limits.rails_share), np.float32(0.0))
        few = examples.window_peaks < limits.few_peaks
        excess = np.stack(
            [
                features["missing"] - np.float32(limits.missing_share),
                features["flat"] - np.float32(limits.flat_share),
                features["rails"] - at_least_rails,
                np.where(few[:, None], np.float32(limits.weak_mv) - features["rms_mv"], _SILENT),
                features["residual"] - np.float32(self.residual_limit),
                features["roughness"] - np.float32(limits.roughness_share),
            ],
            axis=2,
        )
        rescued = examples.sinusoidal > limits.sinusoidal_share
        excess[rescued, :, _SOFT] = np.minimum(excess[rescued, :, _SOFT], 0.0)
        # A feature that cannot be computed (no beat to compare, no sample to measure) fires no rule of its own.
        finite: NDArray[np.float32] = np.where(np.isfinite(excess), excess, _SILENT)
        return finite


_: Detector = Quality()
