"""Tasks begin at any distance from rest: what comes before their clips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from priming.config import PrimeConfig
from priming.outer_loop import OuterLoop
from priming.workspace import Workspace
from snn import features

MakeConfig = Callable[..., PrimeConfig]


def test_each_task_draws_how_much_comes_before_its_clips(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, heard = features.hear, []

    def listen(config: Any, weights: Any, spikes: Tensor) -> Any:
        heard.append(spikes.detach())
        return hear(config, weights, spikes)

    monkeypatch.setattr(features, "hear", listen)
    found = {}
    for lead_steps in (0, 5):
        config = toy_config(tmp_path / "m.safetensors", input_dropout=0.0, rate=1e-9, eprop_rate=1e-9, learning_rate=1e-9)
        assert config.learner is not None
        config = config.model_copy(update={"lead_ms": lead_steps * config.learner.step_ms})
        heard.clear()
        loop = OuterLoop(config, config.learner, toy_workspace)
        for _ in range(12):
            loop.advance()
        found[lead_steps] = list(heard)
    leads = [len(longer) - len(plain) for longer, plain in zip(found[5], found[0], strict=True)]
    assert 0 <= min(leads) < max(leads) <= 5
    assert len(set(leads)) > 3
    for lead, longer, plain in zip(leads, found[5], found[0], strict=True):
        assert torch.equal(longer[lead:], plain)
        assert torch.equal(longer[:lead], plain[:lead].flip(0))
