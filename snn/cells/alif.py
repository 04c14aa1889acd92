r"""Leaky integrate-and-fire neurons with an adaptive threshold (ALIF); LIF is the same cell with :math:`\beta = 0`.

Soft reset, one time step of delay on every recurrent connection (Bellec et al. 2020, eqs. 6-8):

.. math::
    v_j^t &= \alpha_j v_j^{t-1} + I_j^t - v_{th} z_j^{t-1} \\
    a_j^t &= \rho_j a_j^{t-1} + z_j^{t-1}, \qquad A_j^t = v_{th} + \beta_j a_j^t \\
    z_j^t &= H(v_j^t - A_j^t), \qquad
    \psi_j^t = \frac{\gamma}{v_{th}} \max\left(0, 1 - \frac{|v_j^t - A_j^t|}{v_{th}}\right)

The input :math:`I_j^t = \sum_i W_{ji} x_i^t` enters with gain 1. The spike in the reset term carries no gradient; the adaptation sees the neuron's
own spike with its gradient.

**Eligibility, online** (Bellec et al. 2020, eqs. 22-25), for a synapse from i to j:

.. math::
    p_i^t = \alpha_j p_i^{t-1} + x_i^t, \qquad
    e_{ji}^t = \psi_j^t (p_i^t - \beta_j \epsilon_{ji}^t), \qquad
    \epsilon_{ji}^{t+1} = \psi_j^t p_i^t + (\rho_j - \beta_j \psi_j^t) \epsilon_{ji}^t

**Eligibility, factorised.** The recursion of :math:`\epsilon_{ji}` has coefficients of j alone, so its adjoint is one scalar per neuron. Going
backwards from :math:`\lambda^{T+1} = B^{T+1} = 0`:

.. math::
    c_j^t = \psi_j^t (L_j^t + \lambda_j^{t+1}), \quad
    \lambda_j^t = -\beta_j \psi_j^t L_j^t + (\rho_j - \beta_j \psi_j^t) \lambda_j^{t+1}, \quad
    B_j^t = c_j^t + \alpha_j B_j^{t+1}, \quad
    \sum_t L_j^t e_{ji}^t = \sum_t B_j^t x_i^t

**By hand**, one neuron with :math:`\alpha = 0.5, \rho = 0.5, \beta = 0.5, v_{th} = 1`, input 1.5 at every step: t=1: v = 1.5, a = 0, A = 1: a spike.
t=2: v = 0.5*1.5 + 1.5 - 1 = 1.25, a = 1, A = 1.5: none. t=3: v = 0.625 + 1.5 = 2.125, a = 0.5, A = 1.25: a spike.

>>> import torch
>>> half = torch.tensor([0.5], dtype=torch.float64)
>>> params = AlifParams(alpha=half, rho=half, beta=half)
>>> state = initial_state((1,), torch.float64)
>>> for _ in range(3):
...     out, state = step(torch.tensor([1.5], dtype=torch.float64), state, params)
...     print(state.v.item(), out.z.item())
1.5 1.0
1.25 0.0
2.125 1.0
"""

from typing import NamedTuple

import torch
from torch import Tensor

from snn.cells import alif_factors
from snn.cells.common import CellOutput
from snn.surrogate import spike, triangular


class AlifParams(NamedTuple):
    """Parameters of a population; decays per step, from time constants in ms by `snn.cells.common.decay`."""

    alpha: Tensor  # [N] membrane decay
    rho: Tensor  # [N] decay of the threshold adaptation
    beta: Tensor  # [N] strength of the adaptation; 0 makes a LIF neuron
    v_th: float = 1.0  # base threshold
    gamma: float = 0.3  # height of the pseudo-derivative times v_th


class AlifState(NamedTuple):
    """State after a step."""

    v: Tensor  # [..., N] membrane potential
    a: Tensor  # [..., N] threshold adaptation
    z: Tensor  # [..., N] spikes of this step


class AlifTrace(NamedTuple):
    """Online eligibility state of every synapse of a projection."""

    p: Tensor  # [..., N, I] low-passed presynaptic spikes, with the postsynaptic neuron's own decay
    epsilon: Tensor  # [..., N, I] adaptation part of the eligibility vector


def initial_state(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> AlifState:
    """Return a population at rest; `shape` is [..., N]."""
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return AlifState(zero, zero, zero)


def step(current: Tensor, state: AlifState, params: AlifParams) -> tuple[CellOutput, AlifState]:
    """Advance a population by one time step.

    Args:
        current: [..., N] summed input of this step.
        state: after the previous step.
        params: of the population.

    Returns:
        Spikes and pseudo-derivative of this step, each [..., N], and the new state.
    """
    v = params.alpha * state.v + current - params.v_th * state.z.detach()
    a = params.rho * state.a + state.z
    distance = v - (params.v_th + params.beta * a)
    psi = triangular(distance, params.gamma, params.v_th)
    z = spike(distance, psi)
    return CellOutput(z, psi), AlifState(v, a, z)


def initial_trace(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> AlifTrace:
    """Return empty eligibility traces; `shape` is [..., N, I]."""
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return AlifTrace(zero, zero)


def trace_step(x: Tensor, psi: Tensor, trace: AlifTrace, params: AlifParams, z: Tensor | None = None) -> tuple[Tensor, AlifTrace]:
    """Advance the eligibility traces of a projection by one step, causally.

    Args:
        x: [..., I] presynaptic spikes that enter the membrane at this step.
        psi: [..., N] pseudo-derivative of this step.
        trace: before this step.
        params: of the postsynaptic population.
        z: spikes of this step, without influence on this cell's eligibility.

    Returns:
        Eligibility e_ji^t, [..., N, I], and the new trace.
    """
    psi, beta, rho = psi.unsqueeze(-1), params.beta.unsqueeze(-1), params.rho.unsqueeze(-1)
    p = params.alpha.unsqueeze(-1) * trace.p + x.unsqueeze(-2)
    eligibility = psi * (p - beta * trace.epsilon)
    return eligibility, AlifTrace(p, psi * p + (rho - beta * psi) * trace.epsilon)


def factors(psi: Tensor, signal: Tensor, params: AlifParams, z: Tensor | None = None) -> Tensor:
    """Fold the learning signals backwards in time into one factor per neuron and step.

    Args:
        psi: [T, ..., N] pseudo-derivatives.
        signal: [T, ..., N] learning signals L_j^t.
        params: of the population.
        z: spikes, without influence on this cell's eligibility.

    Returns:
        [T, ..., N]: B such that sum_t L_j^t e_ji^t = sum_t B_j^t x_i^t with raw presynaptic spikes x.
    """
    return alif_factors.fold(psi, signal, params.alpha, params.rho, params.beta)
