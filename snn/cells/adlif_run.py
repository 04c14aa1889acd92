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
"""

from typing import Any

import torch
from torch import Tensor

from snn.cells import adlif, stepwise
from snn.cells.sweep import flat, needs_gradient, rows, through, weight_gradient
from snn.surrogate import boxcar


class _Run(torch.autograd.Function):
    """Arguments: current [T, ..., N], w_rec, alpha, rho, a, b, state, gamma, whether the recurrent path is cut, whether to keep u, w and g."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        current, w_rec, alpha, rho, a, b, u0, w0, z0, gamma, detach, keep = arguments
        ctx.constants = gamma, detach
        ctx.set_materialize_grads(False)
        currents = flat(current, w_rec)
        u, w, z = (flat(tensor.expand(current.shape[1:]).unsqueeze(0), w_rec)[0] for tensor in (u0, w0, z0))
        all_u, all_spikes = torch.empty_like(currents), torch.empty_like(currents)
        all_w, all_g = (currents.new_empty(currents.shape if keep else (1, *currents.shape[1:])) for _ in range(2))
        scratch = torch.empty_like(currents[0])
        transposed, coupling, gain = w_rec.transpose(-1, -2).contiguous(), (1 - rho) * a, 1 - alpha
        steps = len(currents)
        for current_t, u_t, w_t, g_t, z_t in zip(
            currents.unbind(), all_u.unbind(), rows(all_w, steps), rows(all_g, steps), all_spikes.unbind(), strict=True
        ):
            torch.mul(w, rho, out=w_t).add_(torch.mul(u, coupling, out=scratch)).addcmul_(z, b)
            through(z, transposed, g_t).add_(current_t).sub_(w_t)
            torch.sub(u, z, out=u_t).mul_(alpha).add_(torch.mul(g_t, gain, out=scratch))
            torch.ge(torch.sub(u_t, 1.0, out=scratch), 0.0, out=z_t)
            u, w, z = u_t, w_t, z_t
        psi = boxcar(all_u - 1.0, gamma)
        out_z, out_psi = all_spikes.reshape(current.shape), psi.reshape(current.shape)
        ctx.mark_non_differentiable(out_psi)
        if keep:
            ctx.save_for_backward(current, w_rec, alpha, rho, a, b, u0, w0, z0, all_u, all_w, all_g, out_z, out_psi)
        return out_z, out_psi, u.reshape(current.shape[1:]).clone(), w.reshape(current.shape[1:]).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        gamma, detach = ctx.constants
        *inputs, all_u, all_w, all_g, out_z, out_psi = ctx.saved_tensors  # once: torch.utils.checkpoint makes them anew where they are read
        unused = (None, None, None)
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return *stepwise.differentiated(lambda *own: _plain(*own, gamma, detach), inputs, grads), *unused
        current, w_rec, alpha, rho, a, b, u0, w0, z0 = inputs
        grad_z, _, grad_u_last, grad_w_last = grads
        shape, batch = current.shape, current.shape[1:]
        spikes, psi = flat(out_z, w_rec), flat(out_psi, w_rec)
        first_u, first_w, first_z = (flat(tensor.expand(batch).unsqueeze(0), w_rec)[0] for tensor in (u0, w0, z0))
        coupling, gain = (1 - rho) * a, 1 - alpha
        given = torch.zeros_like(spikes) if grad_z is None else flat(grad_z, w_rec)
        zero = torch.zeros_like(spikes[0])
        u_hat, z_hat, reset = torch.zeros_like(zero), torch.empty_like(zero), torch.empty_like(zero)
        w_hat = zero.clone()
        by_alpha, by_u, by_w, by_z = (torch.zeros_like(zero) for _ in range(4))
        all_current_hat = torch.empty_like(spikes)
        last = len(spikes) - 1
        for t in range(last, -1, -1):
            if t == last:  # what comes after the run hears z through the state, whose gradient is in grad_z
                torch.mul(given[t], psi[t], out=u_hat)
                if grad_u_last is not None:
                    u_hat.add_(flat(grad_u_last.unsqueeze(0), w_rec)[0])
                if grad_w_last is not None:
                    w_hat.copy_(flat(grad_w_last.unsqueeze(0), w_rec)[0])
            else:
                torch.mul(u_hat, alpha, out=reset)
                if detach:
                    torch.sub(given[t], reset, out=z_hat).addcmul_(w_hat, b)
                else:
                    through(all_current_hat[t + 1], w_rec, z_hat, given[t]).sub_(reset).addcmul_(w_hat, b)
                torch.addcmul(reset, w_hat, coupling, out=u_hat).addcmul_(z_hat, psi[t])
                w_hat.mul_(rho)
            w_hat.sub_(torch.mul(u_hat, gain, out=all_current_hat[t]))
            before = (all_u[t - 1], all_w[t - 1], spikes[t - 1]) if t else (first_u, first_w, first_z)
            by_alpha.addcmul_(u_hat, torch.sub(before[0], before[2], out=reset).sub_(all_g[t]))
            for by, tensor in zip((by_u, by_w, by_z), before, strict=True):
                by.addcmul_(w_hat, tensor)
        torch.mul(u_hat, alpha, out=reset)
        by_z0 = (b * w_hat).sub_(reset)
        by_state = torch.addcmul(reset, w_hat, coupling), rho * w_hat, by_z0 if detach else through(all_current_hat[0], w_rec, z_hat, by_z0)
        by_params = by_alpha, by_w - a * by_u, (1 - rho) * by_u, by_z
        return (
            all_current_hat.reshape(shape),
            weight_gradient(all_current_hat, spikes, first_z) if ctx.needs_input_grad[1] else None,
            *(by.reshape(batch).sum_to_size(tensor.shape) for by, tensor in zip(by_params, (alpha, rho, a, b), strict=True)),
            *(by.reshape(batch).sum_to_size(tensor.shape) for by, tensor in zip(by_state, (u0, w0, z0), strict=True)),
            *unused,
        )


def _plain(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    current, w_rec, alpha, rho, a, b, u0, w0, z0, gamma, detach = arguments
    params = adlif.AdlifParams(alpha, rho, a, b, gamma)
    z, psi, last = stepwise.run(adlif.step, current, w_rec, adlif.AdlifState(u0, w0, z0), params, detach)
    return z, psi, last.u, last.w


def run(
    current: Tensor, w_rec: Tensor, state: adlif.AdlifState, params: adlif.AdlifParams, detach_recurrent: bool
) -> tuple[Tensor, Tensor, adlif.AdlifState]:
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
    inputs = (current, w_rec, *params[:4], *state)
    constants = params.gamma, detach_recurrent, needs_gradient(inputs)
    z, psi, u, w = _Run.apply(*inputs, *constants)  # type: ignore[no-untyped-call]
    return z, psi, adlif.AdlifState(u, w, z[-1])
