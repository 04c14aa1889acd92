"""What raw scores background gets from words on average: found at the end of priming, on words that were primed on.

The scale of an enrolled word (`priming.calibration`) is taken half from the word's own network and half from this.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priming.calibration import cut_pieces, levels_of
from priming.features import Features
from snn import features as population
from snn import schemes
from snn.config import LearnerConfig

WORDS = 200  # utterances of words, evenly over the family
AT_ONCE = 20  # words that hear the pieces together


@torch.no_grad()
def average_levels(learner: LearnerConfig, weights: Mapping[str, Tensor], words: Features, background: NDArray[np.uint8]) -> tuple[float, float]:
    """Find the levels that become 0 and 1, averaged over words.

    Args:
        learner: configuration of the weights.
        weights: primed, the readout's metric in its final form.
        words: encoded utterances to learn from, one word each.
        background: [T, I] the bank.

    Returns:
        Raw scores: the average median and the average high quantile of the largest score in a piece of background.
    """
    chosen = np.unique(np.linspace(0, len(words.clips) - 1, WORDS).round().astype(np.int64))
    spikes = torch.from_numpy(words.take(chosen, np.zeros(len(chosen), np.int64))).to(torch.float32).transpose(0, 1)
    heard, _ = population.hear(learner, weights, spikes)
    pieces, _ = population.hear(learner, weights, torch.from_numpy(cut_pieces(background, learner.step_ms)).to(torch.float32).transpose(0, 1))
    found = []
    for group in heard.split(AT_ONCE, dim=1):
        learnt, _ = schemes.learn(learner, weights, group)
        scores, _ = schemes.respond(learner, weights, learnt, pieces)
        found.append(levels_of(scores.amax(0).T.double().numpy()))  # [2, B]
    low, high = np.concatenate(found, axis=1).mean(1).tolist()
    return low, high
