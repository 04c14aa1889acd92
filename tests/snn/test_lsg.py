"""The learning-signal generator: batched equals online, and nothing is known before it happened."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import lsg, readout
from snn.config import LearnerConfig
from snn.populations import lsg_weights

Learner = tuple[LearnerConfig, dict[str, Tensor]]


@pytest.fixture
def weights(make_learner: Callable[..., Learner]) -> lsg.LsgWeights:
    return lsg_weights(*make_learner(3))


def spikes(steps: int, seed: int, batch: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """What is heard (10 inputs and 12 features), and spikes of the learning network."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, *batch, 22, generator=rng) < 0.3).double(), (torch.rand(steps, *batch, 14, generator=rng) < 0.2).double()


def test_online_equals_batched(weights: lsg.LsgWeights) -> None:
    x, z = spikes(40, 1)
    signals = lsg.generate(x, z, weights)
    assert signals.spikes.sum() > 0
    assert signals.learning.abs().max() > 0
    generator = lsg.OnlineLsg(weights, torch.float64)
    profile = lsg.gate_profile(40, weights)
    for t in range(40):
        learning, gate = generator.step(x[t], z[t])
        torch.testing.assert_close(learning, signals.learning[t], rtol=0, atol=1e-12)
        torch.testing.assert_close(gate * profile[t], signals.gate[t], rtol=1e-12, atol=0)


def test_signals_equal_the_equations(weights: lsg.LsgWeights) -> None:
    x, z = spikes(20, 2)
    signals = lsg.generate(x, z, weights)
    filtered = readout.low_pass(signals.spikes, lsg.LOW_PASS)
    profile = lsg.gate_profile(20, weights)
    for t in range(20):
        for j in range(14):
            expected = (weights.out[j] * filtered[t]).sum() + weights.out_bias[j]
            assert signals.learning[t, j].item() == pytest.approx(expected.item(), abs=1e-12)
        gate = (weights.gate * filtered[t]).sum().exp() * profile[t]
        assert signals.gate[t].item() == pytest.approx(gate.item(), rel=1e-12)


def test_the_profile_marks_the_gate_only(weights: lsg.LsgWeights) -> None:
    x, z = spikes(20, 2)
    marked, unmarked = lsg.generate(x, z, weights), lsg.generate(x, z, weights._replace(profile=torch.zeros(30).double()))
    assert torch.equal(marked.learning, unmarked.learning)
    assert torch.equal(marked.spikes, unmarked.spikes)
    torch.testing.assert_close(marked.gate, unmarked.gate * lsg.gate_profile(20, weights), rtol=1e-12, atol=0)
    assert not torch.allclose(marked.gate, unmarked.gate)


def test_a_longer_utterance_shifts_the_gate_and_leaves_the_learning_signals(weights: lsg.LsgWeights) -> None:
    x, z = spikes(20, 2)
    short, long = lsg.generate(x[:13], z[:13], weights), lsg.generate(x, z, weights)
    assert torch.equal(short.spikes, long.spikes[:13])
    torch.testing.assert_close(short.learning, long.learning[:13], rtol=1e-12, atol=1e-12)  # a longer product may round differently
    assert not torch.allclose(short.gate, long.gate[:13])


def test_a_silent_generator_still_sends_its_bias(weights: lsg.LsgWeights) -> None:
    x, z = spikes(8, 2)
    signals = lsg.generate(x, z, weights._replace(bias=weights.bias - 1e3))
    assert not signals.spikes.any()
    assert torch.equal(signals.learning, weights.out_bias.expand(8, -1))
    torch.testing.assert_close(signals.gate, lsg.gate_profile(8, weights), rtol=1e-12, atol=0)


def test_signals_reach_every_population(weights: lsg.LsgWeights) -> None:
    """The generator hears inputs, features and the learning network, each by itself."""
    x, z = spikes(20, 2)
    before = lsg.generate(x, z, weights).learning
    for changed in ((torch.cat([1 - x[:, :10], x[:, 10:]], 1), z), (torch.cat([x[:, :10], 1 - x[:, 10:]], 1), z), (x, 1 - z)):
        assert not torch.equal(lsg.generate(*changed, weights).learning, before)


@pytest.mark.parametrize("moment", [0, 7, 19])
def test_learning_signals_depend_on_the_past_only(weights: lsg.LsgWeights, moment: int) -> None:
    x, z = spikes(20, 3)
    other_x, other_z = spikes(20, 4)
    later_x, later_z = torch.cat([x[: moment + 1], other_x[moment + 1 :]]), torch.cat([z[: moment + 1], other_z[moment + 1 :]])
    a, b = lsg.generate(x, z, weights), lsg.generate(later_x, later_z, weights)
    assert torch.equal(a.learning[: moment + 1], b.learning[: moment + 1])
    assert torch.equal(a.gate[: moment + 1], b.gate[: moment + 1])
    assert moment == 19 or not torch.equal(a.learning, b.learning)


def test_tasks_do_not_mix(weights: lsg.LsgWeights) -> None:
    x, z = spikes(20, 5, (3,))
    together = lsg.generate(x, z, weights)
    alone = lsg.generate(x[:, 1], z[:, 1], weights)
    torch.testing.assert_close(together.learning[:, 1], alone.learning, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.gate[:, 1], alone.gate, rtol=1e-12, atol=0)


def test_profile_counts_from_the_end(weights: lsg.LsgWeights) -> None:
    weights = weights._replace(profile=torch.tensor([-1.0, 0.0, 0.5, 99.0]).double())
    top = lsg.MAX_LOG_GATE
    expected = {2: [0.5, top], 4: [-1, 0, 0.5, top], 6: [-1, -1, -1, 0, 0.5, top]}
    for steps, logs in expected.items():
        torch.testing.assert_close(lsg.gate_profile(steps, weights), torch.tensor(logs).double().exp())


def test_gate_is_bounded(weights: lsg.LsgWeights) -> None:
    x, z = spikes(30, 6)
    loud = lsg.generate(x, z, weights._replace(gate=weights.gate * 1e6))
    assert loud.gate.isfinite().all()
    assert loud.gate.log().max() <= 2 * lsg.MAX_LOG_GATE


def test_the_generator_has_no_autapses(make_learner: Callable[..., Learner]) -> None:
    config, primed = make_learner(3)
    assert not lsg_weights(config, primed).w_rec.diagonal().any()
    changed: dict[str, Any] = primed | {"lsg.w_rec": primed["lsg.w_rec"] + 100 * torch.eye(6).double()}
    x, z = spikes(20, 7)
    assert torch.equal(lsg.generate(x, z, lsg_weights(config, primed)).learning, lsg.generate(x, z, lsg_weights(config, changed)).learning)
