"""The torch emulator hears: streaming equals the batched response and does not depend on how the stream is cut."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hardware import BackendError, Shot
from hardware.torch_backend import TorchBackend
from snn import learner
from snn.config import LearnerConfig
from snn.learner import Learning, Learnt

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
Spikes = NDArray[np.uint8]
MakeSpikes = Callable[..., Spikes]
MakeLess = Callable[..., list[NDArray[np.float32]]]
Listen = Callable[..., Tensor]
LearnBatched = Callable[..., tuple[Learnt, Learning | None]]
Load = Callable[[Primed], TorchBackend]


def test_streaming_equals_the_batched_response(
    make_primed: MakePrimed, make_spikes: MakeSpikes, settings: dict[str, Any], listen: Listen, learn_batched: LearnBatched, load: Load
) -> None:
    primed = make_primed(2, **settings)
    spikes, queries = [make_spikes(24, seed) for seed in range(3)], [make_spikes(18, 10 + seed) for seed in range(2)]
    learnt, _ = learn_batched(primed, spikes)
    with torch.no_grad():
        expected, activity = learner.respond(*primed, learnt, listen(primed, queries))
    assert (activity is not None) == primed[0].plastic
    assert activity is None or 0.02 < activity.z.mean() < 0.7
    backend = load(primed)
    backend.deploy([[backend.learn(uttered)] for uttered in spikes])
    for q, query in enumerate(queries):
        backend.reset()
        scores = backend.process(query)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected[:, :, q].numpy(), rtol=0, atol=1e-5)
        backend.reset()
        if activity is not None:
            np.testing.assert_array_equal(backend.process_traced(query).network, activity.z[:, 0, q].numpy())
    np.testing.assert_allclose(backend.score(queries), expected.amax(0).T.numpy(), rtol=0, atol=1e-5)


def test_the_feature_population_hears_on_through_a_stream(
    make_primed: MakePrimed, make_spikes: MakeSpikes, listen: Listen, learn_batched: LearnBatched, load: Load
) -> None:
    """A stream of three blocks scores like the clip that they are: the population's state carries over, the words' states too."""
    primed = make_primed(2, features=(8, 6))
    uttered, stream = make_spikes(24, 0), make_spikes(45, 1)
    learnt, _ = learn_batched(primed, [uttered])
    with torch.no_grad():
        expected, _ = learner.respond(*primed, learnt, listen(primed, [stream]))
    backend = load(primed)
    backend.deploy([[backend.learn(uttered)]])
    blocks = [backend.process(stream[first : first + 15]) for first in (0, 15, 30)]
    np.testing.assert_allclose(np.concatenate(blocks), expected[:, :, 0].numpy(), rtol=0, atol=1e-5)
    backend.reset()
    assert not np.allclose(backend.process(stream[15:30]), blocks[1], rtol=0, atol=1e-3)


def test_without_plasticity_only_the_readout_counts(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    config, weights = make_primed(3, plastic=False)
    kept = {"center", "lsg.profile"} | {name for name in weights if name.startswith(("feature.", "readout."))} - {"readout.learning"}
    scores = []
    for primed in (weights, {name: w if name in kept else w + 1 for name, w in weights.items()}):
        backend = load((config, primed))
        shot = backend.learn(make_spikes(24, 0))
        assert not shot.factor.any()
        assert not shot.recurrent.any()
        backend.deploy([[shot]])
        scores.append(backend.process(make_spikes(20, 1)))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert 0.05 < np.abs(scores[0]).max() <= 1


def test_the_learning_network_adds_its_spikes_to_the_score(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    config, weights = make_primed(3)
    scores, networks = [], []
    for size in (0.0, 1.0):
        backend = load((config, weights | {"readout.learning": size * weights["readout.learning"]}))
        backend.deploy([[backend.learn(make_spikes(24, 0))]])
        trace = backend.process_traced(make_spikes(20, 1))
        scores.append(trace.scores)
        networks.append(trace.network)
    np.testing.assert_array_equal(networks[0], networks[1])
    filtered, expected = np.zeros(config.neurons), []
    for z in networks[0]:
        filtered = config.readout_kappa * filtered + (1 - config.readout_kappa) * z
        expected.append(filtered @ weights["readout.learning"].numpy())
    np.testing.assert_allclose(scores[1] - scores[0], expected, rtol=0, atol=1e-6)
    assert np.abs(expected).max() > 0.01


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=6), seed=st.integers(0, 1000))
def test_how_a_stream_is_cut_changes_no_bit(loaded: TorchBackend, make_spikes: MakeSpikes, cuts: list[int], seed: int) -> None:
    stream = make_spikes(30, seed)
    loaded.reset()
    whole = loaded.process(stream)
    loaded.reset()
    edges = [0, *sorted(cuts), 30]
    pieces = [loaded.process(stream[first:last]) for first, last in pairwise(edges)]
    assert whole.shape == (30, 3)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_state_carries_over_until_reset(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    loaded.reset()
    first, second = loaded.process(make_spikes(10, 1)), loaded.process(make_spikes(10, 1))
    assert not np.array_equal(first, second)
    loaded.reset()
    np.testing.assert_array_equal(loaded.process(make_spikes(10, 1)), first)


def test_learning_between_two_blocks_does_not_disturb_the_stream(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    loaded.reset()
    whole = loaded.process(make_spikes(20, 1))
    loaded.reset()
    first = loaded.process(make_spikes(20, 1)[:9])
    loaded.learn(make_spikes(15, 2))
    np.testing.assert_array_equal(np.concatenate([first, loaded.process(make_spikes(20, 1)[9:])]), whole)


def test_loading_leaves_the_callers_weights_alone(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    config, weights = make_primed(4)
    before = {name: w.clone() for name, w in weights.items()}
    backend = load((config, weights))
    backend.deploy([[backend.learn(make_spikes(20, 0))]])
    backend.process(make_spikes(20, 1))
    assert all(torch.equal(weights[name], w) for name, w in before.items())


def test_deployed_words_do_not_depend_on_each_other(loaded: TorchBackend, make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    loaded.reset()
    together = loaded.process(make_spikes(20, 7))
    alone = TorchBackend()
    alone.load(*make_primed())
    alone.deploy([[alone.learn(make_spikes(21, 1))]])
    np.testing.assert_allclose(alone.process(make_spikes(20, 7))[:, 0], together[:, 1], rtol=0, atol=1e-5)


def test_several_shots_average(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    backend = TorchBackend()
    backend.load(*make_primed(5))
    one, two = backend.learn(make_spikes(20, 0)), backend.learn(make_spikes(26, 1))
    for mean, first, second in zip(*(backend.weight_changes(shots) for shots in ([one, two], [one], [two])), strict=True):
        torch.testing.assert_close(mean, (first + second) / 2)
    backend.deploy([[one, two], [two, one], [one, one], [one]])
    scores = backend.process(make_spikes(25, 3))
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=0, atol=1e-5)  # in any order
    np.testing.assert_allclose(scores[:, 2], scores[:, 3], rtol=0, atol=1e-5)  # the same shot twice is that shot
    assert not np.allclose(scores[:, 0], scores[:, 3], atol=1e-3)


def test_the_readout_of_several_shots_is_their_normalised_mean(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    backend = TorchBackend()
    backend.load(*make_primed(5, plastic=False))
    one, two = backend.learn(make_spikes(20, 0)), backend.learn(make_spikes(20, 1))
    backend.deploy([[one], [two], [one, two]])
    scores = backend.process(make_spikes(25, 3))
    expected = (scores[:, 0] + scores[:, 1]) / np.linalg.norm(one.readout + two.readout)
    np.testing.assert_allclose(scores[:, 2], expected, rtol=0, atol=1e-5)


def test_scores_of_clips_of_any_length(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    clips = [make_spikes(steps, steps) for steps in (12, 1, 20, 12)]
    loaded.process(make_spikes(5, 0))  # what was heard before does not matter
    scores = loaded.score(clips)
    assert scores.shape == (4, 3)
    for clip, found in zip(clips, scores, strict=True):
        loaded.reset()
        np.testing.assert_allclose(found, loaded.process(clip).max(0), rtol=0, atol=2e-5)
    after = loaded.score(clips)
    np.testing.assert_array_equal(after, scores)
    first = loaded.process(clips[0])  # left at rest
    loaded.reset()
    np.testing.assert_array_equal(first, loaded.process(clips[0]))


def test_what_is_taken_off_is_taken_off_every_step(loaded: TorchBackend, make_spikes: MakeSpikes, make_less: MakeLess) -> None:
    clips = [make_spikes(steps, steps) for steps in (12, 1, 20, 12)]
    less = make_less(clips)
    scores = loaded.score(clips, less)
    assert np.abs(scores - loaded.score(clips)).max() > 0.05
    for clip, lost, found in zip(clips, less, scores, strict=True):
        loaded.reset()
        np.testing.assert_allclose(found, (loaded.process(clip) - lost[:, None]).max(0), rtol=0, atol=2e-5)
    alike = [0, 3]  # clips of one length are heard together
    heard = loaded.hear(np.stack([clips[k] for k in alike]))
    np.testing.assert_array_equal(loaded.score_heard(heard, np.stack([less[k] for k in alike])), scores[alike])


def test_a_traced_stream_is_the_stream(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    loaded.reset()
    expected = loaded.process(make_spikes(15, 4))
    loaded.reset()
    trace = loaded.process_traced(make_spikes(15, 4))
    np.testing.assert_array_equal(trace.scores, expected[:, 0])
    assert trace.network.shape == (15, 16)
    assert set(np.unique(trace.network)) == {0, 1}
    assert not trace.signals.any()  # the generator is silent while the network listens


def test_no_words_no_scores(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    backend = load(make_primed())
    backend.reset()
    assert backend.process(make_spikes(7, 0)).shape == (7, 0)
    assert backend.score([make_spikes(7, 0)]).shape == (1, 0)


def test_empty_blocks_and_no_clips(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    assert loaded.process(make_spikes(0, 0)).shape == (0, 3)
    assert loaded.score([]).shape == (0, 3)


def test_loading_forgets_the_words(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    backend = load(make_primed())
    backend.deploy([[backend.learn(make_spikes(20, 0))]])
    backend.load(*make_primed(1))
    assert backend.process(make_spikes(5, 0)).shape == (5, 0)


@pytest.mark.parametrize("verb", ["learn", "process", "score"])
def test_spikes_of_another_encoder(loaded: TorchBackend, make_spikes: MakeSpikes, verb: str) -> None:
    spikes = make_spikes(10, 0, inputs=11)
    with pytest.raises(BackendError, match="12 input channels"):
        getattr(loaded, verb)([spikes] if verb == "score" else spikes)


@pytest.mark.parametrize("other", [{"neurons": 15}, {"inputs": 11}, {"features": (9,)}, {"delays_ms": (0.0, 120.0)}, {"projection": 6}])
def test_words_of_a_network_of_another_size(make_primed: MakePrimed, make_spikes: MakeSpikes, other: dict[str, Any]) -> None:
    backend, foreign = TorchBackend(), TorchBackend()
    backend.load(*make_primed())
    foreign.load(*make_primed(**other))
    own = backend.learn(make_spikes(20, 0))
    backend.deploy([[own]])
    before = backend.process(make_spikes(9, 1))
    with pytest.raises(BackendError, match="enroll it again"):
        backend.deploy([[own], [foreign.learn(make_spikes(20, 0, inputs=other.get("inputs", 12)))]])
    backend.reset()
    np.testing.assert_array_equal(backend.process(make_spikes(9, 1)), before)  # what was deployed still is


def test_nothing_works_before_a_network_is_loaded(make_spikes: MakeSpikes) -> None:
    backend = TorchBackend()
    spikes = make_spikes(5, 0)
    calls: list[Callable[[], object]] = [
        lambda: backend.learn(spikes),
        lambda: backend.deploy([]),
        backend.reset,
        lambda: backend.process(spikes),
        lambda: backend.score([spikes]),
    ]
    for call in calls:
        with pytest.raises(BackendError, match="load a primed model first"):
            call()


def test_a_shot_survives_being_stored(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    """Read-only arrays, as a file gives them, deploy to the same scores."""
    backend = load(make_primed())
    shot = backend.learn(make_spikes(20, 0))
    stored = Shot(shot.factor.copy(), shot.inputs.copy(), shot.features.copy(), shot.recurrent.copy(), shot.readout.copy())
    for array in stored:
        array.setflags(write=False)
    backend.deploy([[shot]])
    expected = backend.process(make_spikes(20, 1))
    backend.deploy([[stored]])  # by itself: the place of a word in a product may change its last bit on some processors
    np.testing.assert_array_equal(backend.process(make_spikes(20, 1)), expected)
