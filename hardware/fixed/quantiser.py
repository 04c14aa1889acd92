r"""16-bit weights behind a ring buffer, as sPyNNaker stores them.

A synapse holds an unsigned 16-bit magnitude and, in its type, a sign: excitatory or inhibitory. Magnitudes of one type that arrive at a neuron for
one step add up in a 16-bit ring buffer; what has added up is shifted left and becomes an s16.15 input. The shift is chosen for a population and a
type from a bound B on that sum, so that more range costs resolution:

.. math::
    \mathrm{shift} = \min\{s \ge 0 : 2^s > B\}, \qquad \mathrm{stored} = \mathrm{rint}(|w|\, 2^{15 - \mathrm{shift}})

B is PyNN's `max_expected_summed_weight`. The sum saturates at 65535, which stands for nearly :math:`2 \cdot 2^{\mathrm{shift}}`: half of the
largest possible sum is a safe bound, and saves a bit (`half_largest_sum`).

sPyNNaker keeps the low 16 bits of a magnitude that is too large, which turns a strong synapse into an arbitrary one. Here it saturates and is
counted; whoever loads weights on a board must refuse them where `saturated` is not 0.

>>> import numpy as np
>>> found = quantise(np.array([0.3, 0.0, 5.0]), bound=1.7)
>>> found.stored.tolist(), found.shift, found.saturated
([4915, 0, 65535], 1, 1)
>>> dequantise(found).round(4).tolist()
[0.3, 0.0, 3.9999]
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardware.backend import BackendError
from hardware.fixed.arithmetic import FRACTION_BITS

LARGEST_STORED = 65535  # of a weight, and of a ring buffer
LARGEST_SHIFT = 15  # beyond it an input no longer fits s16.15


class Quantised(NamedTuple):
    """Magnitudes as a board stores them."""

    stored: NDArray[np.int64]  # 0 to 65535
    shift: int  # left shift of the ring buffer
    saturated: int  # how many were too large


def shift_of(bound: float) -> int:
    """Return the ring buffer's shift for a bound on the summed input of a step.

    Raises:
        BackendError: the sum is no number or leaves the range of an input.
    """
    shift = max(0, math.frexp(bound)[1])  # bound = m 2^e with 1/2 <= m < 1: e is the least exponent with 2^e > bound
    if not 0 <= bound < math.inf or shift > LARGEST_SHIFT:
        raise BackendError(f"synapses that add up to {bound:g} leave the range of the board's inputs, 2^{LARGEST_SHIFT + 1}; prime smaller weights")
    return shift


def quantise(weights: ArrayLike, bound: float) -> Quantised:
    """Store weights of one type.

    Args:
        weights: any shape; their signs are dropped, as a board does (`split` first).
        bound: on the sum of what arrives at a neuron within a step, PyNN's `max_expected_summed_weight` of this type.

    Returns:
        What is stored.

    Raises:
        BackendError: a weight is no number, or the bound leaves the range of an input.
    """
    shift = shift_of(bound)
    magnitudes = np.rint(np.abs(np.asarray(weights, np.float64)) * 2.0 ** (FRACTION_BITS - shift))
    if not np.isfinite(magnitudes).all():
        raise BackendError("a weight of this network is no finite number; prime it again")
    return Quantised(np.minimum(magnitudes, LARGEST_STORED).astype(np.int64), shift, int((magnitudes > LARGEST_STORED).sum()))


def dequantise(quantised: Quantised) -> NDArray[np.float64]:
    """Return the magnitudes that stored weights stand for; exact."""
    found: NDArray[np.float64] = quantised.stored.astype(np.float64) * 2.0 ** (quantised.shift - FRACTION_BITS)
    return found


def split(weights: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split signed weights into the magnitudes of excitatory and of inhibitory ones, zero where a synapse is of the other type."""
    signed = np.asarray(weights, np.float64)
    return np.maximum(signed, 0.0), np.maximum(-signed, 0.0)


def half_largest_sum(projections: Sequence[ArrayLike]) -> tuple[float, float]:
    """Bound the summed input of a population, per type, so that its ring buffers hold all spikes at once.

    Args:
        projections: weights [N, I] of all that reach the population; the I may differ.

    Returns:
        For excitatory and inhibitory synapses, half of the largest sum over all the synapses of a neuron.
    """
    parts = [split(weights) for weights in projections]
    exc, inh = (sum(part[k].sum(axis=-1) for part in parts) for k in (0, 1))
    return float(np.max(exc)) / 2, float(np.max(inh)) / 2
