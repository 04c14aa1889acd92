"""Learning without plasticity: one sequence, heard in two parts, remembered in the adaptation."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snn import memory, network, schemes
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.populations import cell_params, without_autapses

Weights = dict[str, Tensor]
MakeHeard = Callable[..., Tensor]
CELLS = ["alif", "adlif", "board"]


def remembering(seed: int, cell: str) -> tuple[LearnerConfig, Weights]:
    """A learner before priming, with a cue."""
    config = LearnerConfig(inputs=10, step_ms=40.0, features=(12,), neurons=14, lsg_neurons=6, projection=7, theta="weights", cell=cell)
    weights = initial_weights(config, torch.full((10,), 0.25), seed)
    return config, {name: tensor.double() for name, tensor in weights.items()} | {"cue": torch.full((14,), 0.25).double()}


def one_sequence(config: LearnerConfig, weights: Weights, support: Tensor, query: Tensor) -> Tensor:
    """Spikes of the network that hears support [T, H], gap and query in one run."""
    gap = torch.zeros(round(memory.GAP_MS / config.step_ms), config.neurons, dtype=torch.float64)
    first, second = (heard @ weights["w_in"].T + weights["bias"] for heard in (support, query))
    current = torch.cat([first + weights["cue"], gap, second])
    return network.run(current, without_autapses(weights["w_rec"]), cell_params(config, weights)).z[-len(query) :]


@pytest.mark.parametrize("cell", CELLS)
def test_support_and_query_are_one_sequence(make_heard: MakeHeard, cell: str) -> None:
    """Every task goes on with every query from where its support left it, in value and in gradient."""
    config, weights = remembering(5, cell)
    names = ["w_in", "w_rec", "bias", "cue", "log_tau_adaptation", "readout.learning"]
    weights |= {name: weights[name].clone().requires_grad_() for name in names}
    supports, queries = make_heard(config, weights, 18, 3, 1), make_heard(config, weights, 14, 2, 2)
    supports, queries = supports.detach(), queries.detach()
    learnt, learning = schemes.learn(config, weights, supports)
    scores, activity = schemes.respond(config, weights, learnt, queries)
    assert scores.shape == (14, 3, 2)
    assert activity is not None
    assert learning is not None
    assert learning.signals is None
    kappa = torch.tensor(-config.step_ms / memory.OUTPUT_TAU_MS).double().exp()
    total = torch.tensor(0.0).double()
    for b in range(3):
        for q in range(2):
            z = one_sequence(config, weights, supports[:, b], queries[:, q])
            assert torch.equal(z, activity.z[:, b, q])
            filtered = torch.zeros(config.neurons).double()
            for t in range(14):
                filtered = kappa * filtered + (1 - kappa) * z[t]
                expected = filtered @ weights["readout.learning"]
                torch.testing.assert_close(scores[t, b, q], expected, rtol=0, atol=1e-7)
                total = total + (t + b - q) * expected
    probe = torch.arange(14).reshape(-1, 1, 1) + torch.arange(3).reshape(-1, 1) - torch.arange(2)
    found = torch.autograd.grad((probe * scores).sum(), [weights[name] for name in names])
    reference = torch.autograd.grad(total, [weights[name] for name in names])
    for one, other in zip(found, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert other.abs().max() > 0


@pytest.mark.parametrize("cell", CELLS)
def test_the_word_is_remembered_in_the_adaptation_alone(make_heard: MakeHeard, cell: str) -> None:
    """After the gap the membrane has all but forgotten; what adapted has not, and without adaptation every word is alike."""
    config, weights = remembering(6, cell)
    supports, queries = make_heard(config, weights, 18, 2, 1), make_heard(config, weights, 14, 3, 2)
    state, _ = schemes.learn(config, weights, supports)
    adaptation = next(part for name, part in state._asdict().items() if name in ("a", "w", "c"))
    assert (adaptation[0] - adaptation[1]).abs().max() > 0.2
    scores, _ = schemes.respond(config, weights, state, queries)
    assert not torch.allclose(scores[:, 0], scores[:, 1], atol=1e-3)
    name = memory.ADAPTATION[cell]
    forgetful = weights | {name: torch.zeros_like(weights[name])}
    if cell == "adlif":
        forgetful["a"] = torch.zeros_like(weights["a"])
    forgetful["log_tau_membrane"] = torch.full_like(weights["log_tau_membrane"], -20.0)  # the shortest
    scores, _ = schemes.respond(config, forgetful, schemes.learn(config, forgetful, supports)[0], queries)
    torch.testing.assert_close(scores[:, 0], scores[:, 1], rtol=0, atol=1e-6)


def test_nothing_plastic_is_left_in_the_scheme() -> None:
    config, weights = remembering(5, "alif")
    assert not [name for name in weights if name.startswith(("lsg.", "log_rate")) or name in ("center", "readout.project", "readout.gain")]
    longest = cell_params(config, weights).rho
    assert float(longest.min()) > float(torch.tensor(-1 / 50).exp())  # slower than any cell elsewhere
    with pytest.raises(ValueError, match="without plasticity"):
        schemes.online(config, weights, 5)
