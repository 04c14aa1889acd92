"""A step of priming learns words from what an enrolment would hear."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from priming.config import PrimeConfig
from priming.outer_loop import OuterLoop
from priming.workspace import Workspace
from snn import features, schemes

MakeConfig = Callable[..., PrimeConfig]


def test_words_are_learnt_from_clips_that_end_as_those_of_an_enrolment(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, taught = schemes.learn, list[Tensor]()

    def watch(config: Any, weights: Any, support: Tensor, shots: int = 1) -> Any:
        taught.append(support.detach())
        return learn(config, weights, support, shots)

    config = toy_config(tmp_path / "m.safetensors", input_dropout=0.0)
    assert config.learner is not None
    loop, words = OuterLoop(config, config.learner, toy_workspace), toy_workspace.features
    monkeypatch.setattr(schemes, "learn", watch)
    task = toy_workspace.sampler.draw(0, config.readout_ways, config.queries, round(config.unknown_share * config.readout_ways))
    support = words.take_support(task.support.ravel(), task.support_copies.ravel())
    assert (support != words.take(task.support.ravel(), task.support_copies.ravel())).any()
    with torch.no_grad():
        expected, _ = features.hear(config.learner, loop.weights, torch.from_numpy(support).to(torch.float32).transpose(0, 1))
    loop.advance()
    assert torch.allclose(taught[0], expected, atol=1e-5)
