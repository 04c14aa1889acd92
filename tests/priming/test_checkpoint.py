"""A checkpoint is read as it was written, or refused with one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from torch import Tensor

from priming import checkpoint
from priming.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from priming.errors import ModelError

STATE = json.dumps({"step": 3, "elapsed_s": 1.5, "configuration": "{}"})


def weights() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "w.in": torch.randn(3, 2, generator=rng).requires_grad_(),
        "gain": torch.randn((), generator=rng).requires_grad_(),
        "never": torch.ones(2),
    }


def trained(steps: int) -> tuple[dict[str, Tensor], torch.optim.Adam]:
    named = weights()
    optimizer = torch.optim.Adam(list(named.values()), lr=0.1)
    for step in range(steps):
        train(named, optimizer, step)
    return named, optimizer


def train(named: dict[str, Tensor], optimizer: torch.optim.Adam, step: int) -> None:
    optimizer.zero_grad()
    (named["w.in"].sin().sum() * named["gain"] + step * named["gain"].square()).backward()
    optimizer.step()


def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, _ = trained(7)
    half, optimizer = trained(4)
    path = tmp_path / "deep" / "checkpoint.safetensors"
    save_checkpoint(path, Checkpoint(4, 2.5, half, checkpoint.optimizer_tensors(optimizer, half), "what was asked"))
    state = load_checkpoint(path)
    assert (state.step, state.elapsed_s, state.configuration) == (4, 2.5, "what was asked")
    assert all(torch.equal(state.weights[name], tensor) for name, tensor in half.items())
    resumed = {name: tensor.clone().requires_grad_(name != "never") for name, tensor in state.weights.items()}
    restored = torch.optim.Adam(list(resumed.values()), lr=0.1)
    checkpoint.restore_optimizer(restored, resumed, state.optimizer)
    for step in range(4, 7):
        train(resumed, restored, step)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def with_header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


GOOD = save({"weight/w": np.ones(3, np.float32)}, metadata={"sayonce-checkpoint": STATE})


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"no tensors",
        GOOD[:40],
        GOOD[:-1],
        with_header(b"null"),
        with_header(b"[1]"),
        with_header(b'{"__metadata__": null}'),
        save({"a": np.ones(1, np.float32)}),
        save({"a": np.ones(1, np.float32)}, metadata={"sayonce": "{}"}),
        save({"weight/w": np.ones(1, np.float32)}, metadata={"sayonce-checkpoint": "{"}),
        save({"weight/w": np.ones(1, np.float32)}, metadata={"sayonce-checkpoint": "[]"}),
        save({"weight/w": np.ones(1, np.float32)}, metadata={"sayonce-checkpoint": '{"step": 1}'}),
        save({"foreign": np.ones(1, np.float32)}, metadata={"sayonce-checkpoint": STATE}),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="start again without --resume") as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
