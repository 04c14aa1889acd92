r"""The last step of priming: the readout's metric is whitened by what continuous sound looks like to it.

A word's score compares what is heard with what was learnt (`snn.readout`). What most speech has in common is a part of both, and lends every
word a score that says nothing of it. The detector of a known signal w in noise of covariance C weighs it by the inverse of C (the matched filter;
Turin 1960); the noise of a listener is everything else that is said:

.. math:: M \leftarrow M\,(I + \eta\, C)^{-1}, \qquad C = \frac{D K}{\sum_t \lVert \hat f^t \rVert^2} \sum_t \hat f^t \hat f^{t\top},
    \qquad \hat f = f / \lVert f \rVert

over the steps of the stretches of continuous sound that tasks draw from (`priming.stretches`), not over the bank that words are calibrated against:
a threshold taken from sound that the metric has been fitted to would be passed more often than it says. I is what C would be if no direction were
more usual than another, so :math:`\eta` says how much the usual ones are trusted. A metric that a run took over from a finished model is white
already.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from priming.features import Features
from snn import features as population
from snn import readout
from snn.config import LearnerConfig
from snn.learner import readout_units

AT_ONCE = 128  # stretches that are heard together


@torch.no_grad()
def covariance(learner: LearnerConfig, weights: Mapping[str, Tensor], stretches: Features, copies: int) -> Tensor:
    """Find the second moment of the readout's features in continuous sound, scaled to a mean variance of 1.

    Args:
        learner: configuration of the weights.
        weights: primed.
        stretches: encoded, several copies of each.
        copies: how many of them are augmented: stretch number n is heard as its copy n modulo copies + 1.

    Returns:
        C [D K, D K]; 0 where nothing reaches the readout.
    """
    width = len(learner.delays) * learner.projection
    total = torch.zeros(width, width, dtype=torch.float64)
    filled = max(learner.delays)  # until then a delay line is partly empty, as it never is in a stream
    for first in range(0, len(stretches.clips), AT_ONCE):
        chosen = np.arange(first, min(first + AT_ONCE, len(stretches.clips)))
        spikes = torch.from_numpy(stretches.take(chosen, chosen % (copies + 1))).to(torch.float32).transpose(0, 1)
        heard, _ = population.hear(learner, weights, spikes)
        units = readout_units(learner, weights, heard)
        delayed = torch.stack([readout.shift(units, d) for d in learner.delays], 2) * weights["readout.gain"]  # [T, S, D, K]
        seen = readout.normalised(delayed[filled:]).reshape(-1, width)
        total += (seen.T @ seen).double()
    scale = torch.trace(total) / width
    return (total / scale if scale > 0 else total).float()


def whitened(metric: Tensor, covariance: Tensor, strength: float) -> Tensor:
    """Return M (I + eta C)^-1.

    Args:
        metric: M [D K, D K].
        covariance: C, of the same shape.
        strength: eta, 0 for M itself.
    """
    regular = torch.eye(len(metric), dtype=torch.float64) + strength * covariance.double()
    solved: Tensor = torch.linalg.solve(regular, metric.double(), left=False)
    return solved.float()
