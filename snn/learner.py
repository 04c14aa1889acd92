r"""The one-shot learner: feature population, learning network, learning-signal generator and readout put together.

A word is learnt from one utterance. The learning network hears :math:`h^{1..T}` (`snn.features`) with its primed weights; the generator turns what
both do into learning signals; then, once, after the last step,

.. math::
    \Delta W^{in} = -\eta^{in} \sum_t L^t e^{t,in}, \qquad \Delta W^{rec} = -\eta^{rec} \sum_t L^t e^{t,rec}, \qquad
    w = \sum_t G^t f^t / \lVert \cdot \rVert

Every word has its own :math:`\Delta W` and w on the shared primed weights. The presynaptic signal of W_in is what a channel does more than usual,
:math:`h_i^t - c_i`: without that, every synapse of a busy channel would grow whatever was said. (A covariance rule; the constant part is what e-prop
gives a bias, so a device needs one synapse more per neuron.)

This file is the batched, factorised form that priming differentiates through; a backend of `hardware` runs the same thing online. Axis letters: B
tasks (words), Q queries, T steps, I inputs, H heard channels, N neurons of the learning network, M of the generator, K readout units, D delays.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from snn import eprop, lsg, network, readout
from snn.config import METRIC, LearnerConfig
from snn.populations import Weights, cell_params, lsg_weights, without_autapses
from snn.precision import product


class Learnt(NamedTuple):
    """What one utterance per task taught, or several (`pooled`): the factors of the weight changes, and the readout weights."""

    factor: Tensor  # [T, B, N] e-prop factors
    presynaptic: Tensor  # [T, B, H] h - c
    recurrent: Tensor  # [T, B, N] spikes that arrived over the recurrent connections
    readout: Tensor  # [B, D, K]


class Learning(NamedTuple):
    """What the networks did while words were learnt, for regularisers and figures; None without plasticity."""

    activity: network.Activity
    signals: lsg.Signals | None  # None without learning signals


Teach = Callable[[LearnerConfig, Weights, Tensor, Tensor, network.Activity], tuple[lsg.Signals, Tensor]]


def readout_inputs(weights: Weights) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Collect the primed weights of the readout units' input: projection, centre, salience and its bias."""
    return weights["readout.project"], weights["center"], weights["readout.salience"], weights["readout.salience_bias"]


def readout_units(config: LearnerConfig, weights: Weights, heard: Tensor) -> Tensor:
    """Run the readout units over what is heard, [T, ..., H] to [T, ..., K]."""
    return readout.low_pass(readout.drive(heard, *readout_inputs(weights)), config.readout_kappa)


def natural(config: LearnerConfig, weights: Weights, heard: Tensor, current: Tensor, activity: network.Activity) -> tuple[lsg.Signals, Tensor]:
    """Let the generator hear and teach: natural e-prop.

    Args:
        config: of the learner.
        weights: primed.
        heard: [T, B, H] of the utterances.
        current: [T, B, N] what the learning network received besides its own spikes; not needed here.
        activity: what it did.

    Returns:
        The generator's signals, and the factors [T, B, N] of the weight changes that they make.
    """
    signals = lsg.generate(heard, activity.z, lsg_weights(config, weights))
    return signals, eprop.factors(activity.psi, signals.learning, cell_params(config, weights), activity.z)


def learn(config: LearnerConfig, weights: Weights, heard: Tensor, teach: Teach = natural) -> tuple[Learnt, Learning | None]:
    """Learn one word per task from one utterance each (factorised form).

    Without plasticity of W_in and W_rec the generator is silent and the gate is its profile alone.

    Args:
        config: of the learner.
        weights: primed.
        heard: [T, B, H] of the utterances.
        teach: turns what the learning network did into learning signals and factors (`snn.schemes`).

    Returns:
        What was learnt, and what the networks did meanwhile.
    """
    units = readout_units(config, weights, heard)
    if not config.plastic:
        gate = lsg.profile_gate(len(heard), weights["lsg.profile"]).unsqueeze(1).expand(-1, heard.shape[1])
        silent = heard.new_zeros(*heard.shape[:2], config.neurons)
        return Learnt(silent, heard - weights["center"], silent, readout.learn(units, weights["readout.gain"], gate, config.delays)), None
    current = product(heard, weights["w_in"].T) + weights["bias"]
    activity = network.run(current, without_autapses(weights["w_rec"]), cell_params(config, weights))
    signals, factor = teach(config, weights, heard, current, activity)
    words = readout.learn(units, weights["readout.gain"], signals.gate, config.delays)
    return Learnt(factor, heard - weights["center"], network.delayed(activity.z), words), Learning(activity, signals)


def pooled(learnt: Learnt, shots: int) -> Learnt:
    """Average what several utterances of each word taught, as a backend does that is given several shots.

    Changes of the weights add up in their factors: those of one utterance follow those of another in time.

    Args:
        learnt: of B S utterances, the S of a word one after the other.
        shots: S.

    Returns:
        Of B words, with factors of S T steps.
    """
    if shots == 1:
        return learnt

    def joined(rows: Tensor) -> Tensor:
        """Put the utterances of a word after one another: [T, B S, N] to [S T, B, N]."""
        steps, _, width = rows.shape
        return rows.reshape(steps, -1, shots, width).permute(2, 0, 1, 3).flatten(0, 1)

    words = readout.normalised(learnt.readout.reshape(-1, shots, *learnt.readout.shape[1:]).mean(1))
    return Learnt(joined(learnt.factor) / shots, joined(learnt.presynaptic), joined(learnt.recurrent), words)


def respond(config: LearnerConfig, weights: Weights, learnt: Learnt, heard: Tensor) -> tuple[Tensor, network.Activity | None]:
    """Let every word hear every query.

    The change of W_in is applied in factorised form, h (F^T X)^T = (h X^T) F: cheaper than its product with the matrix, as an utterance has fewer
    steps than the network has inputs.

    Args:
        config: of the learner.
        weights: primed.
        learnt: of B tasks.
        heard: [T, Q, H] of the queries, heard by every task.

    Returns:
        Scores [T, B, Q] at every step, and what the learning networks [T, B, Q, N] did; None without plasticity, when they are left out.
    """
    words = readout.compared(learnt.readout, weights.get(METRIC))
    compared = readout.score(readout_units(config, weights, heard), weights["readout.gain"], words, config.delays)
    if not config.plastic:
        return compared, None
    steps, queries, channels = heard.shape
    length, tasks, _ = learnt.presynaptic.shape
    rate = weights["log_rate_in"].exp()
    if rate.dim():  # a rate of its own for every synapse: the change has no factors any more
        change = network.project(heard.unsqueeze(1).expand(-1, tasks, -1, -1), rate * eprop.gradient(learnt.factor, learnt.presynaptic))
    else:
        overlap = product(heard.reshape(-1, channels), learnt.presynaptic.reshape(-1, channels).T)
        change = rate * torch.einsum("tqsb,sbn->tbqn", overlap.reshape(steps, queries, length, tasks), learnt.factor)
    current = (product(heard, weights["w_in"].T) + weights["bias"]).unsqueeze(1) - change
    change_rec = eprop.gradient(learnt.factor, learnt.recurrent)  # [B, N, N]
    w_rec = without_autapses(weights["w_rec"] - weights["log_rate_rec"].exp() * change_rec)
    activity = network.run(current, w_rec, cell_params(config, weights))
    return compared + readout.low_pass(activity.z, config.readout_kappa) @ weights["readout.learning"], activity
