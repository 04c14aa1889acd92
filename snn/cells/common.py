"""What all cells share: the result of a step, and the one place where time constants become decays."""

from typing import NamedTuple

import torch
from torch import Tensor


class CellOutput(NamedTuple):
    """What a population emits at one step."""

    z: Tensor  # [..., N] spikes, 0 or 1
    psi: Tensor  # [..., N] pseudo-derivative


def decay(tau_ms: Tensor, step_ms: float) -> Tensor:
    """Turn time constants into decays per step.

    Args:
        tau_ms: time constants in ms, > 0, any shape.
        step_ms: duration of one network step in ms.

    Returns:
        exp(-step_ms / tau_ms), same shape.
    """
    return torch.exp(-step_ms / tau_ms)
