r"""A recurrent network of LIF or ALIF neurons on NEST, run in pieces.

The cell is NEST's `eprop_iaf_adapt_bsshslm_2020` (`eprop_iaf_bsshslm_2020` without adaptation), which is `snn.cells.alif` to the letter, soft
reset and order of operations included. PyNN has no name for it, and its way to native models (`native_cell_type`) fails on this one in PyNN 0.13 (one
of its parameters is a boolean, another a word), so cells, synapses and recorders are PyNEST's. Spike sources, set-up and runs are PyNN's.

**Pieces.** A spike needs one step to its neuron, so NEST cannot learn at time n what a neuron is to receive at n + 1; and other networks want the
kernel between two pieces. State therefore lives here, on the host, and a piece of T steps that begins at kernel time n looks like this:

    n+1, n+2        neurons are held far below threshold while the first spikes travel: source -> PyNN's parrot -> neuron
    n+2             v and a are put into the neurons; spikes of the step before the piece leave from sources of their own (the echo)
    n+3 .. n+2+T    step t of the piece is computed at n+3+t
    n+2+T           v and a are read; neurons are held down again
    n+3+T           the last spikes reach the recorder; the next piece of the same run may begin

The soft reset and the jump of the adaptation that the last piece still owes are folded into what is put in: :math:`v - v_{th} z / \alpha` and
:math:`a + z / \rho`. That rounds in the last bit of a float64, which is all that cutting a stream changes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardware.nest.simulator import KERNEL, STEP_MS, empty_kernel, holds, quiet, simulators
from snn.cells.alif import AlifParams

Floats = NDArray[np.float64]
Spikes = NDArray[np.uint8]

HELD = -1e9  # membrane potential of a neuron that must not fire
BEFORE, AFTER = 2, 1  # steps that NEST computes around a piece


class Block(NamedTuple):
    """A part of a connectivity: a dense matrix somewhere in a large sparse one."""

    post: int  # row of the first postsynaptic neuron
    pre: int  # column of the first presynaptic neuron
    weights: Floats  # [rows, columns]; 0 is no synapse


class State(NamedTuple):
    """State of all neurons after a step."""

    v: Floats  # [M] membrane potentials
    a: Floats  # [M] threshold adaptation
    z: Spikes  # [M] spikes of this step


def neuron_model(params: AlifParams) -> tuple[str, list[dict[str, Any]]]:
    """Name NEST's model of a population and its parameters.

    Without adaptation (beta = 0) that is the LIF model. E_L = 0, no refractory time, spikes enter with gain 1 (`regular_spike_arrival`), no
    regularisation of rates. The pseudo-derivative is the triangle of `snn.surrogate`: height gamma / v_th, width v_th.

    Args:
        params: of the population, [N], float64; alpha and rho between 0 and 1.

    Returns:
        The model's name and one dictionary per neuron.
    """
    adaptive = bool((params.beta > 0).any())
    shared: dict[str, Any] = {"E_L": 0.0, "V_m": 0.0, "V_th": params.v_th, "C_m": 1.0, "I_e": 0.0, "t_ref": 0.0, "regular_spike_arrival": True}
    shared |= {"c_reg": 0.0, "f_target": 0.0, "surrogate_gradient_function": "piecewise_linear"}
    shared |= {"surrogate_gradient_height": params.gamma / params.v_th, "surrogate_gradient_width": params.v_th}
    tau_m = (-STEP_MS / params.alpha.log()).tolist()
    if not adaptive:
        return "eprop_iaf_bsshslm_2020", [shared | {"tau_m": m} for m in tau_m]
    tau_a = (-STEP_MS / params.rho.log()).tolist()
    own = zip(tau_m, tau_a, params.beta.tolist(), strict=True)
    return "eprop_iaf_adapt_bsshslm_2020", [shared | {"tau_m": m, "adapt_tau": a, "adapt_beta": b, "adaptation": 0.0} for m, a, b in own]


def connect(pre: Any, post: Any, blocks: Sequence[Block], model: str = "static_synapse", exists: NDArray[np.bool_] | None = None) -> None:
    """Connect with one step of delay.

    Args:
        pre: NEST's presynaptic nodes.
        post: NEST's postsynaptic nodes.
        blocks: of the connectivity.
        model: of the synapses.
        exists: where a block has synapses; where its weights are not 0 when None.
    """
    nest = simulators().nest
    sources, targets = np.array(pre.tolist()), np.array(post.tolist())
    for block in blocks:
        row, column = np.nonzero(block.weights if exists is None else exists)
        if len(row):
            spec = {"synapse_model": model, "weight": block.weights[row, column], "delay": np.full(len(row), STEP_MS)}
            nest.Connect(sources[block.pre + column], targets[block.post + row], "one_to_one", spec)


def set_spikes(sources: Any, spikes: NDArray[Any], first_ms: float) -> None:
    """Have PyNN's spike sources send; what they were told before is over.

    The times go to NEST's generators, one step ahead of PyNN's parrots, without PyNN's `set`, which takes three times as long.

    Args:
        sources: SpikeSourceArray population of I.
        spikes: [T, I].
        first_ms: time on the kernel's clock at which those of the first row leave the parrots.
    """
    sending = np.flatnonzero(spikes.any(0)).tolist()
    if sending:
        times = [{"spike_times": (first_ms - STEP_MS + STEP_MS * np.flatnonzero(spikes[:, i])).tolist()} for i in sending]
        sources.node_collection_source[sending].set(times)


def run_for(steps: int) -> None:
    """Advance the kernel through PyNN, which adds a step of its own to the first run after set-up."""
    with quiet():
        simulators().pynn.run(steps * STEP_MS)


def spike_times(recorder: Any, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a spike recorder: the step of NEST of every spike, and the neuron, counted from the one with id `first`."""
    events = recorder.get("events")
    return np.rint(np.asarray(events["times"], float) / STEP_MS).astype(np.int64), np.asarray(events["senders"], np.int64) - first


def raster(spikes: tuple[NDArray[np.int64], NDArray[np.int64]], neurons: int, first: int, steps: int) -> Spikes:
    """Draw the spikes of some steps, from NEST's step `first` on: [steps, neurons]."""
    step, neuron = spikes
    inside = (step >= first) & (step < first + steps)
    out = np.zeros((steps, neurons), np.uint8)
    out[step[inside] - first, neuron[inside]] = 1
    return out


class SpikingNetwork:
    """A network that hears input spikes; every recurrent connection takes one step.

    Nothing is built before the first run, and what was built is built again when somebody else has used the kernel.

    Args:
        params: of its M neurons, float64.
        inputs: I input channels.
        w_in: blocks of the weights [M, I].
        w_rec: blocks of the weights [M, M].
        bias: [M] added to every step's input.
    """

    def __init__(self, params: AlifParams, inputs: int, w_in: Sequence[Block], w_rec: Sequence[Block], bias: Floats) -> None:
        self._params, self._inputs, self._w_in, self._w_rec, self._bias = params, inputs, tuple(w_in), tuple(w_rec), bias
        self._alpha, self._rho = params.alpha.numpy(), params.rho.numpy()
        self._token = ""

    @property
    def rest(self) -> State:
        """The state in which nothing has happened yet."""
        neurons = len(self._bias)
        return State(np.zeros(neurons), np.zeros(neurons), np.zeros(neurons, np.uint8))

    def _build(self) -> None:
        self._token = empty_kernel(eprop_reset_neurons_on_update=False)
        pynn, nest = simulators()
        neurons = len(self._bias)
        with quiet():
            # The last channel fires at every step and carries the bias.
            self._sources = pynn.Population(self._inputs + 1, pynn.SpikeSourceArray(spike_times=[]))
            self._echo = pynn.Population(neurons, pynn.SpikeSourceArray(spike_times=[]))
        model, parameters = neuron_model(self._params)
        self._adaptive = "adapt_beta" in parameters[0]
        self._neurons = nest.Create(model, neurons, params=parameters)
        self._recorder = nest.Create("spike_recorder")
        sources = self._sources.node_collection
        connect(sources, self._neurons, [*self._w_in, Block(0, self._inputs, self._bias[:, None])])
        connect(self._neurons, self._neurons, self._w_rec)
        connect(self._echo.node_collection, self._neurons, self._w_rec)
        nest.Connect(self._neurons, self._recorder)
        self._first = self._neurons[0].global_id
        run_for(1)

    def _hold(self) -> None:
        self._neurons.set({"V_m": HELD})

    def _put(self, state: State) -> None:
        found = {"V_m": (state.v - self._params.v_th * state.z / self._alpha).tolist()}
        if self._adaptive:
            found["adaptation"] = (state.a + state.z / self._rho).tolist()
        self._neurons.set(found)

    def _taken(self) -> tuple[Floats, Floats]:
        """Read v [M] and a [M] out of the neurons; a is 0 where NEST's model has none."""
        names = ["V_m", "adaptation"] if self._adaptive else ["V_m"]
        found = self._neurons.get(names)
        v, *a = (np.array(found[name], float, ndmin=1) for name in names)
        return v, a[0] if a else np.zeros_like(v)

    def run(self, clips: Sequence[NDArray[Any]], state: State | None = None) -> tuple[list[Spikes], State]:
        """Hear pieces one after another.

        Args:
            clips: input spikes [T, I] of each, T >= 1.
            state: before the first; at rest when None. The others are heard from rest.

        Returns:
            Spikes [T, M] of each, and the state after the last.
        """
        with KERNEL:
            if not self._token or not holds(self._token):
                self._build()
            nest = simulators().nest
            first = nest.biological_time + BEFORE * STEP_MS  # when the first spikes leave their parrots
            gap = np.zeros((BEFORE + AFTER, self._inputs + 1), np.uint8)
            played = [part for clip in clips for part in (np.insert(clip, self._inputs, 1, axis=1), gap)]
            set_spikes(self._sources, np.concatenate(played), first)
            before, starts = state or self.rest, []
            set_spikes(self._echo, before.z[None], first)
            self._hold()
            run_for(BEFORE)
            for k, clip in enumerate(clips):
                self._put(before if k == 0 else self.rest)
                starts.append(round(nest.biological_time / STEP_MS) + 1)
                run_for(len(clip))
                if k == len(clips) - 1:
                    v, a = self._taken()
                self._hold()
                run_for(AFTER + BEFORE)
            spikes = spike_times(self._recorder, self._first)
            out = [raster(spikes, len(self._bias), start, len(clip)) for start, clip in zip(starts, clips, strict=True)]
            self._recorder.set({"n_events": 0})
        return out, State(v, a, out[-1][-1])
