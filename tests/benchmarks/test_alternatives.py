"""Every method tells words apart that are easy to tell apart, and what a row leaves out is left out."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alternatives import registry
from alternatives.broadcast import REPLACED, random_broadcast
from alternatives.efficientword import WINDOW, EfficientWordNet, window_around
from alternatives.errors import UnavailableError
from alternatives.features import PerSound
from alternatives.network import Learner, Network, nothing
from alternatives.protocol import Alternative, Settings
from alternatives.prototype import Prototypes
from alternatives.prototypical import PrimedPrototypes
from alternatives.rounding import rounded
from alternatives.warping import path_cost
from priming.analog import log_mel_constants
from priming.episodes import AFTER_S, BEFORE_S
from priming.errors import ModelError
from priming.evaluation import Utterance
from priming.metrics import summarise
from priming.model import PrimedModel
from priming.prototypical import Protonet, default_config, save_protonet

Say = Callable[[tuple[int, ...], int], Utterance]
WORDS = [(0, 3, 1), (4, 2), (1, 5, 0)]  # syllables that share no order
TAKES = (1, 2)


@pytest.fixture(scope="module")
def settings(make_model: Callable[[str], PrimedModel]) -> Settings:
    return Settings(make_model("mel"))


@pytest.fixture(scope="module")
def supports(say: Say) -> list[list[Utterance]]:
    return [[say(word, 0)] for word in WORDS]


@pytest.fixture(scope="module")
def queries(say: Say) -> list[Utterance]:
    return [say(word, take) for word in WORDS for take in TAKES]


LABELS = np.repeat(np.arange(len(WORDS)), len(TAKES))


def told(alternative: Alternative, supports: list[list[Utterance]], queries: list[Utterance]) -> float:
    return summarise([alternative.score(supports, queries)], [LABELS]).accuracy


@pytest.mark.parametrize("name", ["eprop", "broadcast", "readout", "spikes", "dtw"])
def test_the_right_word_scores_highest(name: str, settings: Settings, supports: list[list[Utterance]], queries: list[Utterance]) -> None:
    alternative = registry.METHODS[name].build(settings)
    assert alternative.score(supports, queries).shape == (len(queries), len(WORDS))
    assert told(alternative, supports, queries) > 0.8
    assert told(alternative, supports[::-1], queries) < 0.5  # and it is the supports that say which


@pytest.mark.parametrize("name", ["cosine", "cosine-speeds", "dtw-embedding"])
def test_the_right_word_scores_highest_behind_the_embedding(
    name: str, make_model: Callable[[str], PrimedModel], supports: list[list[Utterance]], queries: list[Utterance]
) -> None:
    alternative = registry.METHODS[name].build(Settings(make_model("embedding")))
    assert told(alternative, supports, queries) > 0.8
    assert told(alternative, supports[::-1], queries) < 0.5


def test_without_any_update_every_word_scores_alike(settings: Settings, supports: list[list[Utterance]], queries: list[Utterance]) -> None:
    scores = registry.METHODS["none"].build(settings).score(supports, queries)
    assert (scores == scores[:, :1]).all()
    assert summarise([scores], [LABELS]).accuracy == pytest.approx(1 / len(WORDS), abs=1e-12)
    assert summarise([scores], [LABELS]).auroc_pairs == 0.5


def test_nothing_keeps_no_number_that_was_learnt(settings: Settings, supports: list[list[Utterance]]) -> None:
    shot = settings.network.learn(supports[0][0])[0]
    kept = nothing(shot)
    assert any(np.any(array) for array in shot if array.dtype.kind == "f")
    assert not any(np.any(array) for array in kept if array.dtype.kind == "f")


def test_leaving_the_readout_alone_changes_the_scores(settings: Settings, supports: list[list[Utterance]], queries: list[Utterance]) -> None:
    whole, readout = (registry.METHODS[name].build(settings).score(supports, queries) for name in ("eprop", "readout"))
    assert not np.allclose(whole, readout)
    assert min(settings.network.mean_change) > 0


def test_an_utterance_is_learnt_once_for_all_rows(settings: Settings, supports: list[list[Utterance]], queries: list[Utterance]) -> None:
    network = Network(settings.model, settings.spikes)
    learnt = network.learn(supports[0][0])
    for keep in (None, nothing):
        Learner(network, keep).score(supports, queries)
    assert all(again is shot for again, shot in zip(network.learn(supports[0][0]), learnt, strict=True))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("cosine", "speech embedding"), ("cosine-speeds", "speech embedding"), ("primed-readout", "--readout-model"), ("protonet", "--protonet")],
)
def test_what_cannot_run_says_what_it_needs(settings: Settings, name: str, reason: str) -> None:
    with pytest.raises(UnavailableError, match=reason):
        registry.METHODS[name].build(settings)


def test_random_broadcast_has_the_primed_norms(settings: Settings) -> None:
    weights = settings.model.weights
    drawn = random_broadcast(weights, seed=3)
    again, other = random_broadcast(weights, seed=3), random_broadcast(weights, seed=4)
    for name in REPLACED:
        assert drawn[name].norm() == pytest.approx(float(weights[name].norm()), rel=1e-5)
        assert not torch.allclose(drawn[name], weights[name])
        assert torch.equal(drawn[name], again[name])
        assert not torch.equal(drawn[name], other[name])
    assert all(torch.equal(drawn[name], weights[name]) for name in weights if name not in REPLACED)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50), st.integers(2, 16))
def test_rounded_weights_are_few_and_near(values: list[float], bits: int) -> None:
    tensor = torch.tensor(values)
    found = rounded({"w": tensor}, bits)["w"]
    step = float(tensor.abs().max()) / (2 ** (bits - 1) - 1)
    assert float((found - tensor).abs().max()) <= step * 0.5001 + 1e-30
    assert len(set((found / step).round().tolist())) <= 2**bits if step > 1e-30 else True
    assert float(found.abs().max()) == pytest.approx(float(tensor.abs().max()), rel=1e-5)


def test_a_feature_is_computed_once_and_the_oldest_is_forgotten(say: Say) -> None:
    asked: list[str] = []

    def compute(utterance: Utterance) -> str:
        asked.append(utterance.key)
        return utterance.key

    feature = PerSound(compute, kept=2)
    first, second, third = (say(word, 0) for word in WORDS)
    assert [feature(utterance) for utterance in (first, second, first, third, first, second)][-1] == second.key
    assert asked == [first.key, second.key, third.key, second.key]


def test_prototypes_average_the_supports(say: Say) -> None:
    vectors = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0]), "c": np.array([1.0, 1.0])}
    by_key = {say(word, 0).key: vector for word, vector in zip(WORDS, vectors.values(), strict=True)}
    one, two, three = (say(word, 0) for word in WORDS)
    scores = Prototypes(lambda utterance: by_key[utterance.key]).score([[one, two], [two]], [three, one])
    assert scores == pytest.approx(np.array([[1.0, np.sqrt(0.5)], [np.sqrt(0.5), 0.0]]))


def test_warping_forgives_tempo_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    sequence = rng.standard_normal((20, 8)).astype(np.float32)
    slower = np.repeat(sequence, 2, axis=0)
    assert path_cost(sequence, slower) == pytest.approx(0, abs=1e-6)
    assert path_cost(sequence, sequence[::-1].copy()) > 0.1
    assert path_cost(sequence, slower[5:]) == pytest.approx(path_cost(slower[5:], sequence))


@given(st.integers(2_400, 60_000))
def test_the_window_of_efficientword_net_holds_the_clip(length: int) -> None:
    before, after = round(BEFORE_S * 16_000), round(AFTER_S * 16_000)
    samples = np.arange(before + length + after, dtype=np.float32)
    window = window_around(samples, AFTER_S)
    assert len(window) == WINDOW
    assert np.array_equal(window, np.arange(window[0], window[0] + WINDOW))
    inside = min(length, WINDOW)
    assert ((window >= before) & (window < before + length)).sum() >= inside


class _Fake:
    """Stands in for the network of EfficientWord-Net: the shape of the spectrum."""

    def audioToVector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: N802
        assert samples.shape == (WINDOW,)
        bands = np.array_split(np.abs(np.fft.rfft(samples)), 40)
        power = np.log([np.mean(band) for band in bands])
        vector: NDArray[np.float32] = ((power - power.mean()) / np.linalg.norm(power - power.mean())).astype(np.float32)[None]
        return vector


def test_efficientword_net_is_asked_as_its_detector_asks(
    monkeypatch: pytest.MonkeyPatch, supports: list[list[Utterance]], queries: list[Utterance]
) -> None:
    for name in ("eff_word_net", "eff_word_net.audio_processing"):
        module = ModuleType(name)
        module.Resnet50_Arc_loss = _Fake  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    alternative = EfficientWordNet()
    assert told(alternative, supports, queries) > 0.8
    together = alternative.score([supports[0] + supports[1]], queries)
    assert np.array_equal(together[:, 0], alternative.score(supports, queries)[:, :2].max(1))


def test_efficientword_net_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eff_word_net", None)
    with pytest.raises(UnavailableError, match="pip install"):
        EfficientWordNet()


def test_a_prototypical_network_larger_than_the_comparison_allows_is_refused(tmp_path: Path) -> None:
    config = default_config("log-mel", 1760.0).model_copy(update={"widths": (28, 40, 56, 90)})
    save_protonet(tmp_path / "net.safetensors", config, Protonet(config).state_dict(), log_mel_constants())
    with pytest.raises(ModelError, match="allows 200000"):
        PrimedPrototypes(tmp_path / "net.safetensors")
