r"""A SpiNNaker board as a chip: PyNN on sPyNNaker builds the circuit, maps it, loads it, runs it, and brings the spikes back.

Every population is one of IFCurrDeltaCa2Adaptive; inputs are a SpikeSourceArray whose times are set before each run, one machine time step a network
step, stretched by the time-scale factor to the step's length. Weights travel as magnitudes with a receptor type.

Three ways around sPyNNaker 7.4.1: `Projection.set` is not implemented, so new weights mean a new mapping; `SpikeSourceArray.set` breaks the next
run, so the ticks are put into the vertex; at tick 0 a neuron already integrates its constant current though nothing can have arrived, so it starts
from :math:`v = -b / \alpha`, which that tick brings to rest.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.backend import BackendError
from hardware.spinnaker.chip import Spikes
from hardware.spinnaker.circuit import INPUT, Circuit, Floats, Population, cell_parameters, quantised
from hardware.spinnaker.machine import Machine, Session, configuration, is_virtual

RECEPTORS = {"excitatory": 1, "inhibitory": -1}  # and the sign of their weights
DELAY = 1.0  # ms of the machine: one step


class SpynnakerChip:
    """A chip of `hardware.spinnaker.chip` behind sPyNNaker.

    Args:
        machine: what differs from `~/.spynnaker.cfg`.
        dry: accept a virtual board, which maps and loads and whose neurons never fire.
    """

    def __init__(self, machine: Machine | None = None, *, dry: bool = False) -> None:
        self._machine, self._dry = machine or Machine(), dry
        self._session: Session | None = None

    def check(self) -> None:
        """Check that there is a board to talk to, without talking to it.

        Raises:
            BackendError: sPyNNaker is missing, no board is configured, or a virtual one that would compute nothing.
        """
        if is_virtual(configuration(self._machine)) and not self._dry:
            raise BackendError("a virtual SpiNNaker board computes nothing: this needs a real one (docs/spinnaker.md) or the backend fixed")

    def load(self, ideal: Circuit) -> Circuit:
        """Build the circuit and remember it; the board is mapped and loaded at the first run. See `Chip.load`."""
        self.check()
        self.close()
        self._held = quantised(ideal)
        self._session = session = Session(self._machine, ideal.step_ms)
        with session.talking():
            self._build(session.simulator, ideal)
        self._ticks = 0
        return self._held

    def _build(self, sim: Any, ideal: Circuit) -> None:
        from spynnaker.pyNN.extra_models import IFCurrDeltaCa2Adaptive

        self._populations = {INPUT: sim.Population(self._held.inputs, sim.SpikeSourceArray, {"spike_times": []}, label=INPUT)}
        self._projections: dict[tuple[str, str, str], Any] = {}
        for name, p in self._held.populations.items():
            bounds = list(ideal.populations[name].bounds)  # those that the weights were quantised with
            neurons = sim.Population(len(p.bias), IFCurrDeltaCa2Adaptive(**cell_parameters(p)), label=name, max_expected_summed_weight=bounds)
            neurons.initialize(v=-p.bias / p.params.alpha.numpy())
            neurons.record("spikes")
            self._populations[name] = neurons
        for name, p in self._held.populations.items():
            self._connect(sim, name, p)

    def _connect(self, sim: Any, target: str, population: Population) -> None:
        for source, weights in population.weights.items():
            for receptor, sign in RECEPTORS.items():
                post, pre = np.nonzero(sign * weights > 0)
                if not len(post):
                    continue
                rows = np.column_stack([pre, post, np.abs(weights[post, pre]), np.full(len(post), DELAY)])
                connector = sim.FromListConnector(rows, column_names=["weight", "delay"])
                ends = self._populations[source], self._populations[target]
                projection = sim.Projection(*ends, connector, sim.StaticSynapse(), receptor_type=receptor, label=f"{source} to {target}, {receptor}")
                self._projections[source, target, receptor] = projection

    def run(self, spikes: Spikes, *, rest: bool) -> Mapping[str, Spikes]:
        """See `Chip.run`. After `load`, the first run maps and loads the board."""
        session = self._open()
        with session.talking():
            if rest and self._ticks:
                session.simulator.reset()
                self._ticks = 0
            times = np.empty(self._held.inputs, object)
            for channel, column in enumerate(spikes.T):
                times[channel] = self._ticks + np.flatnonzero(column)
            self._populations[INPUT]._vertex.send_buffer_times = times
            session.simulator.run(float(len(spikes)))
            first, self._ticks = self._ticks, self._ticks + len(spikes)
            return {name: self._raster(name, first, len(spikes)) for name in self._held.populations}

    def _open(self) -> Session:
        if self._session is None:
            raise BackendError("nothing is loaded on the board; load a primed model first")
        return self._session

    def _raster(self, name: str, first: int, ticks: int) -> Spikes:
        """Read the spikes of a population since tick `first`: [ticks, N]."""
        out = np.zeros((ticks, len(self._held.populations[name].bias)), np.uint8)
        found: NDArray[np.float64] = np.asarray(self._populations[name].spinnaker_get_data("spikes"), np.float64).reshape(-1, 2)
        neuron, tick = found[:, 0].astype(np.int64), np.rint(found[:, 1]).astype(np.int64) - first
        inside = (tick >= 0) & (tick < ticks)
        out[tick[inside], neuron[inside]] = 1
        return out

    def weights(self, source: str, target: str) -> Floats:
        """Read the weights of a projection back from the board, after a run.

        Args:
            source: name of a population, or `INPUT`.
            target: name of a population.

        Returns:
            [N, I] signed.
        """
        session, out = self._open(), np.zeros_like(self._held.populations[target].weights[source])
        with session.talking():
            for receptor, sign in RECEPTORS.items():
                if (source, target, receptor) in self._projections:
                    read = np.asarray(self._projections[source, target, receptor].get("weight", format="list", with_address=True), np.float64)
                    out[read[:, 1].astype(np.int64), read[:, 0].astype(np.int64)] += sign * read[:, 2]
        return out

    def placement(self) -> dict[str, int]:
        """Count what the mapping of the last run took.

        Returns:
            `cores` of populations and spike sources, `chips` that hold them, and `sdram_bytes` that they use together, recordings of the ticks so far
            included.
        """
        session = self._open()
        with session.talking():
            from spynnaker.pyNN.data import SpynnakerDataView as View

            vertices = [vertex for population in self._populations.values() for vertex in population._vertex.machine_vertices]
            places = {View.get_placement_of_vertex(vertex).xy for vertex in vertices}
            sdram = sum(vertex.sdram_required.get_total_sdram(self._ticks) for vertex in vertices)
        return {"cores": len(vertices), "chips": len(places), "sdram_bytes": int(sdram)}

    def close(self) -> None:
        """Give the board back."""
        if self._session is not None:
            self._session.end()
            self._session = None
