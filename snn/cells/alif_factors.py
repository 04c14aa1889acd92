r"""The e-prop factors of ALIF neurons as one differentiable operation, for priming, which differentiates the learning rule itself.

The recursion of `snn.cells.alif`, written with :math:`s^t = L^t + \lambda^{t+1}` and going backwards from :math:`\lambda^{T+1} = B^{T+1} = 0`:

.. math::
    c^t = \psi^t s^t, \qquad B^t = c^t + \alpha B^{t+1}, \qquad \lambda^t = \rho \lambda^{t+1} - \beta c^t

Its adjoint runs forward in time. With :math:`\hat y` the gradient of the loss by y, from :math:`\hat B^0 = 0, \hat\lambda^1 = 0`:

.. math::
    \hat B^t &= \frac{\partial E}{\partial B^t} + \alpha \hat B^{t-1}, \qquad
    \hat c^t = \hat B^t - \beta \hat\lambda^t, \qquad \hat L^t = \psi^t \hat c^t, \qquad \hat\psi^t = s^t \hat c^t \\
    \hat\lambda^{t+1} &= \rho \hat\lambda^t + \hat L^t, \qquad
    \hat\alpha = \sum_t \hat B^t B^{t+1}, \quad \hat\rho = \sum_t \hat\lambda^t \lambda^{t+1}, \quad \hat\beta = -\sum_t \hat\lambda^t c^t

(:math:`\hat B^t` is the membrane's low-pass of Bellec et al. 2020 and :math:`\hat\lambda^t` their :math:`\epsilon_a`: the adjoint of the factorised
form is the online form.) Where a gradient is to be differentiated again, the backward pass is autograd's of a plain loop.
"""

from typing import Any

import torch
from torch import Tensor

from snn.cells import stepwise
from snn.cells.sweep import needs_gradient


def plain(psi: Tensor, signal: Tensor, alpha: Tensor, rho: Tensor, beta: Tensor) -> tuple[Tensor]:
    """Fold the learning signals as a loop of operations that autograd knows; arguments and result as of `fold`, the result in a tuple."""
    lam = b = torch.zeros_like(psi[0])
    out: list[Tensor] = []
    for psi_t, signal_t in zip(psi.flip(0), signal.flip(0), strict=True):
        c = psi_t * (signal_t + lam)
        b = alpha * b + c
        lam = rho * lam - beta * c
        out.append(b)
    return (torch.stack(out[::-1]),)


class _Fold(torch.autograd.Function):
    """Arguments: psi, signal [T, ..., N], alpha, rho, beta, whether to keep s."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        psi, signal, alpha, rho, beta, keep = arguments
        factor, sums = torch.empty_like(psi), torch.empty_like(psi)
        lam, b = torch.zeros_like(psi[0]), torch.zeros_like(psi[0])
        c = torch.empty_like(lam)
        for psi_t, signal_t, s_t, b_t in zip(*(reversed(tensor.unbind()) for tensor in (psi, signal, sums, factor)), strict=True):
            torch.mul(psi_t, torch.add(signal_t, lam, out=s_t), out=c)
            b = torch.mul(b, alpha, out=b_t).add_(c)
            lam.mul_(rho).sub_(c.mul_(beta))
        if keep:
            ctx.save_for_backward(psi, signal, alpha, rho, beta, sums, factor)
        return factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, sums, factor = ctx.saved_tensors  # once: torch.utils.checkpoint makes them anew where they are read
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return *stepwise.differentiated(plain, inputs, grads), None
        psi, signal, alpha, rho, beta = inputs
        by_psi, by_signal = torch.empty_like(psi), torch.empty_like(psi)
        b_hat, lam_hat, c_hat = (torch.zeros_like(psi[0]) for _ in range(3))
        by_alpha, by_rho, by_beta = (torch.zeros_like(psi[0]) for _ in range(3))
        by_params = any(ctx.needs_input_grad[2:5])
        later = [*factor.unbind()[1:], torch.zeros_like(psi[0])]
        rows = zip(*(tensor.unbind() for tensor in (grads[0], psi, signal, sums, by_psi, by_signal)), later, strict=True)
        for grad_t, psi_t, signal_t, s_t, by_psi_t, by_signal_t, later_t in rows:
            torch.addcmul(grad_t, b_hat, alpha, out=b_hat)
            torch.addcmul(b_hat, lam_hat, beta, value=-1.0, out=c_hat)
            torch.mul(s_t, c_hat, out=by_psi_t)
            torch.mul(psi_t, c_hat, out=by_signal_t)
            if by_params:
                by_alpha.addcmul_(b_hat, later_t)
                by_rho.addcmul_(lam_hat, torch.sub(s_t, signal_t, out=c_hat))
                by_beta.addcmul_(lam_hat, torch.mul(psi_t, s_t, out=c_hat), value=-1.0)
            lam_hat.mul_(rho).add_(by_signal_t)
        totals = zip((by_alpha, by_rho, by_beta), (alpha, rho, beta), strict=True)
        return by_psi, by_signal, *(by.sum_to_size(tensor.shape) if by_params else None for by, tensor in totals), None


def fold(psi: Tensor, signal: Tensor, alpha: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
    """Fold the learning signals backwards in time into one factor per neuron and step.

    Args:
        psi: [T, ..., N] pseudo-derivatives.
        signal: [T, ..., N] learning signals.
        alpha: [N] membrane decay.
        rho: [N] decay of the threshold adaptation.
        beta: [N] strength of the adaptation.

    Returns:
        [T, ..., N] factors B.
    """
    psi, signal = torch.broadcast_tensors(psi, signal)
    inputs = (psi, signal, alpha, rho, beta)
    folded: Tensor = _Fold.apply(*inputs, needs_gradient(inputs))  # type: ignore[no-untyped-call]
    return folded
