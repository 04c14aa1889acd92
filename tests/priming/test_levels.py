"""Levels of words on average: the mean over words of what each word alone has."""

from typing import Any

import numpy as np
import pytest
import torch

from priming import levels
from priming.calibration import cut_pieces, levels_of
from priming.model import PrimedModel
from priming.workspace import Workspace
from snn import features, schemes


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_levels_are_averaged_over_words(toy_model: PrimedModel, toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(levels, "WORDS", 7)
    monkeypatch.setattr(levels, "AT_ONCE", at_once)
    learner, weights, words = toy_model.config.learner, dict(toy_model.weights), toy_workspace.features
    found = levels.average_levels(learner, weights, words, toy_model.background)
    chosen = np.linspace(0, len(words.clips) - 1, 7).round().astype(np.int64)

    def hear(spikes: Any) -> torch.Tensor:
        return features.hear(learner, weights, torch.from_numpy(spikes).float().transpose(0, 1))[0]

    alone = []
    with torch.no_grad():
        pieces = hear(cut_pieces(toy_model.background, learner.step_ms))
        for clip in chosen.tolist():
            learnt, _ = schemes.learn(learner, weights, hear(words.take(np.array([clip]), np.zeros(1, np.int64))))
            alone.append(levels_of(schemes.respond(learner, weights, learnt, pieces)[0].amax(0).T.double().numpy())[:, 0])
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-5)
    assert found[0] < found[1]
