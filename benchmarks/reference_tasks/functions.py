r"""The family of functions that a network learns to learn, and how examples of one are heard (after Bellec et al. 2018, Section 4).

A function is a random network with two inputs and ten hidden sigmoidal neurons,

.. math:: C(x) = \sigma(s\,(w^\top \sigma(s (V x + c)) + d))

all weights uniform in [-1, 1] and the slope s = 5, which makes linear fits leave something to learn; x is uniform in :math:`[-1, 1]^2`. The values
x1, x2 and C(x) are coded by neurons with bell-shaped tuning. A point is heard for 20 ms, as in the source, in four steps: the network's answer is
read after the second, and during the last two the teacher's answer is heard as well.

In the source the teacher's answer comes with the next point. Then a network has to carry the point over to its answer before it can begin to store
the pair, and with steps of 5 to 10 ms its thresholds hold nothing of the pair at first (docs/reference_tasks.md).
"""

from typing import NamedTuple

import torch
from torch import Tensor

HIDDEN, SLOPE = 10, 5.0
TUNED = 48  # neurons of each coded value
WIDTHS = 15  # standard deviations of a neuron's tuning that make up the range of a value
STEP_MS = 5.0
HOLD, READ = 4, 1  # steps of a point; the one at which the network's answer is read, after which the teacher's is heard
POINTS = 100  # of an episode
LARGEST_RATE = 1.0  # spikes a step of a tuned neuron at its preferred value


class Episode(NamedTuple):
    """What is heard and what is to be answered."""

    x: Tensor  # [T, B, I] spikes
    points: Tensor  # [P, B, 2]
    answers: Tensor  # [P, B]


def tuned(values: Tensor, low: float, high: float) -> Tensor:
    """Turn values [...] into rates [..., TUNED] of neurons with bell-shaped tuning between two bounds."""
    preferred = torch.linspace(low, high, TUNED)
    width = (high - low) / WIDTHS
    return LARGEST_RATE * torch.exp(-0.5 * ((values.unsqueeze(-1) - preferred) / width).square())


def teachers(points: Tensor, rng: torch.Generator) -> Tensor:
    """Let one random teacher for each episode answer points [P, B, 2]: [P, B]."""

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=rng) - 1

    batch = points.shape[1]
    hidden = torch.sigmoid(SLOPE * (torch.einsum("pbi,bhi->pbh", points, uniform(batch, HIDDEN, 2)) + uniform(batch, HIDDEN)))
    return torch.sigmoid(SLOPE * (torch.einsum("pbh,bh->pb", hidden, uniform(batch, HIDDEN)) + uniform(batch)))


def draw(batch: int, rng: torch.Generator, points: int = POINTS) -> Episode:
    """Draw episodes, each with a teacher of its own."""
    x = 2 * torch.rand(points, batch, 2, generator=rng) - 1
    answers = teachers(x, rng)
    rates = torch.cat([tuned(x, -1.0, 1.0).flatten(2), tuned(answers, 0.0, 1.0)], -1).unsqueeze(1).repeat(1, HOLD, 1, 1)
    rates[:, : READ + 1, :, 2 * TUNED :] = 0.0
    rates = rates.flatten(0, 1)
    return Episode((torch.rand(rates.shape, generator=rng) < rates).float(), x, answers)


def linear_errors(episode: Episode) -> Tensor:
    """Return the squared errors [P, B] of each teacher's best linear approximation."""
    design = torch.cat([episode.points, torch.ones_like(episode.points[..., :1])], -1).transpose(0, 1)  # [B, P, 3]
    answers = episode.answers.T.unsqueeze(-1)
    fitted = design @ torch.linalg.lstsq(design, answers).solution
    residual: Tensor = (fitted - answers).squeeze(-1).T
    return residual.square()
