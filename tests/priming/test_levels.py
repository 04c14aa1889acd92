"""Levels and tail of words on average: the mean over words of what each word alone has."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from hardware.torch_backend import TorchBackend
from priming import levels
from priming.background import Background
from priming.calibration import calibrate, cut_pieces, levels_of
from priming.model import PrimedModel
from priming.tail import mean_tail
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
            learnt, _ = schemes.learn(learner, weights, hear(words.take_support(np.array([clip]), np.zeros(1, np.int64))))
            alone.append(levels_of(schemes.respond(learner, weights, learnt, pieces)[0].amax(0).T.double().numpy())[:, 0])
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-5)
    assert found[0] < found[1]


@pytest.mark.parametrize("at_once", [2, 20])
def test_the_average_tail_is_that_of_words_calibrated_by_a_backend(
    toy_model: PrimedModel, toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(levels, "TAIL_WORDS", 5)
    monkeypatch.setattr(levels, "AT_ONCE", at_once)
    monkeypatch.setattr(levels, "STRETCHES_AT_ONCE", 3)
    model, words = dataclasses.replace(toy_model, config=toy_model.config.model_copy(update={"tail": None})), toy_workspace.features
    assert model.config.levels is not None
    assert model.running_speech is not None
    bank = Background(model.background, model.running_speech)
    found = levels.average_tail(model.config.learner, dict(model.weights), words, bank, model.config.levels, model.config.running_speech)
    backend = TorchBackend()
    backend.load(model.config.learner, model.weights)
    chosen = np.linspace(0, len(words.clips) - 1, 5).round().astype(np.int64)
    utterances = words.take_support(chosen, np.zeros(5, np.int64))
    tails = [calibrate(backend, model, [backend.learn(utterance)]).tail for utterance in utterances]
    assert np.std([tail.level for tail in tails]) > 0.01  # words differ
    for name, value in mean_tail(tails).model_dump().items():
        assert getattr(found, name) == pytest.approx(value, rel=2e-2, abs=2e-2), name  # rounding may move a spike
    assert toy_model.config.tail is not None  # what a finished run writes
