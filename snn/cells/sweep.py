"""What the hand-written runs of the cells share: sequences as stacks of matrices, products into buffers that are there, and where kernels serve."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

MOST_NEURONS = 512  # beyond, the state of a kernel's sequences does not fit into a program's registers


@cache
def _triton() -> bool:
    """Say whether Triton is installed; PyTorch for CUDA brings it along on Linux."""
    return find_spec("triton") is not None


def kernels_serve(current: Tensor) -> bool:
    """Say whether the loops over time are done by kernels: for float32 on a GPU that Triton serves.

    Args:
        current: [T, ..., N] of the run.
    """
    if not (current.is_cuda and current.dtype == torch.float32 and current.numel() and _triton()):
        return False
    return torch.cuda.get_device_capability(current.device) >= (8, 0) and current.shape[-1] <= MOST_NEURONS


def needs_gradient(inputs: Iterable[Tensor]) -> bool:
    """Say whether autograd will ask for a gradient by one of these tensors: only then is there something to keep for it."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)


def flat(sequence: Tensor, w_rec: Tensor) -> Tensor:
    """See a sequence [T, ..., N] as matrices: [T, R, N] for shared weights [N, N]; [T, B, Q, N] stays as it is for weights [B, N, N]."""
    return sequence.reshape(len(sequence), -1, sequence.shape[-1]) if w_rec.dim() == 2 else sequence.contiguous()


def flat_state(state: Iterable[Tensor], batch: torch.Size, w_rec: Tensor) -> list[Tensor]:
    """See the state before a run over sequences of shape `batch`, [..., N], as rows of a flat sequence."""
    return [flat(tensor.expand(batch).unsqueeze(0), w_rec)[0] for tensor in state]


def rows(buffer: Tensor, steps: int) -> Sequence[Tensor]:
    """List the row of every step; a buffer of one row serves all steps in turn."""
    return buffer.unbind() if len(buffer) == steps else [buffer[0]] * steps


def through(z: Tensor, weights: Tensor, out: Tensor, added: Tensor | None = None) -> Tensor:
    """Multiply z [R, N] or [B, Q, N] by weights [N, N] or [B, N, N] into `out`, and add `added` if there is any."""
    if weights.dim() == 2:
        return torch.mm(z, weights, out=out) if added is None else torch.addmm(added, z, weights, out=out)
    return torch.bmm(z, weights, out=out) if added is None else torch.baddbmm(added, z, weights, out=out)


def weight_gradient(current_hat: Tensor, spikes: Tensor, first: Tensor) -> Tensor:
    """Sum over steps the products of the gradients of the currents with the spikes one step before.

    Args:
        current_hat: [T, R, N], or [T, B, Q, N].
        spikes: of the run, same shape.
        first: [R, N] or [B, Q, N] spikes of the step before the run.

    Returns:
        [N, N] or [B, N, N].
    """
    if current_hat.dim() == 3:
        return torch.addmm(current_hat[0].T @ first, current_hat[1:].flatten(0, 1).T, spikes[:-1].flatten(0, 1))
    post, pre = (tensor.transpose(0, 1).flatten(1, 2) for tensor in (current_hat[1:], spikes[:-1]))  # [B, (T - 1) Q, N]
    return torch.baddbmm(current_hat[0].transpose(1, 2) @ first, post.transpose(1, 2), pre)
