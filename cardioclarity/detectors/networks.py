"""The architectures: networks that learn what a normal beat looks like, and say of each beat how unlike it is.

Legend of the axes in comments: B beat, L lead, T sample, D latent, M neighbour, K component. No layer looks across a
batch, so that a beat is judged alike in any company.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from cardioclarity.detectors.readings import INTERVALS, NEIGHBOURS

_HIDDEN: Final = (32, 16, 8)
_CHANNELS: Final = (16, 32, 64)
_KERNEL: Final = 7
_LATENT: Final = 16
_SMALLEST_ERROR: Final = 1e-12
_FILTERS: Final = 16
_LOG_VARIANCE: Final = (-9.0, 4.0)
_SMALLEST_SPREAD: Final = 0.01
_UNITS: Final = 48
_COMPONENTS: Final = 3
_LOG_WIDTH: Final = (-4.5, 1.0)  # of a component: an RR interval that is known to 1 % or not at all


class Network(nn.Module):
    """What every architecture can do; its methods take the arrays that its reading gives of some beats, (B, ...) each.

    Attributes:
        max_leads: Leads that it can read at most; None where any number will do.
    """

    max_leads: ClassVar[int | None] = None

    def loss(self, *inputs: Tensor) -> Tensor:
        """Measure (B,) what a fit makes small."""
        raise NotImplementedError

    def strangeness(self, *inputs: Tensor) -> Tensor:
        """Score (B,) each beat; higher is stranger."""
        return self.loss(*inputs)

    def misfit(self, *inputs: Tensor) -> Tensor:
        """Measure (B,) what the beats of other patients judge an epoch by: unlike the loss, a few loud ones do not decide."""
        return self.strangeness(*inputs)


class Redrawing(Network):
    """A network that draws a beat again from a few numbers: what it cannot draw is strange."""

    def loss(self, *inputs: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Measure (B,) the mean squared error of what is drawn."""
        error: Tensor = (self(*inputs).float() - inputs[0]).square().flatten(1).mean(1)
        return error

    def strangeness(self, *inputs: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Take its logarithm."""
        return self.loss(*inputs).clamp_min(_SMALLEST_ERROR).log()


class Dense(Redrawing):
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


class Convolutional(Redrawing):
    """Channels L-16-32-64, kernel 7, stride 2, latent 16, and back; 78,706 parameters with 2 leads of 160 samples.

    The leads are channels: each filter sees all leads at one moment, as a projection of one heart vector. Time lies in
    the width of 2-D convolutions in channels-last order: the same arithmetic as 1-D ones at twice their speed on a CPU.
    """

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


class Neighbours(Network):
    """Draws a beat from eight beats near it, without seeing the beat, and says how sure it is of each sample.

    The median of the neighbours, corrected by three convolutions of 16 filters; 6,196 parameters with 2 leads. What hides
    a beat from an autoencoder, that it can draw more than it was taught, cannot happen here; and what is usual in this
    heart needs no explanation. The variance is learned too: where neighbours differ, a difference counts less.
    """

    def __init__(self, *, n_leads: int, n_samples: int) -> None:  # noqa: ARG002 - any number of samples will do
        """Lay out the layers for beats of `n_leads` leads."""
        super().__init__()
        self.n_leads = n_leads
        n_in = (NEIGHBOURS + 2) * n_leads
        self.layers = nn.Sequential(
            *(_same(n_in, _FILTERS), nn.ReLU(), _same(_FILTERS, _FILTERS, dilation=2), nn.ReLU()),
            *(_same(_FILTERS, _FILTERS, dilation=4), nn.ReLU(), _same(_FILTERS, 2 * n_leads, kernel=5)),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form

    def forward(self, neighbours: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Expect from (B, M, L, T) the mean and the logarithm of the variance of the beat, (B, L, T) each."""
        middle = NEIGHBOURS // 2
        median = neighbours.sort(dim=1).values[:, middle - 1 : middle + 1].mean(1)  # (B, L, T)
        deviation = neighbours - median[:, None]
        spread = deviation.abs().mean(1)  # (B, L, T)
        seen = torch.cat([median, 0.3 * (spread + 1e-3).log(), deviation.flatten(1, 2)], dim=1)
        image = seen.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        shift, log_variance = self.layers(image).squeeze(2).float().split(self.n_leads, dim=1)
        return median + shift, (log_variance + 2 * (spread + _SMALLEST_SPREAD).log()).clamp(*_LOG_VARIANCE)

    def loss(self, *inputs: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Measure (B,) twice the negative logarithm of the likelihood per sample, but for a constant."""
        neighbours, beats = inputs
        mean, log_variance = self(neighbours)
        loss: Tensor = ((beats - mean).square() * (-log_variance).exp() + log_variance).flatten(1).mean(1)
        return loss


class Intervals(Network):
    """Expects an RR interval from 32 others around it, as a mixture of three normal distributions of its logarithm.

    Two layers of 48 units; 4,425 parameters. An early beat is strange, a late one is not: the score is the chance of an
    interval so short or shorter, which a heart that beats irregularly all the time makes large by itself.
    """

    max_leads: ClassVar[int | None] = 1

    def __init__(self, *, n_leads: int, n_samples: int) -> None:  # noqa: ARG002 - no sample of the signal is read
        """Lay out the layers; the shape of a beat does not matter."""
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(INTERVALS + 1, _UNITS), nn.ReLU(), nn.Linear(_UNITS, _UNITS), nn.ReLU()),
            nn.Linear(_UNITS, 3 * _COMPONENTS),
        )

    def forward(self, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Expect from (B, 33) the logarithms of the weights, the means and the log widths, (B, K) each."""
        weight, mean, log_width = self.layers(others).float().chunk(3, dim=1)
        return weight.log_softmax(1), mean, log_width.clamp(*_LOG_WIDTH)

    def loss(self, *inputs: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Measure (B,) the negative logarithm of the likelihood, but for a constant."""
        log_weight, log_width, z = self._placed(*inputs)
        return -(log_weight - log_width - z.square() / 2).logsumexp(1)

    def strangeness(self, *inputs: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Score (B,) by the negative logarithm of the chance of an interval at most so long."""
        log_weight, _, z = self._placed(*inputs)
        chance: Tensor = (log_weight + torch.special.log_ndtr(z)).logsumexp(1)
        return -chance

    def misfit(self, *inputs: Tensor) -> Tensor:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Measure (B,) the loss: a chance alone would be best where every interval is expected to be short."""
        return self.loss(*inputs)

    def _placed(self, others: Tensor, intervals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Place (B, K) each interval in each component: log weight, log width, distance in widths."""
        log_weight, mean, log_width = self(others)
        return log_weight, log_width, (intervals[:, None] - mean) * (-log_width).exp()


ARCHITECTURES: Final[Mapping[str, type[Dense | Convolutional | Neighbours | Intervals]]] = {
    "dense": Dense,
    "convolutional": Convolutional,
    "neighbours": Neighbours,
    "intervals": Intervals,
}
"""Name → class, made with `n_leads` and `n_samples`; its `max_leads` is None where any number of leads will do."""


def build(architecture: str, *, n_leads: int, n_samples: int, seed: int) -> Network:
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


def _same(n_in: int, n_out: int, *, kernel: int = _KERNEL, dilation: int = 1) -> nn.Module:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(n_in, n_out, (1, kernel), padding=(0, padding), dilation=(1, dilation))


def _halve(n_in: int, n_out: int) -> nn.Module:
    return nn.Conv2d(n_in, n_out, (1, _KERNEL), stride=(1, 2), padding=(0, _KERNEL // 2))


def _double(n_in: int, n_out: int) -> nn.Module:
    return nn.ConvTranspose2d(
        n_in, n_out, (1, _KERNEL), stride=(1, 2), padding=(0, _KERNEL // 2), output_padding=(0, 1)
    )
