"""The architectures: networks that see a beat and draw it again from a few numbers.

Legend of the axes in comments: B beat, L lead, T sample, D latent. No layer looks across a batch, so that a beat is
drawn alike in any company.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

_HIDDEN: Final = (32, 16, 8)
_CHANNELS: Final = (16, 32, 64)
_KERNEL: Final = 7
_LATENT: Final = 16


class Dense(nn.Module):
    """Layers T-32-16-8 and back, on the first lead; 10,484 parameters with 140 samples.

    On a short window no deeper network told unseen patients' beats apart better (MIT-BIH, inter-patient).
    """

    max_leads: ClassVar[int | None] = 1

    def __init__(self, *, n_leads: int, n_samples: int) -> None:
        """Lay out the layers for beats of (n_leads, n_samples); `n_leads` is 1."""
        super().__init__()
        assert n_leads == 1, n_leads
        sizes = (n_samples, *_HIDDEN)
        self.encode = nn.Sequential(*_dense(sizes), nn.ReLU())
        self.decode = nn.Sequential(*_dense(sizes[::-1]))

    def forward(self, beats: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Draw (B, 1, T) again as (B, 1, T)."""
        latent = self.encode(beats.flatten(1))  # (B, D)
        redrawn: Tensor = self.decode(latent)  # (B, T)
        return redrawn.unsqueeze(1)


class Convolutional(nn.Module):
    """Channels L-16-32-64, kernel 7, stride 2, latent 16, and back; 78,706 parameters with 2 leads of 160 samples.

    The leads are channels: each filter sees all leads at one moment, as a projection of one heart vector. Time lies in
    the width of 2-D convolutions in channels-last order: the same arithmetic as 1-D ones at twice their speed on a CPU.
    """

    max_leads: ClassVar[int | None] = None

    def __init__(self, *, n_leads: int, n_samples: int) -> None:
        """Lay out the layers for beats of (n_leads, n_samples)."""
        super().__init__()
        channels, step = (n_leads, *_CHANNELS), 2 ** len(_CHANNELS)
        self.n_samples, self.n_steps = n_samples, -(-n_samples // step)  # each stride halves and rounds up
        self.down = nn.Sequential(*(layer for pair in pairwise(channels) for layer in (_halve(*pair), nn.ReLU())))
        self.encode = nn.Linear(_CHANNELS[-1] * self.n_steps, _LATENT)
        self.decode = nn.Linear(_LATENT, _CHANNELS[-1] * self.n_steps)
        up = [layer for pair in pairwise(channels[::-1]) for layer in (_double(*pair), nn.ReLU())]
        self.up = nn.Sequential(*up[:-1])  # what is drawn has both signs
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form

    def forward(self, beats: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Draw (B, L, T) again as (B, L, T)."""
        image = beats.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (B, L, 1, T)
        latent = self.encode(self.down(image).flatten(1))  # (B, D)
        coarse = self.decode(latent).unflatten(1, (_CHANNELS[-1], 1, self.n_steps))
        redrawn: Tensor = self.up(coarse.contiguous(memory_format=torch.channels_last))
        return redrawn.squeeze(2)[..., : self.n_samples]


ARCHITECTURES: Final[Mapping[str, type[Dense] | type[Convolutional]]] = {
    "dense": Dense,
    "convolutional": Convolutional,
}
"""Name → class, made with `n_leads` and `n_samples`; its `max_leads` is None where any number of leads will do."""


def build(architecture: str, *, n_leads: int, n_samples: int, seed: int) -> nn.Module:
    """Make a network on the CPU with weights drawn by a seed; torch's own generators stay as they were.

    Args:
        architecture: A name in `ARCHITECTURES`.
        n_leads: Leads of a beat.
        n_samples: Samples of a beat.
        seed: Draws the weights.
    """
    with torch.random.fork_rng(devices=[]):  # initialisers draw from the default generator and from no other
        torch.default_generator.manual_seed(seed)
        return ARCHITECTURES[architecture](n_leads=n_leads, n_samples=n_samples)


def _dense(sizes: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return layers[:-1]


def _halve(n_in: int, n_out: int) -> nn.Module:
    return nn.Conv2d(n_in, n_out, (1, _KERNEL), stride=(1, 2), padding=(0, _KERNEL // 2))


def _double(n_in: int, n_out: int) -> nn.Module:
    return nn.ConvTranspose2d(
        n_in, n_out, (1, _KERNEL), stride=(1, 2), padding=(0, _KERNEL // 2), output_padding=(0, 1)
    )
