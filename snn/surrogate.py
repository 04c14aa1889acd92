r"""Spikes with a surrogate derivative.

A spike is :math:`z = H(d)` with :math:`d = v - A`, the membrane's distance to its threshold. Its derivative is replaced by a pseudo-derivative
:math:`\psi(d)`, the same one in e-prop (forward, on the device) and in back-propagation through time (priming, on the workstation):

* triangular, for LIF and ALIF (Bellec et al. 2020, eq. 4): :math:`\psi = \frac{\gamma}{v_{th}} \max(0, 1 - |d| / v_{th})`; the width is the base
  threshold
* boxcar, for adLIF: :math:`\psi = \gamma` where :math:`|d| \le 1/2`, else 0
"""

from typing import Any

import torch
from torch import Tensor


def triangular(distance: Tensor, gamma: float, v_th: float) -> Tensor:
    """Evaluate the triangular pseudo-derivative.

    Args:
        distance: membrane potential minus threshold, any shape.
        gamma: height times v_th.
        v_th: base threshold: half the width of the triangle.

    Returns:
        Pseudo-derivative, same shape; differentiable with respect to `distance`.
    """
    return (gamma / v_th) * (1.0 - distance.abs() / v_th).clamp_min(0.0)


def boxcar(distance: Tensor, gamma: float) -> Tensor:
    """Evaluate the boxcar pseudo-derivative of half-width 1/2.

    Args:
        distance: membrane potential minus threshold, any shape.
        gamma: height.

    Returns:
        Pseudo-derivative, same shape; constant almost everywhere.
    """
    return gamma * (distance.abs() <= 0.5).to(distance.dtype)


class _Spike(torch.autograd.Function):
    """Heaviside step forward; multiplication by the given pseudo-derivative backward."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, psi: Tensor) -> Tensor:
        ctx.save_for_backward(psi)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (psi,) = ctx.saved_tensors
        return grad_outputs[0] * psi, None


def spike(distance: Tensor, psi: Tensor) -> Tensor:
    """Emit spikes where the threshold is reached.

    Args:
        distance: membrane potential minus threshold, any shape.
        psi: pseudo-derivative used in the backward pass, same shape; differentiated itself only where a gradient of a gradient is asked for.

    Returns:
        0 or 1, same shape and dtype as `distance`.
    """
    spikes: Tensor = _Spike.apply(distance, psi)  # type: ignore[no-untyped-call]
    return spikes
