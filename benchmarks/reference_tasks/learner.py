r"""A readout of leaky integrators, and learning from its error by e-prop (Bellec et al. 2020, eqs. 4, 28-31).

.. math::
    y_k^t = \kappa y_k^{t-1} + G \sum_j W_{kj}^{out} z_j^t, \qquad
    g_{ji} = \sum_t \Big(G \sum_k B_{jk} \delta_k^t\Big) \mathcal{F}_\kappa(e_{ji})^t + \sum_t R_j e_{ji}^t, \qquad
    g_{kj}^{out} = G \sum_t \delta_k^t \mathcal{F}_\kappa(z_j)^t

with :math:`\delta` the derivative of the loss by y, G the readout's gain, B the feedback weights and R the learning signal of the firing-rate
regulariser. The low-pass of the eligibility traces can be moved to the other factor of the sum, where it runs backwards in time,

.. math:: \sum_t L^t \mathcal{F}_\kappa(e)^t = \sum_t \tilde L^t e^t, \qquad \tilde L^t = L^t + \kappa \tilde L^{t+1},

so that an executor only needs learning signals and its own eligibility traces. Weights change once, after the last step, so both forms give the same.
"""

import math
from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .executor import Executor, Recorded


class Feedback(StrEnum):
    """Broadcast weights: the readout's own, or random ones that stay as they are."""

    SYMMETRIC = "symmetric"
    RANDOM = "random"


class Trial(NamedTuple):
    """One run of a batch of trials."""

    x: Tensor  # [T, B, I]
    recorded: Recorded
    y: Tensor  # [T, B, K]


def leaky(values: Tensor, kappa: float, backwards: bool = False) -> Tensor:
    """Integrate a sequence [T, ...] with a leak, r^t = kappa r^{t-1} + values^t, from the first step on or from the last one back."""
    out = values.clone()
    steps = out.unbind()
    ordered = steps[::-1] if backwards else steps
    for before, now in pairwise(ordered):
        now.add_(before, alpha=kappa)
    return out


class Learner:
    """Weights, and their change by e-prop.

    Args:
        executor: runs the neurons.
        shape: inputs, neurons, outputs.
        tau_out_ms: time constant of the readout; steps are of 1 ms.
        gain: G of the readout; 1 - kappa when None, which makes it a running mean.
        seed: of the initial weights, standard normal over the square root of the fan-in.
        feedback: broadcast weights B.
    """

    def __init__(self, executor: Executor, shape: tuple[int, int, int], tau_out_ms: float, gain: float | None, seed: int, feedback: Feedback) -> None:
        rng = torch.Generator().manual_seed(seed)
        inputs, neurons, outputs = shape
        self._executor, self._kappa = executor, math.exp(-1.0 / tau_out_ms)
        self._gain = 1.0 - self._kappa if gain is None else gain
        self._off_diagonal = 1.0 - torch.eye(neurons)
        self.w_in = torch.randn(neurons, inputs, generator=rng) / math.sqrt(inputs)
        self.w_rec = torch.randn(neurons, neurons, generator=rng) / math.sqrt(neurons) * self._off_diagonal
        self.w_out = torch.randn(outputs, neurons, generator=rng) / math.sqrt(neurons)
        self._broadcast = torch.randn(outputs, neurons, generator=rng) / math.sqrt(neurons) if feedback is Feedback.RANDOM else None

    @property
    def weights(self) -> Iterable[Tensor]:
        """What an optimiser changes: W_in, W_rec, W_out."""
        return self.w_in, self.w_rec, self.w_out

    def run(self, x: Tensor) -> Trial:
        """Run trials [T, B, I] from rest."""
        recorded = self._executor.run(x, self.w_in, self.w_rec)
        return Trial(x, recorded, leaky(recorded.z @ (self._gain * self.w_out).T, self._kappa))

    def differentiate(self, trial: Trial, delta: Tensor, rate: Tensor) -> None:
        """Put the e-prop gradients of a run into the weights' `grad`.

        Args:
            trial: from `run`.
            delta: [T, B, K] derivative of the loss by y.
            rate: [N] learning signal of the firing-rate regulariser, the same at every step.
        """
        smoothed = leaky(self._gain * delta, self._kappa, backwards=True)
        signal = smoothed @ (self.w_out if self._broadcast is None else self._broadcast) + rate
        by_in, by_rec = self._executor.gradients(trial.x, trial.recorded, signal)
        by_out = smoothed.flatten(0, 1).T @ trial.recorded.z.flatten(0, 1)
        for tensor, by in zip(self.weights, (by_in, by_rec * self._off_diagonal, by_out), strict=True):
            tensor.grad = by
