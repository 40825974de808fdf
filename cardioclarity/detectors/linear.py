"""The linear members, fitted in a second: what sixteen principal components leave over, and how rare what they hold is."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.protocol import Arrays, Detector, Normals
from cardioclarity.detectors.readings import Window, common_leads, draw
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples

_COMPONENTS: Final = 16
_SMALLEST: Final = 1e-12
_BATCH: Final = 8192  # beats: a day of them in float64 would take a gigabyte
_TRIMMED: Final = 0.15  # of beats that nobody calls normal, the strangest; the others are fitted once more

Floats = NDArray[np.float64]
Measure = Literal["residual", "density"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Settings of a linear detector.

    Attributes:
        reading: The window that it reads.
        measure: What is strange: a residual that the components do not draw again, or components and residual that are
            rare together.
    """

    reading: Window
    measure: Measure

    def fit(self, normals: Normals, /, *, held_out: Normals, seed: int) -> "FittedLinear":  # noqa: ARG002 - nothing stops early
        """Fit on at most 700 normal beats per record, drawn by the seed.

        Raises:
            NotFoundError: No record has a normal beat that can be used.
        """
        n_leads = common_leads(normals, at_most=None)
        drawn = draw(self.reading, normals, n_leads, np.random.default_rng(seed))
        if drawn is None:
            raise NotFoundError(
                f"{self.measure} of principal components: none of the {len(normals.records)} records has a normal, whole"
                f" beat on {n_leads} leads to learn from; add records, or annotations that call beats normal"
            )
        beats = drawn[0].flatten(1).double().numpy()
        fitted = self._fitted(beats, n_leads)
        if normals.unlabelled:
            strangeness = fitted.strangeness(beats)
            fitted = self._fitted(beats[strangeness <= np.quantile(strangeness, 1 - _TRIMMED)], n_leads)
        return fitted

    def load(self, arrays: Arrays, /) -> "FittedLinear":
        """Rebuild what `FittedLinear.arrays` gave."""
        numbers = {name: np.array(arrays[name], np.float64) for name in ("mean", "components", "centre", "precision")}
        n_leads = int(arrays["n_leads"][0])
        return FittedLinear(reading=self.reading, measure=self.measure, n_leads=n_leads, **numbers)

    def _fitted(self, beats: Floats, n_leads: int) -> "FittedLinear":
        mean = beats.mean(axis=0)
        # The eigenvectors of the covariance: of many beats, cheaper than the singular vectors of all of them.
        _, vectors = np.linalg.eigh((beats - mean).T @ (beats - mean))
        components = np.ascontiguousarray(vectors[:, ::-1][:, :_COMPONENTS].T)
        latent = _latent(beats, mean, components)
        centre = latent.mean(axis=0)
        precision: Floats = np.linalg.inv(shrunk_covariance(latent - centre)).astype(np.float64)
        return FittedLinear(
            reading=self.reading,
            measure=self.measure,
            n_leads=n_leads,
            mean=mean,
            components=components,
            centre=centre,
            precision=precision,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedLinear:
    """A fitted linear detector.

    Attributes:
        reading: The window that it reads.
        measure: What is strange.
        n_leads: Leads that it reads; a record with fewer is not scored.
        mean: (number,) float64, the mean beat.
        components: (16, number) float64, fewer where a beat has fewer numbers.
        centre: (17,) float64, mean of components and log residual.
        precision: (17, 17) float64, inverse of their shrunk covariance.
    """

    reading: Window
    measure: Measure
    n_leads: int
    mean: Floats
    components: Floats
    centre: Floats
    precision: Floats

    def score(self, examples: Examples, /) -> NDArray[np.float32]:
        """Score each beat.

        Args:
            examples: One record.

        Returns:
            (beat,) float32; NaN where a window is not whole, the amplitude of a lead is unknown, or the record has fewer
            leads than the detector reads.
        """
        scores = np.full(len(examples.rpeaks), np.nan, np.float32)
        read = self.reading.read(examples, self.n_leads)
        for start in range(0, len(read.beats), _BATCH):
            batch = slice(start, start + _BATCH)
            (beats,) = read.inputs(batch)
            scores[read.beats[batch]] = self.strangeness(beats.flatten(1).double().numpy())
        return scores

    def strangeness(self, beats: Floats) -> Floats:
        """Take (row,) the logarithm of the mean squared residual, or of the squared Mahalanobis distance."""
        latent = _latent(beats, self.mean, self.components)
        if self.measure == "residual":
            return latent[:, -1]
        apart = latent - self.centre
        squared: Floats = np.log(np.maximum(((apart @ self.precision) * apart).sum(axis=1), _SMALLEST))
        return squared

    def arrays(self) -> Arrays:
        """Give all that `Linear.load` needs."""
        numbers = {"mean": self.mean, "components": self.components, "centre": self.centre, "precision": self.precision}
        return {"n_leads": np.array([self.n_leads]), **numbers}


def residual() -> Linear:
    """PCA over the long window, which shows how early a beat comes."""
    return Linear(reading=Window(name="long"), measure="residual")


def density() -> Linear:
    """Density in the space of the short window's components; on the long one heart rate would decide."""
    return Linear(reading=Window(name="beats"), measure="density")


def shrunk_covariance(centred: Floats) -> Floats:
    """Estimate a covariance that can be inverted: the sample's, shrunk towards a multiple of the identity.

    Args:
        centred: (row, number) float64, mean 0.

    Returns:
        (number, number) float64.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of
        Multivariate Analysis 88 (2004), 10.1016/S0047-259X(03)00096-4.
    """
    n_rows, n_numbers = centred.shape
    sample = centred.T @ centred / n_rows
    usual = np.trace(sample) / n_numbers
    target = usual * np.eye(n_numbers)
    apart = float(((sample - target) ** 2).sum())
    squares = centred**2
    noise = float((squares.T @ squares / n_rows - sample**2).sum()) / n_rows
    share = min(noise / apart, 1.0) if apart > 0 else 1.0
    shrunk: Floats = share * target + (1 - share) * sample
    return shrunk + _SMALLEST * np.eye(n_numbers)


def _latent(beats: Floats, mean: Floats, components: Floats) -> Floats:
    """Give (row, component + 1) the components of each beat, and the logarithm of its mean squared residual."""
    apart = beats - mean
    held = apart @ components.T
    error = np.square(apart - held @ components).mean(axis=1)
    return np.column_stack([held, np.log(np.maximum(error, _SMALLEST))])


_: tuple[Detector, ...] = (residual(), density())
