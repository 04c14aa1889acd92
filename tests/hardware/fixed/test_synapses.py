"""Ring buffers against sums of Python integers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.backend import BackendError
from hardware.fixed.quantiser import LARGEST_STORED, half_largest_sum, quantise, split
from hardware.fixed.synapses import Synapses

SIZES = (3, 4, 9, 5)  # W, N, shared channels, own channels


def spiking(rng: np.random.Generator, share: float, *shape: int) -> Any:
    return (rng.random(shape) < share).astype(np.int32)


def raw_weights(rng: np.random.Generator, shifts: Any, largest: int) -> list[Any]:
    """Signed weights of two projections on the grid of their ring buffers."""
    words, neurons, shared, own = SIZES
    found = []
    for channels in (shared, own):
        stored = rng.integers(0, largest + 1, (words, neurons, channels))
        inhibitory = rng.random(stored.shape) < 0.5
        found.append(np.where(inhibitory, -(stored << shifts[:, 1, None, None]), stored << shifts[:, 0, None, None]))
    return found


def expected_input(raw: list[Any], shifts: Any, shared: Any, own: Any) -> list[list[list[int]]]:
    """One synapse after the other, in Python's integers."""
    out = []
    for q in range(len(shared)):
        of_stream = []
        for w in range(SIZES[0]):
            of_word = []
            for j in range(SIZES[1]):
                sums = [0, 0]
                for weights, spikes in ((raw[0][w, j], shared[q]), (raw[1][w, j], own[q, w])):
                    for weight, spike in zip(weights.tolist(), spikes.tolist(), strict=True):
                        kind = 0 if weight > 0 else 1
                        sums[kind] = min(LARGEST_STORED, sums[kind] + spike * (abs(weight) >> int(shifts[w, kind])))
                of_word.append((sums[0] << int(shifts[w, 0])) - (sums[1] << int(shifts[w, 1])))
            of_stream.append(of_word)
        out.append(of_stream)
    return out


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), largest=st.sampled_from([3, 1000, 4000, 40000, LARGEST_STORED]), share=st.sampled_from([0.2, 1.0]))
def test_what_arrives_in_a_step(seed: int, largest: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    shifts = rng.integers(0, 7, (3, 2))
    raw = raw_weights(rng, shifts, largest)
    synapses = Synapses(raw, shifts, np.zeros(3, np.int64))
    shared, own = spiking(rng, share, 2, 9), spiking(rng, share, 2, 3, 5)
    assert synapses.input([shared, own]).tolist() == expected_input(raw, shifts, shared, own)


def test_full_ring_buffers_are_counted() -> None:
    raw = [np.array([[[40000, 40000, -5], [1, 2, 3]]])]
    synapses = Synapses(raw, np.zeros((1, 2), np.int64), np.zeros(1, np.int64))
    assert synapses.input([np.array([[1, 0, 1]], np.int32)]).tolist() == [[[39995, 4]]]
    assert synapses.overflows == 0
    assert synapses.input([np.array([[1, 1, 1]], np.int32)]).tolist() == [[[65530, 6]]]
    assert synapses.overflows == 1


def test_populations_are_quantised_each_for_itself() -> None:
    rng = np.random.default_rng(0)
    projections = [rng.normal(size=(2, 4, 9)) * [[[0.2]], [[3.0]]], rng.normal(size=(2, 4, 5))]
    synapses = Synapses.quantised(projections)
    assert len(set(synapses.shifts[:, 0].tolist())) == 2
    for w in range(2):
        bounds = half_largest_sum([weights[w] for weights in projections])
        for k, weights in enumerate(projections):
            exc, inh = (quantise(part, bound) for part, bound in zip(split(weights[w]), bounds, strict=True))
            assert (synapses.raw[k][w] == (exc.stored << exc.shift) - (inh.stored << inh.shift)).all()
            assert np.abs(synapses.values()[k][w] - weights[w]).max() <= 2.0 ** (max(exc.shift, inh.shift) - 16)


def test_changed_weights_are_rounded_to_the_grid_and_may_change_type() -> None:
    """Excitatory weights add up to 16 to 31 (in float: 2 * 2^3 to 2 * 2^4), inhibitory ones to 32 to 63, so the grids are 2^4 and 2^5."""
    one = 1 << 15
    raw = [np.array([[[20 * one, -40 * one, 16, -32, 0]]])]
    changes = [np.array([[[0, 0, 8, 40, 7], [0, 0, 7, 16, -16], [0, 0, -32, 48, -15]]]).transpose(1, 0, 2)]
    changed = Synapses(raw, np.array([[4, 5]]), np.zeros(1, np.int64)).changed(changes)
    assert changed.shifts.tolist() == [[4, 5]] * 3
    # halves go away from zero: 24 -> 32, 8 -> 16; 23 -> 16, -16 -> -32; -16 -> -32, 16 stays, -15 -> 0
    assert changed.raw[0][:, 0, 2:].tolist() == [[32, 16, 0], [16, -32, -32], [-32, 16, 0]]
    assert changed.saturated.tolist() == [0, 0, 0]


def test_populations_that_learn_much_get_a_wider_ring_buffer() -> None:
    one = 1 << 15
    primed = Synapses([np.array([[[one, -one]]])], np.array([[0, 0]]), np.zeros(1, np.int64))
    changed = primed.changed([np.array([[[0, 0]], [[100 * one + 3, -40 * one]], [[65535 * one, 0]]])[:2]])
    assert changed.shifts.tolist() == [[0, 0], [6, 5]]
    assert changed.raw[0].tolist() == [[[one, -one]], [[101 * one, -41 * one]]]
    with pytest.raises(BackendError, match="leave the range"):
        primed.changed([np.array([[[2**31 - 1, 2**31 - 1]]])])


@pytest.mark.parametrize("largest", [1, LARGEST_STORED])
def test_streams_and_words_do_not_mix(largest: int) -> None:
    rng = np.random.default_rng(1)
    shifts = np.full((3, 2), 2)
    raw = raw_weights(rng, shifts, largest)
    shared, own = spiking(rng, 0.5, 4, 9), spiking(rng, 0.5, 4, 3, 5)
    together = Synapses(raw, shifts, np.zeros(3, np.int64)).input([shared, own])
    alone = Synapses([weights[1:2] for weights in raw], shifts[1:2], np.zeros(1, np.int64)).input([shared[2:3], own[2:3, 1:2]])
    assert together[2, 1].tolist() == alone[0, 0].tolist()
