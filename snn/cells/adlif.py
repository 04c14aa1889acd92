r"""Leaky integrate-and-fire neurons with a subtracted adaptation current (adLIF).

Soft reset, threshold 1, all of :math:`\alpha, \rho, a, b` per neuron (after Bittar & Garner 2022 and Baronig et al. 2024):

.. math::
    w_j^t &= \rho_j w_j^{t-1} + (1 - \rho_j) a_j u_j^{t-1} + b_j z_j^{t-1} \\
    u_j^t &= \alpha_j (u_j^{t-1} - z_j^{t-1}) + (1 - \alpha_j)(I_j^t - w_j^t), \qquad z_j^t = H(u_j^t - 1), \qquad
    \psi_j^t = \gamma\,[\,|u_j^t - 1| \le 1/2\,]

The input enters with gain :math:`1 - \alpha_j`. Here the reset is differentiated, as is the adaptation.

**Eligibility, online**, for a synapse from i to j, from :math:`\epsilon_w^1 = 0`:

.. math::
    \epsilon_w^t &= \rho_j \epsilon_w^{t-1} + ((1-\rho_j) a_j + b_j \psi_j^{t-1}) \epsilon_u^{t-1} \\
    \epsilon_u^t &= \alpha_j (1 - \psi_j^{t-1}) \epsilon_u^{t-1} + (1-\alpha_j)(x_i^t - \epsilon_w^t), \qquad e_{ji}^t = \psi_j^t \epsilon_u^t

**Eligibility, factorised**, going backwards from :math:`A_u^{T+1} = A_w^{T+1} = 0`:

.. math::
    A_u^t &= L^t \psi^t + \alpha (1-\psi^t) A_u^{t+1} + ((1-\rho) a + b \psi^t) A_w^{t+1}, \quad
    A_w^t = -(1-\alpha) A_u^t + \rho A_w^{t+1} \\
    \sum_t L_j^t e_{ji}^t &= \sum_t (1-\alpha_j) A_{u,j}^t x_i^t

**By hand**, one neuron with :math:`\alpha = \rho = 0.5, a = 0, b = 1`, input 2 at every step: t=1: w = 0, u = 0.5*2 = 1: a spike. t=2: w = 1,
u = 0.5*(1-1) + 0.5*(2-1) = 0.5: none. t=3: w = 0.5, u = 0.25 + 0.75 = 1: a spike.

>>> import torch
>>> half, one = torch.tensor([0.5], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
>>> params = AdlifParams(alpha=half, rho=half, a=0 * one, b=one)
>>> state = initial_state((1,), torch.float64)
>>> for _ in range(3):
...     out, state = step(2 * one, state, params)
...     print(state.u.item(), out.z.item())
1.0 1.0
0.5 0.0
1.0 1.0
"""

from typing import NamedTuple

import torch
from torch import Tensor

from snn.cells.common import CellOutput
from snn.surrogate import boxcar, spike


class AdlifParams(NamedTuple):
    """Parameters of a population; decays per step, from time constants in ms by `snn.cells.common.decay`."""

    alpha: Tensor  # [N] membrane decay
    rho: Tensor  # [N] decay of the adaptation current
    a: Tensor  # [N] coupling of the adaptation to the membrane
    b: Tensor  # [N] jump of the adaptation at a spike
    gamma: float = 0.5  # height of the pseudo-derivative


class AdlifState(NamedTuple):
    """State after a step."""

    u: Tensor  # [..., N] membrane potential
    w: Tensor  # [..., N] adaptation current
    z: Tensor  # [..., N] spikes of this step


class AdlifTrace(NamedTuple):
    """Online eligibility state of every synapse of a projection."""

    epsilon_u: Tensor  # [..., N, I] membrane part of the eligibility vector
    epsilon_w: Tensor  # [..., N, I] adaptation part
    psi: Tensor  # [..., N] pseudo-derivative of the previous step


def initial_state(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> AdlifState:
    """Return a population at rest; `shape` is [..., N]."""
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return AdlifState(zero, zero, zero)


def step(current: Tensor, state: AdlifState, params: AdlifParams) -> tuple[CellOutput, AdlifState]:
    """Advance a population by one time step.

    Args:
        current: [..., N] summed input of this step.
        state: after the previous step.
        params: of the population.

    Returns:
        Spikes and pseudo-derivative of this step, each [..., N], and the new state.
    """
    alpha, rho = params.alpha, params.rho
    w = rho * state.w + (1 - rho) * params.a * state.u + params.b * state.z
    u = alpha * (state.u - state.z) + (1 - alpha) * (current - w)
    distance = u - 1.0
    psi = boxcar(distance, params.gamma)
    z = spike(distance, psi)
    return CellOutput(z, psi), AdlifState(u, w, z)


def initial_trace(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> AdlifTrace:
    """Return empty eligibility traces; `shape` is [..., N, I]."""
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return AdlifTrace(zero, zero, torch.zeros(shape[:-1], dtype=dtype, device=device))


def trace_step(x: Tensor, psi: Tensor, trace: AdlifTrace, params: AdlifParams, z: Tensor | None = None) -> tuple[Tensor, AdlifTrace]:
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
    alpha, rho, a, b = (p.unsqueeze(-1) for p in (params.alpha, params.rho, params.a, params.b))
    previous = trace.psi.unsqueeze(-1)
    epsilon_w = torch.addcmul(rho * trace.epsilon_w, (1 - rho) * a + b * previous, trace.epsilon_u)
    epsilon_u = torch.addcmul(alpha * (1 - previous) * trace.epsilon_u, 1 - alpha, x.unsqueeze(-2) - epsilon_w)
    return psi.unsqueeze(-1) * epsilon_u, AdlifTrace(epsilon_u, epsilon_w, psi)


def factors(psi: Tensor, signal: Tensor, params: AdlifParams, z: Tensor | None = None) -> Tensor:
    """Fold the learning signals backwards in time into one factor per neuron and step.

    Args:
        psi: [T, ..., N] pseudo-derivatives.
        signal: [T, ..., N] learning signals L_j^t.
        params: of the population.
        z: spikes, without influence on this cell's eligibility.

    Returns:
        [T, ..., N]: (1 - alpha) A_u, such that sum_t L_j^t e_ji^t is its product with the raw presynaptic spikes.
    """
    alpha, rho = params.alpha, params.rho
    coupling = (1 - rho) * params.a
    a_u = torch.zeros_like(psi[0])
    a_w = torch.zeros_like(psi[0])
    out: list[Tensor] = []
    for psi_t, signal_t in zip(psi.flip(0), signal.flip(0), strict=True):
        a_u = signal_t * psi_t + alpha * (1 - psi_t) * a_u + (coupling + params.b * psi_t) * a_w
        a_w = -(1 - alpha) * a_u + rho * a_w
        out.append((1 - alpha) * a_u)
    return torch.stack(out[::-1])
