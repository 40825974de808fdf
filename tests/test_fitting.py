"""Law: a fit keeps the epoch that does best on other patients, repeats itself to the bit, and leaves no trace."""

import math

import numpy as np
import pytest
import torch

from cardioclarity.detectors.fitting import History, Settings, best_device, fit
from cardioclarity.detectors.networks import Redrawing, build

N_SAMPLES = 24
on_cpu = pytest.mark.skipif(best_device().type != "cpu", reason="bits repeat on a CPU only")


def waves(n_beats: int, seed: int) -> np.ndarray:
    """Sines of random phase: two numbers describe each."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (n_beats, 1, 1))
    return np.sin(np.linspace(0, 2 * np.pi, N_SAMPLES) + phase).astype(np.float32)


def short_fit(inputs=None, held_out=None, *, seed=0, architecture="dense", **settings):
    network = build(architecture, n_leads=1, n_samples=N_SAMPLES, seed=seed)
    inputs = waves(300, 1) if inputs is None else inputs
    held_out = waves(60, 2) if held_out is None else held_out
    return fit_arrays(network, inputs, held_out, seed=seed, settings=Settings(**{"epochs": 4, **settings}))


def fit_arrays(network, inputs, held_out, **how):
    return fit(network, (torch.from_numpy(inputs),), (torch.from_numpy(held_out),), **how)


def redraw_loss(state: dict[str, torch.Tensor], beats: np.ndarray, architecture="dense") -> float:
    network = build(architecture, n_leads=1, n_samples=N_SAMPLES, seed=99)
    network.load_state_dict(state)
    with torch.inference_mode():
        seen = torch.from_numpy(beats)
        return float((network(seen) - seen).square().mean(dim=(1, 2)).log().mean())


@pytest.mark.parametrize("architecture", ["dense", "convolutional"])
def test_a_fit_learns_to_draw_what_it_has_not_seen(architecture):
    state, history = short_fit(architecture=architecture, epochs=25, learning_rate=5e-3)
    assert history.held_out_loss[history.best_epoch] < history.held_out_loss[0] - math.log(1.6)
    assert history.loss[-1] < history.loss[0] / 1.6
    assert redraw_loss(state, waves(60, 2), architecture) == pytest.approx(
        history.held_out_loss[history.best_epoch], rel=1e-4
    )


def test_the_weights_kept_are_those_of_the_best_epoch_and_not_of_the_last():
    # The held-out beats are what an untaught network draws: each step towards the waves leads away from them.
    network = build("dense", n_leads=1, n_samples=N_SAMPLES, seed=0)
    with torch.inference_mode():
        nothing = torch.zeros(40, 1, N_SAMPLES)
        held_out = network(nothing).numpy().copy()
    state, history = short_fit(held_out=held_out, epochs=8, patience=8, learning_rate=1e-2)
    assert history.best_epoch == int(np.argmin(history.held_out_loss)) < len(history.held_out_loss) - 1
    assert redraw_loss(state, held_out) == pytest.approx(history.held_out_loss[history.best_epoch], rel=1e-4)
    assert history.held_out_loss[-1] > history.held_out_loss[history.best_epoch]


def test_one_loud_beat_does_not_decide_which_epoch_is_best():
    held_out = waves(60, 2)
    held_out[0] *= 1e4  # its squared error is that of a million others
    _, loud = short_fit(held_out=held_out, epochs=8, learning_rate=5e-3)
    _, quiet = short_fit(held_out=held_out[1:], epochs=8, learning_rate=5e-3)
    assert loud.best_epoch == quiet.best_epoch == 7


def test_a_fit_stops_when_patience_is_over():
    held_out = np.zeros((40, 1, N_SAMPLES), np.float32)  # the waves teach nothing about silence
    _, history = short_fit(held_out=held_out, epochs=50, patience=2, learning_rate=2e-2)
    assert len(history.loss) == len(history.held_out_loss) == history.best_epoch + 3


def test_a_fit_without_patients_held_out_is_judged_by_its_inputs():
    state, history = short_fit(held_out=np.zeros((0, 1, N_SAMPLES), np.float32))
    assert redraw_loss(state, waves(300, 1)) == pytest.approx(history.held_out_loss[history.best_epoch], rel=1e-4)


@pytest.mark.parametrize("n_beats", [1, 2, 127, 128, 129])
def test_any_number_of_beats_can_be_fitted(n_beats):
    state, history = short_fit(waves(n_beats, 1), epochs=2)
    assert len(history.loss) == 2
    assert all(torch.isfinite(value).all() for value in state.values())


@on_cpu
@pytest.mark.parametrize("architecture", ["dense", "convolutional"])
def test_one_seed_gives_one_set_of_weights(architecture):
    (first, history), (again, same) = (short_fit(seed=7, architecture=architecture, epochs=2) for _ in range(2))
    assert history == same
    assert all(torch.equal(first[name], again[name]) for name in first)


@on_cpu
def test_the_seed_draws_the_order_of_the_beats():
    network = build("dense", n_leads=1, n_samples=N_SAMPLES, seed=0)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    fitted = []
    for seed in (0, 1):
        network.load_state_dict(start)
        fitted.append(fit_arrays(network, waves(300, 1), waves(60, 2), seed=seed, settings=Settings(epochs=1))[0])
    assert not all(torch.equal(fitted[0][name], fitted[1][name]) for name in start)


@pytest.mark.parametrize("chosen", [False, True])
def test_a_fit_leaves_the_generators_and_the_choices_of_the_process_alone(chosen):
    torch.use_deterministic_algorithms(chosen, warn_only=chosen)
    try:
        torch.manual_seed(11)
        expected = torch.rand(4)
        torch.manual_seed(11)
        n_threads = torch.get_num_threads()
        short_fit(epochs=1)
        assert torch.equal(torch.rand(4), expected)
        assert torch.are_deterministic_algorithms_enabled() is chosen
        assert torch.is_deterministic_algorithms_warn_only_enabled() is chosen
        assert torch.get_num_threads() == n_threads
    finally:
        torch.use_deterministic_algorithms(mode=False)


def test_the_choices_of_the_process_come_back_when_a_fit_fails():
    with pytest.raises(RuntimeError):
        short_fit(np.zeros((5, 1, N_SAMPLES + 1), np.float32))
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_fit_that_runs_away_keeps_an_epoch_and_tells_so():
    inputs = waves(300, 1)
    inputs[:] = np.float32(1e30)  # its square is no float32
    state, history = short_fit(inputs, inputs, epochs=2)
    assert history.held_out_loss == (math.inf, math.inf)
    assert history.best_epoch == 0
    assert state


def test_beats_that_are_drawn_without_any_error_have_a_finite_loss():
    class Copy(Redrawing):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, beats):
            return self.gain * beats

    _, history = fit_arrays(Copy(), waves(50, 1), waves(20, 2), seed=0, settings=Settings(epochs=1, weight_decay=0.0))
    assert math.isfinite(history.held_out_loss[0])


def test_the_weights_come_back_contiguous_and_on_the_cpu():
    state, history = short_fit(architecture="convolutional", epochs=1)
    assert all(value.is_contiguous() and value.device.type == "cpu" for value in state.values())
    assert isinstance(history, History)
    assert history.device


def test_the_inputs_are_not_changed():
    inputs, held_out = waves(100, 1), waves(20, 2)
    before = inputs.copy(), held_out.copy()
    short_fit(inputs, held_out, epochs=1)
    assert np.array_equal(inputs, before[0])
    assert np.array_equal(held_out, before[1])


def test_trimmed_beats_teach_nothing():
    loud = waves(300, 1)
    loud[::10] = 3.0  # flat and far away; the waves alone say how to draw a wave
    held_out = waves(60, 2)
    _, all_of_them = short_fit(loud, held_out, epochs=20, learning_rate=5e-3)
    _, trimmed = short_fit(loud, held_out, epochs=20, learning_rate=5e-3, trimmed=0.15)
    assert min(trimmed.held_out_loss) < min(all_of_them.held_out_loss)


def test_a_long_gradient_is_shortened():
    loud = 1e3 * waves(300, 1)
    start = build("dense", n_leads=1, n_samples=N_SAMPLES, seed=0)
    lengths = []
    torch_clip, network = torch.nn.utils.clip_grad_norm_, start

    def noted(parameters, most):
        lengths.append(float(torch_clip(list(parameters), most)))
        return torch.tensor(0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
        fit_arrays(network, loud, loud, seed=0, settings=Settings(epochs=1, largest_gradient=5.0))
        short_fit(epochs=1)
    assert len(lengths) == 300 // 128
    assert max(lengths) > 5.0
