"""Small random networks and spikes, in float64 unless said otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import features, learner, network
from snn.cells.adlif import AdlifParams
from snn.cells.alif import AlifParams
from snn.cells.board import BoardParams
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.learner import Learning, Learnt

Learner = tuple[LearnerConfig, dict[str, Tensor]]


def random_params(cell: str, neurons: int, rng: torch.Generator) -> network.Params:
    """Parameters of a population in which every neuron differs."""

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(neurons, generator=rng, dtype=torch.float64)

    if cell == "adlif":
        return AdlifParams(between(0.3, 0.95), between(0.3, 0.98), between(-0.5, 1.5), between(0, 2), gamma=0.5)
    if cell == "board":
        return BoardParams(between(0.3, 0.95), between(0.3, 0.98), between(0.1, 1.5), v_th=0.8, gamma=0.4)
    beta = between(0.1, 1.8) if cell == "alif" else torch.zeros(neurons, dtype=torch.float64)
    return AlifParams(between(0.3, 0.95), between(0.3, 0.98), beta, v_th=0.8, gamma=0.4)


def random_spikes(*shape: int, rate: float, rng: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Independent spikes at a rate per step."""
    return (torch.rand(*shape, generator=rng, dtype=torch.float64) < rate).to(dtype)


def random_learner(seed: int = 0, *, dtype: torch.dtype = torch.float64, **settings: Any) -> Learner:
    """Build a learner whose words differ visibly: initial weights, with a learning network that fires, counts in the score, and a gate that varies.

    Weights of projections are multiples of 1/64, so that their sums do not depend on the order of addition.
    """
    defaults: dict[str, Any] = {"inputs": 10, "step_ms": 40.0, "features": (12,), "neurons": 14, "lsg_neurons": 6, "projection": 7}
    config = LearnerConfig(**(defaults | {"delays_ms": (0.0, 120.0)} | settings))
    weights = initial_weights(config, torch.full((config.inputs,), 0.25), seed)
    rng = torch.Generator().manual_seed(seed + 1)
    weights["lsg.gate"] = torch.randn(config.lsg_neurons, generator=rng)
    weights["w_in"], weights["bias"] = 2 * weights["w_in"], weights["bias"] + 0.5
    weights["log_rate_in"], weights["log_rate_rec"] = torch.tensor(-2.5), torch.tensor(-3.0)
    readout = ("readout.gain", "readout.learning", "readout.salience", "readout.salience_bias", "readout.metric")
    for name in (*readout, "feature.a", "a", "lsg.a", "lsg.out", "lsg.out_bias"):
        if name in weights:
            weights[name] = weights[name] + 0.3 * torch.randn(weights[name].shape, generator=rng)
    weights["center"] = weights["center"] + 0.1 * torch.rand(weights["center"].shape, generator=rng)
    coarse = {f"{prefix}{name}" for prefix in ("", "feature.", "lsg.") for name in ("w_in", "w_rec", "bias", "w_net")}
    return config, {name: ((w * 64).round() / 64 if name in coarse else w).to(dtype) for name, w in weights.items()}


def random_heard(config: LearnerConfig, weights: dict[str, Tensor], steps: int, batch: int, seed: int, rate: float = 0.3) -> Tensor:
    """What a learner hears, h [steps, batch, H], of random input spikes."""
    x = random_spikes(steps, batch, config.inputs, rate=rate, rng=torch.Generator().manual_seed(seed), dtype=weights["w_in"].dtype)
    return features.hear(config, weights, x)[0]


def learn(config: LearnerConfig, weights: dict[str, Tensor], heard: Tensor) -> tuple[Learnt, Learning]:
    """Learn with plasticity."""
    learnt, learning = learner.learn(config, weights, heard)
    assert learning is not None
    return learnt, learning


def respond(config: LearnerConfig, weights: dict[str, Tensor], learnt: Learnt, heard: Tensor) -> tuple[Tensor, network.Activity]:
    """Answer with plasticity."""
    scores, activity = learner.respond(config, weights, learnt, heard)
    assert activity is not None
    return scores, activity


@pytest.fixture(scope="session", name="learn")
def _learn() -> Callable[..., tuple[Learnt, Learning]]:
    return learn


@pytest.fixture(scope="session", name="respond")
def _respond() -> Callable[..., tuple[Tensor, network.Activity]]:
    return respond


@pytest.fixture(scope="session")
def make_params() -> Callable[..., network.Params]:
    return random_params


@pytest.fixture(scope="session")
def make_spikes() -> Callable[..., Tensor]:
    return random_spikes


@pytest.fixture(scope="session")
def make_learner() -> Callable[..., Learner]:
    return random_learner


@pytest.fixture(scope="session")
def make_heard() -> Callable[..., Tensor]:
    return random_heard
