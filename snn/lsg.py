r"""The learning-signal generator (LSG): a second spiking network that tells every neuron of the learning network how to change.

It hears what the learning network hears (h, `snn.features`) and the learning network's spikes while a word is being learnt, and only then. With its
own spikes :math:`s^t` (adLIF neurons; after Scherr, Stöckl & Maass 2020, who call its output an online learning signal):

.. math::
    I_m^t = \sum_i V_{mi}^{in} h_i^t + \sum_j V_{mj}^{net} z_j^t + \sum_{m'} V_{mm'}^{rec} s_{m'}^{t-1} + b_m, \qquad
    \bar s_m^t = \kappa \bar s_m^{t-1} + (1-\kappa) s_m^t

.. math::
    L_j^t = \sum_m \Omega_{jm} \bar s_m^t + \Omega_{j0}, \qquad G^t = \exp\left(\sum_m \omega_m \bar s_m^t + \pi^{T-t}\right)

:math:`L_j^t` is neuron j's learning signal, :math:`G^t` gates the plasticity of the readout. Both depend on spikes up to t only; the gate has besides
a primed profile :math:`\pi` over the time to the end of the utterance, which whoever teaches the word marks: the readout is to answer when a word has
just ended, so that is when it mostly learns.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn import network, readout
from snn.cells.adlif import AdlifParams
from snn.precision import product

LOW_PASS = 0.7  # kappa, per step
MAX_LOG_GATE = 6.0  # bounds the gate: a device's accumulator must hold the sum


class LsgWeights(NamedTuple):
    """Primed weights of the generator."""

    w_in: Tensor  # [M, H]
    w_net: Tensor  # [M, N]
    w_rec: Tensor  # [M, M] without autapses
    bias: Tensor  # [M]
    cell: AdlifParams  # [M]
    out: Tensor  # [N, M] Omega
    out_bias: Tensor  # [N] Omega_j0
    gate: Tensor  # [M] omega
    profile: Tensor  # [P] pi of the last P steps, in order of time; earlier steps take the first value


class Signals(NamedTuple):
    """What the generator emits."""

    learning: Tensor  # [T, ..., N] learning signals
    gate: Tensor  # [T, ...] gate of the readout's plasticity
    spikes: Tensor | None  # [T, ..., M]; None where the signals come from no generator


def read(filtered: Tensor, weights: LsgWeights) -> tuple[Tensor, Tensor]:
    """Turn low-passed spikes into learning signals and the spiking part of the gate.

    Args:
        filtered: [..., M] of the generator.
        weights: of the generator.

    Returns:
        Learning signals [..., N] and exp(omega s) [...].
    """
    log_gate = (filtered @ weights.gate).clamp(-MAX_LOG_GATE, MAX_LOG_GATE)
    return filtered @ weights.out.T + weights.out_bias, log_gate.exp()


def gate_profile(steps: int, weights: LsgWeights) -> Tensor:
    """Return exp(pi) for every step of an utterance: [steps]."""
    return profile_gate(steps, weights.profile)


def profile_gate(steps: int, profile: Tensor) -> Tensor:
    """Return exp(pi) for every step of an utterance, [steps], of a profile [P]."""
    missing = steps - len(profile)
    log_gate = torch.cat([profile[:1].expand(missing), profile]) if missing > 0 else profile[-steps:]
    return log_gate.clamp(-MAX_LOG_GATE, MAX_LOG_GATE).exp()


def generate(heard: Tensor, z: Tensor, weights: LsgWeights) -> Signals:
    """Run the generator beside a recorded run of the learning network.

    Args:
        heard: [T, ..., H] what the learning network heard.
        z: [T, ..., N] its spikes.
        weights: of the generator.

    Returns:
        Learning signals, gate and the generator's own spikes.
    """
    current = product(heard, weights.w_in.T) + product(z, weights.w_net.T) + weights.bias
    activity = network.run(current, weights.w_rec, weights.cell)
    learning, gate = read(readout.low_pass(activity.z, LOW_PASS), weights)
    profile = gate_profile(len(heard), weights).reshape(-1, *[1] * (gate.dim() - 1))
    return Signals(learning, gate * profile, activity.z)


class OnlineLsg:
    """The generator as a device runs it: one step at a time.

    Args:
        weights: of the generator.
        dtype: of its state.

    Attributes:
        kappa: 0, as its signals meet eligibility traces that are not low-passed.
    """

    kappa = 0.0

    def __init__(self, weights: LsgWeights, dtype: torch.dtype) -> None:
        self._weights = weights
        neurons = (len(weights.bias),)
        self._state: Any = network.cell_of(weights.cell).initial_state(neurons, dtype)
        self._filtered = torch.zeros(neurons, dtype=dtype)

    def step(self, heard: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Hear one step of both networks.

        Args:
            heard: [H] what the learning network hears at this step.
            z: [N] its spikes.

        Returns:
            Learning signals [N] and the spiking part of the gate (scalar) of this step; `gate_profile` is the other.
        """
        weights = self._weights
        current = weights.w_in @ heard + weights.w_net @ z + weights.bias + weights.w_rec @ self._state.z
        out, self._state = network.cell_of(weights.cell).step(current, self._state, weights.cell)
        self._filtered = LOW_PASS * self._filtered + (1 - LOW_PASS) * out.z
        return read(self._filtered, weights)
