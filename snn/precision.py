r"""In which format the large matrix products of priming are computed: those of what is heard with the weights that all words share.

.. math::
    (x W^\top)_j = \sum_i x_i W_{ji}

are most of the arithmetic of an outer step (input currents, readout units, overlaps of queries with utterances). Within

    with products("bf16"):
        ...

`product` rounds both factors to bfloat16 (8 bits of mantissa), lets the hardware add in float32 (cuBLAS may join parts of a long sum in bfloat16),
and rounds the result to bfloat16 before it becomes float32 again, as `torch.autocast` does; "tf32" lets an NVIDIA GPU round the factors to 10 bits
and changes nothing on a CPU. The products of the backward pass are computed likewise. Spikes are 0 or 1 and lose nothing. Everything else stays
float32: recurrent products, membranes, thresholds, eligibility and its folding, what a word has learnt, the objective and the outer optimiser.
Without a block, and for float64, `product` is `@`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bf16"]

_asked: ContextVar[Precision] = ContextVar("precision of products", default="float32")


class _Product(torch.autograd.Function):
    """Arguments: left [..., K], right [K, N], precision. The backward pass is made of such products, so it can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, precision: Precision) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.precision = precision
        rows = left.reshape(-1, left.shape[-1])
        result = (rows.bfloat16() @ right.bfloat16()).to(left.dtype) if precision == "bf16" else _tf32(rows, right)
        return result.reshape(*left.shape[:-1], right.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        left, right = ctx.saved_tensors
        (grad,) = grads
        by_left = _Product.apply(grad, right.T, ctx.precision) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        flat = left.reshape(-1, left.shape[-1]).T, grad.reshape(-1, grad.shape[-1])
        by_right = _Product.apply(*flat, ctx.precision) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return by_left, by_right, None


def _tf32(left: Tensor, right: Tensor) -> Tensor:
    """Multiply, in TF32 where a GPU can; the setting is PyTorch's for all products, so it is put back."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return left @ right
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply what is heard by weights, in the precision that is asked for.

    Args:
        left: [..., K].
        right: [K, N].

    Returns:
        [..., N], of the type of `left`.
    """
    precision = _asked.get()
    if precision == "float32" or left.dtype != torch.float32:
        return left @ right
    result: Tensor = _Product.apply(left, right, precision)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Compute the products within a block, and those of its backward pass, in a precision."""
    token = _asked.set(precision)
    try:
        yield
    finally:
        _asked.reset(token)
