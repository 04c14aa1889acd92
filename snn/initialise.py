r"""Weights before priming.

Input weights are drawn so that a neuron's summed input has standard deviation `INPUT_GAIN` at the density of spikes that the encoder emits; recurrent
weights, so that the recurrent population at its target rate adds a fraction of that. Time constants are spread log-uniformly: neighbouring neurons
remember for different times. The generator's gate starts as a bump shortly before the end of the utterance: step 0 of priming is prototype matching
with almost no plasticity.
"""

import math

import torch
from torch import Tensor

from snn.learner import LearnerConfig
from snn.lsg import MAX_LOG_GATE

INPUT_GAIN = 1.5
RECURRENT_GAIN = 0.5
RATE = 0.1  # spikes per step that the recurrent gain is meant for
TAU_MEMBRANE_STEPS = (1.0, 6.0)
TAU_ADAPTATION_STEPS = (3.0, 20.0)
GATE_CENTER_MS = 340.0  # before the end of an utterance, which is heard until half a second after its word
GATE_WIDTH_MS = 80.0  # standard deviation of the bump
GATE_SPAN_MS = 1200.0  # covered by the profile
OUTPUT_GAIN = 0.1  # a random learning signal of full size would only disturb what the network does
LOG_RATE = -2.0  # of the inner learning rates: the small output gain keeps the first updates small; learned


def initial_weights(config: LearnerConfig, input_rate: Tensor, seed: int) -> dict[str, Tensor]:
    """Draw the weights that priming starts from.

    Args:
        config: of the learner.
        input_rate: [I] mean spikes per step of each input channel on priming clips.
        seed: of the generator.

    Returns:
        Float32 tensors by name, as `snn.learner` reads them.
    """
    rng = torch.Generator().manual_seed(seed)
    n, i, m = config.neurons, config.inputs, config.lsg_neurons
    seen = config.groups[-1]

    def normal(*shape: int, scale: float) -> Tensor:
        return scale * torch.randn(*shape, generator=rng)

    def log_tau(count: int, bounds: tuple[float, float]) -> Tensor:
        low, high = (math.log(b * config.step_ms) for b in bounds)
        return low + (high - low) * torch.rand(count, generator=rng)

    before_end = torch.arange(round(GATE_SPAN_MS / config.step_ms) - 1, -1, -1) * config.step_ms
    profile = (-0.5 * ((before_end - GATE_CENTER_MS) / GATE_WIDTH_MS) ** 2).clamp_min(
        0.9 * -MAX_LOG_GATE
    )  # inside the bound: a clamped entry has no gradient
    variance = float((input_rate * (1 - input_rate)).sum())
    in_scale = INPUT_GAIN / math.sqrt(max(variance, 1.0))
    w_in = normal(n, i, scale=in_scale)
    w_rec = normal(n, n, scale=RECURRENT_GAIN / math.sqrt(RATE * n))
    first = 0
    for size, following in zip(config.groups[:-1], config.groups[1:], strict=True):
        block = slice(first + size, first + size + following), slice(first, first + size)
        w_rec[block] = normal(following, size, scale=INPUT_GAIN / math.sqrt(RATE * size))
        first += size
    bias = -(w_in @ input_rate)
    bias[config.groups[0] :] = 0.0
    weights = {
        "w_in": w_in,
        "w_rec": w_rec,
        "bias": bias + 0.5,
        "log_tau_membrane": log_tau(n, TAU_MEMBRANE_STEPS),
        "log_tau_adaptation": log_tau(n, TAU_ADAPTATION_STEPS),
        "log_rate_in": torch.tensor(LOG_RATE),
        "log_rate_rec": torch.tensor(LOG_RATE),
        "readout.center": torch.full((seen,), RATE),
        "readout.gain": torch.ones(len(config.delays_ms), seen),
        "lsg.w_in": normal(m, i, scale=in_scale),
        "lsg.w_net": normal(m, n, scale=RECURRENT_GAIN / math.sqrt(RATE * n)),
        "lsg.w_rec": normal(m, m, scale=RECURRENT_GAIN / math.sqrt(RATE * m)),
        "lsg.log_tau_membrane": log_tau(m, TAU_MEMBRANE_STEPS),
        "lsg.log_tau_adaptation": log_tau(m, TAU_ADAPTATION_STEPS),
        "lsg.a": torch.zeros(m),
        "lsg.b": torch.full((m,), 0.5),
        "lsg.out": normal(n, m, scale=OUTPUT_GAIN / math.sqrt(m)),
        "lsg.local": torch.zeros(n),
        "lsg.local_center": torch.full((n,), RATE),
        "lsg.gate": torch.zeros(m),
        "lsg.profile": profile,
    }
    weights["lsg.bias"] = 0.5 - weights["lsg.w_in"] @ input_rate
    if config.cell == "adlif":
        weights |= {"a": torch.zeros(n), "b": torch.full((n,), 0.5)}
    else:
        weights["beta"] = torch.full((n,), 0.3)
    if config.readout_sees_input:
        weights |= {"readout.input_center": input_rate.clone(), "readout.input_gain": torch.full((len(config.delays_ms), i), 1.0)}
    return weights
