r"""Long runs in bounded memory: activations are kept at the ends of segments alone and computed again in the backward pass.

Back-propagation through T steps keeps every membrane potential and adaptation of a run. Within

    with segments(100):
        ...

a run of `snn.network.run` that is longer than 100 steps keeps the state after every 100th step instead, and what it was given. Its backward pass goes
from the last segment to the first: it runs a segment again from the state before it and differentiates it, given the gradient by the state after it
(Chen et al. 2016, "Training deep nets with sublinear memory cost"; Gruslys et al. 2016 for time). Spikes and states are those of the plain run to the
last bit, as a run in pieces is one run; gradients are the same sums, those of the weights in another order. The price is a second forward pass.

`torch.utils.checkpoint` around each segment would do the same and hold more: its segments are tensors of their own that have to be put together.
Here they are written into the tensors that are returned.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn.cells import stepwise
from snn.cells.sweep import needs_gradient

_asked: ContextVar[int | None] = ContextVar("steps of a segment", default=None)


class Piece(NamedTuple):
    """A run as a function of tensors alone."""

    run: Callable[..., tuple[Tensor, Tensor, Any]]  # of current, w_rec, params, state: spikes, pseudo-derivatives and last state
    params: Any  # of the population
    state: type[Any]  # of its cell: two tensors, and the spikes z of the last step

    def __call__(self, current: Tensor, w_rec: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return z and psi of all steps and the two other parts of the last state; `tensors` are those of the parameters and of the state before."""
        names = [name for name, value in self.params._asdict().items() if isinstance(value, Tensor)]
        own = self.params._replace(**dict(zip(names, tensors[:-3], strict=True)))
        z, psi, last = self.run(current, w_rec, own, self.state(*tensors[-3:]))
        return z, psi, last[0], last[1]


class _Segmented(torch.autograd.Function):
    """Arguments: the run, steps of a segment, current [T, ..., N], w_rec, tensors of the parameters, state (three tensors)."""

    @staticmethod
    def forward(ctx: Any, piece: Piece, length: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        current, rest, state = inputs[0], inputs[1:-3], inputs[-3:]
        z, psi = torch.empty_like(current), torch.empty_like(current)
        before: list[Tensor] = []
        for part, z_part, psi_part in zip(current.split(length), z.split(length), psi.split(length), strict=True):
            before += state
            found_z, found_psi, *other = piece(part, *rest, *state)
            z_part.copy_(found_z)
            psi_part.copy_(found_psi)
            state = (*other, found_z[-1].clone())
        ctx.piece, ctx.length = piece, length
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *before[3:])
        return z, psi, *state[:2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        piece, length, needed = ctx.piece, ctx.length, ctx.needs_input_grad[2:]
        saved = ctx.saved_tensors
        inputs, later = saved[: len(needed)], saved[len(needed) :]
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return None, None, *stepwise.differentiated(piece, inputs, grads)
        parts, rest = inputs[0].split(length), inputs[1:-3]
        states = (*inputs[-3:], *later)
        by_current = torch.empty_like(inputs[0])
        by_rest: list[Tensor | None] = [None] * len(rest)
        by_z, by_psi = ([None] * len(parts) if grad is None else grad.split(length) for grad in grads[:2])
        by_state: tuple[Tensor | None, ...] = (*grads[2:], None)
        rows = list(zip(parts, by_current.split(length), by_z, by_psi, strict=True))
        for k in range(len(rows) - 1, -1, -1):
            part, by_part, *by_both = rows[k]
            wants = (True, *needed[1:-3], *(True,) * 3)
            with torch.enable_grad():
                given = (part, *rest, *states[3 * k : 3 * k + 3])
                own = [tensor.detach().requires_grad_(want) for tensor, want in zip(given, wants, strict=True)]
                outputs = piece(*own)
                told = [*zip(outputs, (*by_both, *by_state[:2]), strict=True), (outputs[0][-1], by_state[2])]
            used = [(output, grad) for output, grad in told if grad is not None and output.requires_grad]
            leaves = [tensor for tensor in own if tensor.requires_grad]
            found = iter(_gradients(used, leaves))
            of_part, *of_rest = (next(found) if tensor.requires_grad else None for tensor in own)
            by_part.zero_() if of_part is None else by_part.copy_(of_part)
            by_rest = [_sum(total, more) for total, more in zip(by_rest, of_rest[:-3], strict=True)]
            by_state = tuple(of_rest[-3:])
        return None, None, by_current, *by_rest, *by_state


def _gradients(used: list[tuple[Tensor, Tensor]], leaves: list[Tensor]) -> Sequence[Tensor | None]:
    """Differentiate outputs, given the gradients by them; no output, no gradient."""
    if not used:
        return [None] * len(leaves)
    return torch.autograd.grad([output for output, _ in used], leaves, [grad for _, grad in used], allow_unused=True)


def _sum(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """Add to a gradient."""
    return more if total is None else total if more is None else total.add_(more)


@contextmanager
def segments(steps: int | None) -> Iterator[None]:
    """Let runs that are differentiated keep their state only every so many steps.

    Args:
        steps: of a segment; None for runs that keep everything. About the square root of the steps of a run needs the least memory.

    Raises:
        ValueError: less than one step.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"a segment of {steps} steps: one at least")
    token = _asked.set(steps)
    try:
        yield
    finally:
        _asked.reset(token)


def run(plain: Callable[..., tuple[Tensor, Tensor, Any]], current: Tensor, w_rec: Tensor, params: Any, state: Any) -> tuple[Tensor, Tensor, Any]:
    """Run a population over a sequence, in segments where that is asked for and saves anything.

    Args:
        plain: a run; of current, w_rec, params and state.
        current: [T, ..., N], or [T, B, Q, N] when w_rec has a task axis.
        w_rec: [N, N] or [B, N, N].
        params: of the population.
        state: of the cell, before the first step.

    Returns:
        Spikes and pseudo-derivatives, each [T, ..., N], and the state after the last step.
    """
    length = _asked.get()
    inputs = (current, w_rec, *(value for value in params if isinstance(value, Tensor)), *state)
    if length is None or len(current) <= length or not needs_gradient(inputs):
        return plain(current, w_rec, params, state)
    z, psi, *other = _Segmented.apply(Piece(plain, params, type(state)), length, *inputs)  # type: ignore[no-untyped-call]
    return z, psi, type(state)(*other, z[-1])
