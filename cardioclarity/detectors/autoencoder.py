"""A network as a detector: what differs from how it expects a normal beat to be is strange."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from cardioclarity.detectors import fitting, networks
from cardioclarity.detectors.networks import Network
from cardioclarity.detectors.protocol import Arrays, Detector, Normals
from cardioclarity.detectors.readings import (
    Inputs,
    Neighbourhood,
    Read,
    Reading,
    Tachogram,
    Window,
    common_leads,
    draw,
)
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples

_BATCH: Final = {"cpu": 256, "mps": 1024, "cuda": 8192}
"""Beats per forward pass; on a CPU the activations of 256 stay in its cache."""

_TRIMMED: Final = 0.15
"""Of beats that nobody calls normal. On the development half of MIT-BIH, where 10 % of them are not, the networks together
lose 0.018 of their AUROC to missing labels with it and 0.030 without."""

_SHAPE: Final = "shape"
"""Name of the one array beside the weights: (2,) int64, the leads and samples of a beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder:
    """Settings of a network detector.

    Attributes:
        architecture: A name in `networks.ARCHITECTURES`.
        reading: What it reads of a record.
        settings: How it is fitted.
    """

    architecture: str
    reading: Reading
    settings: fitting.Settings = field(default_factory=fitting.Settings)

    def fit(self, normals: Normals, /, *, held_out: Normals, seed: int) -> "FittedAutoencoder":
        """Fit on at most 700 normal beats per record, drawn by the seed; stop by those of `held_out`.

        The network reads as many of the analysed leads as most of the records have; a record with fewer teaches it
        nothing.

        Raises:
            NotFoundError: No record has a normal beat that can be used.
        """
        n_leads = common_leads(normals, at_most=networks.ARCHITECTURES[self.architecture].max_leads)
        rng = np.random.default_rng(seed)
        inputs = draw(self.reading, normals, n_leads, rng)
        if inputs is None:
            raise NotFoundError(
                f"autoencoder {self.architecture!r}: none of the {len(normals.records)} records has a normal, whole "
                f"beat on {n_leads} leads to learn from; add records, or annotations that call beats normal"
            )
        n_samples = self.reading.n_samples(normals.records[0])
        network = networks.build(self.architecture, n_leads=n_leads, n_samples=n_samples, seed=seed)
        judged_by = draw(self.reading, held_out, n_leads, rng) or tuple(values[:0] for values in inputs)
        settings = replace(self.settings, trimmed=_TRIMMED) if normals.unlabelled else self.settings
        state, history = fitting.fit(network, inputs, judged_by, seed=seed, settings=settings)
        weights = {name: value.numpy() for name, value in state.items()}
        return self._fitted({_SHAPE: np.array([n_leads, n_samples]), **weights}, history)

    def load(self, arrays: Arrays, /) -> "FittedAutoencoder":
        """Rebuild what `FittedAutoencoder.arrays` gave; all but its history comes back."""
        return self._fitted(arrays, None)

    def _fitted(self, arrays: Arrays, history: fitting.History | None) -> "FittedAutoencoder":
        sealed = {name: np.array(value, order="C") for name, value in arrays.items()}
        for value in sealed.values():
            value.setflags(write=False)
        return FittedAutoencoder(architecture=self.architecture, reading=self.reading, sealed=sealed, history=history)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedAutoencoder:
    """A fitted network. It is built on the device when first used and stays there.

    Attributes:
        architecture: A name in `networks.ARCHITECTURES`.
        reading: What it reads of a record.
        sealed: Its weights and the shape of its input; read-only.
        history: What happened in the fit; None for one that was loaded.
    """

    architecture: str
    reading: Reading
    sealed: Arrays
    history: fitting.History | None
    _on_device: dict[str, Network] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_leads(self) -> int:
        """Leads that it reads; a record with fewer is not scored."""
        return int(self.sealed[_SHAPE][0])

    @property
    def window(self) -> str | None:
        """The array of `Examples` whose beats it draws again; None where it does not draw."""
        return self.reading.name if isinstance(self.reading, Window) else None

    def arrays(self) -> Arrays:
        """All that `Autoencoder.load` needs: contiguous, read-only."""
        return self.sealed

    def score(self, examples: Examples, /) -> NDArray[np.float32]:
        """Score each beat by how unlike a normal one it is, see `networks`.

        Args:
            examples: One record.

        Returns:
            (beat,) float32; NaN where a window is not whole, the amplitude of a lead is unknown, or the record has
            fewer leads or beats than the network needs.
        """
        scores = np.full(len(examples.rpeaks), np.nan, np.float32)
        read = self.read(examples)
        scores[read.beats] = self.strangeness(read).cpu().numpy()
        return scores

    def read(self, examples: Examples, /) -> Read:
        """Read a record, and take what its beats share to the device once."""
        return self.reading.read(examples, self.n_leads).on(fitting.best_device())

    def strangeness(self, read: Read, /) -> torch.Tensor:
        """Score (row,) what was read, where it lies."""
        with torch.inference_mode():
            scores = [self.network.strangeness(*inputs) for inputs in self.batches(read)]
        return torch.cat([torch.zeros(0, device=fitting.best_device()), *scores])

    def reconstruct(self, examples: Examples, /) -> NDArray[np.float32]:
        """Draw each beat as the network remembers normal ones; only where it has a `window`.

        Args:
            examples: One record.

        Returns:
            (beat, lead, sample) float32 in units of `amplitude_mv`, for the leads that the network reads; NaN where
            `score` abstains.
        """
        assert self.window is not None, self.architecture
        drawn = np.full((len(examples.rpeaks), *self.sealed[_SHAPE]), np.nan, np.float32)
        read = self.read(examples)
        with torch.inference_mode():
            again = [self.network(*inputs).cpu().numpy() for inputs in self.batches(read)]
        drawn[read.beats] = np.concatenate([drawn[:0], *again])
        return drawn

    def batches(self, read: Read, /) -> Iterator[Inputs]:
        """Gather the inputs of all rows, batch by batch."""
        size = _BATCH[fitting.best_device().type]
        return (read.inputs(slice(start, start + size)) for start in range(0, len(read.beats), size))

    @property
    def network(self) -> Network:
        """The network, on the device."""
        device = fitting.best_device()
        if device.type not in self._on_device:
            n_leads, n_samples = (int(size) for size in self.sealed[_SHAPE])
            network = networks.build(self.architecture, n_leads=n_leads, n_samples=n_samples, seed=0)
            weights = {name: torch.from_numpy(value.copy()) for name, value in self.sealed.items() if name != _SHAPE}
            network.load_state_dict(weights)
            self._on_device[device.type] = network.to(device).eval()
        return self._on_device[device.type]


def dense() -> Autoencoder:
    """The morphology of the first lead: a dense network on the short window."""
    return Autoencoder(architecture="dense", reading=Window(name="beats"))


def convolutional() -> Autoencoder:
    """Shape and timing in all analysed leads: a convolutional network on the long window, where neighbours show."""
    return Autoencoder(architecture="convolutional", reading=Window(name="long"), settings=fitting.Settings(epochs=20))


def context() -> Autoencoder:
    """The beat as eight of its neighbours let expect it: a masked autoencoder over a strip of 25 beats."""
    settings = fitting.Settings(epochs=20, patience=20, largest_gradient=5.0, bfloat16=False)
    return Autoencoder(architecture="neighbours", reading=Neighbourhood(), settings=settings)


def intervals() -> Autoencoder:
    """The RR interval as 32 others around it let expect it: a masked autoencoder over a strip of the tachogram."""
    settings = fitting.Settings(epochs=40, patience=40, largest_gradient=5.0, bfloat16=False)
    return Autoencoder(architecture="intervals", reading=Tachogram(), settings=settings)


_: tuple[Detector, ...] = (dense(), convolutional(), context(), intervals())
