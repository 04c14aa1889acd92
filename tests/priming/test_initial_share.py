"""Finished weights keep a share of those that the run started from."""

from collections.abc import Callable
from pathlib import Path

import torch

from priming.config import PrimeConfig
from priming.outer_loop import OuterLoop
from priming.workspace import Workspace

MakeConfig = Callable[..., PrimeConfig]


def test_finished_weights_lie_between_the_first_and_the_primed_ones(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    found = {}
    for share in (0.0, 0.25):
        config = toy_config(tmp_path / "m.safetensors", initial_share=share)
        assert config.learner is not None
        loop = OuterLoop(config, config.learner, toy_workspace)
        start = {name: tensor.clone() for name, tensor in loop.learner_weights().items()}
        loop.advance()
        loop.save(tmp_path / "checkpoint")
        resumed = OuterLoop(config, config.learner, toy_workspace)
        resumed.resume(tmp_path / "checkpoint")
        found[share] = resumed.finished_weights()
        assert all(torch.equal(found[share][name], tensor) for name, tensor in loop.finished_weights().items())
        assert all(torch.equal(resumed.learner_weights()[name], tensor) for name, tensor in loop.learner_weights().items())  # goes on from there
    assert any(not torch.equal(found[0.0][name], tensor) for name, tensor in start.items())
    for name, primed in found[0.0].items():
        torch.testing.assert_close(found[0.25][name], 0.75 * primed + 0.25 * start[name])
