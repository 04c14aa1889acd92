"""The two sweeps over time of a run of ALIF neurons, forward and backward, as loops of PyTorch's operations into buffers that are there already.

The equations are those of `snn.cells.alif_run`, which calls these sweeps, or on a GPU the kernels of `snn.cells.alif_fused`. Sequences come as stacks
of matrices (`snn.cells.sweep.flat`): [T, R, N] where all rows share weights [N, N], [T, B, Q, N] for weights [B, N, N].
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from snn.cells.alif import AlifParams, AlifState
from snn.cells.sweep import rows, through


class Ran(NamedTuple):
    """What a forward sweep leaves."""

    z: Tensor  # [T, ..., N] spikes
    psi: Tensor  # [T, ..., N] pseudo-derivatives
    v: Tensor  # [T, ..., N] membrane potentials; the last step alone, [1, ..., N], where they are not kept
    a: Tensor  # the same of the adaptation


class Given(NamedTuple):
    """Gradients of the loss by what a run returns; None where the loss does not depend on it."""

    z: Tensor | None  # [T, ..., N]
    psi: Tensor | None  # [T, ..., N]
    v: Tensor | None  # [..., N] of the last step
    a: Tensor | None  # [..., N] of the last step


class Adjoint(NamedTuple):
    """Gradients of the loss by what a run was given, not yet summed over sequences."""

    current: Tensor  # [T, ..., N]
    alpha: Tensor  # [..., N]
    rho: Tensor  # [..., N]
    beta: Tensor  # [..., N]
    state: AlifState  # [..., N] each


class Sweeps(NamedTuple):
    """One way to compute both."""

    forward: Callable[[Tensor, Tensor, AlifState, AlifParams, bool], Ran]
    backward: Callable[[Given, Ran, Tensor, AlifState, AlifParams, bool], Adjoint]


def forward(currents: Tensor, w_rec: Tensor, first: AlifState, params: AlifParams, keep: bool) -> Ran:
    """Run from the first step to the last.

    Args:
        currents: [T, R, N], or [T, B, Q, N].
        w_rec: [N, N], or [B, N, N].
        first: state before the first step, each as a row of `currents`.
        params: of the population.
        keep: whether v and a of all steps are needed afterwards.

    Returns:
        What the population did.
    """
    v, a, z = first
    alpha, rho, beta, v_th, gamma = params
    all_v, all_a = (currents.new_empty(currents.shape if keep else (1, *currents.shape[1:])) for _ in range(2))
    psi, spikes = torch.empty_like(currents), torch.empty_like(currents)
    arriving, threshold = torch.empty_like(currents[0]), torch.empty_like(currents[0])
    transposed = w_rec.transpose(-1, -2).contiguous()
    steps = len(currents)
    for current_t, v_t, a_t, d_t, z_t in zip(currents.unbind(), rows(all_v, steps), rows(all_a, steps), psi.unbind(), spikes.unbind(), strict=True):
        through(z, transposed, arriving).add_(current_t)
        torch.mul(v, alpha, out=v_t).add_(arriving).sub_(z, alpha=v_th)
        torch.mul(a, rho, out=a_t).add_(z)
        torch.mul(a_t, beta, out=threshold).add_(v_th)
        torch.sub(v_t, threshold, out=d_t)
        torch.ge(d_t, 0.0, out=z_t)
        v, a, z = v_t, a_t, z_t
    psi.abs_().div_(v_th).neg_().add_(1.0).clamp_min_(0.0).mul_(gamma / v_th)  # so far it held v - A
    return Ran(spikes, psi, all_v, all_a)


def backward(given: Given, ran: Ran, w_rec: Tensor, first: AlifState, params: AlifParams, detach: bool) -> Adjoint:
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
    alpha, rho, beta, v_th, gamma = params
    zero = torch.zeros_like(ran.z[0])
    direct_rows = None
    if given.psi is not None:
        distance = ran.v - (beta * ran.a).add_(v_th)
        inside = distance.abs().div_(v_th) <= 1.0
        direct_rows = (given.psi * distance.sign().mul_(inside).mul_(-gamma / v_th**2)).unbind()
    v_hat = zero if given.v is None else given.v
    a_hat = zero.clone() if given.a is None else given.a.clone()
    by_alpha, by_rho, by_beta = (torch.zeros_like(zero) for _ in range(3))
    z_hat, d_hat = torch.empty_like(zero), torch.empty_like(zero)
    all_v_hat = torch.empty_like(ran.z)
    last = len(ran.z) - 1
    given_rows = (torch.zeros_like(ran.z) if given.z is None else given.z).unbind()
    psi_rows, rows_v, rows_a, rows_v_hat = ran.psi.unbind(), ran.v.unbind(), ran.a.unbind(), all_v_hat.unbind()
    for t in range(last, -1, -1):
        if t == last:  # what comes after the run hears z through the state, whose gradient is in that of z
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
        by_alpha.addcmul_(v_hat, rows_v[t - 1] if t else first.v)
        by_rho.addcmul_(a_hat, rows_a[t - 1] if t else first.a)
    by_z = a_hat if detach else through(v_hat, w_rec, z_hat, a_hat)
    return Adjoint(all_v_hat, by_alpha, by_rho, by_beta, AlifState(alpha * v_hat, rho * a_hat, by_z))


EAGER = Sweeps(forward, backward)
