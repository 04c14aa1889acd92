"""A population in fixed point: synapses, bias and cells, one step at a time for Q streams and W words at once.

A board delivers no spike within the step that emitted it: every synapse has a delay of one step or more. The network as primed has recurrent delays
of one step and none on its inputs. Give every connection a step, and the whole network runs one step behind what it hears; the generator of learning
signals, which hears the learning network within the step, runs one more behind, its other inputs delayed by two
(`tests/hardware/fixed/test_delays.py` runs it so). No spike changes by that, so this emulator computes in the time of the primed network, and a
board's results are these, some steps later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.fixed.arithmetic import Accum
from hardware.fixed.cells import Cell
from hardware.fixed.synapses import Synapses

Spikes = NDArray[np.int32]  # 0 and 1


@dataclass(frozen=True)
class Population:
    """W populations of N neurons with their own weights and common cells."""

    cell: Cell
    constants: Any  # of its neurons
    synapses: Synapses  # of every projection that reaches it
    bias: Accum  # [N], a constant input

    def rest(self, streams: int) -> Any:
        """Return the state [Q, W, N] before anything was heard."""
        return self.cell.initial_state((streams, len(self.synapses.shifts), len(self.bias)))

    def step(self, spikes: Sequence[Spikes], state: Any) -> Any:
        """Advance by one step.

        Args:
            spikes: that arrive from every projection: [Q, I] for the first, [Q, W, I_k] for the others.
            state: after the previous step.

        Returns:
            The new state; its spikes are `z` [Q, W, N].
        """
        return self.cell.step(self.synapses.input(spikes) + self.bias, state, self.constants)
