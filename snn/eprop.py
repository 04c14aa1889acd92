r"""e-prop: the gradient of a recurrent spiking network as learning signals times eligibility traces.

.. math::
    g_{ji} = \sum_t L_j^t e_{ji}^t, \qquad \Delta W_{ji} = -\eta\, g_{ji}

(Bellec et al. 2020, eq. 1; Scherr, Stöckl & Maass 2020 for learning signals from a second network.) Two forms of the same sum:

* **online**: forward in time, one eligibility trace per synapse, causal: the form that a device runs. O(N I) state, O(T N I) work.
* **factorised**: the traces of a synapse from i to j follow a recursion whose coefficients belong to j alone, so the sum over t is
  :math:`g = F^\top X` with one factor :math:`F_j^t` per neuron and step, obtained backwards in time by the cell's `factors`. O(T (N + I)) memory: the
  form that priming differentiates through.
"""

from typing import Any

import torch
from torch import Tensor

from snn.network import cell_of


class OnlineEprop:
    """Accumulates the e-prop gradient of one projection, step by step.

    Args:
        shape: [..., N, I] of the projection's weights.
        params: parameters of the postsynaptic population.
        dtype: of traces and gradient.
        kappa: low-pass of the eligibility traces, per step; learning signals from a low-passed readout need it.
    """

    def __init__(self, shape: tuple[int, ...], params: Any, dtype: torch.dtype, kappa: float = 0.0) -> None:
        self._cell = cell_of(params)
        self._params = params
        self._trace = self._cell.initial_trace(shape, dtype)
        self.gradient = torch.zeros(shape, dtype=dtype)  # [..., N, I]
        self._kappa = kappa
        self._filtered = torch.zeros(shape if kappa else (), dtype=dtype)

    def step(self, x: Tensor, psi: Tensor, signal: Tensor, z: Tensor | None = None) -> None:
        """Account for one time step.

        Args:
            x: [..., I] presynaptic spikes that enter the membrane at this step.
            psi: [..., N] pseudo-derivatives of this step.
            signal: [..., N] learning signals of this step.
            z: [..., N] spikes of this step; cells with a hard reset need them.
        """
        eligibility, self._trace = self._cell.trace_step(x, psi, self._trace, self._params, z)
        if self._kappa:
            self._filtered = eligibility = self._kappa * self._filtered + (1 - self._kappa) * eligibility
        self.gradient = torch.addcmul(self.gradient, signal.unsqueeze(-1), eligibility)


def factors(psi: Tensor, signal: Tensor, params: Any, z: Tensor | None = None) -> Tensor:
    """Fold learning signals into one factor per neuron and step.

    Args:
        psi: [T, ..., N] pseudo-derivatives.
        signal: [T, ..., N] learning signals.
        params: parameters of the population.
        z: [T, ..., N] spikes; cells with a hard reset need them.

    Returns:
        [T, ..., N] factors F with g_ji = sum_t F_j^t x_i^t.
    """
    return cell_of(params).factors(psi, signal, params, z)


def gradient(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply factors and presynaptic spikes: the whole gradient of a projection.

    Args:
        factor: [T, ..., N].
        x: [T, ..., I] presynaptic spikes that enter the membrane at each step.

    Returns:
        [..., N, I].
    """
    return torch.einsum("t...n,t...i->...ni", factor, x)
