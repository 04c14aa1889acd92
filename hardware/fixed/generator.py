r"""The learning-signal generator in fixed point: `snn.lsg` on a core of its own.

Its neurons are adLIF populations like any other. What it emits is scaled by :math:`2^{10}`, for e-prop (`hardware.fixed.eprop`); weights
:math:`\Omega` are kept so scaled in 32 bits, and their products with the low-passed spikes add up in 64 bits (SMLAL) and are rounded once:

.. math::
    \bar s_m^t = \kappa \otimes \bar s_m^{t-1} + (1-\kappa) s_m^t, \qquad
    L_j^t = \Big\lfloor \sum_m \Omega_{jm} \bar s_m^t \cdot 2^{-15} + \tfrac12 \Big\rfloor + \Omega_{j0}

The logarithm of the readout's gate is formed likewise and sent to the host, which has the readout.
"""

import numpy as np
from numpy.typing import NDArray

from hardware.fixed.arithmetic import FRACTION_BITS, Accum, multiply_nearest, saturate, shift_nearest, to_fixed, to_float
from hardware.fixed.cells import adlif
from hardware.fixed.eprop import SCALED
from hardware.fixed.population import Population, Spikes
from hardware.fixed.synapses import Synapses
from snn.lsg import LOW_PASS, MAX_LOG_GATE, LsgWeights


def _weighted(weights: NDArray[np.int64], filtered: Accum) -> NDArray[np.int64]:
    return shift_nearest(weights @ filtered.astype(np.int64), FRACTION_BITS)


class Generator:
    """The generator, from rest; one instance for every utterance.

    Args:
        weights: primed.
        population: from `generating`.
    """

    def __init__(self, weights: LsgWeights, population: Population) -> None:
        self._population, self._state = population, population.rest(1)
        self._out, self._out_bias = to_fixed(weights.out, SCALED).astype(np.int64), to_fixed(weights.out_bias, SCALED)
        self._gate = to_fixed(weights.gate).astype(np.int64)
        self._keep, self._add = (to_fixed([value]) for value in (LOW_PASS, 1 - LOW_PASS))
        self._filtered: Accum = np.zeros(len(weights.gate), np.int32)

    def step(self, heard: Spikes, z: Spikes) -> tuple[Accum, float]:
        """Hear one step of both networks.

        Args:
            heard: [H] what the learning network hears at this step.
            z: [N] its spikes.

        Returns:
            Scaled learning signals [N], and the spiking part of the gate.
        """
        self._state = self._population.step([heard[None], z[None, None], self._state.z], self._state)
        self._filtered = multiply_nearest(self._keep, self._filtered) + self._add * self._state.z[0, 0]
        log_gate = float(to_float(_weighted(self._gate[None], self._filtered))[0])
        signals = saturate(_weighted(self._out, self._filtered) + self._out_bias)
        return signals, float(np.exp(np.clip(log_gate, -MAX_LOG_GATE, MAX_LOG_GATE)))


def generating(weights: LsgWeights) -> Population:
    """Build the generator's population."""
    synapses = Synapses.quantised([projection[None] for projection in (weights.w_in, weights.w_net, weights.w_rec)])
    return Population(adlif, adlif.constants(weights.cell), synapses, to_fixed(weights.bias))
