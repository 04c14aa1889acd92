r"""The one-shot learner: learning network, learning-signal generator and readout put together.

A word is learnt from one utterance :math:`x^{1..T}`. The learning network hears it with its primed weights; the generator turns input and network
spikes into learning signals; then, once, after the last step,

.. math::
    \Delta W^{in} = -\eta^{in} \sum_t L^t e^{t,in}, \qquad \Delta W^{rec} = -\eta^{rec} \sum_t L^t e^{t,rec}, \qquad
    w = \sum_t G^t f^t / \lVert \cdot \rVert

Every word has its own :math:`\Delta W` and w on the shared primed weights. This file is the batched, factorised form that priming differentiates
through; a backend of `hardware` runs the same thing online. Axis letters: B tasks (words), Q queries, T steps, I inputs, N neurons, M neurons of the
generator, D delays.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from snn import eprop, lsg, network, readout
from snn.cells.adlif import AdlifParams
from snn.cells.alif import AlifParams
from snn.cells.common import decay
from snn.lsg import LsgWeights

Weights = Mapping[str, Tensor]

TAU_RANGE_STEPS = (0.5, 50.0)  # a time constant stays representable: neither gone within a step nor longer than any word


class LearnerConfig(BaseModel):
    """Everything about a learner that is not a weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: int = Field(gt=0)
    step_ms: float = Field(gt=0)
    cell: Literal["lif", "alif", "adlif"] = "adlif"
    adaptive_fraction: float = Field(default=1.0, ge=0, le=1)  # share of neurons that adapt; the rest have beta = 0 (a = b = 0)
    groups: tuple[int, ...] = (256,)  # neurons of each group of the chain; the readout sees the last one
    lsg_neurons: int = Field(default=64, gt=0)
    gamma: float = Field(default=0.5, gt=0)  # height of the pseudo-derivative
    readout_tau_ms: float = Field(default=200.0, gt=0)
    delays_ms: tuple[float, ...] = (0.0, 320.0, 640.0)
    readout_sees_input: bool = True
    plastic: bool = True  # False: W_in and W_rec keep their primed values; only the readout learns

    @property
    def neurons(self) -> int:
        """Neurons of the learning network."""
        return sum(self.groups)

    @property
    def delays(self) -> tuple[int, ...]:
        """Delays of the readout in steps."""
        return tuple(round(d / self.step_ms) for d in self.delays_ms)

    @property
    def readout_slice(self) -> slice:
        """The neurons that the readout sees: the last group."""
        return slice(self.neurons - self.groups[-1], self.neurons)

    @property
    def readout_kappa(self) -> float:
        """Decay per step of the readout's low-pass."""
        return float(decay(torch.tensor(self.readout_tau_ms, dtype=torch.float64), self.step_ms))

    @model_validator(mode="after")
    def _check(self) -> "LearnerConfig":
        if not self.groups or min(self.groups) < 1:
            raise ValueError("groups needs at least one group of at least one neuron")
        if not self.delays_ms or min(self.delays_ms) < 0:
            raise ValueError("delays_ms needs at least one delay, none of them negative")
        return self


class Learnt(NamedTuple):
    """What one utterance per task taught: the factors of the weight changes, and the readout weights."""

    factor: Tensor  # [T, B, N] e-prop factors
    inputs: Tensor  # [T, B, I] input spikes
    recurrent: Tensor  # [T, B, N] spikes that arrived over the recurrent connections
    readout: list[Tensor]  # per source [B, D, J]
    rate_in: Tensor  # scalar eta_in
    rate_rec: Tensor  # scalar eta_rec


def cell_params(config: LearnerConfig, weights: Weights) -> AlifParams | AdlifParams:
    """Build the parameters of the learning network's cells from primed tensors.

    Args:
        config: of the learner.
        weights: with log_tau_membrane [N], log_tau_adaptation [N] (log ms) and beta [N] (ALIF) or a, b [N] (adLIF).

    Returns:
        Parameters with decays per step.
    """
    low, high = (bound * config.step_ms for bound in TAU_RANGE_STEPS)
    alpha = decay(weights["log_tau_membrane"].exp().clamp(low, high), config.step_ms)
    rho = decay(weights["log_tau_adaptation"].exp().clamp(low, high), config.step_ms)
    # Adaptive neurons are spread evenly over the population, so that every group of the chain has its share.
    count = torch.arange(config.neurons + 1, device=alpha.device, dtype=torch.float64)
    adaptive = (count * config.adaptive_fraction + 0.5).floor().diff() > 0
    if config.cell == "adlif":
        return AdlifParams(alpha, rho, weights["a"] * adaptive, weights["b"].clamp_min(0.0) * adaptive, config.gamma)
    beta = weights["beta"].clamp_min(0.0) * adaptive
    return AlifParams(alpha, rho, beta if config.cell == "alif" else torch.zeros_like(beta), 1.0, config.gamma)


def lsg_weights(config: LearnerConfig, weights: Weights) -> LsgWeights:
    """Collect the learning-signal generator's weights."""
    low, high = (bound * config.step_ms for bound in TAU_RANGE_STEPS)
    cell = AdlifParams(
        decay(weights["lsg.log_tau_membrane"].exp().clamp(low, high), config.step_ms),
        decay(weights["lsg.log_tau_adaptation"].exp().clamp(low, high), config.step_ms),
        weights["lsg.a"],
        weights["lsg.b"].clamp_min(0.0),
        config.gamma,
    )
    no_autapse = 1 - torch.eye(config.lsg_neurons, dtype=weights["lsg.w_rec"].dtype, device=weights["lsg.w_rec"].device)
    w_in, w_net, bias = (weights[f"lsg.{name}"] for name in ("w_in", "w_net", "bias"))
    outputs = (weights[f"lsg.{name}"] for name in ("out", "local", "local_center", "gate", "profile"))
    return LsgWeights(w_in, w_net, weights["lsg.w_rec"] * no_autapse, bias, cell, *outputs)


def masked(config: LearnerConfig, weights: Weights) -> tuple[Tensor, Tensor]:
    """Return W_in [N, I] and W_rec [N, N] with the connectivity's mask applied."""
    mask_in, mask_rec = network.masks(config.groups, config.inputs, weights["w_in"].dtype)
    return weights["w_in"] * mask_in.to(weights["w_in"].device), weights["w_rec"] * mask_rec.to(weights["w_rec"].device)


def sources(config: LearnerConfig, weights: Weights, x: Tensor, z: Tensor) -> list[readout.Source]:
    """Low-pass and centre what the readout sees.

    Args:
        config: of the learner.
        weights: primed, with readout.center [J], readout.gain [D, J] and their .input counterparts.
        x: [T, ..., I] input spikes.
        z: [T, ..., N] spikes of the learning network.

    Returns:
        One source, or two when the readout sees the input spikes too.
    """
    kappa = config.readout_kappa
    seen = z[..., config.readout_slice]
    found = [readout.Source(readout.low_pass(seen, kappa) - weights["readout.center"], weights["readout.gain"])]
    if config.readout_sees_input:
        found.append(readout.Source(readout.low_pass(x, kappa) - weights["readout.input_center"], weights["readout.input_gain"]))
    return found


def learn(config: LearnerConfig, weights: Weights, x: Tensor) -> tuple[Learnt, network.Activity, lsg.Signals]:
    """Learn one word per task from one utterance each (factorised form).

    Args:
        config: of the learner.
        weights: primed.
        x: [T, B, I] spikes of the utterances.

    Returns:
        What was learnt, the learning network's activity and the generator's signals.
    """
    params = cell_params(config, weights)
    w_in, w_rec = masked(config, weights)
    activity = network.run(network.project(x, w_in) + weights["bias"], w_rec, params)
    signals = lsg.generate(x, activity.z, lsg_weights(config, weights))
    factor = eprop.factors(activity.psi, signals.learning, params) if config.plastic else torch.zeros_like(activity.z)
    words = readout.learn(sources(config, weights, x, activity.z), signals.gate, config.delays)
    rates = weights["log_rate_in"].exp(), weights["log_rate_rec"].exp()
    return Learnt(factor, x, network.delayed(activity.z), words, *rates), activity, signals


def respond(config: LearnerConfig, weights: Weights, learnt: Learnt, x: Tensor) -> tuple[Tensor, network.Activity]:
    """Let the network of every word hear every query.

    The input projection's change is applied in factorised form, x (F^T X)^T = (x X^T) F: cheaper than its product with the matrix, as an utterance
    has fewer steps than the network has inputs.

    Args:
        config: of the learner.
        weights: primed.
        learnt: of B tasks.
        x: [T, Q, I] spikes of the queries, heard by every task.

    Returns:
        Scores [T, B, Q] at every step, and the activity [T, B, Q, N].
    """
    params = cell_params(config, weights)
    w_in, w_rec = masked(config, weights)
    current = network.project(x, w_in).unsqueeze(1) + weights["bias"]  # [T, 1, Q, N]
    if config.plastic:
        mask_in, mask_rec = network.masks(config.groups, config.inputs, x.dtype)
        overlap = torch.einsum("tqi,sbi->tbqs", x, learnt.inputs)
        factor_in = learnt.factor * mask_in[:, 0].to(x.device)
        current = current - learnt.rate_in * torch.einsum("tbqs,sbn->tbqn", overlap, factor_in)
        change = eprop.gradient(learnt.factor, learnt.recurrent)
        w_rec = w_rec - learnt.rate_rec * change * mask_rec.to(x.device)  # [B, N, N]
    else:
        current = current.expand(-1, learnt.factor.shape[1], -1, -1)
    activity = network.run(current, w_rec, params)
    return readout.score(sources(config, weights, x, activity.z), learnt.readout, config.delays), activity


def respond_shared(config: LearnerConfig, weights: Weights, learnt: Learnt, x: Tensor) -> tuple[Tensor, network.Activity]:
    """Score queries while the weights of the network stay as primed: one run serves every word.

    Args:
        config: of the learner.
        weights: primed.
        learnt: of B tasks; only its readout weights are used.
        x: [T, Q, I] spikes of the queries.

    Returns:
        Scores [T, B, Q] at every step, and the activity [T, Q, N].
    """
    w_in, w_rec = masked(config, weights)
    activity = network.run(network.project(x, w_in) + weights["bias"], w_rec, cell_params(config, weights))
    return readout.score(sources(config, weights, x, activity.z), learnt.readout, config.delays), activity
