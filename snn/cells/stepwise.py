"""A run of a population as a loop over its cell's step, differentiated by autograd: the reference, and the form of cells without a quicker one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from snn.cells.common import CellOutput

Step = Callable[[Tensor, Any, Any], tuple[CellOutput, Any]]


def run(step: Step, current: Tensor, w_rec: Tensor, state: Any, params: Any, detach_recurrent: bool) -> tuple[Tensor, Tensor, Any]:
    """Run a population over a sequence.

    Args:
        step: the cell's.
        current: [T, ..., N], or [T, B, Q, N] when w_rec has a task axis.
        w_rec: [N, N] or [B, N, N].
        state: of the cell, before the first step.
        params: of the population.
        detach_recurrent: cut the gradient of the spikes that travel over w_rec.

    Returns:
        Spikes and pseudo-derivatives, each [T, ..., N], and the state after the last step.
    """
    transposed = w_rec.transpose(-1, -2).contiguous()
    spikes: list[Tensor] = []
    psis: list[Tensor] = []
    for current_t in current:
        sent = state.z.detach() if detach_recurrent else state.z
        out, state = step(current_t + sent @ transposed, state, params)
        spikes.append(out.z)
        psis.append(out.psi)
    return torch.stack(spikes), torch.stack(psis), state


def differentiated(plain: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Differentiate a plain form so that its gradient can be differentiated again: the way out of a hand-written backward pass.

    Args:
        plain: function of `inputs`, made of operations that autograd knows.
        inputs: tensors that a hand-written operation received.
        grads: gradients of the outputs of `plain`, in their order; None where an output is not used.

    Returns:
        The gradient of each input; None for one that needs none.
    """
    with torch.enable_grad():
        own = [tensor.view_as(tensor) for tensor in inputs]  # one input may depend on another, whose gradient must not be counted twice
        outputs = plain(*own)
        used = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None and output.requires_grad]
        wanted = [tensor for tensor in own if tensor.requires_grad]
        found = torch.autograd.grad([output for output, _ in used], wanted, [grad for _, grad in used], create_graph=True, allow_unused=True)
    by_tensor = iter(found)
    return [next(by_tensor) if tensor.requires_grad else None for tensor in own]
