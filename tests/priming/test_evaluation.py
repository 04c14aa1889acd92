"""Evaluation is what enrolling and listening would do, step by step."""

import dataclasses
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from audio.running_speech import evidence
from audio.utterance import cut_utterance
from hardware.torch_backend import TorchBackend
from priming import evaluation
from priming.calibration import calibrate
from priming.corpus import load, role_clips
from priming.episodes import draw_episodes, hearing, hearing_support
from priming.errors import DataError
from priming.evaluation import EvaluationConfig, HeardEpisode, evaluate, heard_episodes
from priming.metrics import summarise
from priming.model import PrimedModel


@pytest.fixture(scope="module")
def config(toy_corpus: Path) -> EvaluationConfig:
    return EvaluationConfig(toy_corpus, ways=3, episodes=1, seed=8)


def test_the_figures_are_those_of_enrolling_and_scoring_by_hand(toy_model: PrimedModel, config: EvaluationConfig) -> None:
    one = dataclasses.replace(config, shots=2, ways=2)
    encoder, backend = toy_model.encoder(), TorchBackend()
    backend.load(toy_model.config.learner, toy_model.weights)
    (episode,) = draw_episodes(role_clips(one.data, "test"), 2, 2, 1, 8)
    assert toy_model.config.running_speech > 0
    columns = []
    for support in episode.support:
        spoken = [cut_utterance(load(clip)) for clip in support]
        shots = [backend.learn(encoder.encode(hearing_support(said, speed))) for said in spoken for speed in toy_model.config.speeds]
        calibration = calibrate(backend, toy_model, shots)
        backend.deploy([shots])
        raw = []
        for clip, _ in episode.queries:
            backend.reset()
            sound = hearing(load(clip))
            spikes = encoder.encode(sound)
            lost = toy_model.config.running_speech * evidence(sound, len(spikes), encoder.step_ms)
            raw.append((backend.process(spikes)[:, 0] - lost).max())
        columns.append([calibration.normalise(float(score)) for score in raw])
    labels = [label for _, label in episode.queries]
    expected = summarise([np.array(columns).T], [labels])
    told: list[tuple[int, int]] = []
    found = evaluate(toy_model, TorchBackend(), one, lambda done, total: told.append((done, total)))
    assert found.accuracy == expected.accuracy
    assert found.auroc_pairs == pytest.approx(expected.auroc_pairs, abs=0.01)  # rounding may swap two scores that are alike
    assert told == [(1, 1)]


def test_the_same_seed_gives_the_same_figures(toy_model: PrimedModel, config: EvaluationConfig) -> None:
    first, second = (evaluate(toy_model, TorchBackend(), config) for _ in range(2))
    assert first == second
    assert first.episodes == 1
    assert evaluate(toy_model, TorchBackend(), dataclasses.replace(config, seed=9)) != first


def spikes_of(model: PrimedModel, config: EvaluationConfig) -> list[HeardEpisode]:
    return list(heard_episodes(model, config))


def test_noise_reaches_the_queries_alone(toy_model: PrimedModel, config: EvaluationConfig) -> None:
    clean, noisy, again, louder = (spikes_of(toy_model, dataclasses.replace(config, snr_db=snr)) for snr in (None, 5.0, 5.0, -5.0))
    for quiet, heard, repeated, loud in zip(clean, noisy, again, louder, strict=True):
        assert quiet.episode == heard.episode
        assert np.array_equal(quiet.labels, heard.labels)
        supports = zip(chain.from_iterable(quiet.supports), chain.from_iterable(heard.supports), strict=True)
        assert all(np.array_equal(a, b) for a, b in supports)
        assert all(np.array_equal(a, b) for a, b in zip(heard.queries, repeated.queries, strict=True))
        assert all(a.shape == b.shape for a, b in zip(quiet.queries, heard.queries, strict=True))
        assert all((a != b).any() for a, b in zip(quiet.queries, heard.queries, strict=True))
        changed = [np.mean([(a != b).mean() for a, b in zip(quiet.queries, other.queries, strict=True)]) for other in (heard, loud)]
        assert changed[1] > changed[0]
    assert 0 <= evaluate(toy_model, TorchBackend(), dataclasses.replace(config, snr_db=5.0)).accuracy <= 1


def test_noise_that_is_not_there_is_an_error(toy_model: PrimedModel, config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "noise_clips", lambda *_: [])
    with pytest.raises(DataError, match="no noise of the test part"):
        evaluate(toy_model, TorchBackend(), dataclasses.replace(config, snr_db=5.0))


@pytest.mark.parametrize(("change", "told"), [({"ways": 7}, "only 6 words"), ({"role": "prime"}, "no isolated set of the role 'prime'")])
def test_what_the_folder_cannot_give_is_an_error(toy_model: PrimedModel, config: EvaluationConfig, change: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        evaluate(toy_model, TorchBackend(), dataclasses.replace(config, **change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
