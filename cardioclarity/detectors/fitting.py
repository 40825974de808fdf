"""Fitting a network to normal beats: device, precision, batches, early stopping and seeds, in this one place."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_MIN_BATCH: Final = 128
_MAX_BATCH: Final = 4096
_STEPS_PER_EPOCH: Final = 128
_SMALLEST_ERROR: Final = 1e-12
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
    """

    epochs: int = 30
    patience: int = 6
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened in a fit.

    Attributes:
        loss: Per epoch, mean squared error over the beats it was fitted on, while they were being learned.
        held_out_loss: Per epoch, mean over the held-out beats of the logarithm of each one's mean squared error: what
            a detector scores by, and what a few loud beats do not decide.
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
    network: nn.Module, inputs: NDArray[np.float32], held_out: NDArray[np.float32], *, seed: int, settings: Settings
) -> tuple[dict[str, Tensor], History]:
    """Teach a network to draw its inputs again, and keep the epoch that does best on other patients.

    All beats lie on the device from the start and are indexed there. On a CPU, equal arguments give equal bits with
    equal numbers of threads; on other devices the sums of a backward pass have no fixed order.

    Args:
        network: Maps (beat, lead, sample) to the same axes; its weights change.
        inputs: (beat, lead, sample) float32, at least one beat.
        held_out: The same of other patients; where it is empty, the fit is judged by `inputs`.
        seed: Draws the order of the beats.
        settings: How to fit.

    Returns:
        The best weights by name, contiguous and on the CPU; and what happened.
    """
    device = best_device()
    network.to(device)
    beats = torch.from_numpy(inputs).to(device)
    judged = torch.from_numpy(held_out).to(device) if len(held_out) else beats
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


def _epochs(network: nn.Module, beats: Tensor, *, seed: int, settings: Settings) -> Iterator[float]:
    """Fit epoch by epoch; yields the mean loss of each, with the network ready to be judged."""
    device = beats.device
    generator = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type != "mps"
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    forward = _compiled(network, len(beats) * settings.epochs, device)
    size = min(max(len(beats) // _STEPS_PER_EPOCH, _MIN_BATCH), _MAX_BATCH, len(beats))
    n_steps = len(beats) // size  # no ragged batch: a compiled network would be compiled again for it
    for _ in range(settings.epochs):
        network.train()
        order = torch.randperm(len(beats), generator=generator, device=device)
        total = torch.zeros((), device=device)
        for rows in order[: n_steps * size].view(n_steps, size):
            optimizer.zero_grad(set_to_none=True)
            batch = beats[rows]
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                redrawn = forward(batch)
            loss = (redrawn.float() - batch).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            total += loss.detach()
        schedule.step()
        network.eval()
        yield total.item() / n_steps


def _judge(network: nn.Module, beats: Tensor) -> float:
    """Mean log error over all beats; infinite for a fit that ran away, so that a later epoch can be better."""
    with torch.inference_mode():
        errors = [(network(batch) - batch).square().flatten(1).mean(1) for batch in torch.split(beats, 1024)]
        loss = torch.cat(errors).clamp_min(_SMALLEST_ERROR).log().mean().item()
    return loss if math.isfinite(loss) else math.inf


def _compiled(network: nn.Module, n_seen: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Compile where it is repaid: long fits on CUDA. The weights stay those of `network`."""
    if device.type != "cuda" or n_seen < _COMPILE_FROM:
        return network
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)
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
