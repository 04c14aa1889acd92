"""Every choice of what is primed learns to learn: words that priming never drew are told apart better after it than before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hardware.backend import BackendError, open_backend
from priming.config import PrimeConfig
from priming.finish import save_primed
from priming.loop import Loop
from priming.model import load_model
from priming.run import open_loop
from priming.workspace import Workspace
from snn import features as population
from snn import schemes

MakeLoop = Callable[..., Loop]
Judge = Callable[..., tuple[float, float]]


def run(loop: Loop) -> None:
    while loop.progress < 1.0:
        loop.advance()


@pytest.mark.parametrize(
    "settings",
    [
        {"theta": "init+lsg"},
        {"theta": "init"},
        {"theta": "init", "broadcast": "random"},
        {"theta": "init", "broadcast": "learned"},
        {"theta": "init", "inner": "bptt"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_initial_weights_are_learnt(pattern_loop: MakeLoop, judge: Judge, settings: dict[str, Any]) -> None:
    loop = pattern_loop(50, **settings)
    start = {name: tensor.detach().clone() for name, tensor in loop.weights.items()}
    before = judge(loop)
    run(loop)
    after = judge(loop)
    assert after[0] < before[0] - 0.5
    assert after[1] > before[1] + 0.05
    scalars = {name: tensor for name, tensor in loop.weights.items() if name.startswith("objective.")}
    assert after[0] < judge(loop, start | scalars)[0] - 0.1  # more than the objective's own scalars
    still = {name for name, tensor in loop.weights.items() if torch.equal(tensor, start[name])}
    assert still == ({"broadcast"} if settings.get("broadcast") == "random" else set())


@pytest.mark.parametrize("rates", ["projection", "synapse"])
def test_learning_rates_alone_are_learnt(pattern_loop: MakeLoop, judge: Judge, rates: str) -> None:
    """From rates at which learning does harm to rates at which it does not, nothing else being moved."""
    loop = pattern_loop(40, theta="rates", rates=rates, neurons=24, learning_rate=0.2)
    with torch.no_grad():
        loop.weights["readout.learning"].fill_(0.06)
        for name in ("log_rate_in", "log_rate_rec"):
            loop.weights[name].fill_(2.5)
    start = {name: tensor.detach().clone() for name, tensor in loop.weights.items()}
    run(loop)
    moved = {name for name, tensor in loop.weights.items() if not torch.equal(tensor, start[name])}
    assert {name for name in moved if not name.startswith("objective.")} == {"log_rate_in", "log_rate_rec"}
    rates_before = {name: start[name] for name in ("log_rate_in", "log_rate_rec")}
    before, after = judge(loop, rates_before), judge(loop)
    assert after[0] < before[0] - 0.1
    assert after[1] > before[1] + 0.02


@pytest.mark.parametrize("cell", ["alif", "adlif"])
def test_words_are_learnt_in_the_hidden_state(pattern_loop: MakeLoop, judge: Judge, cell: str) -> None:
    loop = pattern_loop(100, theta="weights", neurons=32, cell=cell, busy=0.8, quiet=0.03)
    before = judge(loop)
    run(loop)
    after = judge(loop)
    assert after[0] < before[0] - 1.0
    assert after[1] > max(0.6, before[1] + 0.1)  # chance: one in five
    forgetful = {"beta" if cell == "alif" else "b": torch.zeros(32)}
    assert judge(loop, forgetful)[1] < after[1] - 0.2


def test_stages_are_those_of_the_scheme(pattern_loop: MakeLoop) -> None:
    shares = {theta: pattern_loop(4, theta=theta).readout_share for theta in schemes.SCHEMES}
    assert shares == {"rates": 0.0, "weights": 0.0, "init": 0.5, "init+lsg": 0.5}
    loop = pattern_loop(4, theta="init")
    assert [loop.advance().figures["stage"] for _ in range(4)] == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "settings",
    [{"theta": "rates", "rates": "synapse"}, {"theta": "init", "broadcast": "random"}, {"theta": "init", "inner": "bptt"}, {"theta": "weights"}],
    ids=str,
)
def test_a_model_says_its_scheme_and_backends_honour_it(
    toy_config: Callable[..., PrimeConfig], toy_workspace: Workspace, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = toy_config(tmp_path / "m.safetensors", validation_episodes=2, **settings)
    loop = open_loop(config, toy_workspace)
    loop.advance()
    model = load_model(save_primed(config, loop, toy_workspace, lambda line: None))
    learner = model.config.learner
    assert {name: getattr(learner, name) for name in settings} == settings
    assert set(model.weights) == set(loop.learner_weights())
    backend = open_backend("torch")
    spikes = toy_workspace.features.take(torch.arange(4).numpy(), torch.zeros(4, dtype=torch.int64).numpy())
    if learner.theta == "weights":
        with pytest.raises(BackendError, match="theta 'weights'"):
            backend.load(learner, model.weights)
        return
    backend.load(learner, model.weights)
    if learner.inner == "bptt":
        with pytest.raises(BackendError, match="no device runs"):
            backend.learn(spikes[0])
        return
    backend.deploy([[backend.learn(spikes[k])] for k in range(2)])
    heard, _ = population.hear(learner, model.weights, torch.from_numpy(spikes).float().transpose(0, 1))
    expected = schemes.respond(learner, model.weights, schemes.learn(learner, model.weights, heard[:, :2])[0], heard[:, 2:])[0]
    torch.testing.assert_close(torch.from_numpy(backend.score(list(spikes[2:]))), expected.amax(0).T, rtol=1e-3, atol=1e-4)
