r"""e-prop in fixed point, in two forms, both with everything small scaled up.

.. math:: g_{ji} = \sum_t L_j^t e_{ji}^t, \qquad \Delta W_{ji} = -\eta\, g_{ji}

An unscaled s16.15 eligibility times a learning signal of 0.001 is a few units of the last place, of which every floored product loses half a unit. So
a factor :math:`2^{10}` is carried along: the sums that a core holds are :math:`2^{10} g`, and the scale is taken back by the shift that ends the
product with the learning rate, rounded once.

* **online** (`OnlineTraces`): forward in time, traces of every synapse; the scale is in the presynaptic spikes. The form of the literature; four
  words for every synapse (`hardware.fixed.budget`).
* **factorised** (`hardware.fixed.cells`, `factors`): a core keeps :math:`\psi_j^t`, :math:`L_j^t` and the spikes it received, and after the last step
  runs one recursion per neuron backwards over them, which gives :math:`F_j^t`; the synapse then adds up :math:`F_j^t` over its spikes. No word per
  synapse, local to the neuron, and what an enrolled word keeps. The scale is in the learning signals. This is what `FixedBackend` learns with.

The presynaptic signal of W_in is :math:`h_i - c_i`: the constant part is :math:`c_i \sum_t F_j^t`, one product per synapse at the end.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardware.fixed.arithmetic import FRACTION_BITS, Accum, add_saturated, multiply_nearest, saturate, shift_nearest, to_fixed, to_float
from hardware.fixed.cells import Cell, Product, zeros

SCALE_BITS = 10
SCALED = FRACTION_BITS + SCALE_BITS  # bits behind the binary point of learning signals, factors and gradients


class OnlineTraces:
    """Accumulates the e-prop gradient of one projection step by step, in s16.15.

    Args:
        cell: of the postsynaptic population.
        constants: of its neurons.
        shape: [N, I] of the projection.
        product: of eligibilities and signals; `multiply` floors.
        scale_bits: of the eligibility; 0 to see what becomes of it without.
    """

    def __init__(self, cell: Cell, constants: Any, shape: tuple[int, int], product: Product = multiply_nearest, scale_bits: int = SCALE_BITS) -> None:
        self._cell, self._constants, self._product, self._scale_bits = cell, constants, product, scale_bits
        self._trace = cell.initial_trace(shape)
        self._sum = zeros(shape)

    def step(self, x: ArrayLike, psi: Accum, signal: Accum, z: Accum) -> None:
        """Account for one time step.

        Args:
            x: [I] presynaptic signals of this step, as numbers.
            psi: [N] pseudo-derivatives, s16.15.
            signal: [N] learning signals, s16.15.
            z: [N] spikes of this step.
        """
        scaled = to_fixed(x, FRACTION_BITS + self._scale_bits)
        eligibility, self._trace = self._cell.trace_step(scaled, psi, z, self._trace, self._constants, self._product)
        self._sum = add_saturated(self._sum, self._product(signal[:, None], eligibility))

    def gradient(self) -> NDArray[np.float64]:
        """Return the gradient so far, [N, I], as numbers."""
        return to_float(self._sum, FRACTION_BITS + self._scale_bits)


def gradient(factor: Accum, x: NDArray[np.integer], center: Accum | None = None) -> Accum:
    """Add up factors over presynaptic spikes.

    Args:
        factor: [T, N] scaled factors.
        x: [T, I] presynaptic spikes that enter the membrane at each step, 0 and 1.
        center: [I] what a channel does ordinarily, s16.15; 0 when None.

    Returns:
        [N, I] scaled gradient.
    """
    sums = np.rint(factor.T.astype(np.float64) @ x.astype(np.float64)).astype(np.int64)  # exact: below 2^31 * 1000 steps
    if center is not None:
        ordinary = multiply_nearest(saturate(factor.sum(0, dtype=np.int64))[:, None], center)
        sums = sums - ordinary
    return saturate(sums)


def change(gradient: Accum, rate: Accum) -> NDArray[np.int64]:
    """Turn a scaled gradient into a change of weights.

    Args:
        gradient: any shape, scaled.
        rate: [1] learning rate, s16.15.

    Returns:
        The change in units of 2^-15, rounded once, half up.
    """
    return -shift_nearest(gradient.astype(np.int64) * rate, SCALED)
