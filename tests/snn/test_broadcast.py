"""Learning signals from the readout error are the gradient that they are said to be, on and off line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import broadcast, eprop, lsg, network, schemes
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.populations import cell_params, without_autapses

Weights = dict[str, Tensor]
MakeLearner = Callable[..., tuple[LearnerConfig, Weights]]
MakeHeard = Callable[..., Tensor]
CELLS = ["alif", "adlif"]


def prepared(make_learner: MakeLearner, make_heard: MakeHeard, **settings: Any) -> tuple[LearnerConfig, Weights, Tensor]:
    """A learner whose readout weights differ, as random broadcast weights do, and two utterances."""
    config, weights = make_learner(4, theta="init", **settings)
    rng = torch.Generator().manual_seed(9)
    for name in ("readout.learning", "broadcast"):
        if name in weights:
            weights[name] = torch.randn(config.neurons, generator=rng, dtype=torch.float64)
    return config, weights, make_heard(config, weights, 20, 2, 1)


def error(config: LearnerConfig, weights: Weights, heard: Tensor, detach: bool) -> Tensor:
    """E, written out, of weights that may carry gradients; W_in sees what a channel does more than usual, as e-prop does."""
    current = (heard - weights["center"]) @ weights["w_in"].T + (weights["w_in"].detach() @ weights["center"]) + weights["bias"]
    z = network.run(current, without_autapses(weights["w_rec"]), cell_params(config, weights), detach_recurrent=detach).z
    filtered, total = torch.zeros_like(z[0]), torch.tensor(0.0, dtype=z.dtype)
    for spikes, gate in zip(z, lsg.profile_gate(len(z), weights["lsg.profile"]), strict=True):
        filtered = config.readout_kappa * filtered + (1 - config.readout_kappa) * spikes
        total = total + 0.5 * (gate * (1 - filtered @ weights["readout.learning"]).square()).sum()
    return total


def gradients(config: LearnerConfig, weights: Weights, heard: Tensor) -> tuple[Tensor, Tensor]:
    """What the scheme computes, summed over the two tasks."""
    learnt, _ = schemes.learn(config, weights, heard)
    g_rec = without_autapses(eprop.gradient(learnt.factor, learnt.recurrent))
    return eprop.gradient(learnt.factor, learnt.presynaptic).sum(0), g_rec.sum(0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("inner", ["eprop", "bptt"])
def test_symmetric_broadcast_is_the_gradient_of_the_error(make_learner: MakeLearner, make_heard: MakeHeard, cell: str, inner: str) -> None:
    """Without the recurrent path with e-prop, all of it with BPTT."""
    config, weights, heard = prepared(make_learner, make_heard, cell=cell, inner=inner)
    leaves = {name: weights[name].clone().requires_grad_() for name in ("w_in", "w_rec")}
    expected = torch.autograd.grad(error(config, weights | leaves, heard, detach=inner == "eprop"), list(leaves.values()))
    for found, reference in zip(gradients(config, weights, heard), expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=0, atol=1e-10)
        assert reference.abs().max() > 1e-3


def test_the_recurrent_path_is_what_bptt_adds(make_learner: MakeLearner, make_heard: MakeHeard) -> None:
    config, weights, heard = prepared(make_learner, make_heard)
    full = config.model_copy(update={"inner": "bptt"})
    assert not torch.allclose(gradients(config, weights, heard)[0], gradients(full, weights, heard)[0], atol=1e-4)


@pytest.mark.parametrize("choice", ["random", "learned"])
def test_broadcast_weights_stand_where_the_readout_weights_stood(make_learner: MakeLearner, make_heard: MakeHeard, choice: str) -> None:
    config, weights, heard = prepared(make_learner, make_heard, broadcast=choice)
    symmetric = config.model_copy(update={"broadcast": "symmetric"})
    found, reference = gradients(config, weights, heard)[0], gradients(symmetric, weights, heard)[0]
    ratio = (weights["broadcast"] / weights["readout.learning"]).unsqueeze(1)
    torch.testing.assert_close(found, ratio * reference, rtol=1e-9, atol=1e-12)
    assert schemes.primed(config, "broadcast") == (choice == "learned")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("choice", ["symmetric", "random"])
def test_a_device_finds_the_same_changes_step_by_step(make_learner: MakeLearner, make_heard: MakeHeard, cell: str, choice: str) -> None:
    config, weights, heard = prepared(make_learner, make_heard, cell=cell, broadcast=choice)
    learnt, learning = schemes.learn(config, weights, heard)
    assert learning is not None
    assert learning.signals is not None
    source, params = schemes.online(config, weights, len(heard)), cell_params(config, weights)
    assert source.kappa == config.readout_kappa
    rule = eprop.OnlineEprop(tuple(weights["w_in"].shape), params, torch.float64, source.kappa)
    for h, z, psi, expected in zip(heard[:, 0], learning.activity.z[:, 0], learning.activity.psi[:, 0], learning.signals.learning[:, 0], strict=True):
        signal, gate = source.step(h, z)
        torch.testing.assert_close(signal, expected, rtol=0, atol=1e-12)
        assert gate == 1
        rule.step(h - weights["center"], psi, signal, z)
    torch.testing.assert_close(rule.gradient, eprop.gradient(learnt.factor, learnt.presynaptic)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_the_outer_gradient_passes_through_bptt_in_the_inner_loop(make_learner: MakeLearner, make_heard: MakeHeard, cell: str) -> None:
    """Finite differences of a function of the inner update in parameters that move no spike: the gate's profile."""
    config, weights, heard = prepared(make_learner, make_heard, cell=cell, inner="bptt")
    probe = torch.randn(tuple(weights["w_in"].shape), generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def outcome(profile: Tensor) -> Tensor:
        return (gradients(config, weights | {"lsg.profile": profile}, heard)[0] * probe).sum()

    profile = weights["lsg.profile"].clone().requires_grad_()
    (found,) = torch.autograd.grad(outcome(profile), profile)
    for place in (len(profile) - 9, len(profile) - 7):
        step = torch.zeros_like(profile)
        step[place] = 1e-5
        with torch.no_grad():
            slope = (outcome(profile + step) - outcome(profile - step)) / 2e-5
        assert abs(float(slope)) > 1e-4
        torch.testing.assert_close(found[place], slope, rtol=1e-5, atol=1e-9)


def test_bptt_in_the_inner_loop_sees_the_slope_of_the_pseudo_derivative(make_learner: MakeLearner, make_heard: MakeHeard) -> None:
    """A bias that moves no spike still changes psi, and with it the inner update."""
    config, weights, heard = prepared(make_learner, make_heard, cell="alif", inner="bptt")
    bias = weights["bias"].clone().requires_grad_()
    learnt, _ = schemes.learn(config, weights | {"bias": bias}, heard)
    (found,) = torch.autograd.grad(learnt.factor.square().sum(), bias)
    assert found.abs().max() > 1e-6


@pytest.mark.parametrize("theta", ["rates", "init"])
@pytest.mark.parametrize("rates", ["projection", "synapse"])
def test_rates_of_synapses_scale_each_change(make_learner: MakeLearner, make_heard: MakeHeard, theta: str, rates: str) -> None:
    """Alike for all synapses they do what a rate of the projection does; a synapse whose rate is zero keeps its weight."""
    config, weights = make_learner(4, theta=theta, rates=rates)
    for kind in ("in", "rec"):
        start = initial_weights(config, torch.full((config.inputs,), 0.25), 4)[f"log_rate_{kind}"]
        weights[f"log_rate_{kind}"] = torch.full_like(start, 2.0, dtype=torch.float64)
    assert weights["log_rate_in"].shape == (weights["w_in"].shape if rates == "synapse" else ())
    heard, queries = make_heard(config, weights, 20, 2, 1), make_heard(config, weights, 15, 3, 2)

    def scores(rate_in: Tensor) -> Tensor:
        own = weights | {"log_rate_in": rate_in}
        return schemes.respond(config, own, schemes.learn(config, own, heard)[0], queries)[0]

    single = torch.tensor(2.0, dtype=torch.float64)
    torch.testing.assert_close(scores(weights["log_rate_in"]), scores(single), rtol=0, atol=1e-10)
    still = scores(torch.full_like(weights["w_in"], -800.0))
    torch.testing.assert_close(still, scores(torch.tensor(-800.0, dtype=torch.float64)), rtol=0, atol=1e-10)
    assert not torch.allclose(still, scores(single), atol=1e-3)


def test_only_what_a_scheme_primes_is_primed() -> None:
    def fresh(theta: str) -> tuple[LearnerConfig, Weights]:
        config = LearnerConfig(inputs=5, step_ms=40.0, features=(4,), neurons=6, lsg_neurons=3, theta=theta)
        return config, initial_weights(config, torch.full((5,), 0.25), 0)

    config, weights = fresh("rates")
    assert {name for name in weights if schemes.primed(config, name)} == {"log_rate_in", "log_rate_rec"}
    for theta in ("init", "init+lsg", "weights"):
        config, weights = fresh(theta)
        assert all(schemes.primed(config, name) for name in weights)
    config, weights = fresh("init")
    assert {name for name in weights if name.startswith("lsg.")} == {"lsg.profile"}
    assert broadcast.broadcast_weights(config, weights) is weights["readout.learning"]


@pytest.mark.parametrize(
    "settings",
    [
        {"theta": "rates", "broadcast": "learned"},
        {"theta": "init+lsg", "inner": "bptt"},
        {"theta": "weights", "cell": "lif"},
        {"theta": "weights", "adaptive_fraction": 0.5},
    ],
)
def test_combinations_without_a_meaning_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="theta"):
        LearnerConfig(inputs=3, step_ms=40.0, **settings)
