r"""e-prop by NEST's own synapses, with learning signals from outside.

NEST's `eprop_synapse_bsshslm_2020` computes (after Bellec et al. 2020), for each synapse and at the end of an update interval,

.. math::
    g_{ji} = \sum_t L_j^t \bar e_{ji}^t, \qquad \bar e_{ji}^t = \kappa \bar e_{ji}^{t-1} + (1-\kappa)\, e_{ji}^t, \qquad
    W_{ji} \leftarrow W_{ji} - \eta\, g_{ji}

with :math:`\kappa = e^{-1 / \tau}`, :math:`\tau` = `tau_m_readout`. Learning signals of the generator meet eligibility traces that are not
low-passed: `tau_m_readout` is then `TAU_READOUT_MS`, so short that :math:`\kappa = e^{-1000}` is 0 in float64. (The readout error of `snn.broadcast`
meets low-passed ones, and the low-pass is the same.) No averaging over the window, no regularisation of rates, plain gradient descent, bounds on
weights out of reach, no refractory time, no autapses.

**Learning signals.** NEST computes :math:`L_j` from readout neurons. Here every neuron has one readout neuron that receives no spikes, and a rate
generator gives it the target :math:`-L_j^t`: its error, which is its readout (0) minus its target, is :math:`L_j^t`, and reaches the neuron with
weight 1. (The readout neurons are created before the generators: in the other order signals arrive a step earlier.) In steps of NEST, for step
t = 0, 1 .. T-1 of the utterance:

    t+2   generator -> parrot             spike x^t leaves the generator (no spike at NEST's step 0; one silent step comes first)
    t+3   parrot -> neuron                it leaves PyNN's parrot; recurrent spikes z^{t-1} leave their neurons at the same time
    t+4   neuron                          v^t, psi^t; spike z^t is recorded with this time
    t+5   rate generator -> readout       amplitude -L^t from this time
    t+7   readout -> neuron               L^t has arrived, and NEST has put it beside psi^t in the neuron's history

The update interval covers all that. Weights change when the first spike after it passes a synapse: a last spike of every source, and of every neuron
(kicked by a strong synapse), brings that about.

**The centred rule.** Ours has h - c as presynaptic signal of W_in, where c is the usual activity of a channel. The eligibility is linear in the
presynaptic signal, so :math:`g^{h-c} = g^h - g^1 c^\top` with :math:`g^1` the gradient of a synapse whose source fires at every step. That synapse
exists here: it carries the bias, and its gradient, too, is NEST's.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardware.nest.network import Block, Floats, Spikes, connect, neuron_model, raster, run_for, set_spikes, spike_times
from hardware.nest.simulator import KERNEL, STEP_MS, empty_kernel, quiet, simulators
from snn.cells.alif import AlifParams

TAU_READOUT_MS = 1e-3
FIRST = 4  # NEST's step that is step 0 of the utterance in the neurons
SIGNAL = 5  # step of its learning signals in the rate generators
ARRIVED = 7  # and in the neurons
TAIL = 4  # steps of the update interval beyond the utterance
KICK = 1e6  # weight that makes any neuron fire
FAR = 1e9  # bounds on weights


class Update(NamedTuple):
    """What NEST made of an utterance and learning signals."""

    z: Spikes  # [T, N] spikes
    psi: Floats  # [T, N] pseudo-derivatives
    signals: Floats  # [T, N] learning signals as the neurons received them
    w_in: Floats  # [N, H] after the update, with presynaptic signal h
    w_rec: Floats  # [N, N]
    bias: Floats  # [N] as if the bias were learnt at the rate of W_in

    def centred(self, before: Floats, center: Floats) -> Floats:
        """Return W_in [N, H] after the update with presynaptic signal h - c, given the bias [N] before it and c [H]."""
        found: Floats = self.w_in - np.outer(self.bias - before, center)
        return found


def update(
    params: AlifParams,
    weights: tuple[Floats, Floats, Floats],
    heard: Spikes,
    signals: Floats,
    rates: tuple[float, float],
    kappa: float = 0.0,
) -> Update:
    """Run a network once, from rest, and let its e-prop synapses learn from injected signals.

    Args:
        params: of its N neurons, float64; without adaptation the LIF model is used.
        weights: W_in [N, H], W_rec [N, N] (its diagonal is ignored) and bias [N].
        heard: [T, H] presynaptic spikes.
        signals: [T, N] learning signals L.
        rates: learning rates of W_in and W_rec.
        kappa: low-pass of the eligibility traces per step; 0 for none.

    Returns:
        What happened, and the weights after one update.
    """
    (steps, channels), neurons = heard.shape, len(signals[0])
    w_in, w_rec, bias = weights
    interval = float(steps + TAIL)
    with KERNEL:
        empty_kernel(eprop_update_interval=interval, eprop_learning_window=interval, eprop_reset_neurons_on_update=False)
        pynn, nest = simulators()
        with quiet():
            sources = pynn.Population(channels + 1, pynn.SpikeSourceArray(spike_times=[]))
            kick = pynn.Population(1, pynn.SpikeSourceArray(spike_times=[]))
        model, parameters = neuron_model(params)
        population, recorder = nest.Create(model, neurons, params=parameters), nest.Create("spike_recorder")
        meter = nest.Create("multimeter", params={"interval": STEP_MS, "record_from": ["surrogate_gradient", "learning_signal"]})
        nest.Connect(population, recorder)
        nest.Connect(meter, population)
        _inject(population, signals)
        incoming, everywhere = np.concatenate([w_in, bias[:, None]], 1), np.ones((neurons, channels + 1), bool)
        _connect_plastic("learning_in", sources.node_collection, population, incoming, everywhere, rates[0], kappa)
        _connect_plastic("learning_rec", population, population, w_rec, ~np.eye(neurons, dtype=bool), rates[1], kappa)
        connect(kick.node_collection, population, [Block(0, 0, np.full((neurons, 1), KICK))])
        last = np.zeros((TAIL + 2, channels + 1), np.uint8)
        last[-1] = 1
        set_spikes(sources, np.concatenate([np.insert(heard, channels, 1, axis=1), last]), FIRST - 1.0)
        set_spikes(kick, last[:, :1], FIRST - 1.0 + steps)
        run_for(FIRST + steps + 2 * TAIL)
        after_in = _weights("learning_in", sources.node_collection, population)
        after_rec = _weights("learning_rec", population, population)
        z = raster(spike_times(recorder, population[0].global_id), neurons, FIRST, steps)
        psi = _recorded(meter, "surrogate_gradient", population, FIRST, steps)
        arrived = _recorded(meter, "learning_signal", population, ARRIVED, steps)
    return Update(z, psi, arrived, after_in[:, :-1], after_rec, after_in[:, -1])


def _inject(population: Any, signals: Floats) -> None:
    """Give every neuron a readout neuron whose error is its learning signal, [T, N]."""
    nest = simulators().nest
    times = (SIGNAL + STEP_MS * np.arange(len(signals) + 1)).tolist()
    targets = [{"amplitude_times": times, "amplitude_values": [*(-column).tolist(), 0.0]} for column in signals.T]
    readout = {"C_m": 1.0, "E_L": 0.0, "V_m": 0.0, "I_e": 0.0, "loss": "mean_squared_error"}
    errors = nest.Create("eprop_readout_bsshslm_2020", len(targets), params=readout)
    generators = nest.Create("step_rate_generator", len(targets), params=targets)
    nest.Connect(generators, errors, "one_to_one", {"synapse_model": "rate_connection_delayed", "receptor_type": 2, "delay": STEP_MS})
    carry = {"synapse_model": "eprop_learning_signal_connection_bsshslm_2020", "weight": 1.0, "delay": STEP_MS}
    nest.Connect(errors, population, "one_to_one", carry)


def _connect_plastic(name: str, pre: Any, post: Any, weights: Floats, exists: NDArray[np.bool_], rate: float, kappa: float) -> None:
    """Connect by e-prop synapses, also those of weight 0."""
    nest = simulators().nest
    optimizer = {"optimizer": "gradient_descent", "batch_size": 1, "eta": rate, "Wmin": -FAR, "Wmax": FAR}
    tau = -STEP_MS / math.log(kappa) if kappa else TAU_READOUT_MS
    nest.CopyModel("eprop_synapse_bsshslm_2020", name, {"optimizer": optimizer, "average_gradient": False, "tau_m_readout": tau})
    connect(pre, post, [Block(0, 0, weights)], name, exists)


def _weights(name: str, pre: Any, post: Any) -> Floats:
    """Read the weights of a synapse model as a matrix, 0 where there is no synapse."""
    found = simulators().nest.GetConnections(pre, post, synapse_model=name)
    out = np.zeros((len(post), len(pre)))
    if len(found):
        table = found.get(["source", "target", "weight"])
        row, column = (np.array(table[key], ndmin=1) - nodes[0].global_id for key, nodes in (("target", post), ("source", pre)))
        out[row, column] = table["weight"]
    return out


def _recorded(meter: Any, name: str, population: Any, first: int, steps: int) -> Floats:
    """Read what a multimeter recorded: [steps, N] from a step of NEST on."""
    events = meter.events
    step = np.rint(np.asarray(events["times"], float) / STEP_MS).astype(np.int64) - first
    inside = (step >= 0) & (step < steps)
    out = np.zeros((steps, len(population)))
    out[step[inside], np.asarray(events["senders"], np.int64)[inside] - population[0].global_id] = np.asarray(events[name], float)[inside]
    return out
