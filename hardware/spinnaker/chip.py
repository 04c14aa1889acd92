r"""What a chip is to the host: it takes a circuit, and turns spikes into spikes.

Every connection takes one step, the input's too: what is sent at tick t is computed at tick t + 1, with the spikes that the network's own neurons
emitted at tick t. So the first tick of a run from rest computes nothing (`Chip.run` returns zeros for it), and a whole utterance of T steps takes
T + 1 ticks, the last without input. `whole` does that.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hardware.fixed.arithmetic import to_fixed
from hardware.fixed.cells import board as fixed_board
from hardware.fixed.population import Population as FixedPopulation
from hardware.fixed.synapses import Synapses
from hardware.spinnaker.circuit import INPUT, Circuit, quantised
from snn.cells import board

Spikes = NDArray[np.uint8]


class Chip(Protocol):
    """Something that runs a circuit."""

    def load(self, ideal: Circuit) -> Circuit:
        """Put a circuit on the chip, at rest, in place of the one before.

        Returns:
            The circuit as the chip holds it: with weights of its own precision.

        Raises:
            BackendError: it does not fit, or there is no chip.
        """

    def run(self, spikes: Spikes, *, rest: bool) -> Mapping[str, Spikes]:
        """Run for as many ticks as there are rows.

        Args:
            spikes: [T, I] sent at each tick.
            rest: begin from rest; else go on from the last run.

        Returns:
            [T, N] spikes of every population at each tick, which answer to what was sent one tick before.

        Raises:
            BackendError: nothing is loaded, or the chip failed.
        """


def whole(chip: Chip, spikes: Spikes) -> dict[str, Spikes]:
    """Let a chip hear an utterance from rest.

    Args:
        chip: with a circuit on it.
        spikes: [T, I] of the utterance.

    Returns:
        [T, N] spikes of every population in the time of the utterance: row t answers to row t.
    """
    silence = np.zeros_like(spikes[:1])
    return {name: z[1:] for name, z in chip.run(np.concatenate([spikes, silence]), rest=True).items()}


class ReferenceChip:
    """A chip in float64 that holds the weights as they are: what the others are compared with.

    Args:
        bits: False: weights as they are; True: the weights that a board would hold.
    """

    def __init__(self, *, bits: bool = False) -> None:
        self._bits = bits

    def load(self, ideal: Circuit) -> Circuit:
        """See `Chip.load`."""
        self._held = quantised(ideal) if self._bits else ideal
        self._rest()
        return self._held

    def _rest(self) -> None:
        self._states: dict[str, board.BoardState] | None = None  # None: nothing has been sent
        self._sent = np.zeros(self._held.inputs)

    def run(self, spikes: Spikes, *, rest: bool) -> dict[str, Spikes]:
        """See `Chip.run`."""
        if rest:
            self._rest()
        out = {name: np.zeros((len(spikes), len(p.bias)), np.uint8) for name, p in self._held.populations.items()}
        for t, sent in enumerate(spikes):
            if self._states is not None:
                self._states = self._step(self._states)
                for name, state in self._states.items():
                    out[name][t] = state.z.numpy()
            else:
                self._states = {name: board.initial_state(p.bias.shape, torch.float64) for name, p in self._held.populations.items()}
            self._sent = sent.astype(np.float64)
        return out

    def _step(self, states: Mapping[str, board.BoardState]) -> dict[str, board.BoardState]:
        """Compute what was sent at the last tick."""
        arrived = {INPUT: self._sent} | {name: state.z.numpy() for name, state in states.items()}
        after = {}
        for name, p in self._held.populations.items():
            current = p.bias + sum((matrix @ arrived[source] for source, matrix in p.weights.items()), np.zeros_like(p.bias))
            after[name] = board.step(torch.from_numpy(current), states[name], p.params)[1]
        return after


class EmulatedChip:
    """A chip in a board's arithmetic (`hardware.fixed`): 16-bit weights, s16.15 state, flooring products, ring buffers that saturate."""

    def load(self, ideal: Circuit) -> Circuit:
        """See `Chip.load`."""
        self._held = quantised(ideal)
        self._populations = {}
        for name, p in ideal.populations.items():
            synapses = Synapses.quantised([matrix[None] for matrix in p.weights.values()])
            self._populations[name] = FixedPopulation(fixed_board, fixed_board.constants(p.params), synapses, to_fixed(p.bias))
        self._rest()
        return self._held

    def _rest(self) -> None:
        self._states: dict[str, Any] | None = None
        self._sent = np.zeros((1, self._held.inputs), np.int32)

    def run(self, spikes: Spikes, *, rest: bool) -> dict[str, Spikes]:
        """See `Chip.run`."""
        if rest:
            self._rest()
        out = {name: np.zeros((len(spikes), len(p.bias)), np.uint8) for name, p in self._held.populations.items()}
        for t, sent in enumerate(spikes):
            if self._states is not None:
                self._states = self._step(self._states)
                for name, state in self._states.items():
                    out[name][t] = state.z[0, 0]
            else:
                self._states = {name: population.rest(1) for name, population in self._populations.items()}
            self._sent = sent.astype(np.int32)[None]
        return out

    def _step(self, states: Mapping[str, Any]) -> dict[str, Any]:
        """Compute what was sent at the last tick."""
        arrived = {name: state.z for name, state in states.items()}
        after = {}
        for name, population in self._populations.items():
            first, *others = self._held.populations[name].weights
            assert first == INPUT
            after[name] = population.step([self._sent, *(arrived[source] for source in others)], states[name])
        return after
