"""The two sweeps over time of a run of adLIF neurons, forward and backward, as loops of PyTorch's operations into buffers that are there already.

The equations are those of `snn.cells.adlif_run`, which calls these sweeps, or on a GPU the kernels of `snn.cells.adlif_fused`. Sequences come as
stacks of matrices (`snn.cells.sweep.flat`): [T, R, N] where all rows share weights [N, N], [T, B, Q, N] for weights [B, N, N].
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from snn.cells.adlif import AdlifParams, AdlifState
from snn.cells.sweep import rows, through


class Ran(NamedTuple):
    """What a forward sweep leaves."""

    z: Tensor  # [T, ..., N] spikes
    psi: Tensor  # [T, ..., N] pseudo-derivatives
    u: Tensor  # [T, ..., N] membrane potentials; the last step alone, [1, ..., N], where they are not kept
    w: Tensor  # the same of the adaptation current
    g: Tensor  # [T, ..., N] what enters the membrane, I - w; of no use where it is not kept


class Given(NamedTuple):
    """Gradients of the loss by what a run returns, but for the pseudo-derivative; None where the loss does not depend on it."""

    z: Tensor | None  # [T, ..., N]
    u: Tensor | None  # [..., N] of the last step
    w: Tensor | None  # [..., N] of the last step


class Adjoint(NamedTuple):
    """Gradients of the loss by what a run was given, not yet summed over sequences."""

    current: Tensor  # [T, ..., N]
    alpha: Tensor  # [..., N]
    rho: Tensor  # [..., N]
    a: Tensor  # [..., N]
    b: Tensor  # [..., N]
    state: AdlifState  # [..., N] each


class Sweeps(NamedTuple):
    """One way to compute both."""

    forward: Callable[[Tensor, Tensor, AdlifState, AdlifParams, bool], Ran]
    backward: Callable[[Given, Ran, Tensor, AdlifState, AdlifParams, bool], Adjoint]


def forward(currents: Tensor, w_rec: Tensor, first: AdlifState, params: AdlifParams, keep: bool) -> Ran:
    """Run from the first step to the last.

    Args:
        currents: [T, R, N], or [T, B, Q, N].
        w_rec: [N, N], or [B, N, N].
        first: state before the first step, each as a row of `currents`.
        params: of the population.
        keep: whether u, w and g of all steps are needed afterwards.

    Returns:
        What the population did.
    """
    u, w, z = first
    alpha, rho, a, b, gamma = params
    all_u, all_w, all_g = (currents.new_empty(currents.shape if keep else (1, *currents.shape[1:])) for _ in range(3))
    psi, spikes, scratch = torch.empty_like(currents), torch.empty_like(currents), torch.empty_like(currents[0])
    transposed, coupling, gain = w_rec.transpose(-1, -2).contiguous(), (1 - rho) * a, 1 - alpha
    kept = (rows(buffer, len(currents)) for buffer in (all_u, all_w, all_g))
    for current_t, u_t, w_t, g_t, d_t, z_t in zip(currents.unbind(), *kept, psi.unbind(), spikes.unbind(), strict=True):
        torch.mul(w, rho, out=w_t).add_(torch.mul(u, coupling, out=scratch)).addcmul_(z, b)
        through(z, transposed, g_t).add_(current_t).sub_(w_t)
        torch.sub(u, z, out=u_t).mul_(alpha).add_(torch.mul(g_t, gain, out=scratch))
        torch.ge(torch.sub(u_t, 1.0, out=d_t), 0.0, out=z_t)
        u, w, z = u_t, w_t, z_t
    psi.abs_().le_(0.5).mul_(gamma)  # so far it held u - 1
    return Ran(spikes, psi, all_u, all_w, all_g)


def backward(given: Given, ran: Ran, w_rec: Tensor, first: AdlifState, params: AdlifParams, detach: bool) -> Adjoint:
    """Run the adjoint from the last step to the first.

    Args:
        given: gradients by what the run returned.
        ran: what a forward sweep left that was told to keep it.
        w_rec: [N, N], or [B, N, N].
        first: state before the first step.
        params: of the population.
        detach: whether the recurrent path carries no gradient.

    Returns:
        Gradients by what the run was given, but for the weights: theirs is a product of what is returned (`snn.cells.sweep.weight_gradient`).
    """
    alpha, rho, a, b, _ = params
    coupling, gain = (1 - rho) * a, 1 - alpha
    zero = torch.zeros_like(ran.z[0])
    w_hat = zero.clone() if given.w is None else given.w.clone()
    u_hat, z_hat, reset = (torch.empty_like(zero) for _ in range(3))
    by_alpha, by_u, by_w, by_z = (torch.zeros_like(zero) for _ in range(4))
    all_current_hat = torch.empty_like(ran.z)
    last = len(ran.z) - 1
    given_rows = (torch.zeros_like(ran.z) if given.z is None else given.z).unbind()
    rows_z, psi_rows, rows_u, rows_w, rows_g, rows_current_hat = (tensor.unbind() for tensor in (*ran, all_current_hat))
    for t in range(last, -1, -1):
        if t == last:  # what comes after the run hears z through the state, whose gradient is in that of z
            torch.mul(given_rows[t], psi_rows[t], out=u_hat)
            if given.u is not None:
                u_hat.add_(given.u)
        else:
            torch.mul(u_hat, alpha, out=reset)
            if detach:
                torch.sub(given_rows[t], reset, out=z_hat).addcmul_(w_hat, b)
            else:
                through(rows_current_hat[t + 1], w_rec, z_hat, given_rows[t]).sub_(reset).addcmul_(w_hat, b)
            torch.addcmul(reset, w_hat, coupling, out=u_hat).addcmul_(z_hat, psi_rows[t])
            w_hat.mul_(rho)
        w_hat.sub_(torch.mul(u_hat, gain, out=rows_current_hat[t]))
        before = AdlifState(rows_u[t - 1], rows_w[t - 1], rows_z[t - 1]) if t else first
        by_alpha.addcmul_(u_hat, torch.sub(before.u, before.z, out=reset).sub_(rows_g[t]))
        for by, tensor in zip((by_u, by_w, by_z), before, strict=True):
            by.addcmul_(w_hat, tensor)
    torch.mul(u_hat, alpha, out=reset)
    by_z0 = (b * w_hat).sub_(reset)
    if not detach:
        by_z0 = through(rows_current_hat[0], w_rec, z_hat, by_z0)
    by_state = AdlifState(torch.addcmul(reset, w_hat, coupling), rho * w_hat, by_z0)
    return Adjoint(all_current_hat, by_alpha, by_w - a * by_u, (1 - rho) * by_u, by_z, by_state)


EAGER = Sweeps(forward, backward)
