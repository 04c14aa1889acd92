"""Validation during a run: the evaluation protocol on validation words, in the batched form.

Quick enough to repeat: clips were encoded beforehand and an episode is one batch. The figures that are reported of a finished model come from
`priming.evaluation`, on a backend.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from priming.clip import Clip
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

    def hear(support: list[Clip], queries: list[Clip]) -> tuple[Tensor, Tensor]:
        """Hear the clips of an episode: h [T, clips, H] of both."""
        asked, taught = (np.array([index[clip.key] for clip in clips]) for clips in (queries, support))
        taken = np.concatenate([features.take_support(taught, np.zeros_like(taught)), features.take(asked, np.zeros_like(asked))])
        heard, _ = population.hear(network, weights, torch.from_numpy(taken).to(torch.float32).transpose(0, 1))
        return heard[:, : len(support)], heard[:, len(support) :]

    scores, labels = [], []
    for episode in draw_episodes(features.clips, validation_ways(features.clips), episodes=config.validation_episodes, seed=config.seed):
        support, queries = hear([shots[0] for shots in episode.support], [clip for clip, _ in episode.queries])
        learnt, _ = schemes.learn(network, weights, support)
        running, _ = schemes.respond(network, weights, learnt, queries)
        scores.append(running.amax(0).T.double().numpy())
        labels.append(np.array([label for _, label in episode.queries]))
    return summarise(scores, labels)
