"""Learning in the torch emulator: online, forward in time, it is what the batched form learns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hardware import BackendError
from hardware.torch_backend import MAX_STEPS, TorchBackend
from snn import eprop
from snn.config import LearnerConfig
from snn.learner import Learning, Learnt
from snn.populations import cell_params

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
Spikes = NDArray[np.uint8]
MakeSpikes = Callable[..., Spikes]
Listen = Callable[..., Tensor]
LearnBatched = Callable[..., tuple[Learnt, Learning | None]]
Load = Callable[[Primed], TorchBackend]


def test_online_learning_equals_the_batched_form(
    make_primed: MakePrimed, make_spikes: MakeSpikes, settings: dict[str, Any], listen: Listen, learn_batched: LearnBatched, load: Load
) -> None:
    primed = make_primed(1, **settings)
    spikes = [make_spikes(24, seed) for seed in range(3)]
    learnt, learning = learn_batched(primed, spikes)
    heard = listen(primed, spikes)
    backend = load(primed)
    for b, uttered in enumerate(spikes):
        shot, trace = backend.learn_traced(uttered)
        np.testing.assert_array_equal(shot.inputs, uttered)
        np.testing.assert_array_equal(shot.features, heard[:, b, 12:].numpy())
        np.testing.assert_array_equal(shot.recurrent, learnt.recurrent[:, b].numpy())
        np.testing.assert_allclose(shot.factor, learnt.factor[:, b].numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(shot.readout, learnt.readout[b].numpy().ravel(), rtol=1e-4, atol=1e-6)
        assert np.linalg.norm(shot.readout) == pytest.approx(1, abs=1e-3)
        assert shot.features.any()
        if learning is None:
            assert not trace.network.any()
            assert not trace.signals.any()
        else:
            np.testing.assert_array_equal(trace.network, learning.activity.z[:, b].numpy())
            np.testing.assert_allclose(trace.signals, learning.signals.learning[:, b].numpy(), rtol=0, atol=1e-5)
            assert 0.02 < trace.network.mean() < 0.7
    assert bool(learnt.factor.any()) == primed[0].plastic == (learning is not None)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    cell=st.sampled_from(["lif", "alif", "adlif", "board"]),
    layers=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    inputs=st.integers(1, 14),
    neurons=st.integers(1, 12),
    lsg_neurons=st.integers(1, 8),
    projection=st.integers(1, 9),
    adaptive=st.floats(0, 1),
    steps=st.integers(2, 30),
)
def test_online_learning_of_any_network(
    make_primed: MakePrimed,
    make_spikes: MakeSpikes,
    seed: int,
    cell: str,
    layers: list[int],
    inputs: int,
    neurons: int,
    lsg_neurons: int,
    projection: int,
    adaptive: float,
    steps: int,
    listen: Listen,
    learn_batched: LearnBatched,
    load: Load,
) -> None:
    """The shot is what the batched form learns, and the changes rebuilt from it are what the traces sum to, forward in time."""
    sizes = {"inputs": inputs, "features": tuple(layers), "neurons": neurons, "lsg_neurons": lsg_neurons, "projection": projection}
    config, weights = make_primed(seed, cell=cell, adaptive_fraction=adaptive, **sizes)
    uttered = make_spikes(steps, seed, inputs)
    learnt, learning = learn_batched((config, weights), [uttered])
    assert learning is not None
    backend = load((config, weights))
    shot = backend.learn(uttered)
    np.testing.assert_array_equal(np.concatenate([shot.inputs, shot.features], 1), listen((config, weights), [uttered])[:, 0].numpy())
    np.testing.assert_array_equal(shot.recurrent, learnt.recurrent[:, 0].numpy())
    np.testing.assert_allclose(shot.factor, learnt.factor[:, 0].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(shot.readout, learnt.readout[0].numpy().ravel(), rtol=0, atol=1e-4)
    presynaptic = (learnt.presynaptic[:, 0], learnt.recurrent[:, 0])
    for change, signal, name in zip(backend.weight_changes([shot]), presynaptic, ("in", "rec"), strict=True):
        rule = eprop.OnlineEprop(tuple(change.shape), cell_params(config, weights), torch.float32)
        for row in zip(signal, learning.activity.psi[:, 0], learning.signals.learning[:, 0], learning.activity.z[:, 0], strict=True):
            rule.step(*row)
        expected = -weights[f"log_rate_{name}"].exp() * rule.gradient
        if name == "rec":
            expected = expected.clone().fill_diagonal_(0)
        torch.testing.assert_close(change, expected, rtol=0, atol=1e-5)


def test_the_weight_change_is_what_the_traces_summed_to(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    config, weights = make_primed(3, features=(9, 7))
    backend = load((config, weights))
    shot = backend.learn(make_spikes(24, 0))
    change_in, change_rec = backend.weight_changes([shot])
    unusual = np.concatenate([shot.inputs, shot.features], 1) - weights["center"].numpy()
    expected_in = -np.exp(-2.5) * shot.factor.T @ unusual
    expected_rec = -np.exp(-3.0) * shot.factor.T @ shot.recurrent.astype(np.float32)
    np.fill_diagonal(expected_rec, 0)
    np.testing.assert_allclose(change_in.numpy(), expected_in, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(change_rec.numpy(), expected_rec, rtol=1e-4, atol=1e-6)
    assert np.abs(expected_in).max() > 1e-3
    assert np.abs(expected_rec).max() > 1e-3


def test_learning_twice_teaches_the_same(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    shots = [load(make_primed(3)).learn(make_spikes(24, 0)) for _ in range(2)]
    for first, second in zip(*shots, strict=True):
        np.testing.assert_array_equal(first, second)


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


def test_learning_that_leaves_the_finite_numbers_is_refused(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed()
    backend = TorchBackend()
    backend.load(config, weights | {"lsg.out": weights["lsg.out"] * float("inf")})
    with pytest.raises(BackendError, match="not learnt"):
        backend.learn(make_spikes(20, 0))
