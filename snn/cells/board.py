r"""The adaptive neuron of a SpiNNaker board: hard reset, adaptation as a subtracted current that jumps at spikes.

This is sPyNNaker's `IFCurrDeltaCa2Adaptive` in units of its threshold (spike-frequency adaptation after Liu & Wang 2001), one time step of delay on
every recurrent connection:

.. math::
    c_j^t &= \rho_j (c_j^{t-1} + I_{\alpha,j}\, z_j^{t-1}) \\
    v_j^t &= \alpha_j (1 - z_j^{t-1})\, v_j^{t-1} + I_j^t - c_j^t, \qquad z_j^t = H(v_j^t - v_{th}), \qquad
    \psi_j^t = \frac{\gamma}{v_{th}} \max\left(0, 1 - \frac{|v_j^t - v_{th}|}{v_{th}}\right)

A jump decays once before it is read, as in the board's binary, so that in the usual form :math:`c^t = \rho c^{t-1} + b z^{t-1}` it is
:math:`b = \rho I_\alpha`. On the board every current enters the membrane with gain :math:`k = R_m (1 - \alpha)`; with a capacitance of
:math:`\tau_m (1 - \alpha)` that is 1, for the input and for the adaptation alike (`hardware.spinnaker.circuit` sets it so). There is no refractory
time (`tau_refrac` = 0): a step stands for tens of milliseconds. :math:`I_\alpha = 0` gives `IF_curr_delta`.

The spike in the reset carries no gradient; the adaptation sees the neuron's own spike with its gradient.

**Eligibility, online**, for a synapse from i to j, from :math:`\epsilon_v^0 = \epsilon_c^1 = 0`:

.. math::
    \epsilon_v^t = \alpha_j (1 - z_j^{t-1})\, \epsilon_v^{t-1} + x_i^t - \epsilon_c^t, \qquad
    e_{ji}^t = \psi_j^t \epsilon_v^t, \qquad
    \epsilon_c^{t+1} = \rho_j (\epsilon_c^t + I_{\alpha,j}\, e_{ji}^t)

**Eligibility, factorised.** All coefficients belong to j. Going backwards from :math:`A_v^{T+1} = A_c^{T+1} = 0`:

.. math::
    A_v^t = \psi^t (L^t + \rho I_\alpha A_c^{t+1}) + \alpha (1 - z^t) A_v^{t+1}, \quad
    A_c^t = \rho A_c^{t+1} - A_v^t, \quad
    \sum_t L_j^t e_{ji}^t = \sum_t A_{v,j}^t x_i^t

**By hand**, one neuron with :math:`\alpha = \rho = 0.5, I_\alpha = 1`, input 1.5 at every step: t=1: v = 1.5: a spike. t=2: c = 0.5*1, v = 0 + 1.5 -
0.5 = 1: a spike. t=3: c = 0.5*1.5, v = 0.75: none. t=4: c = 0.375, v = 0.375 + 1.5 - 0.375 = 1.5: a spike.

>>> import torch
>>> half = torch.tensor([0.5], dtype=torch.float64)
>>> params = BoardParams(alpha=half, rho=half, jump=2 * half)
>>> state = initial_state((1,), torch.float64)
>>> for _ in range(4):
...     out, state = step(torch.tensor([1.5], dtype=torch.float64), state, params)
...     print(state.v.item(), out.z.item())
1.5 1.0
1.0 1.0
0.75 0.0
1.5 1.0
"""

from typing import NamedTuple

import torch
from torch import Tensor

from snn.cells.common import CellOutput
from snn.surrogate import spike, triangular


class BoardParams(NamedTuple):
    """Parameters of a population; decays per step, from time constants in ms by `snn.cells.common.decay`."""

    alpha: Tensor  # [N] membrane decay
    rho: Tensor  # [N] decay of the adaptation current
    jump: Tensor  # [N] I_alpha, what a spike adds to the adaptation current; 0 makes IF_curr_delta
    v_th: float = 1.0  # threshold above rest
    gamma: float = 0.3  # height of the pseudo-derivative times v_th


class BoardState(NamedTuple):
    """State after a step."""

    v: Tensor  # [..., N] membrane potential that met the threshold; the reset happens on the way to the next step
    c: Tensor  # [..., N] adaptation current that entered the membrane
    z: Tensor  # [..., N] spikes of this step


class BoardTrace(NamedTuple):
    """Online eligibility state of every synapse of a projection, as the next step finds it."""

    epsilon_v: Tensor  # [..., N, I] membrane part of the eligibility vector, reset where the neuron fired
    epsilon_c: Tensor  # [..., N, I] adaptation part


def initial_state(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> BoardState:
    """Return a population at rest; `shape` is [..., N]."""
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return BoardState(zero, zero, zero)


def step(current: Tensor, state: BoardState, params: BoardParams) -> tuple[CellOutput, BoardState]:
    """Advance a population by one time step.

    Args:
        current: [..., N] summed input of this step.
        state: after the previous step.
        params: of the population.

    Returns:
        Spikes and pseudo-derivative of this step, each [..., N], and the new state.
    """
    c = params.rho * (state.c + params.jump * state.z)
    v = params.alpha * (1 - state.z.detach()) * state.v + current - c
    distance = v - params.v_th
    psi = triangular(distance, params.gamma, params.v_th)
    z = spike(distance, psi)
    return CellOutput(z, psi), BoardState(v, c, z)


def initial_trace(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> BoardTrace:
    """Return empty eligibility traces; `shape` is [..., N, I]."""
    zero = torch.zeros(shape, dtype=dtype, device=device)
    return BoardTrace(zero, zero)


def trace_step(x: Tensor, psi: Tensor, trace: BoardTrace, params: BoardParams, z: Tensor | None = None) -> tuple[Tensor, BoardTrace]:
    """Advance the eligibility traces of a projection by one step, causally.

    Args:
        x: [..., I] presynaptic spikes that enter the membrane at this step.
        psi: [..., N] pseudo-derivative of this step.
        trace: before this step.
        params: of the postsynaptic population.
        z: [..., N] spikes of this step, at which the neurons are reset; required.

    Returns:
        Eligibility e_ji^t, [..., N, I], and the new trace.
    """
    kept = _kept(z).unsqueeze(-1)
    alpha, rho, jump = (p.unsqueeze(-1) for p in (params.alpha, params.rho, params.jump))
    epsilon_v = alpha * trace.epsilon_v + x.unsqueeze(-2) - trace.epsilon_c
    eligibility = psi.unsqueeze(-1) * epsilon_v
    return eligibility, BoardTrace(kept * epsilon_v, rho * (trace.epsilon_c + jump * eligibility))


def factors(psi: Tensor, signal: Tensor, params: BoardParams, z: Tensor | None = None) -> Tensor:
    """Fold the learning signals backwards in time into one factor per neuron and step.

    Args:
        psi: [T, ..., N] pseudo-derivatives.
        signal: [T, ..., N] learning signals L_j^t.
        params: of the population.
        z: [T, ..., N] spikes, at which the neurons are reset; required.

    Returns:
        [T, ..., N]: A_v such that sum_t L_j^t e_ji^t is its product with the raw presynaptic spikes.
    """
    decays = params.alpha * _kept(z)  # [T, ..., N] of the membrane on the way to the next step
    a_v = torch.zeros_like(psi[0])
    a_c = torch.zeros_like(psi[0])
    out: list[Tensor] = []
    for psi_t, signal_t, decay_t in zip(psi.flip(0), signal.flip(0), decays.flip(0), strict=True):
        a_v = psi_t * (signal_t + params.rho * params.jump * a_c) + decay_t * a_v
        a_c = params.rho * a_c - a_v
        out.append(a_v)
    return torch.stack(out[::-1])


def _kept(z: Tensor | None) -> Tensor:
    """Return 1 where a membrane was not reset, as constants: the reset carries no gradient."""
    if z is None:
        raise ValueError("the eligibility of a cell with a hard reset depends on its spikes: pass z")
    return 1 - z.detach()
