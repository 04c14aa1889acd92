r"""Who runs the neurons: the two things that a learner with e-prop asks of a simulator or a machine.

.. math:: z, \psi = \mathrm{run}(x; W^{in}, W^{rec}), \qquad g_{ji} = \sum_{b,t} L_{bj}^t e_{bji}^t

Axis letters as in `snn.network`: T steps, B trials side by side, I inputs, N neurons.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from snn import eprop, network
from snn.cells.alif import AlifParams


class Recorded(NamedTuple):
    """What the neurons did."""

    z: Tensor  # [T, B, N] spikes, 0 or 1
    psi: Tensor  # [T, B, N] pseudo-derivatives


class Executor(Protocol):
    """A recurrent network of spiking neurons that computes its own e-prop gradients."""

    def run(self, x: Tensor, w_in: Tensor, w_rec: Tensor) -> Recorded:
        """Run from rest on spikes x [T, B, I] with weights [N, I] and [N, N], the latter without autapses."""

    def gradients(self, x: Tensor, recorded: Recorded, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Sum learning signals [T, B, N] times eligibility traces over steps and trials: [N, I] and [N, N]."""


class TorchExecutor:
    """ALIF neurons on torch, e-prop in its factorised form.

    Args:
        params: of the neurons.
    """

    def __init__(self, params: AlifParams) -> None:
        self._params = params

    def run(self, x: Tensor, w_in: Tensor, w_rec: Tensor) -> Recorded:
        """Run from rest; see `Executor`."""
        activity = network.run(network.project(x, w_in), w_rec, self._params)
        return Recorded(activity.z, activity.psi)

    def gradients(self, x: Tensor, recorded: Recorded, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the e-prop gradients; see `Executor`."""
        factor = eprop.factors(recorded.psi, signal, self._params).flatten(0, 1)
        arrived = network.delayed(recorded.z)
        return eprop.gradient(factor, x.flatten(0, 1)), eprop.gradient(factor, arrived.flatten(0, 1))


class Name(StrEnum):
    """Who runs the neurons: torch, or a chip's fixed-point arithmetic."""

    TORCH = "torch"
    FIXED = "fixed"


def executor_named(name: Name, params: AlifParams) -> Executor:
    """Return who runs neurons with these parameters."""
    if name is Name.TORCH:
        return TorchExecutor(params)
    from .fixed import FixedExecutor

    return FixedExecutor(params)


def alif(neurons: int, adaptive: int, tau_ms: float, tau_adaptation_ms: float, beta: float, v_th: float, gamma: float = 0.3) -> AlifParams:
    """Describe a population of which the last neurons adapt, at steps of 1 ms.

    Args:
        neurons: in all.
        adaptive: of these, with an adaptive threshold.
        tau_ms: membrane time constant.
        tau_adaptation_ms: time constant of the adaptation.
        beta: its strength.
        v_th: base threshold.
        gamma: height of the pseudo-derivative times v_th.
    """
    alpha, rho = (float(torch.exp(torch.tensor(-1.0 / tau))) for tau in (tau_ms, tau_adaptation_ms))
    strength = torch.zeros(neurons)
    strength[neurons - adaptive :] = beta
    return AlifParams(torch.full((neurons,), alpha), torch.full((neurons,), rho), strength, v_th, gamma)
