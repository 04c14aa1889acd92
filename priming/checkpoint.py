"""Checkpoints of the outer loop: weights, both moments of the optimiser and the step, in one safetensors file.

Draws depend on seed and step alone, so nothing else is needed to go on exactly as if nothing had happened. The file is replaced as a whole.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priming.atomic import write_atomically
from priming.errors import ModelError


@dataclass
class Checkpoint:
    """Where a run stands."""

    step: int
    elapsed_s: float
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]  # "<weight>.<moment>"
    configuration: str  # JSON of the run's configuration: a run is resumed with the one it was started with
    history: list[dict[str, Any]] = field(default_factory=list)  # validations so far


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the previous one stays whole until this one is."""
    write_atomically(path, to_bytes(checkpoint))


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Return the content of a checkpoint's file."""
    from safetensors.torch import save

    tensors = {f"weight/{name}": tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
    tensors |= {f"optimizer/{name}": tensor.detach().cpu().contiguous() for name, tensor in checkpoint.optimizer.items()}
    state = {"step": checkpoint.step, "elapsed_s": checkpoint.elapsed_s, "configuration": checkpoint.configuration, "history": checkpoint.history}
    return save(tensors, metadata={"sayonce-checkpoint": json.dumps(state)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: the file is missing, damaged or no checkpoint.
    """
    from safetensors import SafetensorError

    try:
        return from_bytes(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no checkpoint that can be resumed: start again without --resume") from error


def from_bytes(content: bytes) -> Checkpoint:
    """Read the content of a checkpoint's file; raises what the parsers raise if it is none."""
    from safetensors.torch import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["sayonce-checkpoint"]
    tensors, state = load(content), json.loads(header)
    parts: dict[str, dict[str, Tensor]] = {"weight": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        parts[part][key] = tensor
    return Checkpoint(state["step"], state["elapsed_s"], parts["weight"], parts["optimizer"], state["configuration"], state["history"])


def optimizer_tensors(optimizer: torch.optim.Adam, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collect the optimiser's moments by the name of their weight."""
    return {f"{name}.{key}": value for name, weight in weights.items() for key, value in optimizer.state.get(weight, {}).items()}


def restore_optimizer(optimizer: torch.optim.Adam, weights: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """Put moments back under their weights."""
    for name, tensor in tensors.items():
        owner, _, key = name.rpartition(".")
        weight = weights[owner]
        optimizer.state[weight][key] = tensor.clone() if key == "step" else tensor.to(weight.device, copy=True)
