r"""A whole run of adLIF neurons as one differentiable operation: `snn.cells.stepwise` over `adlif.step`, several times as quick.

Forward, the equations of `snn.cells.adlif` in the same order of operations, in buffers that are allocated once. Backward, their adjoint by hand. With
:math:`\hat y` the gradient of the loss by y, :math:`g^t = I^t - w^t`, and from :math:`\hat u^{T+1} = \hat w^{T+1} = 0`:

.. math::
    \hat I^t &= (1-\alpha) \hat u^t, \qquad
    \hat z^t = \frac{\partial E}{\partial z^t} + W^\top \hat I^{t+1} + b \hat w^{t+1} - \alpha \hat u^{t+1} \\
    \hat u^t &= \psi^t \hat z^t + \alpha \hat u^{t+1} + (1-\rho) a \hat w^{t+1}, \qquad \hat w^t = \rho \hat w^{t+1} - \hat I^t \\
    \hat W &= \sum_t \hat I^t (z^{t-1})^\top, \qquad \hat\alpha = \sum_t \hat u^t (u^{t-1} - z^{t-1} - g^t) \\
    \hat\rho &= \sum_t \hat w^t (w^{t-1} - a u^{t-1}), \qquad \hat a = (1-\rho) \sum_t \hat w^t u^{t-1}, \qquad \hat b = \sum_t \hat w^t z^{t-1}

The pseudo-derivative is a boxcar, constant wherever it has a derivative, so it carries none. The gradient of the weights is one matrix product after
the loop. Where a gradient is to be differentiated again, the backward pass is autograd's of the plain loop.

Both loops are loops of PyTorch's operations (`snn.cells.adlif_sweeps`), or on a GPU one kernel each (`snn.cells.adlif_fused`).
"""

from typing import Any

import torch
from torch import Tensor

from snn.cells import adlif, stepwise
from snn.cells.adlif_sweeps import EAGER, Given, Ran, Sweeps
from snn.cells.sweep import flat, flat_state, kernels_serve, needs_gradient, weight_gradient


class _Run(torch.autograd.Function):
    """Arguments: current [T, ..., N], w_rec, alpha, rho, a, b, state, gamma, is the recurrent path cut, are u, w and g kept, and the sweeps."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        current, w_rec, alpha, rho, a, b, u0, w0, z0, gamma, detach, keep, sweeps = arguments
        ctx.constants = gamma, detach, sweeps
        ctx.set_materialize_grads(False)
        shape, batch = current.shape, current.shape[1:]
        params = adlif.AdlifParams(alpha, rho, a, b, gamma)
        first = adlif.AdlifState(*flat_state((u0, w0, z0), batch, w_rec))
        ran = sweeps.forward(flat(current, w_rec), w_rec, first, params, keep)
        out_z, out_psi = ran.z.reshape(shape), ran.psi.reshape(shape)
        ctx.mark_non_differentiable(out_psi)
        if keep:
            ctx.save_for_backward(current, w_rec, alpha, rho, a, b, u0, w0, z0, ran.u, ran.w, ran.g, out_z, out_psi)
        return out_z, out_psi, ran.u[-1].reshape(batch).clone(), ran.w[-1].reshape(batch).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        gamma, detach, sweeps = ctx.constants
        *inputs, all_u, all_w, all_g, out_z, out_psi = ctx.saved_tensors  # once: torch.utils.checkpoint makes them anew where they are read
        unused = (None, None, None, None)
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return *stepwise.differentiated(lambda *own: _plain(*own, gamma, detach), inputs, grads), *unused
        current, w_rec, alpha, rho, a, b, u0, w0, z0 = inputs
        shape, batch = current.shape, current.shape[1:]
        ran = Ran(flat(out_z, w_rec), flat(out_psi, w_rec), all_u, all_w, all_g)
        by_z = None if grads[0] is None else flat(grads[0], w_rec)
        by_u, by_w = (None if grad is None else flat(grad.unsqueeze(0), w_rec)[0] for grad in grads[2:])
        first = adlif.AdlifState(*flat_state((u0, w0, z0), batch, w_rec))
        found = sweeps.backward(Given(by_z, by_u, by_w), ran, w_rec, first, adlif.AdlifParams(alpha, rho, a, b, gamma), detach)
        by_row = zip((found.alpha, found.rho, found.a, found.b, *found.state), (alpha, rho, a, b, u0, w0, z0), strict=True)
        return (
            found.current.reshape(shape),
            weight_gradient(found.current, ran.z, first.z) if ctx.needs_input_grad[1] else None,
            *(by.reshape(batch).sum_to_size(tensor.shape) for by, tensor in by_row),
            *unused,
        )


def _plain(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    current, w_rec, alpha, rho, a, b, u0, w0, z0, gamma, detach = arguments
    params = adlif.AdlifParams(alpha, rho, a, b, gamma)
    z, psi, last = stepwise.run(adlif.step, current, w_rec, adlif.AdlifState(u0, w0, z0), params, detach)
    return z, psi, last.u, last.w


def sweeps_for(current: Tensor) -> Sweeps:
    """Choose how the loops over time are done: kernels for float32 on a GPU that Triton serves, loops of PyTorch's operations otherwise.

    Args:
        current: [T, ..., N] of the run.
    """
    if not kernels_serve(current):
        return EAGER
    from snn.cells.adlif_fused import FUSED

    return FUSED


def run(
    current: Tensor, w_rec: Tensor, state: adlif.AdlifState, params: adlif.AdlifParams, detach_recurrent: bool, sweeps: Sweeps | None = None
) -> tuple[Tensor, Tensor, adlif.AdlifState]:
    """Run a population over a sequence.

    On a CPU spikes, pseudo-derivatives and state are those of `stepwise.run` to the last bit, gradients to rounding.

    Args:
        current: [T, ..., N], or [T, B, Q, N] when w_rec has a task axis.
        w_rec: [N, N] or [B, N, N].
        state: before the first step.
        params: of the population.
        detach_recurrent: cut the gradient of the spikes that travel over w_rec.
        sweeps: how the loops over time are done; `sweeps_for` these tensors when None.

    Returns:
        Spikes and pseudo-derivatives, each [T, ..., N], and the state after the last step.
    """
    inputs = (current, w_rec, *params[:4], *state)
    constants = params.gamma, detach_recurrent, needs_gradient(inputs), sweeps or sweeps_for(current)
    z, psi, u, w = _Run.apply(*inputs, *constants)  # type: ignore[no-untyped-call]
    return z, psi, adlif.AdlifState(u, w, z[-1])
