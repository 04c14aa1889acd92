"""A small primed network whose words differ visibly, in float32."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.torch_backend import TorchBackend
from snn import features, learner
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.learner import Learning, Learnt

Primed = tuple[LearnerConfig, dict[str, Tensor]]


def prime(seed: int = 0, **settings: Any) -> Primed:
    """Build a network; weights are multiples of 1/64, so that the sum of a projection does not depend on the order of addition."""
    defaults: dict[str, Any] = {"inputs": 12, "step_ms": 40.0, "features": (10,), "neurons": 16, "lsg_neurons": 6, "projection": 7}
    config = LearnerConfig(**(defaults | {"delays_ms": (0.0, 120.0, 400.0)} | settings))
    weights = initial_weights(config, torch.full((config.inputs,), 0.25), seed)
    rng = torch.Generator().manual_seed(seed + 1)
    weights["lsg.gate"] = torch.randn(config.lsg_neurons, generator=rng)
    weights["w_in"], weights["bias"] = 2 * weights["w_in"], weights["bias"] + 0.5
    weights["log_rate_in"], weights["log_rate_rec"] = torch.tensor(-2.5), torch.tensor(-3.0)
    for name in ("readout.gain", "readout.salience", "readout.salience_bias", "lsg.out_bias"):
        weights[name] = weights[name] + 0.3 * torch.randn(weights[name].shape, generator=rng)
    if config.metric:
        weights["readout.metric"] = weights["readout.metric"] + 0.3 * torch.randn(weights["readout.metric"].shape, generator=rng)
    weights["readout.learning"] = 0.05 * torch.randn(config.neurons, generator=rng)
    coarse = {f"{prefix}{name}" for prefix in ("", "feature.", "lsg.") for name in ("w_in", "w_rec", "bias", "w_net")}
    return config, {name: (w * 64).round() / 64 if name in coarse else w for name, w in weights.items()}


def hear(steps: int, seed: int, inputs: int = 12) -> NDArray[np.uint8]:
    """Random input spikes [steps, inputs]."""
    return (np.random.default_rng(seed).random((steps, inputs)) < 0.3).astype(np.uint8)


def lose(clips: list[NDArray[np.uint8]], seed: int = 0) -> list[NDArray[np.float32]]:
    """What is taken off the running scores of clips: now nothing, now more than scores differ by."""
    rng = np.random.default_rng(seed)
    return [(0.5 * rng.random(len(clip)) * (rng.random(len(clip)) < 0.7)).astype(np.float32) for clip in clips]


SETTINGS: list[dict[str, Any]] = [
    {"cell": "adlif"},
    {"cell": "board", "features": (10, 6)},
    {"cell": "alif", "features": (10, 6)},
    {"cell": "lif", "features": (6, 5, 4), "neurons": 9},
    {"cell": "adlif", "adaptive_fraction": 0.5},
    {"cell": "adlif", "plastic": False},
    {"cell": "adlif", "delays_ms": (0.0, 2000.0)},  # longer than the utterance
    {"cell": "board", "metric": True},
    {"cell": "alif", "metric": True, "plastic": False},
]


def listen(primed: Primed, spikes: list[NDArray[np.uint8]]) -> Tensor:
    """What the offline feature population makes of clips of one length: h [T, clips, H]."""
    with torch.no_grad():
        return features.hear(*primed, torch.from_numpy(np.stack(spikes, 1)).float())[0]


def learn_batched(primed: Primed, spikes: list[NDArray[np.uint8]]) -> tuple[Learnt, Learning | None]:
    """Learn utterances of one length with the batched form."""
    with torch.no_grad():
        return learner.learn(*primed, listen(primed, spikes))


def load(primed: Primed) -> TorchBackend:
    backend = TorchBackend()
    backend.load(*primed)
    return backend


@pytest.fixture(scope="session")
def make_less() -> Callable[..., list[NDArray[np.float32]]]:
    return lose


@pytest.fixture(params=SETTINGS, ids=str, name="settings")
def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Networks of every kind."""
    found: dict[str, Any] = request.param
    return found


@pytest.fixture(scope="session", name="listen")
def _listen() -> Callable[..., Tensor]:
    return listen


@pytest.fixture(scope="session", name="learn_batched")
def _learn_batched() -> Callable[..., tuple[Learnt, Learning | None]]:
    return learn_batched


@pytest.fixture(scope="session", name="load")
def _load() -> Callable[[Primed], TorchBackend]:
    return load


@pytest.fixture(scope="session")
def make_primed() -> Callable[..., Primed]:
    return prime


@pytest.fixture(scope="session")
def make_spikes() -> Callable[..., NDArray[np.uint8]]:
    return hear


@pytest.fixture(scope="session")
def loaded() -> TorchBackend:
    """A backend with three words: of one shot, of one shot, of two."""
    backend = TorchBackend()
    backend.load(*prime())
    shots = [backend.learn(hear(20 + k, k)) for k in range(4)]
    backend.deploy([shots[:1], shots[1:2], shots[2:]])
    return backend
