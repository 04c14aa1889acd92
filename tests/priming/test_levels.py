"""Levels and tail of words on average: the mean over words of what each word alone has."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardware.torch_backend import TorchBackend
from priming import levels
from priming.background import Background
from priming.calibration import SEVERAL, calibrate, cut_pieces, levels_of
from priming.clip import Clip
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


@pytest.mark.parametrize("shots", [1, SEVERAL])
@pytest.mark.parametrize("at_once", [2, 20])
def test_the_average_tail_is_that_of_words_calibrated_by_a_backend(
    toy_model: PrimedModel, toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, at_once: int, shots: int
) -> None:
    monkeypatch.setattr(levels, "TAIL_WORDS", 5)
    monkeypatch.setattr(levels, "AT_ONCE", at_once)
    monkeypatch.setattr(levels, "STRETCHES_AT_ONCE", 3)
    words, bare = toy_workspace.features, toy_model.config.model_copy(update={"tail": None, "tail_several": None})
    assert bare.levels is not None
    every = np.arange(len(words.clips))
    spikes = np.concatenate(words.take(every, 0 * every))  # 16 stretches, of which the toy's bank has 2
    bank = Background(spikes, np.random.default_rng(0).random(len(spikes)).astype(np.float32))
    model = dataclasses.replace(toy_model, config=bare, background=bank.spikes, running_speech=bank.running_speech)
    asked = model.config.learner, dict(model.weights), words, bank, model.config.levels, model.config.running_speech
    found = levels.average_tail(*asked, shots)
    assert found is not None
    assert shots > 1 or found == levels.average_tail(*asked)
    backend = TorchBackend()
    backend.load(model.config.learner, model.weights)
    chosen = levels.choose_utterances(words.clips, shots)
    assert chosen is not None
    learnt = [[backend.learn(utterance) for utterance in words.take_support(row, np.zeros(shots, np.int64))] for row in chosen]
    tails = [calibrate(backend, model, utterances).tail for utterances in learnt]
    assert np.std([tail.level for tail in tails]) > 0.01  # words differ
    for name, value in mean_tail(tails).model_dump().items():
        assert getattr(found, name) == pytest.approx(value, rel=2e-2, abs=2e-2), name  # rounding may move a spike
    if shots > 1:  # words of one utterance have another
        single = mean_tail([calibrate(backend, model, utterances[:1]).tail for utterances in learnt])
        assert abs(single.highest - found.highest) > 0.05


def test_a_finished_run_writes_the_tails_of_one_utterance_and_of_several(toy_model: PrimedModel, toy_workspace: Workspace) -> None:
    config, weights = toy_model.config, dict(toy_model.weights)
    assert config.levels is not None
    assert toy_model.running_speech is not None
    bank = Background(toy_model.background, toy_model.running_speech)
    for written, shots in ((config.tail, 1), (config.tail_several, 5)):
        found = levels.average_tail(config.learner, weights, toy_workspace.features, bank, config.levels, config.running_speech, shots)
        assert found is not None
        assert written is not None
        for name, value in found.model_dump().items():
            assert getattr(written, name) == pytest.approx(value, rel=5e-3, abs=5e-3), name  # evidence is written in 255 steps
    assert abs(config.tail.level - config.tail_several.level) > 0.03


def family(**said: Sequence[str]) -> list[Clip]:
    """Clips of words, by who says them: clip after clip, words in turn."""
    length = max(map(len, said.values()))
    turns = [(word, by[turn], turn) for turn in range(length) for word, by in said.items() if turn < len(by)]
    return [Clip(Path(), f"{word}{turn}", "made-up", "en", word, "prime", by, "train", 0.0, None, 1.0) for word, by, turn in turns]


def test_single_utterances_are_chosen_evenly_over_the_family(toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = toy_workspace.features.clips
    for count in (5, 60, 1000):
        monkeypatch.setattr(levels, "TAIL_WORDS", count)
        expected = np.unique(np.linspace(0, len(clips) - 1, count).round().astype(np.int64))
        np.testing.assert_array_equal(levels.choose_utterances(clips, 1), expected[:, None])


def test_several_utterances_of_a_word_are_by_as_many_people_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "TAIL_WORDS", 1000)
    clips = family(many="ABCDEFGHIJ" * 2, few="AAAAAABC", one="AAAAA", scarce="ABCD")
    chosen = levels.choose_utterances(clips, 5)
    assert chosen is not None
    assert chosen[:, 0].tolist() == [k for k, clip in enumerate(clips) if clip.word != "scarce"]  # every clip once, in order
    for row in chosen.tolist():
        (word,) = {clips[k].word for k in row}
        assert len(set(row)) == 5
        assert len({clips[k].speaker for k in row}) == {"many": 5, "few": 3, "one": 1}[word]
    monkeypatch.setattr(levels, "TAIL_WORDS", 3)
    few = levels.choose_utterances(clips, 5)
    np.testing.assert_array_equal(few, chosen[[0, len(chosen) // 2, len(chosen) - 1]])  # evenly, and nothing is drawn by chance


def test_too_few_words_of_several_utterances_have_no_average(toy_model: PrimedModel, toy_workspace: Workspace) -> None:
    clips = family(first="ABCDE", second="ABCDE", third="ABCD")
    assert levels.choose_utterances(clips, 4) is not None
    assert levels.choose_utterances(clips, 5) is None
    bank = Background(toy_model.background, np.zeros(len(toy_model.background), np.float32))
    assert levels.average_tail(toy_model.config.learner, dict(toy_model.weights), toy_workspace.features, bank, (0.0, 1.0), 0.0, 50) is None
