"""The fixed-point backend: a word learnt anywhere means the same here, and a stream the same however it is cut."""

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

from hardware import BackendError, Shot, open_backend
from hardware.fixed import eprop
from hardware.fixed.arithmetic import FRACTION_BITS
from hardware.fixed.backend import FixedBackend
from hardware.torch_backend import MAX_STEPS, TorchBackend
from snn.config import LearnerConfig

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
MakeSpikes = Callable[..., NDArray[np.uint8]]
MakeLess = Callable[..., list[NDArray[np.float32]]]

CELLS = ("lif", "alif", "adlif", "board")


def load(primed: Primed, learning: Any = "fixed") -> FixedBackend:
    backend = FixedBackend(learning)
    backend.load(*primed)
    return backend


@pytest.fixture(scope="module")
def three(make_primed: MakePrimed, make_spikes: MakeSpikes) -> FixedBackend:
    """A backend with three words: of one shot, of one shot, of two."""
    backend = load(make_primed())
    shots = [backend.learn(make_spikes(20 + k, k)) for k in range(4)]
    backend.deploy([shots[:1], shots[1:2], shots[2:]])
    return backend


def test_it_opens_by_name() -> None:
    backend = open_backend("fixed")
    assert isinstance(backend, FixedBackend)
    assert set(backend.capabilities.cells) == set(CELLS)
    assert "fixed point" in backend.capabilities.plasticity
    assert "float32" in FixedBackend("float").capabilities.plasticity
    assert backend.capabilities.live_input


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("learning", ["fixed", "float"])
def test_it_decides_nearly_as_the_torch_emulator(make_primed: MakePrimed, make_spikes: MakeSpikes, cell: str, learning: str) -> None:
    primed = make_primed(1, cell=cell, features=(10, 6))
    torch_backend, backend = TorchBackend(), load(primed, learning)
    torch_backend.load(*primed)
    uttered, clips = [make_spikes(24, k) for k in range(3)], [make_spikes(20, 10 + k) for k in range(12)]
    scores = []
    for each in (torch_backend, backend):
        each.deploy([[each.learn(spikes)] for spikes in uttered])
        scores.append(each.score(clips))
    assert np.abs(scores[0] - scores[1]).max() < 0.03
    assert scores[0].std() > 0.05


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_nearly_what_the_torch_emulator_learns(make_primed: MakePrimed, make_spikes: MakeSpikes, cell: str) -> None:
    """Where quantised weights flip no spike, the factors agree to the last places; the networks here are small enough for that."""
    primed = make_primed(1, cell=cell)
    torch_backend, backend = TorchBackend(), load(primed)
    torch_backend.load(*primed)
    compared = 0
    for k in range(6):
        (theirs, trace), (mine, own) = torch_backend.learn_traced(make_spikes(24, k)), backend.learn_traced(make_spikes(24, k))
        if np.array_equal(theirs.features, mine.features) and np.array_equal(trace.network, own.network):
            compared += 1
            if np.allclose(trace.signals, own.signals, rtol=0, atol=1e-3):  # no spike of the generator differs either
                np.testing.assert_allclose(mine.factor, theirs.factor, rtol=0, atol=0.02 * np.abs(theirs.factor).max())
                np.testing.assert_allclose(mine.readout, theirs.readout, rtol=0, atol=1e-3)
    assert compared >= 3


@pytest.mark.parametrize("learning", ["fixed", "float"])
def test_a_word_means_the_same_on_both_backends(make_primed: MakePrimed, make_spikes: MakeSpikes, learning: str) -> None:
    """Whichever learnt it: the weights that a word's shot stands for are equal but for the chip's rounding."""
    primed = make_primed(3)
    torch_backend, backend = TorchBackend(), load(primed, learning)
    torch_backend.load(*primed)
    for teacher in (torch_backend, backend):
        shots = [teacher.learn(make_spikes(24, k)) for k in range(2)]
        backend.deploy([shots])
        assert backend._networks is not None
        found = [values[0] for values in backend._networks.synapses.values()]
        w_rec = primed[1]["w_rec"].clone().fill_diagonal_(0)
        changes = torch_backend.weight_changes(shots)
        grid = 2.0 ** (int(backend._networks.synapses.shifts.max()) - FRACTION_BITS)
        for values, own, change in zip(found, (primed[1]["w_in"], w_rec), changes, strict=True):
            np.testing.assert_allclose(values, (own + change).numpy(), rtol=0, atol=1.1 * grid)
            assert change.abs().max() > 20 * grid
        assert backend._networks.synapses.saturated.tolist() == [0]


def test_factors_are_whole_multiples_that_survive_the_word_file(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    shot = load(make_primed()).learn(make_spikes(20, 0))
    whole = shot.factor.astype(np.float64) * 2.0**eprop.SCALED
    assert (whole == np.rint(whole)).all()
    assert 0 < np.abs(shot.factor).max() < 0.5


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=6), seed=st.integers(0, 1000))
def test_how_a_stream_is_cut_changes_no_bit(three: FixedBackend, make_spikes: MakeSpikes, cuts: list[int], seed: int) -> None:
    stream = make_spikes(30, seed)
    three.reset()
    whole = three.process(stream)
    three.reset()
    edges = [0, *sorted(cuts), 30]
    pieces = [three.process(stream[first:last]) for first, last in pairwise(edges)]
    assert whole.shape == (30, 3)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_what_is_taken_off_is_taken_off_every_step(three: FixedBackend, make_spikes: MakeSpikes, make_less: MakeLess) -> None:
    clips = [make_spikes(steps, steps) for steps in (12, 1, 20, 12)]
    for clip, lost, found in zip(clips, make_less(clips), three.score(clips, make_less(clips)), strict=True):
        three.reset()
        np.testing.assert_allclose(found, (three.process(clip) - lost[:, None]).max(0), rtol=0, atol=1e-6)


def test_spikes_do_not_depend_on_what_runs_beside_them(three: FixedBackend, make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    """Words and clips in one batch: sums of integers are the same in any order."""
    clips = [make_spikes(steps, steps) for steps in (12, 1, 20, 12)]
    together = three.score(clips)
    assert together.shape == (4, 3)
    for clip, found in zip(clips, together, strict=True):
        three.reset()
        np.testing.assert_allclose(found, three.process(clip).max(0), rtol=0, atol=1e-5)  # the host's readout adds up in another order
    alone = load(make_primed())
    alone.deploy([[alone.learn(make_spikes(21, 1))]])
    three.reset()
    np.testing.assert_allclose(alone.process(make_spikes(20, 7))[:, 0], three.process(make_spikes(20, 7))[:, 1], rtol=0, atol=1e-5)


def test_state_carries_over_until_reset_and_learning_does_not_touch_it(three: FixedBackend, make_spikes: MakeSpikes) -> None:
    three.reset()
    whole = three.process(make_spikes(20, 1))
    three.reset()
    first = three.process(make_spikes(20, 1)[:9])
    three.learn(make_spikes(15, 2))
    np.testing.assert_array_equal(np.concatenate([first, three.process(make_spikes(20, 1)[9:])]), whole)
    three.reset()
    np.testing.assert_array_equal(three.process(make_spikes(20, 1)), whole)


def test_a_traced_stream_is_the_stream(three: FixedBackend, make_spikes: MakeSpikes) -> None:
    three.reset()
    expected = three.process(make_spikes(15, 4))
    three.reset()
    trace = three.process_traced(make_spikes(15, 4))
    np.testing.assert_array_equal(trace.scores, expected[:, 0])
    assert set(np.unique(trace.network)) == {0, 1}
    assert not trace.signals.any()


def test_without_plasticity_only_the_readout_learns(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    primed = make_primed(3, plastic=False)
    torch_backend, backend = TorchBackend(), load(primed)
    torch_backend.load(*primed)
    shot = backend.learn(make_spikes(24, 0))
    assert not shot.factor.any()
    assert not shot.recurrent.any()
    scores = []
    for each in (torch_backend, backend):
        each.deploy([[shot]])
        scores.append(each.process(make_spikes(20, 1)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=0.02)


def test_several_shots_average(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    backend = load(make_primed(5))
    one, two = backend.learn(make_spikes(20, 0)), backend.learn(make_spikes(26, 1))
    for mean, first, second in zip(*(backend._update(shots) for shots in ([one, two], [one], [two])), strict=True):
        np.testing.assert_allclose(2 * mean, first + second, rtol=2e-3, atol=3)  # half a learning rate is rounded too
        assert np.abs(mean).max() > 100
    backend.deploy([[one, two], [two, one], [one, one], [one]])
    scores = backend.process(make_spikes(25, 3))
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores[:, 2], scores[:, 3], rtol=0, atol=0.02)
    assert np.abs(scores[:, 0] - scores[:, 3]).max() > 0.02


@pytest.mark.parametrize(("steps", "works"), [(0, False), (1, True), (MAX_STEPS + 1, False)])
def test_utterances_that_are_empty_or_too_long(three: FixedBackend, make_spikes: MakeSpikes, steps: int, works: bool) -> None:
    if works:
        assert three.learn(make_spikes(steps, 0)).inputs.shape == (steps, 12)
    else:
        with pytest.raises(BackendError, match=f"{steps} steps; between 1 and {MAX_STEPS}"):
            three.learn(make_spikes(steps, 0))


def test_empty_blocks_no_words_and_no_clips(three: FixedBackend, make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    assert three.process(make_spikes(0, 0)).shape == (0, 3)
    assert three.score([]).shape == (0, 3)
    fresh = load(make_primed())
    assert fresh.process(make_spikes(7, 0)).shape == (7, 0)
    assert fresh.score([make_spikes(7, 0)]).shape == (1, 0)


def test_learning_that_fills_the_chips_numbers_is_refused(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed()
    backend = load((config, weights | {"lsg.out_bias": torch.full((16,), 63.9)}))
    with pytest.raises(BackendError, match="range of the chip's numbers"):
        backend.learn(make_spikes(40, 0))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("lsg.out", float("inf"), "too large for the chip"),
        ("lsg.out", 70.0, "too large for the chip"),
        ("bias", float("nan"), "too large for the chip"),
        ("w_in", float("nan"), "leave the range"),
        ("feature.w_in", 1e5, "leave the range"),
    ],
)
def test_networks_that_no_chip_can_hold(make_primed: MakePrimed, make_spikes: MakeSpikes, name: str, value: float, reason: str) -> None:
    config, weights = make_primed()
    with pytest.raises(BackendError, match=reason):
        load((config, weights | {name: torch.full_like(weights[name], value)})).learn(make_spikes(5, 0))


def test_misuse_is_refused(three: FixedBackend, make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    with pytest.raises(BackendError, match="no network is loaded"):
        FixedBackend().learn(make_spikes(5, 0))
    with pytest.raises(BackendError, match="12 input channels"):
        three.process(make_spikes(5, 0, 13))
    with pytest.raises(BackendError, match="without an utterance"):
        three.deploy([[]])
    other: Shot = load(make_primed(neurons=9)).learn(make_spikes(9, 0))
    with pytest.raises(BackendError, match="another size"):
        three.deploy([[other]])
    config, weights = make_primed()
    with pytest.raises(BackendError, match=r"'init'.*'fixed'"):
        load((config.model_copy(update={"theta": "init"}), weights))


def test_the_host_readout_is_that_of_the_torch_emulator(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    """With the spikes of the populations taken away nothing but the host's arithmetic is left, and that is float32 on both."""
    config, weights = make_primed(6, plastic=False)
    silent = weights | {"feature.bias": torch.full_like(weights["feature.bias"], -50.0)}
    scores = []
    for backend in (TorchBackend(), FixedBackend()):
        backend.load(config, silent)
        backend.deploy([[backend.learn(make_spikes(24, k))] for k in range(2)])
        scores.append(backend.process(make_spikes(25, 5)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-5)
    assert np.abs(scores[0]).max() > 0.1
