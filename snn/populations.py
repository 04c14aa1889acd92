"""The three populations of a learner, collected from its weights: feature population, learning network, learning-signal generator."""

from collections.abc import Mapping

import torch
from torch import Tensor

from snn.cells.adlif import AdlifParams
from snn.cells.alif import AlifParams
from snn.cells.board import BoardParams
from snn.cells.common import decay
from snn.config import LearnerConfig
from snn.lsg import LsgWeights
from snn.network import Params

Weights = Mapping[str, Tensor]

TAU_RANGE_STEPS = (0.5, 50.0)  # a time constant stays representable: neither gone within a step nor longer than any word
MEMORY_STEPS = 1000.0  # the longest where adaptation is what remembers a word (`snn.memory`)


def _decays(config: LearnerConfig, weights: Weights, prefix: str) -> tuple[Tensor, Tensor]:
    remembers = config.theta == "weights" and not prefix
    low, high = (bound * config.step_ms for bound in (TAU_RANGE_STEPS[0], MEMORY_STEPS if remembers else TAU_RANGE_STEPS[1]))
    names = (f"{prefix}log_tau_membrane", f"{prefix}log_tau_adaptation")
    alpha, rho = (decay(weights[name].exp().clamp(low, high), config.step_ms) for name in names)
    return alpha, rho


def cell_params(config: LearnerConfig, weights: Weights, prefix: str = "") -> Params:
    """Build the parameters of a population's cells from primed tensors.

    Args:
        config: of the learner.
        weights: with log_tau_membrane [N], log_tau_adaptation [N] (log ms) and beta [N] (ALIF), a, b [N] (adLIF) or jump [N] (board).
        prefix: "feature." for the feature population, "" for the learning network.

    Returns:
        Parameters with decays per step.
    """
    alpha, rho = _decays(config, weights, prefix)
    # Adaptive neurons are spread evenly over the population, so that every layer has its share.
    count = torch.arange(len(alpha) + 1, device=alpha.device, dtype=torch.float64)
    adaptive = (count * config.adaptive_fraction + 0.5).floor().diff() > 0
    if config.cell == "adlif":
        return AdlifParams(alpha, rho, weights[f"{prefix}a"] * adaptive, weights[f"{prefix}b"].clamp_min(0.0) * adaptive, config.gamma)
    if config.cell == "board":
        return BoardParams(alpha, rho, weights[f"{prefix}jump"].clamp_min(0.0) * adaptive, 1.0, config.gamma)
    beta = weights[f"{prefix}beta"].clamp_min(0.0) * adaptive
    return AlifParams(alpha, rho, beta if config.cell == "alif" else torch.zeros_like(beta), 1.0, config.gamma)


def without_autapses(w_rec: Tensor) -> Tensor:
    """Remove the connections of neurons to themselves from w_rec [..., N, N]."""
    return w_rec * (1 - torch.eye(w_rec.shape[-1], dtype=w_rec.dtype, device=w_rec.device))


def lsg_weights(config: LearnerConfig, weights: Weights) -> LsgWeights:
    """Collect the learning-signal generator's weights; its neurons are adLIF whatever the learning network's are."""
    alpha, rho = _decays(config, weights, "lsg.")
    cell = AdlifParams(alpha, rho, weights["lsg.a"], weights["lsg.b"].clamp_min(0.0), config.gamma)
    w_in, w_net, bias = (weights[f"lsg.{name}"] for name in ("w_in", "w_net", "bias"))
    outputs = (weights[f"lsg.{name}"] for name in ("out", "out_bias", "gate", "profile"))
    return LsgWeights(w_in, w_net, without_autapses(weights["lsg.w_rec"]), bias, cell, *outputs)
