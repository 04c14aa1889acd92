"""The torch emulator: online learning equals the batched form, streaming does not depend on how the stream is cut."""

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
from hardware.torch_backend import MAX_STEPS, TorchBackend
from snn import learner, network
from snn.learner import LearnerConfig, Learnt

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
Spikes = NDArray[np.uint8]
MakeSpikes = Callable[..., Spikes]
SETTINGS: list[dict[str, Any]] = [
    {"cell": "adlif"},
    {"cell": "alif", "groups": (10, 6)},
    {"cell": "lif", "groups": (6, 5, 4), "readout_sees_input": False},
    {"cell": "adlif", "adaptive_fraction": 0.5},
    {"cell": "adlif", "plastic": False},
    {"cell": "adlif", "delays_ms": (0.0, 2000.0)},  # longer than the utterance
]


def learn_batched(primed: Primed, spikes: list[Spikes]) -> tuple[Learnt, Tensor]:
    """Learn utterances of one length with the batched form; return the spikes of the network, too."""
    with torch.no_grad():
        learnt, activity, _ = learner.learn(*primed, torch.from_numpy(np.stack(spikes, 1)).float())
    return learnt, activity.z


@pytest.mark.parametrize("settings", SETTINGS)
def test_online_learning_equals_the_batched_form(make_primed: MakePrimed, make_spikes: MakeSpikes, settings: dict[str, Any]) -> None:
    primed = make_primed(1, **settings)
    spikes = [make_spikes(24, seed) for seed in range(3)]
    learnt, z = learn_batched(primed, spikes)
    backend = TorchBackend()
    backend.load(*primed)
    for b, heard in enumerate(spikes):
        shot, trace = backend.learn_traced(heard)
        np.testing.assert_array_equal(trace.network, z[:, b].numpy())
        np.testing.assert_array_equal(shot.recurrent, learnt.recurrent[:, b].numpy())
        np.testing.assert_array_equal(shot.inputs, heard)
        np.testing.assert_allclose(shot.factor, learnt.factor[:, b].numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(shot.readout, np.concatenate([w[b].numpy().ravel() for w in learnt.readout]), rtol=1e-4, atol=1e-6)
        assert np.linalg.norm(shot.readout) == pytest.approx(1, abs=1e-3)
    assert bool(learnt.factor.any()) == primed[0].plastic


@pytest.mark.parametrize("settings", SETTINGS)
def test_streaming_equals_the_batched_response(make_primed: MakePrimed, make_spikes: MakeSpikes, settings: dict[str, Any]) -> None:
    primed = make_primed(2, **settings)
    spikes, queries = [make_spikes(24, seed) for seed in range(3)], [make_spikes(18, 10 + seed) for seed in range(2)]
    learnt, _ = learn_batched(primed, spikes)
    with torch.no_grad():
        expected, activity = learner.respond(*primed, learnt, torch.from_numpy(np.stack(queries, 1)).float())
    assert activity.z.sum() > 0
    backend = TorchBackend()
    backend.load(*primed)
    backend.deploy([[backend.learn(heard)] for heard in spikes])
    for q, query in enumerate(queries):
        backend.reset()
        scores = backend.process(query)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected[:, :, q].numpy(), rtol=0, atol=2e-5)
        assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(backend.score(queries), expected.amax(0).T.numpy(), rtol=0, atol=2e-5)


def test_the_weight_change_is_what_the_traces_summed_to(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(3, groups=(9, 7))
    backend = TorchBackend()
    backend.load(config, weights)
    shot = backend.learn(make_spikes(24, 0))
    mask_in, mask_rec = network.masks(config.groups, config.inputs)
    change_in, change_rec = backend.weight_changes([shot])
    expected_in = -np.exp(-2.5) * shot.factor.T @ shot.inputs.astype(np.float32)
    expected_rec = -np.exp(-3.0) * shot.factor.T @ shot.recurrent.astype(np.float32)
    np.testing.assert_allclose(change_in.numpy(), expected_in * mask_in.numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(change_rec.numpy(), expected_rec * mask_rec.numpy(), rtol=1e-4, atol=1e-7)
    assert change_in.any()
    assert change_rec.any()
    assert not change_rec.diagonal().any()


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


def test_learning_starts_from_the_primed_weights_every_time(loaded: TorchBackend, make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    fresh = TorchBackend()
    fresh.load(*make_primed())
    for again, expected in zip(loaded.learn(make_spikes(15, 2)), fresh.learn(make_spikes(15, 2)), strict=True):
        np.testing.assert_array_equal(again, expected)


def test_no_weight_moves_before_the_last_step(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    """The network that hears the utterance is the primed one to the end: rates of learning as large as one likes do not change its spikes."""
    config, weights = make_primed(4)
    traces = []
    for log_rate in (-800.0, 5.0):
        backend = TorchBackend()
        backend.load(config, weights | {"log_rate_in": torch.tensor(log_rate), "log_rate_rec": torch.tensor(log_rate)})
        traces.append(backend.learn_traced(make_spikes(24, 0))[1])
    np.testing.assert_array_equal(traces[0].network, traces[1].network)
    np.testing.assert_array_equal(traces[0].signals, traces[1].signals)
    assert traces[0].signals.any()


def test_loading_leaves_the_callers_weights_alone(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(4)
    before = {name: w.clone() for name, w in weights.items()}
    backend = TorchBackend()
    backend.load(config, weights)
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


def test_a_traced_stream_is_the_stream(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    loaded.reset()
    expected = loaded.process(make_spikes(15, 4))
    loaded.reset()
    trace = loaded.process_traced(make_spikes(15, 4))
    np.testing.assert_array_equal(trace.scores, expected[:, 0])
    assert trace.network.shape == (15, 16)
    assert set(np.unique(trace.network)) == {0, 1}
    assert not trace.signals.any()  # the generator is silent while the network listens


def test_no_words_no_scores(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    backend = TorchBackend()
    backend.load(*make_primed())
    backend.reset()
    assert backend.process(make_spikes(7, 0)).shape == (7, 0)
    assert backend.score([make_spikes(7, 0)]).shape == (1, 0)


def test_empty_blocks_and_no_clips(loaded: TorchBackend, make_spikes: MakeSpikes) -> None:
    assert loaded.process(make_spikes(0, 0)).shape == (0, 3)
    assert loaded.score([]).shape == (0, 3)


def test_loading_forgets_the_words(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    backend = TorchBackend()
    backend.load(*make_primed())
    backend.deploy([[backend.learn(make_spikes(20, 0))]])
    backend.load(*make_primed(1))
    assert backend.process(make_spikes(5, 0)).shape == (5, 0)


@pytest.mark.parametrize(
    ("steps", "works"),
    [(0, False), (1, True), (MAX_STEPS + 1, False)],
)
def test_utterances_that_are_empty_or_too_long(loaded: TorchBackend, make_spikes: MakeSpikes, steps: int, works: bool) -> None:
    if works:
        assert loaded.learn(make_spikes(steps, 0)).inputs.shape == (steps, 12)
    else:
        with pytest.raises(BackendError, match=f"{steps} steps; between 1 and {MAX_STEPS}"):
            loaded.learn(make_spikes(steps, 0))


@pytest.mark.parametrize("verb", ["learn", "process", "score"])
def test_spikes_of_another_encoder(loaded: TorchBackend, make_spikes: MakeSpikes, verb: str) -> None:
    spikes = make_spikes(10, 0, inputs=11)
    with pytest.raises(BackendError, match="12 input channels"):
        getattr(loaded, verb)([spikes] if verb == "score" else spikes)


@pytest.mark.parametrize("other", [{"groups": (15,)}, {"inputs": 11}, {"delays_ms": (0.0, 120.0)}, {"readout_sees_input": False}])
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


def test_learning_that_leaves_the_finite_numbers_is_refused(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed()
    backend = TorchBackend()
    backend.load(config, weights | {"lsg.out": weights["lsg.out"] * float("inf")})
    with pytest.raises(BackendError, match="not learnt"):
        backend.learn(make_spikes(20, 0))


def test_a_shot_survives_being_stored(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    """Read-only arrays, as a file gives them, deploy to the same scores."""
    backend = TorchBackend()
    backend.load(*make_primed())
    shot = backend.learn(make_spikes(20, 0))
    stored = Shot(shot.factor.copy(), shot.inputs.copy(), shot.recurrent.copy(), shot.readout.copy())
    for array in stored:
        array.setflags(write=False)
    backend.deploy([[shot], [stored]])
    scores = backend.process(make_spikes(20, 1))
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])
