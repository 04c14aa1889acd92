"""How a step is computed changes what it costs: in segments it is the same step, in bfloat16 nearly, and float32 is what nobody has to ask for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from priming.config import PrimeConfig
from priming.loop import Loop, StepReport
from priming.outer_loop import OuterLoop
from priming.workspace import Workspace

MakeConfig = Callable[..., PrimeConfig]
STAGES: dict[str, dict[str, Any]] = {
    "readout": {"readout_share": 1.0},
    "e-prop": {"readout_share": 0.0},
    "weights": {"theta": "weights"},
    "bptt": {"theta": "init", "inner": "bptt", "readout_share": 0.0},
}


def step(make: MakeConfig, workspace: Workspace, tmp_path: Path, stage: str, **settings: Any) -> tuple[StepReport, dict[str, torch.Tensor]]:
    """Do a step of a stage and return its report and the weights after it."""
    config = make(tmp_path / "m.safetensors", **STAGES[stage], **settings)
    assert config.learner is not None
    loop = OuterLoop(config, config.asked(config.learner), workspace)
    return loop.advance(), loop.learner_weights()


@pytest.mark.parametrize("stage", STAGES)
def test_in_segments_it_is_the_same_step(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, stage: str) -> None:
    (plain, _), (parts, _) = (step(toy_config, toy_workspace, tmp_path, stage, segment_steps=length) for length in (None, 9))
    assert parts.loss == plain.loss
    assert parts.accuracy == plain.accuracy
    assert parts.figures["gradient norm"] == pytest.approx(plain.figures["gradient norm"], rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_in_bfloat16_it_is_nearly_the_same_step(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, stage: str) -> None:
    (plain, _), (rounded, _) = (step(toy_config, toy_workspace, tmp_path, stage, precision=precision) for precision in ("float32", "bf16"))
    assert rounded.loss != plain.loss
    assert rounded.loss == pytest.approx(plain.loss, rel=0.1)
    assert rounded.figures["gradient norm"] == pytest.approx(plain.figures["gradient norm"], rel=0.5)


def test_float32_is_the_default_and_rounds_nothing(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "bfloat16", lambda tensor: pytest.fail("something was rounded"))
        (default, first), (asked, second) = (step(toy_config, toy_workspace, tmp_path, "e-prop", **own) for own in ({}, {"precision": "float32"}))
    assert default.loss == asked.loss
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())


def test_a_step_by_bfloat16_leaves_the_optimiser_in_float32(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "m.safetensors", precision="bf16")
    assert config.learner is not None
    loop = OuterLoop(config, config.learner, toy_workspace)
    loop.advance()
    assert {tensor.dtype for tensor in (*loop.weights.values(), *loop.moments().values())} == {torch.float32}


def test_settings_are_checked(toy_config: MakeConfig, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    assert toy_config(out, precision="tf32", segment_steps="100").segment_steps == 100
    for wrong in ({"precision": "fp16"}, {"segment_steps": 0}):
        with pytest.raises(ValidationError):
            toy_config(out, **wrong)
    for useless in ({"precision": "bf16"}, {"segment_steps": 10}, {"prefetch": True}):
        with pytest.raises(ValidationError, match="settings of the optimizer bptt"):
            toy_config(out, optimizer="es", **useless)


def test_it_learns_in_bfloat16(pattern_loop: Callable[..., Loop], judge: Callable[..., tuple[float, float]]) -> None:
    loop = pattern_loop(60, precision="bf16")
    before = judge(loop)[0]
    for _ in range(60):
        loop.advance()
    assert judge(loop)[0] < before - 0.5
