r"""Synapses of a population: 16-bit weights, and the ring buffers in which a step's input adds up.

What all synapses of a type bring to neuron j within a step is

.. math::
    I_j = \min\Big(65535, \sum_i q_{ji}^{exc} x_i\Big) 2^{s_{exc}} - \min\Big(65535, \sum_i q_{ji}^{inh} x_i\Big) 2^{s_{inh}}

with stored weights q and shifts s (`hardware.fixed.quantiser`). Every sum is one of integers, so a product of floating-point matrices finds it
exactly, in any order, while it stays below 2^24 (float32) or 2^53 (float64). Where no set of spikes can fill a ring buffer the two types are one
signed matrix.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardware.fixed.arithmetic import Accum, saturate, shift_nearest, to_float, wrap
from hardware.fixed.quantiser import LARGEST_STORED, Quantised, half_largest_sum, quantise, shift_of, split

Matrix = NDArray[Any]  # float32 or float64
Raw = NDArray[np.int64]  # signed weights as multiples of 2^-15


def _signed(exc: Quantised, inh: Quantised) -> Raw:
    signed: Raw = (exc.stored << exc.shift) - (inh.stored << inh.shift)
    return signed


class Synapses:
    """The quantised weights of W populations of N neurons, alike but for their weights.

    Args:
        raw: signed weights [W, N, I_k] of every projection, in units of 2^-15; of the first projection all populations hear the same
            channels, of the others each population has its own.
        shifts: [W, 2] of the ring buffers, excitatory and inhibitory; every weight is a multiple of 2^shift of its type.
        saturated: [W] weights that were too large for 16 bits.

    Attributes:
        overflows: ring buffers that were full, counted since the synapses were made.
    """

    def __init__(self, raw: Sequence[Raw], shifts: NDArray[np.int64], saturated: NDArray[np.int64]) -> None:
        self.raw, self.shifts, self.saturated = tuple(raw), shifts, saturated
        self.overflows = 0
        stored = [self._stored(weights) for weights in raw]  # [2, W, N, I_k] each
        totals = sum(part.sum(-1) for part in stored)  # [2, W, N] if every channel spiked
        self._whole = bool(np.max(totals, initial=0) <= LARGEST_STORED)
        largest = np.max(sum(np.abs(weights).sum(-1) for weights in raw) if self._whole else totals)  # that a sum can reach
        self._type = np.float32 if largest < 1 << 24 else np.float64
        self._matrices = [
            [self._matrix(part, first=k == 0) for part in parts] for k, parts in enumerate([w[None] for w in raw] if self._whole else stored)
        ]

    @classmethod
    def quantised(cls, projections: Sequence[ArrayLike]) -> "Synapses":
        """Store the weights [W, N, I_k] of every projection; each population's shifts suit its own weights.

        Raises:
            BackendError: a weight is no finite number, or they leave the range of an input.
        """
        arrays = [np.asarray(weights, np.float64) for weights in projections]
        raw = [np.zeros(weights.shape, np.int64) for weights in arrays]
        shifts, saturated = np.zeros((len(arrays[0]), 2), np.int64), np.zeros(len(arrays[0]), np.int64)
        for w in range(len(arrays[0])):
            bounds = half_largest_sum([weights[w] for weights in arrays])
            for k, weights in enumerate(arrays):
                exc, inh = (quantise(part, bound) for part, bound in zip(split(weights[w]), bounds, strict=True))
                raw[k][w] = _signed(exc, inh)
                shifts[w] = exc.shift, inh.shift
                saturated[w] += exc.saturated + inh.saturated
        return cls(raw, shifts, saturated)

    def changed(self, changes: Sequence[Raw]) -> "Synapses":
        """Add changes to the weights of one population, as a core would that rewrites its synapses.

        Learning may add much to the weights, so each population gets shifts that suit its new ones. A synapse whose sign changes becomes one of the
        other type. New weights are rounded to the ring buffer's grid, half away from zero.

        Args:
            changes: [W, N, I_k] in units of 2^-15, of every projection.

        Returns:
            W populations.

        Raises:
            BackendError: the new weights leave the range of an input.
        """
        wanted = [saturate(weights[0] + change).astype(np.int64) for weights, change in zip(self.raw, changes, strict=True)]
        raw = [np.zeros_like(weights) for weights in wanted]
        shifts, saturated = np.zeros((len(wanted[0]), 2), np.int64), np.zeros(len(wanted[0]), np.int64)
        for w in range(len(wanted[0])):
            shifts[w] = [shift_of(bound) for bound in half_largest_sum([to_float(weights[w]) for weights in wanted])]
            for k, weights in enumerate(wanted):
                types = []
                for sign, shift in zip((1, -1), shifts[w].tolist(), strict=True):
                    magnitudes = shift_nearest(np.maximum(sign * weights[w], 0), shift)
                    saturated[w] += (magnitudes > LARGEST_STORED).sum()
                    types.append(np.minimum(magnitudes, LARGEST_STORED) << shift)
                raw[k][w] = types[0] - types[1]
        return Synapses(raw, shifts, saturated)

    def _stored(self, raw: Raw) -> Raw:
        """Return the magnitudes [2, W, N, I] that a board stores."""
        shifts = self.shifts.T[:, :, None, None]
        return np.stack([np.maximum(raw, 0), np.maximum(-raw, 0)]) >> shifts

    def _matrix(self, weights: Raw, first: bool) -> Matrix:
        """Lay out weights [W, N, I] for `_product`."""
        order = (2, 0, 1) if first else (0, 2, 1)
        found: Matrix = np.ascontiguousarray(weights.transpose(order), dtype=self._type)
        return found.reshape(len(found), -1) if first else found

    def _product(self, spikes: Sequence[NDArray[np.int32]], part: int) -> Raw:
        shared, *own = spikes
        first, *others = (matrices[part] for matrices in self._matrices)
        total: Matrix = (shared.astype(self._type) @ first).reshape(len(shared), len(self.shifts), -1)
        for z, matrix in zip(own, others, strict=True):
            total = total + np.matmul(z.transpose(1, 0, 2).astype(self._type), matrix).transpose(1, 0, 2)
        sums: Raw = total.astype(np.int64)
        return sums

    def input(self, spikes: Sequence[NDArray[np.int32]]) -> Accum:
        """Add up what arrives within a step.

        Args:
            spikes: of every projection: [Q, I] for the first, [Q, W, I_k] for the others.

        Returns:
            [Q, W, N] inputs, s16.15.
        """
        if self._whole:
            return wrap(self._product(spikes, 0))
        sums = np.stack([self._product(spikes, 0), self._product(spikes, 1)])  # [2, Q, W, N]
        self.overflows += int((sums > LARGEST_STORED).sum())
        exc, inh = np.minimum(sums, LARGEST_STORED) << self.shifts.T[:, None, :, None]
        return wrap(exc - inh)

    def values(self) -> list[NDArray[np.float64]]:
        """Return what the stored weights stand for, [W, N, I_k] of every projection."""
        return [to_float(weights) for weights in self.raw]
