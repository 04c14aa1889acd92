"""NEST's e-prop is an oracle of ours: same network, utterance and learning signals, float64 on both sides."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hardware.nest.eprop import Update, update
from priming.model import PrimedModel
from snn import eprop, features, learner, network
from snn.cells.alif import AlifParams
from snn.populations import cell_params, without_autapses

TOLERANCE = 1e-10  # what must hold; what is seen is 1e-15


class Case(NamedTuple):
    """A network, an utterance and learning signals."""

    params: AlifParams
    w_in: Tensor  # [N, H]
    w_rec: Tensor  # [N, N]
    bias: Tensor  # [N]
    center: Tensor  # [H]
    heard: Tensor  # [T, H]
    signals: Tensor  # [T, N]
    rates: tuple[float, float]


def draw(seed: int, steps: int, channels: int, neurons: int, cell: str = "alif") -> Case:
    """Draw a network that fires, each neuron with time constants and adaptation of its own."""
    rng = np.random.default_rng(seed)

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.asarray(array, float))

    alpha, rho = (tensor(np.exp(-1 / rng.uniform(low, high, neurons))) for low, high in ((0.5, 6), (0.5, 20)))
    beta = tensor(rng.uniform(0.05, 0.6, neurons) * (cell == "alif"))
    params = AlifParams(alpha, rho, beta, v_th=rng.uniform(0.6, 1.4), gamma=rng.uniform(0.2, 0.6))
    w_in, w_rec = tensor(rng.normal(size=(neurons, channels))), without_autapses(tensor(rng.normal(size=(neurons, neurons)) * 0.5))
    bias, center = tensor(rng.normal(0.3, 0.3, neurons)), tensor(rng.random(channels))
    heard, signals = tensor(rng.random((steps, channels)) < 0.3), tensor(rng.normal(size=(steps, neurons)))
    return Case(params, w_in, w_rec, bias, center, heard, signals, (0.3, 0.2))


def run(case: Case) -> network.Activity:
    return network.run(case.heard @ case.w_in.T + case.bias, case.w_rec, case.params)


def ask(case: Case, kappa: float = 0.0) -> Update:
    """Ask NEST."""
    weights = case.w_in.numpy(), case.w_rec.numpy(), case.bias.numpy()
    return update(case.params, weights, case.heard.numpy().astype(np.uint8), case.signals.numpy(), case.rates, kappa)


def factorised(case: Case, activity: network.Activity) -> tuple[Tensor, Tensor]:
    """Return W_in and W_rec after one update, by the form that priming uses."""
    factor = eprop.factors(activity.psi, case.signals, case.params)
    change_in, change_rec = (eprop.gradient(factor, x) for x in (case.heard - case.center, network.delayed(activity.z)))
    return case.w_in - case.rates[0] * change_in, case.w_rec - case.rates[1] * without_autapses(change_rec)


def online(case: Case, activity: network.Activity) -> tuple[Tensor, Tensor]:
    """Return the same by the form that a device runs."""
    traces = [eprop.OnlineEprop(tuple(w.shape), case.params, torch.float64) for w in (case.w_in, case.w_rec)]
    for heard, sent, psi, signal in zip(case.heard, network.delayed(activity.z), activity.psi, case.signals, strict=True):
        traces[0].step(heard - case.center, psi, signal)
        traces[1].step(sent, psi, signal)
    return case.w_in - case.rates[0] * traces[0].gradient, case.w_rec - case.rates[1] * without_autapses(traces[1].gradient)


def compare(case: Case) -> network.Activity:
    """Compare both forms with NEST: spikes, pseudo-derivatives, and weights after one update."""
    activity, found = run(case), ask(case)
    np.testing.assert_array_equal(found.z, activity.z)
    np.testing.assert_array_equal(found.signals, case.signals)
    np.testing.assert_allclose(found.psi, activity.psi, rtol=0, atol=TOLERANCE)
    for form in (factorised, online):
        for name, theirs, ours in zip(
            ("W_in", "W_rec"), (found.centred(case.bias.numpy(), case.center.numpy()), found.w_rec), form(case, activity), strict=True
        ):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=TOLERANCE)
            print(f"{name}, {form.__name__}: largest difference {np.abs(theirs - ours.numpy()).max():.1e}")  # pytest -s shows it
    return activity


@pytest.mark.parametrize("cell", ["alif", "lif"])
@pytest.mark.parametrize("seed", range(3))
def test_one_update_of_a_random_network(seed: int, cell: str) -> None:
    case = draw(seed, steps=60, channels=10, neurons=8, cell=cell)
    activity = compare(case)
    assert 20 < activity.z.sum() < 400
    for before, after in zip((case.w_in, case.w_rec), factorised(case, activity), strict=True):
        assert (after - before).abs().max() > 0.05  # there is something to agree on


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 25),
    channels=st.integers(1, 5),
    neurons=st.integers(1, 5),
    cell=st.sampled_from(["alif", "lif"]),
)
@settings(max_examples=15, deadline=None)
def test_one_update_of_networks_of_every_size(seed: int, steps: int, channels: int, neurons: int, cell: str) -> None:
    compare(draw(seed, steps, channels, neurons, cell))


def test_the_centre_matters_and_comes_from_nests_own_bias_gradient() -> None:
    case = draw(5, steps=40, channels=6, neurons=5)
    found = ask(case)
    assert np.abs(found.bias - case.bias.numpy()).max() > 0.05
    assert np.abs(found.centred(case.bias.numpy(), case.center.numpy()) - found.w_in).max() > 0.05
    np.testing.assert_array_equal(found.centred(case.bias.numpy(), np.zeros(6)), found.w_in)


def test_low_passed_eligibility_is_nests_tau_m_readout() -> None:
    case, kappa = draw(6, steps=40, channels=6, neurons=5), 0.8
    activity, found = run(case), ask(case, kappa)
    filtered, sums = torch.zeros(2, 5, 6, dtype=torch.float64)
    trace = activity_trace(case, activity)
    for eligibility, signal in zip(trace, case.signals, strict=True):
        filtered = kappa * filtered + (1 - kappa) * eligibility
        sums += signal.unsqueeze(-1) * filtered
    np.testing.assert_allclose(found.w_in, case.w_in - case.rates[0] * sums, rtol=0, atol=TOLERANCE)
    assert np.abs(found.w_in - ask(case).w_in).max() > 0.01  # without the low-pass, as our rule has it, something else is learnt


def activity_trace(case: Case, activity: network.Activity) -> list[Tensor]:
    """Eligibility traces [N, H] of W_in at every step."""
    cell, found = network.cell_of(case.params), []
    trace = cell.initial_trace(tuple(case.w_in.shape), torch.float64)
    for x, psi in zip(case.heard, activity.psi, strict=True):
        eligibility, trace = cell.trace_step(x, psi, trace, case.params)
        found.append(eligibility)
    return found


@torch.no_grad()
def test_a_real_word_on_the_shipped_model(shipped: PrimedModel, words: dict[str, list[NDArray[np.uint8]]]) -> None:
    config, weights = shipped.config.learner, {name: w.double() for name, w in shipped.weights.items()}
    params = cell_params(config, weights)
    assert isinstance(params, AlifParams)
    assert config.cell == "alif"
    heard, _ = features.hear(config, weights, torch.from_numpy(words["happy"][0]).double().unsqueeze(1))
    learnt, learning = learner.learn(config, weights, heard)
    assert learning is not None
    rates = float(weights["log_rate_in"].exp()), float(weights["log_rate_rec"].exp())
    signals = learning.signals.learning[:, 0]  # of the learning-signal generator
    case = Case(params, weights["w_in"], without_autapses(weights["w_rec"]), weights["bias"], weights["center"], heard[:, 0], signals, rates)
    activity = compare(case)
    np.testing.assert_array_equal(activity.z, learning.activity.z[:, 0])
    w_in, w_rec = factorised(case, activity)
    expected = case.w_in - rates[0] * eprop.gradient(learnt.factor[:, 0], learnt.presynaptic[:, 0])
    np.testing.assert_allclose(w_in, expected, rtol=0, atol=TOLERANCE)
    assert (w_in - case.w_in).norm() > 0.2 * case.w_in.norm()  # this word changes much
    assert (w_rec - case.w_rec).norm() > 0.1 * case.w_rec.norm()
