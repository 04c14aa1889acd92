r"""Chip in the loop: the host works out from the spikes of a chip what e-prop needs, without seeing a membrane.

A chip gives back when its neurons fired. With a hard reset that, the input and the weights that it holds determine its membranes,

.. math::
    c_j^t = \rho_j (c_j^{t-1} + I_{\alpha,j} z_j^{t-1}), \qquad v_j^t = \alpha_j (1 - z_j^{t-1})\, v_j^{t-1} + I_j^t - c_j^t

with the chip's own z in the place of a threshold: the host's arithmetic need not decide a spike as the chip's did, and its rounding errors end at
every reset. From v follow :math:`\psi`, the eligibility and, with the learning-signal generator that runs on the host, the weight change of
`snn.learner`. Learning happens on the host; this is no on-chip learning.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Shot, Trace
from hardware.spinnaker.chip import Chip, Spikes, whole
from hardware.spinnaker.circuit import FEATURES, INPUT, Circuit, Floats, Population
from snn import learner, lsg, readout
from snn.cells.board import BoardParams
from snn.config import LearnerConfig
from snn.network import Activity, delayed
from snn.surrogate import triangular


def membrane(current: Floats, z: Spikes, params: BoardParams) -> Floats:
    """Follow the membranes of a population whose spikes are known.

    Args:
        current: [T, N] summed input of every step, bias included.
        z: [T, N] spikes of the chip.
        params: of the population.

    Returns:
        [T, N] potentials v^t before the reset of step t.
    """
    alpha, rho, jump = (p.numpy() for p in (params.alpha, params.rho, params.jump))
    v, c, fired = (np.zeros(len(alpha)) for _ in range(3))
    out = np.zeros(current.shape)
    for t, current_t in enumerate(current):
        c = rho * (c + jump * fired)
        v = alpha * (1 - fired) * v + current_t - c
        out[t], fired = v, z[t].astype(np.float64)
    return out


def currents(population: Population, arrivals: Mapping[str, NDArray[np.uint8]]) -> Floats:
    """Sum what reaches a population: [T, N], from spikes [T, I] that arrive from every source."""
    parts = [arrivals[source].astype(np.float64) @ matrix.T for source, matrix in population.weights.items()]
    found: Floats = population.bias + np.sum(parts, axis=0)
    return found


def learn(config: LearnerConfig, weights: Mapping[str, Tensor], chip: Chip, held: Circuit, spikes: Spikes) -> tuple[Shot, Trace, Floats]:
    """Learn a word from one utterance that a chip hears.

    Args:
        config: of the learner.
        weights: primed, float32.
        chip: with the primed network on it, one learning network.
        held: the circuit as the chip holds it.
        spikes: [T, I] of the utterance.

    Returns:
        What was taught, what the networks did, and the potentials [T, N] of the learning network.

    Raises:
        BackendError: learning left the finite numbers.
    """
    (name,) = held.words
    network = held.populations[name]
    emitted = whole(chip, spikes)
    arrived = {source: np.concatenate([np.zeros_like(z[:1]), z[:-1]]) for source, z in emitted.items()}
    current = currents(network, {INPUT: spikes} | arrived)
    v = membrane(current, emitted[name], network.params)
    psi = triangular(torch.from_numpy(v - network.params.v_th), network.params.gamma, network.params.v_th).float()
    z = torch.from_numpy(emitted[name].astype(np.float32))
    features = arrived[FEATURES][:, -config.features[-1] :]
    heard = torch.from_numpy(np.concatenate([spikes, features], 1).astype(np.float32)).unsqueeze(1)  # [T, 1, H]
    with torch.no_grad():
        if config.plastic:
            activity = Activity(z.unsqueeze(1), psi.unsqueeze(1), None)
            signals, factor = learner.natural(config, weights, heard, torch.from_numpy(current).float().unsqueeze(1), activity)
            gate, taught = signals.gate, signals.learning[:, 0]
        else:
            gate = lsg.profile_gate(len(spikes), weights["lsg.profile"]).unsqueeze(1)
            factor, taught, z = torch.zeros_like(z).unsqueeze(1), torch.zeros_like(z), torch.zeros_like(z)
        word = readout.learn(learner.readout_units(config, weights, heard), weights["readout.gain"], gate, config.delays)
    if not (bool(factor.isfinite().all()) and bool(word.isfinite().all())):
        raise BackendError("learning left the finite numbers; the utterance was not learnt")
    fired = z.numpy().astype(np.uint8)
    shot = Shot(factor[:, 0].numpy(), spikes.astype(np.uint8), features, delayed(z).numpy().astype(np.uint8), word.reshape(-1).numpy())
    return shot, Trace(shot.inputs, fired, taught.numpy(), np.zeros(0, np.float32)), v
