r"""A whole run of ALIF neurons as one differentiable operation: `snn.cells.stepwise` over `alif.step`, several times as quick.

Forward, the equations of `snn.cells.alif` in the same order of operations, in buffers that are allocated once; :math:`\psi` for all steps at once.
Backward, their adjoint by hand. With :math:`\hat y` the gradient of the loss by y, :math:`d = v - A`, and from
:math:`\hat v^{T+1} = \hat a^{T+1} = 0`:

.. math::
    \hat z^t &= \frac{\partial E}{\partial z^t} + W^\top \hat v^{t+1} + \hat a^{t+1}, \qquad
    \hat d^t = \psi^t \hat z^t - \frac{\gamma}{v_{th}^2}\, \mathrm{sgn}(d^t)\, [|d^t| \le v_{th}]\, \frac{\partial E}{\partial \psi^t} \\
    \hat v^t &= \hat d^t + \alpha \hat v^{t+1}, \qquad \hat a^t = \rho \hat a^{t+1} - \beta \hat d^t \\
    \hat I^t &= \hat v^t, \quad \hat W = \sum_t \hat v^t (z^{t-1})^\top, \quad
    \hat\alpha = \sum_t \hat v^t v^{t-1}, \quad \hat\rho = \sum_t \hat a^t a^{t-1}, \quad \hat\beta = -\sum_t \hat d^t a^t

The gradient of the weights is one matrix product after the loop instead of T of them; :math:`\psi` is an output with a gradient of its own, because
priming differentiates e-prop, which is made of it. Where a gradient is to be differentiated again, the backward pass is autograd's of the plain loop.

Both loops are loops of PyTorch's operations (`snn.cells.alif_sweeps`), or on a GPU one kernel each (`snn.cells.alif_fused`).
"""

from typing import Any

import torch
from torch import Tensor

from snn.cells import alif, stepwise
from snn.cells.alif_sweeps import EAGER, Given, Ran, Sweeps
from snn.cells.sweep import flat, flat_state, kernels_serve, needs_gradient, weight_gradient


class _Run(torch.autograd.Function):
    """Arguments: current [T, ..., N], w_rec, alpha, rho, beta, state, v_th, gamma, is the recurrent path cut, are v and a kept, and the sweeps."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        current, w_rec, alpha, rho, beta, v0, a0, z0, v_th, gamma, detach, keep, sweeps = arguments
        ctx.constants = v_th, gamma, detach, sweeps
        ctx.set_materialize_grads(False)
        shape, batch = current.shape, current.shape[1:]
        params = alif.AlifParams(alpha, rho, beta, v_th, gamma)
        first = alif.AlifState(*flat_state((v0, a0, z0), batch, w_rec))
        ran = sweeps.forward(flat(current, w_rec), w_rec, first, params, keep)
        out_z, out_psi = ran.z.reshape(shape), ran.psi.reshape(shape)
        if keep:
            ctx.save_for_backward(current, w_rec, alpha, rho, beta, v0, a0, z0, ran.v, ran.a, out_z, out_psi)
        return out_z, out_psi, ran.v[-1].reshape(batch).clone(), ran.a[-1].reshape(batch).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        v_th, gamma, detach, sweeps = ctx.constants
        *inputs, all_v, all_a, out_z, out_psi = ctx.saved_tensors  # once: torch.utils.checkpoint makes them anew where they are read
        unused = (None, None, None, None, None)
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return *stepwise.differentiated(lambda *own: _plain(*own, v_th, gamma, detach), inputs, grads), *unused
        current, w_rec, alpha, rho, beta, v0, a0, z0 = inputs
        shape, batch = current.shape, current.shape[1:]
        ran = Ran(flat(out_z, w_rec), flat(out_psi, w_rec), all_v, all_a)
        by_z, by_psi = (None if grad is None else flat(grad, w_rec) for grad in grads[:2])
        by_v, by_a = (None if grad is None else flat(grad.unsqueeze(0), w_rec)[0] for grad in grads[2:])
        first = alif.AlifState(*flat_state((v0, a0, z0), batch, w_rec))
        found = sweeps.backward(Given(by_z, by_psi, by_v, by_a), ran, w_rec, first, alif.AlifParams(alpha, rho, beta, v_th, gamma), detach)
        by_row = zip((found.alpha, found.rho, found.beta, *found.state), (alpha, rho, beta, v0, a0, z0), strict=True)
        return (
            found.current.reshape(shape),
            weight_gradient(found.current, ran.z, first.z) if ctx.needs_input_grad[1] else None,
            *(by.reshape(batch).sum_to_size(tensor.shape) for by, tensor in by_row),
            *unused,
        )


def _plain(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    current, w_rec, alpha, rho, beta, v0, a0, z0, v_th, gamma, detach = arguments
    params = alif.AlifParams(alpha, rho, beta, v_th, gamma)
    z, psi, last = stepwise.run(alif.step, current, w_rec, alif.AlifState(v0, a0, z0), params, detach)
    return z, psi, last.v, last.a


def sweeps_for(current: Tensor) -> Sweeps:
    """Choose how the loops over time are done: kernels for float32 on a GPU that Triton serves, loops of PyTorch's operations otherwise.

    Args:
        current: [T, ..., N] of the run.
    """
    if not kernels_serve(current):
        return EAGER
    from snn.cells.alif_fused import FUSED

    return FUSED


def run(
    current: Tensor, w_rec: Tensor, state: alif.AlifState, params: alif.AlifParams, detach_recurrent: bool, sweeps: Sweeps | None = None
) -> tuple[Tensor, Tensor, alif.AlifState]:
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
    inputs = (current, w_rec, params.alpha, params.rho, params.beta, *state)
    constants = params.v_th, params.gamma, detach_recurrent, needs_gradient(inputs), sweeps or sweeps_for(current)
    z, psi, v, a = _Run.apply(*inputs, *constants)  # type: ignore[no-untyped-call]
    return z, psi, alif.AlifState(v, a, z[-1])
