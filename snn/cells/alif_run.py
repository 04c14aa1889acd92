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
"""

from typing import Any

import torch
from torch import Tensor

from snn.cells import alif, stepwise
from snn.cells.sweep import flat, needs_gradient, rows, through, weight_gradient


class _Run(torch.autograd.Function):
    """Arguments: current [T, ..., N], w_rec, alpha, rho, beta, state, v_th, gamma, whether the recurrent path is cut, whether to keep v and a."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        current, w_rec, alpha, rho, beta, v0, a0, z0, v_th, gamma, detach, keep = arguments
        ctx.constants = v_th, gamma, detach
        ctx.set_materialize_grads(False)
        currents = flat(current, w_rec)
        v, a, z = (flat(tensor.expand(current.shape[1:]).unsqueeze(0), w_rec)[0] for tensor in (v0, a0, z0))
        all_v, all_a = (currents.new_empty(currents.shape if keep else (1, *currents.shape[1:])) for _ in range(2))
        psi, spikes = torch.empty_like(currents), torch.empty_like(currents)
        arriving, threshold = torch.empty_like(currents[0]), torch.empty_like(currents[0])
        transposed = w_rec.transpose(-1, -2).contiguous()
        steps = len(currents)
        for current_t, v_t, a_t, d_t, z_t in zip(
            currents.unbind(), rows(all_v, steps), rows(all_a, steps), psi.unbind(), spikes.unbind(), strict=True
        ):
            through(z, transposed, arriving).add_(current_t)
            torch.mul(v, alpha, out=v_t).add_(arriving).sub_(z, alpha=v_th)
            torch.mul(a, rho, out=a_t).add_(z)
            torch.mul(a_t, beta, out=threshold).add_(v_th)
            torch.sub(v_t, threshold, out=d_t)
            torch.ge(d_t, 0.0, out=z_t)
            v, a, z = v_t, a_t, z_t
        psi.abs_().div_(v_th).neg_().add_(1.0).clamp_min_(0.0).mul_(gamma / v_th)  # so far it held v - A
        out_z, out_psi = spikes.reshape(current.shape), psi.reshape(current.shape)
        if keep:
            ctx.save_for_backward(current, w_rec, alpha, rho, beta, v0, a0, z0, all_v, all_a, out_z, out_psi)
        return out_z, out_psi, v.reshape(current.shape[1:]).clone(), a.reshape(current.shape[1:]).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        v_th, gamma, detach = ctx.constants
        inputs, (all_v, all_a, out_z, out_psi) = ctx.saved_tensors[:8], ctx.saved_tensors[8:]
        unused = (None, None, None, None)
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return *stepwise.differentiated(lambda *own: _plain(*own, v_th, gamma, detach), inputs, grads), *unused
        current, w_rec, alpha, rho, beta, v0, a0, z0 = inputs
        grad_z, grad_psi, grad_v_last, grad_a_last = grads
        shape, batch = current.shape, current.shape[1:]
        spikes, psi = flat(out_z, w_rec), flat(out_psi, w_rec)
        first = [flat(tensor.expand(batch).unsqueeze(0), w_rec)[0] for tensor in (v0, a0, z0)]
        given = torch.zeros_like(spikes) if grad_z is None else flat(grad_z, w_rec)
        direct = None
        if grad_psi is not None:
            distance = all_v - (beta * all_a).add_(v_th)
            inside = distance.abs().div_(v_th) <= 1.0
            direct = flat(grad_psi, w_rec) * distance.sign().mul_(inside).mul_(-gamma / v_th**2)
        zero = torch.zeros_like(spikes[0])
        v_hat = zero if grad_v_last is None else flat(grad_v_last.unsqueeze(0), w_rec)[0]
        a_hat = zero.clone() if grad_a_last is None else flat(grad_a_last.unsqueeze(0), w_rec)[0].clone()
        by_alpha, by_rho, by_beta = (torch.zeros_like(zero) for _ in range(3))
        z_hat, d_hat = torch.empty_like(zero), torch.empty_like(zero)
        all_v_hat = torch.empty_like(spikes)
        last = len(spikes) - 1
        given_rows, psi_rows, direct_rows = given.unbind(), psi.unbind(), None if direct is None else direct.unbind()
        rows_v, rows_a, rows_v_hat = all_v.unbind(), all_a.unbind(), all_v_hat.unbind()
        for t in range(last, -1, -1):
            if t == last:  # what comes after the run hears z through the state, whose gradient is in grad_z
                z_hat.copy_(given_rows[t])
            elif detach:
                torch.add(given_rows[t], a_hat, out=z_hat)
            else:
                through(v_hat, w_rec, z_hat, given_rows[t]).add_(a_hat)
            if direct_rows is None:
                torch.mul(z_hat, psi_rows[t], out=d_hat)
            else:
                torch.addcmul(direct_rows[t], z_hat, psi_rows[t], out=d_hat)
            by_beta.addcmul_(d_hat, rows_a[t], value=-1.0)
            if t == last:
                v_hat = torch.add(d_hat, v_hat, out=rows_v_hat[t])
                a_hat.addcmul_(d_hat, beta, value=-1.0)
            else:
                v_hat = torch.addcmul(d_hat, v_hat, alpha, out=rows_v_hat[t])
                a_hat.mul_(rho).addcmul_(d_hat, beta, value=-1.0)
            by_alpha.addcmul_(v_hat, rows_v[t - 1] if t else first[0])
            by_rho.addcmul_(a_hat, rows_a[t - 1] if t else first[1])
        by_state = alpha * v_hat, rho * a_hat, a_hat if detach else through(v_hat, w_rec, z_hat, a_hat)
        return (
            all_v_hat.reshape(shape),
            weight_gradient(all_v_hat, spikes, first[2]) if ctx.needs_input_grad[1] else None,
            *(by.reshape(batch).sum_to_size(tensor.shape) for by, tensor in zip((by_alpha, by_rho, by_beta), (alpha, rho, beta), strict=True)),
            *(by.reshape(batch).sum_to_size(tensor.shape) for by, tensor in zip(by_state, (v0, a0, z0), strict=True)),
            *unused,
        )


def _plain(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    current, w_rec, alpha, rho, beta, v0, a0, z0, v_th, gamma, detach = arguments
    params = alif.AlifParams(alpha, rho, beta, v_th, gamma)
    z, psi, last = stepwise.run(alif.step, current, w_rec, alif.AlifState(v0, a0, z0), params, detach)
    return z, psi, last.v, last.a


def run(
    current: Tensor, w_rec: Tensor, state: alif.AlifState, params: alif.AlifParams, detach_recurrent: bool
) -> tuple[Tensor, Tensor, alif.AlifState]:
    """Run a population over a sequence.

    Spikes, pseudo-derivatives and state are those of `stepwise.run` to the last bit, gradients to rounding.

    Args:
        current: [T, ..., N], or [T, B, Q, N] when w_rec has a task axis.
        w_rec: [N, N] or [B, N, N].
        state: before the first step.
        params: of the population.
        detach_recurrent: cut the gradient of the spikes that travel over w_rec.

    Returns:
        Spikes and pseudo-derivatives, each [T, ..., N], and the state after the last step.
    """
    inputs = (current, w_rec, params.alpha, params.rho, params.beta, *state)
    constants = params.v_th, params.gamma, detach_recurrent, needs_gradient(inputs)
    z, psi, v, a = _Run.apply(*inputs, *constants)  # type: ignore[no-untyped-call]
    return z, psi, alif.AlifState(v, a, z[-1])
