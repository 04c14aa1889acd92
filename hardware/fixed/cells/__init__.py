"""The neuron cells of `snn.cells` in s16.15: one file per cell, the same equations, every product and its rounding written out.

A file offers what `Cell` names. States and pseudo-derivatives are int32 (`hardware.fixed.arithmetic`); spikes are 0 and 1. Membranes use the plain
product of C, which floors. What learning multiplies is small, so its products are given as an argument: `multiply_nearest`, or `multiply` to see
what flooring does to it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.fixed.arithmetic import Accum
from snn.network import Params

Product = Callable[[Accum, Accum], Accum]


class Cell(Protocol):
    """A file of this package; shapes are [..., N] unless said otherwise."""

    def constants(self, params: Params) -> Any:
        """Convert the parameters of a population, [N] each."""

    def initial_state(self, shape: tuple[int, ...]) -> Any:
        """Return a population at rest; a state has spikes `z` and the membrane's `distance` to its threshold."""

    def step(self, current: Accum, state: Any, constants: Any) -> Any:
        """Advance by one time step, given the summed input of the step; return the new state."""

    def psi(self, distance: Accum, constants: Any) -> Accum:
        """Return the pseudo-derivative."""

    def initial_trace(self, shape: tuple[int, ...]) -> Any:
        """Return empty eligibility traces; `shape` is [N, I]."""

    def trace_step(self, x: Accum, psi: Accum, z: Accum, trace: Any, constants: Any, product: Product) -> tuple[Accum, Any]:
        """Advance the traces [N, I] of a projection with presynaptic spikes x [I], psi and z [N]; return the eligibility and the new traces."""

    def factors(self, psi: Accum, signal: Accum, z: Accum, constants: Any, product: Product) -> Accum:
        """Fold learning signals backwards in time into one factor per neuron and step; all [T, N]."""


def zeros(shape: tuple[int, ...]) -> Accum:
    """Return zeros of the state's type."""
    return np.zeros(shape, np.int32)


def fired(distance: Accum) -> NDArray[np.int32]:
    """Emit spikes where the threshold is reached."""
    return (distance >= 0).astype(np.int32)


def cell_named(name: str) -> Cell:
    """Return the cell that a configuration names."""
    from hardware.fixed.cells import adlif, alif, board

    cells: dict[str, Cell] = {"lif": alif, "alif": alif, "adlif": adlif, "board": board}
    return cells[name]
