"""What scores background gets from words on average: found at the end of priming, on words that were primed on.

The scale of an enrolled word (`priming.calibration`), and the tail that its threshold comes from, are taken a quarter from its own network and three
quarters from these. The levels are of words learnt from one utterance; of tails there are two, as words that are learnt from several utterances have
another.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priming.background import Background
from priming.calibration import LARGEST, cut_pieces, cut_stretches, levels_of, scales
from priming.clip import Clip
from priming.features import Features
from priming.tail import Tail, fit_tail, mean_tail
from snn import features as population
from snn import schemes
from snn.config import LearnerConfig

WORDS = 200  # utterances of words, evenly over the family
TAIL_WORDS = 60  # of these, whose tails are averaged; stretches are many
FEWEST_WORDS = 3  # that a tail is averaged over
AT_ONCE = 20  # utterances whose words hear the pieces together
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
    learner: LearnerConfig,
    weights: Mapping[str, Tensor],
    words: Features,
    background: Background,
    levels: tuple[float, float],
    running_speech: float,
    shots: int = 1,
) -> Tail | None:
    """Find the tail of words on average, in normalised scores.

    Args:
        learner: configuration of the weights.
        weights: primed, the readout's metric in its final form.
        words: encoded utterances to learn from, one word each.
        background: the bank.
        levels: of `average_levels`.
        running_speech: raw score that is taken off where somebody surely speaks on.
        shots: utterances that each word is learnt from, of `choose_utterances`.

    Returns:
        The tail; None where too few words have so many utterances.
    """
    chosen = choose_utterances(words.clips, shots)
    if chosen is None:
        return None
    stretches = cut_stretches(background.spikes, learner.step_ms)
    parts = [slice(first, first + STRETCHES_AT_ONCE) for first in range(0, len(stretches), STRETCHES_AT_ONCE)]
    pieces = _heard(learner, weights, cut_pieces(background.spikes, learner.step_ms))
    heard = [_heard(learner, weights, stretches[part]) for part in parts]
    less = running_speech * cut_stretches(background.running_speech[:, None], learner.step_ms)[:, :, 0]  # [S, T]
    tails = []
    for group in np.array_split(chosen, min(len(chosen), max(1, chosen.size // AT_ONCE))):
        supports = words.take_support(group.ravel(), np.zeros(group.size, np.int64))
        learnt, _ = schemes.learn(learner, weights, _heard(learner, weights, supports), shots)
        in_pieces = schemes.respond(learner, weights, learnt, pieces)[0].amax(0)  # [B, P]
        maxima = []
        for part, sound in zip(parts, heard, strict=True):
            running = schemes.respond(learner, weights, learnt, sound)[0]  # [T, B, Q]
            maxima.append((running - torch.from_numpy(less[part].T.copy())[:, None]).amax(0))
        for scale, highest in zip(scales(levels, in_pieces.T.double().numpy()), torch.cat(maxima, 1).double().numpy(), strict=True):
            tails.append(fit_tail((highest - scale.offset) / scale.scale, stretches.shape[1] * learner.step_ms / 1000, scale.normalise(LARGEST)))
    return mean_tail(tails)


def choose_utterances(clips: Sequence[Clip], shots: int) -> NDArray[np.int64] | None:
    """Choose what the words of an average tail are learnt from: evenly over the family, each by as many people as there are.

    Args:
        clips: of the family.
        shots: S, utterances of each word.

    Returns:
        [W, S] indices into `clips`, those of a row of one word and all different; None where too few words have S clips.
    """
    said: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))  # by word and speaker
    for index, clip in enumerate(clips):
        said[clip.word][clip.speaker].append(index)
    enough = {word for word, speakers in said.items() if sum(map(len, speakers.values())) >= shots}
    if len(enough) < FEWEST_WORDS:
        return None
    usable = np.array([index for index, clip in enumerate(clips) if clip.word in enough])
    first = usable[np.unique(np.linspace(0, len(usable) - 1, TAIL_WORDS).round().astype(np.int64))]
    return np.array([_with_others(index, list(said[clips[index].word].values()), shots) for index in first.tolist()])


def _with_others(first: int, speakers: list[list[int]], shots: int) -> list[int]:
    """Put further clips of a word beside one, evenly over its speakers, each of whom has a turn before anybody has a second.

    Args:
        first: clip that is among them in any case.
        speakers: clips of the word by each.
        shots: clips wanted, at most as many as there are.
    """
    own = next(k for k, clips in enumerate(speakers) if first in clips)
    place = speakers[own].index(first)
    turns = [speakers[own][place:] + speakers[own][:place], *speakers[own + 1 :], *speakers[:own]]
    in_turn = [clip for turn in zip_longest(*turns) for clip in turn if clip is not None]
    pool = in_turn[: max(shots, len(turns))]
    return [pool[k * len(pool) // shots] for k in range(shots)]


def _heard(learner: LearnerConfig, weights: Mapping[str, Tensor], clips: NDArray[np.uint8]) -> Tensor:
    """Let the feature population hear clips [Q, T, I]: h [T, Q, H]."""
    return population.hear(learner, weights, torch.from_numpy(clips).to(torch.float32).transpose(0, 1))[0]
