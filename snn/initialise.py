r"""Weights before priming.

Input weights are drawn so that a neuron's summed input has standard deviation `INPUT_GAIN` at the density of spikes that the encoder emits; recurrent
weights, so that the recurrent population at its target rate adds a fraction of that. Time constants are spread log-uniformly: neighbouring neurons
remember for different times.

Step 0 of priming is prototype matching on the encoder's own values: the first readout units decode them from the spikes, everything else reaches the
readout faintly, and the generator's gate is a bump shortly before the end of the utterance. Priming moves gently from there: large first steps lose
on unseen words what they gain on the primed ones.
"""

import math

import torch
from torch import Tensor

from snn import schemes
from snn.config import METRIC, LearnerConfig
from snn.lsg import MAX_LOG_GATE

INPUT_GAIN = 1.5  # of populations that are to fire from the start
LEARNING_GAIN = 0.5  # of the learning network: near its threshold, where eligibility is, and mostly silent until a word is learnt
RECURRENT_GAIN = 0.5
LEARNING_RECURRENT_GAIN = 0.3
RATE = 0.1  # spikes per step that the recurrent gain is meant for
ADAPTATION = {"lif": {"beta": 0.3}, "alif": {"beta": 0.3}, "adlif": {"a": 0.0, "b": 0.5}, "board": {"jump": 0.3}}  # of a cell
TAU_MEMBRANE_STEPS = (1.0, 6.0)
TAU_ADAPTATION_STEPS = (3.0, 20.0)
GATE_CENTER_MS = 340.0  # before the end of an utterance, which is heard until half a second after its word
GATE_WIDTH_MS = 80.0  # standard deviation of the bump
GATE_SPAN_MS = 1200.0  # covered by the profile
SIGNAL_GAIN = 0.3  # of the generator's output
SIGNAL_BIAS = -0.05  # negative learning signals strengthen what is heard
LOG_RATE = -2.5  # of the inner learning rates; learned
LEARNING_WEIGHT = 0.02  # of every learning neuron on its word's score
DECODER_GAIN = 2.0  # the size of the readout's weights at which priming moves them well
RANDOM_GAIN = 0.3  # of a readout that has no decoder to start from
FAINT = 0.03  # of what reaches the readout besides the decoded values


def initial_weights(config: LearnerConfig, input_rate: Tensor, seed: int, decoder: Tensor | None = None) -> dict[str, Tensor]:
    """Draw the weights that priming starts from.

    Args:
        config: of the learner.
        input_rate: [I] mean spikes per step of each input channel on priming clips.
        seed: of the generator.
        decoder: [values, I] linear decoder of the encoder's spikes; a random projection when None.

    Returns:
        Float32 tensors by name, as `snn.learner` and `snn.features` read them.
    """
    rng = torch.Generator().manual_seed(seed)
    n, h, m, k = config.neurons, config.heard, config.lsg_neurons, config.projection
    features = sum(config.features)

    def normal(*shape: int, scale: float) -> Tensor:
        return scale * torch.randn(*shape, generator=rng)

    def population(prefix: str, count: int, cell: str) -> dict[str, Tensor]:
        taus = {"log_tau_membrane": log_tau(count, TAU_MEMBRANE_STEPS), "log_tau_adaptation": log_tau(count, TAU_ADAPTATION_STEPS)}
        adaptation = {name: torch.full((count,), start) for name, start in ADAPTATION[cell].items()}
        return {f"{prefix}{name}": tensor for name, tensor in (taus | adaptation).items()}

    def log_tau(count: int, bounds: tuple[float, float]) -> Tensor:
        low, high = (math.log(b * config.step_ms) for b in bounds)
        return low + (high - low) * torch.rand(count, generator=rng)

    center = torch.cat([input_rate, torch.full((config.features[-1],), RATE)])
    spread_in, spread = (math.sqrt(max(float((rate * (1 - rate)).sum()), 1.0)) for rate in (input_rate, center))

    feature_in = normal(features, config.inputs, scale=INPUT_GAIN / spread_in)
    feature_rec = normal(features, features, scale=RECURRENT_GAIN / math.sqrt(RATE * features))
    first = 0
    for size, following in zip(config.features[:-1], config.features[1:], strict=True):
        block = slice(first + size, first + size + following), slice(first, first + size)
        feature_rec[block] = normal(following, size, scale=INPUT_GAIN / math.sqrt(RATE * size))
        first += size
    feature_bias = 0.5 - feature_in @ input_rate
    feature_bias[config.features[0] :] = 0.5

    project = normal(k, h, scale=(2 * FAINT if decoder is not None else RANDOM_GAIN) / spread_in)
    project[:, config.inputs :] = normal(k, config.features[-1], scale=FAINT / math.sqrt(RATE * config.features[-1]))
    if decoder is not None:
        rows = min(k, len(decoder))
        project[:rows, : config.inputs] = DECODER_GAIN / math.sqrt(len(decoder)) * decoder[:rows]

    before_end = torch.arange(round(GATE_SPAN_MS / config.step_ms) - 1, -1, -1) * config.step_ms
    profile = -0.5 * ((before_end - GATE_CENTER_MS) / GATE_WIDTH_MS) ** 2
    w_in, lsg_in = normal(n, h, scale=LEARNING_GAIN / spread), normal(m, h, scale=INPUT_GAIN / spread)
    weights = {
        "feature.w_in": feature_in,
        "feature.w_rec": feature_rec,
        "feature.bias": feature_bias,
        **population("feature.", features, config.cell),
        "center": center,
        "w_in": w_in,
        "w_rec": normal(n, n, scale=LEARNING_RECURRENT_GAIN / math.sqrt(RATE * n)),
        "bias": 0.5 - w_in @ center,
        **population("", n, config.cell),
        "log_rate_in": torch.tensor(LOG_RATE),
        "log_rate_rec": torch.tensor(LOG_RATE),
        "readout.project": project,
        "readout.salience": torch.zeros(h),
        "readout.salience_bias": torch.tensor(0.0),
        "readout.gain": torch.ones(len(config.delays_ms), k),
        "readout.learning": torch.full((n,), LEARNING_WEIGHT),
        "lsg.w_in": lsg_in,
        "lsg.w_net": normal(m, n, scale=RECURRENT_GAIN / math.sqrt(RATE * n)),
        "lsg.w_rec": normal(m, m, scale=RECURRENT_GAIN / math.sqrt(RATE * m)),
        "lsg.bias": 0.5 - lsg_in @ center,
        **population("lsg.", m, "adlif"),
        "lsg.out": normal(n, m, scale=SIGNAL_GAIN / math.sqrt(RATE * m)),
        "lsg.out_bias": torch.full((n,), SIGNAL_BIAS),
        "lsg.gate": torch.zeros(m),
        "lsg.profile": profile.clamp_min(0.9 * -MAX_LOG_GATE),  # inside the bound: a clamped entry has no gradient
    }
    if config.metric:
        weights[METRIC] = torch.eye(len(config.delays_ms) * k)
    return schemes.start(config, weights, rng)
