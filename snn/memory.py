r"""Learning without plasticity: the word is kept in the adaptive thresholds (option 2 of Scherr & Maass; the LSNN of Bellec et al. 2018).

Support and query are one sequence to the word's network. It hears the utterance of the word, marked as such by a primed current (the cue), then
nothing for `GAP_MS`, then a query; its running output says whether the query is the same word:

.. math::
    I^t = W^{in} h^t + W^{rec} z^{t-1} + b + [\text{support}]\, q, \qquad s^t = \sum_j v_j \bar z_j^t

All of it is primed, nothing changes while a word is learnt: what remains of the utterance is :math:`a_j` (or the adaptation current) of neurons that
fired in it. Their adaptation decays over 100 to 400 steps, so that most of it outlasts gap and query; elsewhere no time constant is longer than 50.
The support is heard once, and every query goes on from the state that it left: sequences of tasks times queries share their first half.

Before priming, neurons come in pairs with the same input: one of each pair adapts, the other does not, and the output is the difference of their
spikes. A channel that was active in the support lets the adaptive one fire less: repetition suppression, from which priming starts.

The memory fades in seconds. A stream of hours cannot be heard with it, and no synapse of a device would change.
"""

import math
from typing import Any

import torch
from torch import Tensor

from snn import network, readout
from snn.config import LearnerConfig
from snn.learner import Learning
from snn.populations import Weights, cell_params, without_autapses
from snn.precision import product

GAP_MS = 400.0
GAIN = 3.0  # of the input against that of a plastic learning network, which is to be silent until a word is learnt
BIAS = {"alif": -0.3, "adlif": 0.5, "board": -0.3}  # what fires is what is unusual; adLIF takes its input with gain 1 - alpha
OUTPUT_TAU_MS = 600.0  # low-pass of the output: a word is compared as a whole
STRENGTH = 0.5  # of the adaptation of the neurons that remember
OUTPUT = 0.1  # size of v
TAU_STEPS = (100.0, 400.0)  # of the adaptation
ADAPTATION = {"alif": "beta", "adlif": "b", "board": "jump"}  # the tensor that says how strongly a cell adapts


def start(config: LearnerConfig, weights: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Turn the weights of natural e-prop before priming into those of this scheme."""
    plastic = ("center", "log_rate_in", "log_rate_rec")
    own = {name: tensor.clone() for name, tensor in weights.items() if not name.startswith(("lsg.", "readout.")) and name not in plastic}
    w_in = GAIN * own["w_in"]
    own |= {"w_in": w_in, "bias": BIAS[config.cell] - w_in @ weights["center"], "cue": torch.zeros(config.neurons)}
    low, high = (torch.tensor(steps * config.step_ms).log() for steps in TAU_STEPS)
    own["log_tau_adaptation"] = low + (high - low) * torch.rand(config.neurons, generator=rng)
    remembers = torch.arange(config.neurons) % 2 == 1
    own[ADAPTATION[config.cell]] = STRENGTH * remembers
    own["readout.learning"] = torch.where(remembers, -OUTPUT, OUTPUT)
    for name in ("w_in", "w_rec", "bias", "log_tau_membrane"):
        own[name][1::2] = own[name][: config.neurons - 1 : 2]
    return own


def learn(config: LearnerConfig, weights: Weights, heard: Tensor) -> tuple[Any, Learning]:
    """Hear one utterance per task, then the gap.

    Args:
        config: of the learner.
        weights: primed.
        heard: [T, B, H] of the utterances.

    Returns:
        The state that they left, tensors [B, N], and what the networks did meanwhile.
    """
    params, w_rec = cell_params(config, weights), without_autapses(weights["w_rec"])
    activity = network.run(product(heard, weights["w_in"].T) + weights["bias"] + weights["cue"], w_rec, params)
    silence = torch.zeros_like(activity.z[:1]).expand(round(GAP_MS / config.step_ms), *activity.z.shape[1:])
    return network.run(silence, w_rec, params, activity.state).state, Learning(activity, None)


def respond(config: LearnerConfig, weights: Weights, learnt: Any, heard: Tensor) -> tuple[Tensor, network.Activity]:
    """Let every word's network go on with every query.

    Args:
        config: of the learner.
        weights: primed.
        learnt: state of B networks.
        heard: [T, Q, H] of the queries.

    Returns:
        Scores [T, B, Q] at every step, and what the networks [T, B, Q, N] did.
    """
    state = type(learnt)(*(part.unsqueeze(1).expand(-1, heard.shape[1], -1) for part in learnt))
    current = (product(heard, weights["w_in"].T) + weights["bias"]).unsqueeze(1).expand(-1, len(learnt.z), -1, -1)
    activity = network.run(current, without_autapses(weights["w_rec"]), cell_params(config, weights), state)
    return readout.low_pass(activity.z, math.exp(-config.step_ms / OUTPUT_TAU_MS)) @ weights["readout.learning"], activity
