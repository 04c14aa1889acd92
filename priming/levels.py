"""What scores background gets from words on average: found at the end of priming, on words that were primed on.

The scale of an enrolled word (`priming.calibration`) is taken half from its own network and half from these, the tail that its threshold comes from a
quarter from its own and the rest from these.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priming.background import Background
from priming.calibration import LARGEST, cut_pieces, cut_stretches, levels_of, scales
from priming.features import Features
from priming.tail import Tail, fit_tail, mean_tail
from snn import features as population
from snn import schemes
from snn.config import LearnerConfig

WORDS = 200  # utterances of words, evenly over the family
TAIL_WORDS = 60  # of these, whose tails are averaged; stretches are many
AT_ONCE = 20  # words that hear the pieces together
STRETCHES_AT_ONCE = 50


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
    heard = _heard(learner, weights, words.take_support(chosen, np.zeros(len(chosen), np.int64)))
    pieces = _heard(learner, weights, cut_pieces(background, learner.step_ms))
    found = []
    for group in heard.split(AT_ONCE, dim=1):
        learnt, _ = schemes.learn(learner, weights, group)
        scores, _ = schemes.respond(learner, weights, learnt, pieces)
        found.append(levels_of(scores.amax(0).T.double().numpy()))  # [2, B]
    low, high = np.concatenate(found, axis=1).mean(1).tolist()
    return low, high


@torch.no_grad()
def average_tail(
    learner: LearnerConfig, weights: Mapping[str, Tensor], words: Features, background: Background, levels: tuple[float, float], running_speech: float
) -> Tail:
    """Find the tail of words on average, in normalised scores.

    Args:
        learner: configuration of the weights.
        weights: primed, the readout's metric in its final form.
        words: encoded utterances to learn from, one word each.
        background: the bank.
        levels: of `average_levels`.
        running_speech: raw score that is taken off where somebody surely speaks on.
    """
    chosen = np.unique(np.linspace(0, len(words.clips) - 1, TAIL_WORDS).round().astype(np.int64))
    stretches = cut_stretches(background.spikes, learner.step_ms)
    parts = [slice(first, first + STRETCHES_AT_ONCE) for first in range(0, len(stretches), STRETCHES_AT_ONCE)]
    pieces = _heard(learner, weights, cut_pieces(background.spikes, learner.step_ms))
    heard = [_heard(learner, weights, stretches[part]) for part in parts]
    less = running_speech * cut_stretches(background.running_speech[:, None], learner.step_ms)[:, :, 0]  # [S, T]
    tails = []
    for group in np.array_split(chosen, max(1, len(chosen) // AT_ONCE)):
        learnt, _ = schemes.learn(learner, weights, _heard(learner, weights, words.take_support(group, np.zeros(len(group), np.int64))))
        in_pieces = schemes.respond(learner, weights, learnt, pieces)[0].amax(0)  # [B, P]
        maxima = []
        for part, sound in zip(parts, heard, strict=True):
            running = schemes.respond(learner, weights, learnt, sound)[0]  # [T, B, Q]
            maxima.append((running - torch.from_numpy(less[part].T.copy())[:, None]).amax(0))
        for scale, highest in zip(scales(levels, in_pieces.T.double().numpy()), torch.cat(maxima, 1).double().numpy(), strict=True):
            tails.append(fit_tail((highest - scale.offset) / scale.scale, stretches.shape[1] * learner.step_ms / 1000, scale.normalise(LARGEST)))
    return mean_tail(tails)


def _heard(learner: LearnerConfig, weights: Mapping[str, Tensor], clips: NDArray[np.uint8]) -> Tensor:
    """Let the feature population hear clips [Q, T, I]: h [T, Q, H]."""
    return population.hear(learner, weights, torch.from_numpy(clips).to(torch.float32).transpose(0, 1))[0]
