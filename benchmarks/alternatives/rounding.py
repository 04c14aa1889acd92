"""Weights in few bits, as a digital board stores them: each tensor in equal steps between minus and plus its largest magnitude."""

from collections.abc import Mapping

from torch import Tensor


def rounded(weights: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Round every tensor to signed integers times one step of its own.

    Args:
        weights: of the learner.
        bits: of a weight, the sign included; 2 or more.

    Returns:
        The rounded weights.
    """
    largest = 2 ** (bits - 1) - 1
    return {name: _round(tensor, largest) for name, tensor in weights.items()}


def _round(tensor: Tensor, largest: int) -> Tensor:
    step = tensor.abs().max() / largest
    return (tensor / step).round() * step if step > 0 else tensor
