r"""The neurons and e-prop of a reference task in a chip's arithmetic: 16-bit synapses, s16.15 state, scaled factors (`hardware.fixed`).

On the chip, emulated bit for bit: membranes, adaptation, :math:`\psi`, the factors F of e-prop and their sum over presynaptic spikes,

.. math:: g_{ji} = \sum_{b,t} F_{bj}^t x_{bi}^t

On the host, in float32: the readout, its error, the learning signals L (sent to the chip as multiples of :math:`2^{-25}`), the optimiser, and the
weights that it moves by less than a 16-bit synapse can tell; every run loads them anew, rounded to the ring buffers' grid.
"""

import numpy as np
import torch
from torch import Tensor

from hardware.backend import BackendError
from hardware.fixed import eprop
from hardware.fixed.arithmetic import LARGEST, SMALLEST, Accum, multiply_nearest, to_fixed, to_float
from hardware.fixed.cells import alif, zeros
from hardware.fixed.population import Population
from hardware.fixed.synapses import Synapses
from snn import network
from snn.cells.alif import AlifParams

from .executor import Recorded

BLOCK = 100  # steps whose pseudo-derivatives are computed at once: few calls, little memory


class FixedExecutor:
    """ALIF neurons on the emulated chip; see `executor.Executor`.

    Args:
        params: of the neurons.
    """

    def __init__(self, params: AlifParams) -> None:
        self._constants = alif.constants(params)

    def run(self, x: Tensor, w_in: Tensor, w_rec: Tensor) -> Recorded:
        """Run from rest; see `Executor`.

        Raises:
            BackendError: the weights do not fit the chip's numbers.
        """
        synapses = Synapses.quantised([weights.double().numpy()[None] for weights in (w_in, w_rec)])
        population = Population(alif, self._constants, synapses, zeros(w_in.shape[:1]))
        spikes = x.numpy().astype(np.int32)
        state = population.rest(x.shape[1])
        z, psi = (zeros((*x.shape[:2], len(w_in))) for _ in range(2))
        for x_t, z_t, distance_t in zip(spikes, z, psi, strict=True):
            state = population.step([x_t, state.z], state)
            z_t[:], distance_t[:] = state.z[:, 0], state.distance[:, 0]
        for begin in range(0, len(psi), BLOCK):  # what held the distances becomes the pseudo-derivatives
            psi[begin : begin + BLOCK] = alif.psi(psi[begin : begin + BLOCK], self._constants)
        return Recorded(torch.from_numpy(z).float(), torch.from_numpy(to_float(psi)).float())

    def gradients(self, x: Tensor, recorded: Recorded, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the e-prop gradients in the factorised form; see `Executor`.

        Raises:
            BackendError: learning leaves the range of the chip's numbers.
        """
        z = recorded.z.numpy().astype(np.int32)
        sent = to_fixed(signal.numpy(), eprop.SCALED)
        factor = alif.factors(to_fixed(recorded.psi.numpy()), sent, z, self._constants, multiply_nearest)
        _check(factor)
        arrived = network.delayed(recorded.z).numpy().astype(np.int32)
        by_in, by_rec = (self._summed(factor, presynaptic) for presynaptic in (x.numpy().astype(np.int32), arrived))
        return by_in, by_rec

    def _summed(self, factor: Accum, presynaptic: Accum) -> Tensor:
        """Add up factors [T, B, N] over presynaptic spikes [T, B, I]: [N, I]."""
        found = eprop.gradient(*(values.reshape(-1, values.shape[-1]) for values in (factor, presynaptic)))
        _check(found)
        return torch.from_numpy(to_float(found, eprop.SCALED)).float()


def _check(values: Accum) -> None:
    if ((values == LARGEST) | (values == SMALLEST)).any():
        raise BackendError("learning left the range of the chip's numbers; take smaller learning signals")
