r"""Firing-rate regulariser.

.. math::
    E = \frac{1}{2N} \sum_j (\bar z_j - r^*)^2, \qquad \bar z_j = \frac{1}{T} \sum_t z_j^t, \qquad
    \frac{\partial E}{\partial z_j^t} = \frac{1}{N T} (\bar z_j - r^*)

A neuron that fires too much gets a positive learning signal, which e-prop's minus sign turns into weaker weights. (The sign differs between sources;
a test checks this one by finite differences.)
"""

import torch
from torch import Tensor


def rate_loss(z: Tensor, target: float) -> Tensor:
    """Penalise firing rates that differ from a target.

    Args:
        z: [T, ..., N] spikes.
        target: r*, spikes per step.

    Returns:
        Scalar; rates are averaged over time and over every axis between time and neurons.
    """
    rate = z.reshape(-1, z.shape[-1]).mean(0)
    return 0.5 * (rate - target).square().mean()


def rate_signal(z: Tensor, target: float) -> Tensor:
    """Return the learning signal of `rate_loss`: its derivative with respect to every spike.

    Args:
        z: [T, ..., N] spikes.
        target: r*, spikes per step.

    Returns:
        [T, ..., N].
    """
    flat = z.reshape(-1, z.shape[-1])
    signal = (flat.mean(0) - target) / flat.numel()
    return torch.broadcast_to(signal, z.shape)
