"""A network as a detector: what it cannot draw again from a few numbers is strange."""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cardioclarity.detectors import fitting, networks
from cardioclarity.detectors.protocol import Arrays, Detector, Normals
from cardioclarity.errors import NotFoundError
from cardioclarity.examples import Examples

Window = Literal["beats", "long"]
"""The array of `Examples` that a network reads: the short window around a beat, or the one that shows its neighbours."""

_BEATS_PER_RECORD: Final = 700
"""Drawn from each record, so that a long one does not own the network."""

_BATCH: Final = {"cpu": 256, "mps": 1024, "cuda": 1024}
"""Beats per forward pass; on a CPU the activations of 256 stay in its cache."""

_LARGEST: Final = 50.0
"""Input is clipped to so many QRS amplitudes: nothing a heart does is near, and squares stay finite."""

_SHAPE: Final = "shape"
"""Name of the one array beside the weights: (2,) int64, the leads and samples of a beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder:
    """Settings of an autoencoder.

    Attributes:
        architecture: A name in `networks.ARCHITECTURES`.
        window: What it reads.
        settings: How it is fitted.
    """

    architecture: str
    window: Window
    settings: fitting.Settings = field(default_factory=fitting.Settings)

    def fit(self, normals: Normals, /, *, held_out: Normals, seed: int) -> "FittedAutoencoder":
        """Fit on at most 700 normal beats per record, drawn by the seed; stop by those of `held_out`.

        The network reads as many of the analysed leads as most of the records have; a record with fewer teaches it
        nothing.

        Raises:
            NotFoundError: No record has a normal beat that can be used.
        """
        n_leads, n_samples = self._shape(normals)
        rng = np.random.default_rng(seed)
        inputs = self._draw(normals, n_leads, n_samples, rng)
        if not len(inputs):
            raise NotFoundError(
                f"autoencoder {self.architecture!r}: none of the {len(normals.records)} records has a normal, whole "
                f"beat on {n_leads} leads to learn from; add records, or annotations that call beats normal"
            )
        network = networks.build(self.architecture, n_leads=n_leads, n_samples=n_samples, seed=seed)
        judged_by = self._draw(held_out, n_leads, n_samples, rng)
        state, history = fitting.fit(network, inputs, judged_by, seed=seed, settings=self.settings)
        weights = {name: value.numpy() for name, value in state.items()}
        return self._fitted({_SHAPE: np.array([n_leads, n_samples]), **weights}, history)

    def load(self, arrays: Arrays, /) -> "FittedAutoencoder":
        """Rebuild what `FittedAutoencoder.arrays` gave; all but its history comes back."""
        return self._fitted(arrays, None)

    def _fitted(self, arrays: Arrays, history: fitting.History | None) -> "FittedAutoencoder":
        sealed = {name: np.array(value, order="C") for name, value in arrays.items()}
        for value in sealed.values():
            value.setflags(write=False)
        return FittedAutoencoder(architecture=self.architecture, window=self.window, sealed=sealed, history=history)

    def _shape(self, normals: Normals) -> tuple[int, int]:
        """Find the leads that most records have, and the samples of a beat."""
        most = networks.ARCHITECTURES[self.architecture].max_leads
        n_leads = [len(examples.leads) for examples in normals.records]
        common = int(np.median(n_leads)) if n_leads else 1
        n_samples = [_signal(examples, self.window).shape[-1] for examples in normals.records]
        return max(common if most is None else min(common, most), 1), n_samples[0] if n_samples else 1

    def _draw(self, normals: Normals, n_leads: int, n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw normal beats of every record, as (beat, lead, sample)."""
        drawn = [np.zeros((0, n_leads, n_samples), np.float32)]
        for examples, is_normal in zip(normals.records, normals.beats, strict=True):
            rows = np.flatnonzero(is_normal & _usable(examples, self.window, n_leads))
            if len(rows):
                rows = np.sort(rng.permutation(rows)[:_BEATS_PER_RECORD])
                drawn.append(_inputs(examples, self.window, n_leads, rows))
        return np.concatenate(drawn)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedAutoencoder:
    """A fitted autoencoder. Its network is built on the device when first used and stays there.

    Attributes:
        architecture: A name in `networks.ARCHITECTURES`.
        window: What it reads.
        sealed: Its weights and the shape of its input; read-only.
        history: What happened in the fit; None for one that was loaded.
    """

    architecture: str
    window: Window
    sealed: Arrays
    history: fitting.History | None
    _on_device: dict[str, torch.nn.Module] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_leads(self) -> int:
        """Leads that it reads; a record with fewer is not scored."""
        return int(self.sealed[_SHAPE][0])

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(value.size for name, value in self.sealed.items() if name != _SHAPE)

    def arrays(self) -> Arrays:
        """All that `Autoencoder.load` needs: contiguous, read-only."""
        return self.sealed

    def score(self, examples: Examples, /) -> NDArray[np.float32]:
        """Score each beat by the logarithm of its mean squared error.

        Args:
            examples: One record.

        Returns:
            (beat,) float32; NaN where a window is not whole, the amplitude of a lead is unknown, or the record has
            fewer leads than the network reads.
        """
        scores = np.full(len(examples.rpeaks), np.nan, np.float32)
        rows = np.flatnonzero(_usable(examples, self.window, self.n_leads))
        if len(rows):
            inputs = _inputs(examples, self.window, self.n_leads, rows)
            error = np.square(self._redraw(inputs) - inputs).mean(axis=(1, 2), dtype=np.float64)
            scores[rows] = np.log(np.maximum(error, np.finfo(np.float32).tiny))
        return scores

    def reconstruct(self, examples: Examples, /) -> NDArray[np.float32]:
        """Draw each beat as the network remembers normal ones.

        Args:
            examples: One record.

        Returns:
            (beat, lead, sample) float32 in units of `amplitude_mv`, for the leads that the network reads; NaN where
            `score` abstains.
        """
        redrawn = np.full((len(examples.rpeaks), *self.sealed[_SHAPE]), np.nan, np.float32)
        rows = np.flatnonzero(_usable(examples, self.window, self.n_leads))
        if len(rows):
            redrawn[rows] = self._redraw(_inputs(examples, self.window, self.n_leads, rows))
        return redrawn

    def _redraw(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run (beat, lead, sample) through the network, batch by batch."""
        device = fitting.best_device()
        network = self._network(device)
        redrawn = np.empty_like(inputs)
        with torch.inference_mode():
            for start in range(0, len(inputs), _BATCH[device.type]):
                batch = slice(start, start + _BATCH[device.type])
                redrawn[batch] = network(torch.from_numpy(inputs[batch]).to(device)).cpu().numpy()
        return redrawn

    def _network(self, device: torch.device) -> torch.nn.Module:
        if device.type not in self._on_device:
            n_leads, n_samples = (int(size) for size in self.sealed[_SHAPE])
            network = networks.build(self.architecture, n_leads=n_leads, n_samples=n_samples, seed=0)
            weights = {name: torch.from_numpy(value.copy()) for name, value in self.sealed.items() if name != _SHAPE}
            network.load_state_dict(weights)
            self._on_device[device.type] = network.to(device).eval()
        return self._on_device[device.type]


def dense() -> Autoencoder:
    """The morphology of the first lead: a dense network on the short window."""
    return Autoencoder(architecture="dense", window="beats")


def convolutional() -> Autoencoder:
    """Shape and timing in all analysed leads: a convolutional network on the long window, where neighbours show."""
    return Autoencoder(architecture="convolutional", window="long", settings=fitting.Settings(epochs=20))


def _signal(examples: Examples, window: Window) -> NDArray[np.float32]:
    return examples.beats if window == "beats" else examples.long


def _usable(examples: Examples, window: Window, n_leads: int) -> NDArray[np.bool_]:
    """Tell which beats a network of `n_leads` can read, as (beat,)."""
    amplitude_mv = examples.amplitude_mv[:n_leads]
    if len(amplitude_mv) < n_leads or not (np.isfinite(amplitude_mv) & (amplitude_mv > 0)).all():
        return np.zeros(len(examples.rpeaks), bool)
    usable: NDArray[np.bool_] = examples.whole & np.isfinite(_signal(examples, window)[:, :n_leads]).all(axis=(1, 2))
    return usable


def _inputs(examples: Examples, window: Window, n_leads: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Take usable beats as a network reads them: (row, lead, sample), bounded."""
    return np.clip(_signal(examples, window)[rows, :n_leads], -_LARGEST, _LARGEST)


_DENSE: Detector = dense()
_CONVOLUTIONAL: Detector = convolutional()
