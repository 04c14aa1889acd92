"""What the GPU kernels of the cells share, in Triton: the recurrent product of a program's sequences, and how a kernel is launched.

`snn.cells.alif_fused` says what a program does. Like the kernels, this file needs Triton.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

ROWS = 8  # sequences of a program
PART = 16  # neurons of a part of a recurrent product


@triton.jit  # type: ignore[untyped-decorator]
def product(left, left_mask, weights, column, N: tl.constexpr, ROWS: tl.constexpr, NEURONS: tl.constexpr, PART: tl.constexpr):  # type: ignore[no-untyped-def]
    """Multiply rows in memory, which begin at `left` [ROWS, 1], by weights [N, N] in memory: [ROWS, NEURONS]."""
    total = tl.zeros((ROWS, NEURONS), dtype=weights.dtype.element_ty)
    for begin in range(0, N, PART):
        inner = begin + tl.arange(0, PART)
        rows = tl.load(left + inner[None, :], mask=left_mask & (inner < N)[None, :], other=0.0)
        matrix = tl.load(weights + inner[:, None] * N + column[None, :], mask=(inner < N)[:, None] & (column < N)[None, :], other=0.0)
        total = tl.dot(rows, matrix, total, input_precision="ieee", out_dtype=total.dtype)
    return total


def launch(sequence: Tensor, w_rec: Tensor, **constants: float | bool) -> tuple[tuple[int, int], tuple[int, ...], dict[str, Any]]:
    """Prepare to launch a kernel.

    Args:
        sequence: [T, R, N], or [T, B, Q, N].
        w_rec: [N, N], or [B, N, N].
        constants: of the cell and the kernel.

    Returns:
        The grid, the sizes that a kernel is told, and all constants that it is compiled with.
    """
    neurons = sequence.shape[-1]
    tasks, rows = (1, sequence.shape[1]) if w_rec.dim() == 2 else sequence.shape[1:3]
    wide = max(16, triton.next_power_of_2(neurons))
    sizes = len(sequence), rows, tasks * rows * neurons, neurons * neurons
    shape = {"N": neurons, "ROWS": ROWS, "NEURONS": wide, "PART": PART}
    compiled = {"num_warps": 4 if wide <= 32 else 8 if wide <= 256 else 16, "enable_fp_fusion": False}
    return (triton.cdiv(rows, ROWS), tasks), sizes, {**shape, **constants, **compiled}
