"""Evolution strategies prime through a backend that they know nothing about, and go on after an interruption as if there had been none."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardware.backend import BackendError
from hardware.torch_backend import TorchBackend
from priming import evolution
from priming.config import PrimeConfig
from priming.errors import DataError, ModelError
from priming.evolution import EvolutionLoop
from priming.loop import Loop
from priming.model import load_model
from priming.run import prime

MakeLoop = Callable[..., Loop]
Judge = Callable[..., tuple[float, float]]
SEARCH = {"optimizer": "es", "theta": "rates", "population": 6, "population_tasks": 1}


def harmful(loop: Loop) -> None:
    """Set the search back to rates at which learning does harm."""
    assert isinstance(loop, EvolutionLoop)
    loop.weights["readout.learning"].fill_(0.06)
    for name in ("log_rate_in", "log_rate_rec"):
        loop._origins[name].fill_(2.5)


def test_learning_rates_are_found_without_a_gradient(pattern_loop: MakeLoop, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = pattern_loop(8, neurons=24, spread=0.5, evolution_rate=0.4, **SEARCH)
    harmful(loop)
    calls = {"learn": 0, "deploy": 0, "score": 0}
    for name in calls:
        real = getattr(TorchBackend, name)

        def counted(self: TorchBackend, argument: Any, name: str = name, real: Any = real) -> Any:
            calls[name] += len(argument) > 0  # loading a network deploys no words
            return real(self, argument)

        monkeypatch.setattr(TorchBackend, name, counted)
    worst = {name: torch.tensor(2.5) for name in ("log_rate_in", "log_rate_rec")}
    reports = []
    while loop.progress < 1.0:
        reports.append(loop.advance())
    assert calls == {"learn": 8 * 6 * 5, "deploy": 8 * 6, "score": 8 * 6}
    assert reports[-1].words == 6 * 5
    assert float(loop.weights["log_rate_in"]) < 2.4
    before, after = judge(loop, worst), judge(loop)
    assert after[0] < before[0] - 0.05
    assert after[1] >= before[1]


def test_only_the_named_tensors_are_searched(pattern_loop: MakeLoop) -> None:
    loop = pattern_loop(1, optimizer="es", theta="init", population=2, population_tasks=1, evolve=("readout.gain", "bias"))
    start = {name: tensor.clone() for name, tensor in loop.weights.items()}
    loop.advance()
    moved = {name for name, tensor in loop.weights.items() if not torch.equal(tensor, start[name])}
    assert {name for name in moved if not name.startswith("objective.")} == {"readout.gain", "bias"}
    with pytest.raises(DataError, match="begins with nothing"):
        pattern_loop(1, evolve=("nothing",), **SEARCH)


def test_the_fixed_point_emulator_stands_in_the_loop(pattern_loop: MakeLoop) -> None:
    """Its own arithmetic judges: the loss of the same candidates differs from the float emulator's, by little."""
    search = {"optimizer": "es", "evolve": ("log_rate", "readout.gain"), "population": 2, "population_tasks": 1, "spread": 0.05}
    fixed, floating = (pattern_loop(1, backend=name, **search) for name in ("fixed", "torch"))
    start = {name: tensor.clone() for name, tensor in fixed.weights.items()}
    found, expected = fixed.advance(), floating.advance()
    assert found.loss != expected.loss
    assert found.loss == pytest.approx(expected.loss, abs=0.2)
    moved = {name for name, tensor in fixed.weights.items() if not torch.equal(tensor, start[name])}
    assert {name for name in moved if not name.startswith("objective.")} == {"log_rate_in", "log_rate_rec", "readout.gain"}
    with pytest.raises(BackendError, match="theta 'init'"):
        pattern_loop(1, theta="init", backend="fixed", **search)


def test_a_candidate_that_cannot_learn_is_the_worst(pattern_loop: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = pattern_loop(2, **SEARCH)
    real, calls = TorchBackend.learn, 0

    def sometimes(self: TorchBackend, spikes: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise BackendError("lost")
        return real(self, spikes)

    monkeypatch.setattr(TorchBackend, "learn", sometimes)
    report = loop.advance()
    assert report.figures["lost candidates"] == 1
    assert np.isfinite(report.loss)
    assert all(torch.isfinite(tensor).all() for tensor in loop.weights.values())

    def never(self: TorchBackend, spikes: Any) -> Any:
        raise BackendError("lost")

    monkeypatch.setattr(TorchBackend, "learn", never)
    kept = {name: tensor.clone() for name, tensor in loop.moments().items()}
    with pytest.raises(ModelError, match="no candidate of step 1"):
        loop.advance()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in loop.moments().items())


def test_a_search_that_was_interrupted_goes_on_bit_for_bit(pattern_loop: MakeLoop, tmp_path: Path) -> None:
    whole, first, second = (pattern_loop(3, **SEARCH | {"population": 2}) for _ in range(3))
    for loop, steps in ((whole, 3), (first, 1)):
        for _ in range(steps):
            loop.advance()
    first.save(tmp_path / "checkpoint")
    torch.manual_seed(99)  # what else draws numbers does not matter
    second.resume(tmp_path / "checkpoint")
    assert second.step == 1
    for _ in range(2):
        second.advance()
    assert all(torch.equal(tensor, second.weights[name]) for name, tensor in whole.weights.items())
    assert all(torch.equal(tensor, second.moments()[name]) for name, tensor in whole.moments().items())


def test_a_primed_model_is_tuned_through_a_backend(
    toy_config: Callable[..., PrimeConfig], toy_model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--start MODEL --optimizer es --backend NAME` does; the first step's candidates lie around the model."""
    seen: list[str] = []
    real = evolution.open_backend

    def opened(name: str) -> Any:
        seen.append(name)
        return real("torch")

    monkeypatch.setattr(evolution, "open_backend", opened)
    search = {"optimizer": "es", "backend": "fixed", "evolve": ("readout.gain",), "population": 2, "population_tasks": 1, "spread": 0.05}
    config = toy_config(tmp_path / "tuned.safetensors", learner=None, start=str(toy_model_file), steps=1, validation_episodes=2, **search)
    tuned, model = load_model(prime(config)), load_model(toy_model_file)
    assert seen == ["fixed"]
    assert tuned.config.learner == model.config.learner
    assert all(np.array_equal(array, tuned.encoder_constants[name]) for name, array in model.encoder_constants.items())
    changed = {name for name, tensor in model.weights.items() if not torch.equal(tensor, tuned.weights[name])}
    assert changed == {"readout.gain"}
    torch.testing.assert_close(tuned.weights["readout.gain"], model.weights["readout.gain"], rtol=0.3, atol=0.3)
    wrong = config.model_copy(update={"encoder": "embedding"})
    with pytest.raises(DataError, match="add --encoder mel"):
        prime(wrong)


def test_what_cannot_be_searched_is_refused(toy_config: Callable[..., PrimeConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "m.safetensors"
    for changes, reason in (
        ({"optimizer": "es", "theta": "weights"}, "a device can run"),
        ({"backend": "fixed"}, "belong to the optimizer es"),
        ({"optimizer": "es", "population": 5}, "multiple of 2"),
        ({"start": "mel"}, "has its learner already"),
        ({"patience": 2}, "ask for some"),
    ):
        with pytest.raises(ValueError, match=reason):
            toy_config(out, **changes)
    for name in [name for name in sys.modules if name.partition(".")[0] == "evotorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "evotorch", None)
    with pytest.raises(DataError, match=r"sayonce\[evolution\]"):
        evolution._evotorch()
