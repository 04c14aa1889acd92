r"""The feature population: a recurrent spiking network that all words share, primed and then left as it is.

It hears the encoder's spikes x. What the learning network, the learning-signal generator and the readout hear is

.. math:: h^t = (x^t, z_{features}^{t-1})

input spikes and, one step later, those of its last layer. One run of it serves every enrolled word; a device that learns a word does not touch it.
"""

import torch
from torch import Tensor

from snn import network
from snn.config import LearnerConfig
from snn.populations import Weights, cell_params


def masked(config: LearnerConfig, weights: Weights) -> tuple[Tensor, Tensor]:
    """Return W_in [F, I] and W_rec [F, F] of the feature population with the connectivity's mask applied."""
    device, dtype = weights["feature.w_in"].device, weights["feature.w_in"].dtype
    mask_in, mask_rec = network.masks(config.features, config.inputs, dtype)
    return weights["feature.w_in"] * mask_in.to(device), weights["feature.w_rec"] * mask_rec.to(device)


def hear(config: LearnerConfig, weights: Weights, x: Tensor) -> tuple[Tensor, network.Activity]:
    """Let the feature population hear spikes.

    Args:
        config: of the learner.
        weights: primed.
        x: [T, ..., I] input spikes.

    Returns:
        h [T, ..., H], and what the population did.
    """
    w_in, w_rec = masked(config, weights)
    activity = network.run(network.project(x, w_in) + weights["feature.bias"], w_rec, cell_params(config, weights, "feature."))
    return torch.cat([x, network.delayed(activity.z)[..., -config.features[-1] :]], -1), activity
