"""Validation during a run: the evaluation protocol on validation words, in the batched form.

Quick enough to repeat: clips were encoded beforehand and an episode is one batch. The figures that are reported of a finished model come from
`priming.evaluation`, on a backend.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from priming.config import PrimeConfig
from priming.episodes import draw_episodes
from priming.features import Features
from priming.metrics import Summary, summarise
from priming.workspace import Workspace, validation_ways
from snn import features as population
from snn import schemes
from snn.config import LearnerConfig


@torch.no_grad()
def validate(weights: Mapping[str, Tensor], network: LearnerConfig, workspace: Workspace, config: PrimeConfig) -> Iterator[tuple[str, Summary]]:
    """Evaluate weights on each validation set.

    Args:
        weights: of the learner.
        network: its configuration.
        workspace: holds the sets.
        config: of the run.

    Yields:
        The name of the set and its figures, from raw scores.
    """
    for subset, features in workspace.validation.items():
        yield subset, _validate_set(weights, network, features, config)


def _validate_set(weights: Mapping[str, Tensor], network: LearnerConfig, features: Features, config: PrimeConfig) -> Summary:
    index = {clip.key: number for number, clip in enumerate(features.clips)}

    def hear(keys: list[str]) -> tuple[Tensor, list[int]]:
        """Hear each clip once: return h [T, clips, H] and the place of every key in it."""
        unique = sorted(set(keys))
        taken = features.take(np.array([index[key] for key in unique]), np.zeros(len(unique), np.int64))
        heard, _ = population.hear(network, weights, torch.from_numpy(taken).to(torch.float32).transpose(0, 1))
        return heard, [unique.index(key) for key in keys]

    scores, labels = [], []
    for episode in draw_episodes(features.clips, validation_ways(features.clips), episodes=config.validation_episodes, seed=config.seed):
        keys = [shots[0].key for shots in episode.support] + [clip.key for clip, _ in episode.queries]
        heard, places = hear(keys)
        words = len(episode.support)
        learnt, _ = schemes.learn(network, weights, heard[:, places[:words]])
        running, _ = schemes.respond(network, weights, learnt, heard[:, places[words:]])
        scores.append(running.amax(0).T.double().numpy())
        labels.append(np.array([label for _, label in episode.queries]))
    return summarise(scores, labels)
