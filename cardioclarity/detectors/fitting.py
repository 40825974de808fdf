"""Fitting a network to normal beats: device, precision, batches, early stopping and seeds, in this one place."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from cardioclarity.detectors.networks import Network
from cardioclarity.detectors.readings import Inputs

_MIN_BATCH: Final = 128
_MAX_BATCH: Final = 4096
_STEPS_PER_EPOCH: Final = 128
_EAGER_EPOCHS: Final = 2
"""Nothing is trimmed in them, since an untaught network does not know yet what is strange; and no step is replayed."""
_LOUDEST: Final = 20.0  # a beat counts at most so much when an epoch is judged
_COMPILE_FROM: Final = 50_000_000
"""Beats seen in a whole fit (beats times epochs) from which a minute of compilation on CUDA is repaid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a network is fitted.

    Attributes:
        epochs: Most passes over the beats.
        patience: Stop after so many epochs without a better held-out loss.
        learning_rate: Of AdamW, at the start; it falls to nothing along a cosine.
        weight_decay: Of AdamW.
        trimmed: Share of each batch, the strangest beats, that teaches nothing: for beats of which nobody says that they
            are normal.
        largest_gradient: A longer gradient is shortened to this length; None leaves it.
        bfloat16: Multiply in bfloat16 on CUDA.
    """

    epochs: int = 30
    patience: int = 6
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    trimmed: float = 0.0
    largest_gradient: float | None = None
    bfloat16: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened in a fit.

    Attributes:
        loss: Per epoch, mean loss over the beats it was fitted on, while they were being learned.
        held_out_loss: Per epoch, mean misfit of the held-out beats, bounded so that a few
            loud beats do not decide.
        best_epoch: Index of the epoch whose weights were kept.
        device: Where it ran.
    """

    loss: tuple[float, ...]
    held_out_loss: tuple[float, ...]
    best_epoch: int
    device: str


def best_device() -> torch.device:
    """Name the fastest device there is: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def fit(
    network: Network, inputs: Inputs, held_out: Inputs, *, seed: int, settings: Settings
) -> tuple[dict[str, Tensor], History]:
    """Teach a network what normal beats look like, and keep the epoch that does best on other patients.

    All beats lie on the device from the start and are indexed there. On a CPU, equal arguments give equal bits with
    equal numbers of threads; on other devices the sums of a backward pass have no fixed order.

    Args:
        network: Its `loss` is made small, its `strangeness` judged; its weights change.
        inputs: (beat, ...) float32 each, at least one beat.
        held_out: The same of other patients; where they are empty, the fit is judged by `inputs`.
        seed: Draws the order of the beats.
        settings: How to fit.

    Returns:
        The best weights by name, contiguous and on the CPU; and what happened.
    """
    device = best_device()
    network.to(device)
    beats = [values.to(device) for values in inputs]
    judged = [values.to(device) for values in held_out] if len(held_out[0]) else beats
    losses: list[float] = []
    held_out_losses: list[float] = []
    best: dict[str, Tensor] = {}
    best_epoch = 0
    with _repeatable(device):
        for loss in _epochs(network, beats, seed=seed, settings=settings):
            epoch = len(losses)
            losses.append(loss)
            held_out_losses.append(_judge(network, judged))
            if epoch == 0 or held_out_losses[epoch] < held_out_losses[best_epoch]:
                best_epoch = epoch
                best = {name: value.detach().clone() for name, value in network.state_dict().items()}
            elif epoch - best_epoch >= settings.patience:
                break
    state = {name: value.cpu().contiguous() for name, value in best.items()}
    return state, History(
        loss=tuple(losses), held_out_loss=tuple(held_out_losses), best_epoch=best_epoch, device=_name(device)
    )


def _epochs(network: Network, beats: Sequence[Tensor], *, seed: int, settings: Settings) -> Iterator[float]:
    """Fit epoch by epoch; yields the mean loss of each, with the network ready to be judged."""
    device, n_beats = beats[0].device, len(beats[0])
    generator = torch.Generator(device).manual_seed(seed)
    step = _Step(network, beats, settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step.optimizer, settings.epochs)
    size = min(max(n_beats // _STEPS_PER_EPOCH, _MIN_BATCH), _MAX_BATCH, n_beats)
    n_steps = n_beats // size  # no ragged batch: a compiled network would be compiled again for it
    for epoch in range(settings.epochs):
        network.train()
        n_kept = size - round(settings.trimmed * size) if epoch >= _EAGER_EPOCHS else size
        order = torch.randperm(n_beats, generator=generator, device=device)
        total = torch.zeros((), device=device)
        if epoch == _EAGER_EPOCHS and device.type == "cuda":
            step.record(size, n_kept)
        for rows in order[: n_steps * size].view(n_steps, size):
            total += step(rows, n_kept)
        schedule.step()
        network.eval()
        yield total.item() / n_steps


class _Step:
    """One step of the optimizer.

    On CUDA it can be recorded and is replayed from then on: to launch its hundred small kernels one by one takes ten times
    as long as to run them.
    """

    def __init__(self, network: Network, beats: Sequence[Tensor], settings: Settings) -> None:
        """Make the optimizer; the network and the beats are on one device."""
        device = beats[0].device
        is_cuda = device.type == "cuda"
        self._network, self._beats, self._settings, self._is_cuda = network, beats, settings, is_cuda
        self._loss_of = _compiled(network, len(beats[0]) * settings.epochs, device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            torch.tensor(settings.learning_rate, device=device) if is_cuda else settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type != "mps",
            capturable=is_cuda,
        )

    def __call__(self, rows: Tensor, n_kept: int) -> Tensor:
        """Learn from some rows, but for the strangest beyond `n_kept`; gives the mean loss of the others."""
        if self._graph is None:
            return self._learn(rows, n_kept)
        self._rows.copy_(rows)
        self._graph.replay()
        return self._loss

    def record(self, size: int, n_kept: int) -> None:
        """Record a step of so many rows; nothing is learned by it."""
        self._rows = torch.zeros(size, dtype=torch.int64, device=self._beats[0].device)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._loss = self._learn(self._rows, n_kept)
        self._graph = graph

    def _learn(self, rows: Tensor, n_kept: int) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        autocast = self._is_cuda and self._settings.bfloat16
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast, cache_enabled=False):
            losses = self._loss_of(*(array[rows] for array in self._beats))
        loss = (losses if n_kept == len(rows) else losses.topk(n_kept, largest=False).values).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if self._settings.largest_gradient is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.largest_gradient)
        self.optimizer.step()
        return loss.detach()


def _judge(network: Network, beats: Sequence[Tensor]) -> float:
    """Mean misfit of all beats; infinite for a fit that ran away, so that a later epoch can be better."""
    with torch.inference_mode():
        batches = zip(*(torch.split(array, 1024) for array in beats), strict=True)
        scores = torch.cat([network.misfit(*batch) for batch in batches])
    return scores.clamp_max(_LOUDEST).mean().item() if bool(scores.isfinite().all()) else math.inf


def _compiled(network: Network, n_seen: int, device: torch.device) -> Callable[..., Tensor]:
    """Compile where it is repaid: long fits on CUDA. The weights stay those of `network`."""
    if device.type != "cuda" or n_seen < _COMPILE_FROM:
        return network.loss
    compiled: Callable[..., Tensor] = torch.compile(network.loss, dynamic=False)
    return compiled


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Allow only deterministic algorithms on a CPU, and put back what the process had chosen."""
    if device.type != "cpu":
        yield
        return
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)  # noqa: FBT003 - torch takes it by position
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
