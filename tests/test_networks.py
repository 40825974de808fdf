"""Law: a network draws each beat again in the same axes, alike in any company, from weights that one seed decides."""

import pytest
import torch

from cardioclarity.detectors.networks import (
    ARCHITECTURES,
    INTERVALS,
    NEIGHBOURS,
    Convolutional,
    Dense,
    Intervals,
    Neighbours,
    Redrawing,
    build,
)

SIZES = [
    ("dense", 1, 140),
    ("dense", 1, 97),
    ("convolutional", 1, 160),
    ("convolutional", 2, 160),
    ("convolutional", 3, 137),
    ("convolutional", 12, 8),
]


def beats(n_beats: int, n_leads: int, n_samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_beats, n_leads, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("architecture", "n_leads", "n_samples"), SIZES)
def test_what_is_drawn_has_the_axes_of_what_was_seen(architecture, n_leads, n_samples):
    network = build(architecture, n_leads=n_leads, n_samples=n_samples, seed=0)
    for n_beats in (0, 1, 5):
        assert network(beats(n_beats, n_leads, n_samples)).shape == (n_beats, n_leads, n_samples)


@pytest.mark.parametrize(("architecture", "n_leads", "n_samples"), SIZES)
def test_a_beat_is_drawn_alike_in_any_company_even_while_learning(architecture, n_leads, n_samples):
    network = build(architecture, n_leads=n_leads, n_samples=n_samples, seed=0).train()
    some, others = beats(5, n_leads, n_samples), 100 * beats(5, n_leads, n_samples, seed=1)
    together = network(torch.cat([some, others]))[:5]
    torch.testing.assert_close(together, network(some), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_one_seed_gives_one_set_of_weights_and_another_seed_another(architecture):
    first, again, other = (build(architecture, n_leads=1, n_samples=140, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_drawing_the_weights_leaves_the_generators_of_the_process_alone(architecture):
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    build(architecture, n_leads=1, n_samples=140, seed=5)
    assert torch.equal(torch.rand(4), expected)


def test_the_sizes_are_those_that_the_docstrings_state():
    def count(network: torch.nn.Module) -> int:
        return sum(weights.numel() for weights in network.parameters())

    assert f"{count(Dense(n_leads=1, n_samples=140)):,} parameters" in Dense.__doc__
    assert f"{count(Convolutional(n_leads=2, n_samples=160)):,} parameters" in Convolutional.__doc__
    assert f"{count(Neighbours(n_leads=2, n_samples=70)):,} parameters" in Neighbours.__doc__
    assert f"{count(Intervals(n_leads=1, n_samples=33)):,} parameters" in Intervals.__doc__


def test_the_dense_network_reads_one_lead_and_no_more():
    assert Dense.max_leads == 1
    with pytest.raises(AssertionError):
        Dense(n_leads=2, n_samples=140)


def test_every_lead_of_a_beat_takes_part_in_what_the_convolutional_network_draws():
    network = build("convolutional", n_leads=3, n_samples=160, seed=0)
    seen = beats(1, 3, 160).requires_grad_()
    network(seen)[:, 0].sum().backward()
    assert (seen.grad.abs().amax(dim=-1) > 0).all()


def test_the_filters_lie_in_channels_last_order():
    network = build("convolutional", n_leads=2, n_samples=160, seed=0)
    assert network.down[2].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("architecture", "bits"), [("dense", 8), ("convolutional", 16)])
def test_a_beat_passes_through_as_few_numbers_as_stated(architecture, bits):
    network = build(architecture, n_leads=1, n_samples=140, seed=0)
    seen: list[torch.Size] = []
    network.encode.register_forward_hook(lambda _module, _seen, latent: seen.append(latent.shape))
    network(beats(3, 1, 140))
    assert seen == [(3, bits)]


def test_what_is_drawn_can_have_both_signs():
    for architecture in (name for name, made in ARCHITECTURES.items() if issubclass(made, Redrawing)):
        drawn = build(architecture, n_leads=1, n_samples=140, seed=0)(100 * beats(50, 1, 140))
        assert drawn.min() < 0 < drawn.max()


def neighbourhood(n_beats: int, n_leads: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    usual = torch.randn(1, 1, n_leads, 70, generator=generator)
    near = usual + 0.1 * torch.randn(n_beats, NEIGHBOURS, n_leads, 70, generator=generator)
    return near, usual[:, 0] + 0.1 * torch.randn(n_beats, n_leads, 70, generator=generator)


@pytest.mark.parametrize("n_leads", [1, 2, 3])
def test_a_beat_unlike_its_neighbours_is_stranger_than_one_like_them_even_before_anything_is_learned(n_leads):
    network = build("neighbours", n_leads=n_leads, n_samples=70, seed=0)
    near, beats_like_them = neighbourhood(20, n_leads)
    assert (network.strangeness(near, beats_like_them + 2.0) > network.strangeness(near, beats_like_them)).all()


def test_a_difference_counts_less_where_the_neighbours_differ_among_themselves():
    network = build("neighbours", n_leads=1, n_samples=70, seed=0)
    near, beat = neighbourhood(20, 1)
    loud = near + 2.0 * torch.randn(near.shape, generator=torch.Generator().manual_seed(5))

    def cost(neighbours: torch.Tensor) -> torch.Tensor:
        return network.strangeness(neighbours, beat + 1.0) - network.strangeness(neighbours, beat)

    assert cost(loud).mean() < cost(near).mean()


@pytest.mark.parametrize("name", ["neighbours", "intervals"])
def test_what_is_expected_of_a_beat_is_expected_in_any_company(name):
    network = build(name, n_leads=1, n_samples=70, seed=0)
    if name == "neighbours":
        inputs = neighbourhood(10, 1)
    else:
        inputs = 0.1 * torch.randn(10, INTERVALS + 1), 0.1 * torch.randn(10)
    together = network.strangeness(*inputs)
    alone = torch.cat([network.strangeness(*(array[at : at + 1] for array in inputs)) for at in range(10)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_the_earlier_an_interval_the_stranger_and_none_is_infinite():
    network = build("intervals", n_leads=1, n_samples=33, seed=0)
    others = torch.zeros(60, INTERVALS + 1)
    scores = network.strangeness(others, torch.linspace(-3.0, 3.0, 60))
    assert (scores.diff() <= 0).all()
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()


def test_the_likelihood_of_an_interval_is_a_density():
    network = build("intervals", n_leads=1, n_samples=33, seed=0)
    grid = torch.linspace(-30.0, 30.0, 60_001)
    loss = network.loss(torch.zeros(len(grid), INTERVALS + 1), grid).detach()
    total = float((-loss).exp().sum() * (grid[1] - grid[0])) / (2 * torch.pi) ** 0.5
    assert total == pytest.approx(1.0, abs=1e-3)
