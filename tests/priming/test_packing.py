"""Packed spikes come back as they were, take less room, and what is damaged is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from priming.packing import HEADER, pack_spikes, unpack_spikes


@settings(deadline=None)
@given(st.tuples(st.integers(0, 30), st.integers(1, 40)).flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))))
def test_spikes_come_back(spikes: NDArray[np.uint8]) -> None:
    found = unpack_spikes(pack_spikes(spikes))
    assert found.dtype == np.uint8
    assert np.array_equal(found, spikes)


def thermometer(steps: int, values: int, levels: int) -> NDArray[np.uint8]:
    """A code of random walks, level after level as the encoders write it."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=(steps, values)), axis=0) / np.sqrt(steps)
    return (walk[:, None] > np.linspace(-1, 1, levels)[:, None]).astype(np.uint8).reshape(steps, levels * values)


@pytest.mark.parametrize("levels", [5, 8])
def test_a_thermometer_takes_less_than_its_bits(levels: int) -> None:
    spikes = thermometer(1000, 24, levels)
    packed = pack_spikes(spikes)
    steps, channels, together = HEADER.unpack(packed[: HEADER.size].tobytes())
    assert (steps, channels) == spikes.shape
    assert together > 1  # channels of one value were brought together
    assert len(packed) < np.packbits(spikes, axis=1).size / 3
    assert np.array_equal(unpack_spikes(packed), spikes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p[:0],
        lambda p: p[:-1],
        lambda p: p[: HEADER.size],
        lambda p: np.concatenate([p[: HEADER.size], 255 - p[HEADER.size :]]),
        lambda p: np.concatenate([np.frombuffer(HEADER.pack(4, 6, 4), np.uint8), p[HEADER.size :]]),
        lambda p: np.concatenate([np.frombuffer(HEADER.pack(4, 6, 0), np.uint8), p[HEADER.size :]]),
        lambda p: np.concatenate([np.frombuffer(HEADER.pack(5, 6, 1), np.uint8), p[HEADER.size :]]),
        lambda p: np.concatenate([np.frombuffer(HEADER.pack(3, 6, 1), np.uint8), p[HEADER.size :]]),
        lambda p: np.concatenate([np.frombuffer(HEADER.pack(2**31, 6, 1), np.uint8), p[HEADER.size :]]),
    ],
)
def test_what_is_damaged_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    packed = pack_spikes(np.random.default_rng(1).integers(0, 2, (4, 6), np.uint8))
    with pytest.raises(ValueError, match="packed spikes"):
        unpack_spikes(damage(packed))
