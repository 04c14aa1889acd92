r"""What priming minimises: the right word must win, and each word must tell itself from everything else.

With :math:`s_{qw}` the largest score of word w over the steps of query q, learned scalars :math:`\tau, \nu, a, \theta`, and labels y (or "none of
them"):

.. math::
    E = \underbrace{-\log \frac{e^{\tau s_{qy}}}{e^{\tau\nu} + \sum_w e^{\tau s_{qw}}}}_{\text{which word, or none}}
      + \tfrac12 \underbrace{\mathrm{BCE}\big(\sigma(a (s_{qw} - \theta)), [y = w]\big)}_{\text{this word or not}}
      + \mu \underbrace{-\log \frac{e^{\tau s_{qy}}}{e^{\tau s_{qy}} + \sum_b e^{\tau s_{by}}}}_{\text{this word or background}}
      + \lambda \underbrace{\textstyle\frac{1}{2N}\sum_j (\bar z_j - r^*)^2}_{\text{firing rates}}

The second term is what a threshold in `app listen` needs; positives weigh as much as all negatives of a query together. The third is what the
threshold is calibrated against: every utterance y of a word is to score higher than all stretches b of continuous sound, the highest of which count
most. It is a term for each word by itself, as each has a threshold of its own.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

RATE_WEIGHT = 10.0  # lambda
PAIR_WEIGHT = 0.5

Scalars = dict[str, Tensor]


def initial_scalars() -> Scalars:
    """Return the objective's own learned scalars at the start of priming."""
    return {
        "objective.log_temperature": torch.tensor(math.log(12.0)),
        "objective.none": torch.tensor(0.4),
        "objective.log_slope": torch.tensor(math.log(10.0)),
        "objective.threshold": torch.tensor(0.5),
    }


def decision_loss(scores: Tensor, labels: Tensor, scalars: Scalars) -> Tensor:
    """Evaluate the first two terms.

    Args:
        scores: [Q, B] largest score of each word over the steps of each query.
        labels: [Q] index of the word, -1 where it is none of them.
        scalars: learned scalars.

    Returns:
        Scalar loss, mean over queries.
    """
    queries, words = scores.shape
    none = scalars["objective.none"].expand(queries, 1)
    logits = torch.cat([scores, none], 1) * scalars["objective.log_temperature"].exp()
    which = functional.cross_entropy(logits, torch.where(labels < 0, words, labels))
    target = torch.zeros_like(scores)
    known = labels >= 0
    target[known, labels[known]] = 1.0
    pair_logits = (scores - scalars["objective.threshold"]) * scalars["objective.log_slope"].exp()
    weight = torch.where(target > 0, words / 2.0, 0.5)
    return which + PAIR_WEIGHT * functional.binary_cross_entropy_with_logits(pair_logits, target, weight=weight)


def background_loss(scores: Tensor, labels: Tensor, background: Tensor, says: Tensor, scalars: Scalars) -> Tensor:
    """Evaluate the third term.

    Args:
        scores: [Q, B] largest score of each word over the steps of each query.
        labels: [Q] index of the word, -1 where it is none of them.
        background: [S, B] largest score of each word over the steps of each stretch.
        says: [S, B] whether a stretch says the word, which then need not stand out from it.
        scalars: learned scalars.

    Returns:
        Scalar loss, mean over the queries that say a word.
    """
    known = labels >= 0
    own = scores[known, labels[known]]
    temperature = scalars["objective.log_temperature"].exp()
    against = (background * temperature).masked_fill(says, -torch.inf).T[labels[known]]  # [known, S]
    logits = torch.cat([(own * temperature).unsqueeze(1), against], 1)
    return functional.cross_entropy(logits, torch.zeros_like(labels[known]))


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Return the share of known queries whose highest score is the right word."""
    known = labels >= 0
    return float((scores[known].argmax(1) == labels[known]).double().mean())
