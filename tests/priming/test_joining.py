"""A join has the length it was planned to have, no click, and lies where it is quiet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from priming.joining import CROSS_FADE_S, OVERLAP_S, active_level, join, matching_gain

OVERLAP, FADE = round(OVERLAP_S * 16000), round(CROSS_FADE_S * 16000)


def tone(length: int, frequency: float = 200.0, level: float = 0.3) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * frequency * np.arange(length) / 16000)).astype(np.float32)


@settings(deadline=None)
@given(st.integers(OVERLAP, 6000), st.integers(OVERLAP, 6000), st.integers(0, 100))
def test_the_length_is_known_beforehand_and_both_ends_are_kept(first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.standard_normal(length).astype(np.float32) for length in (first, second))
    joined = join(one, other)
    assert joined.dtype == np.float32
    assert len(joined) == first + second - OVERLAP
    assert np.array_equal(joined[: first - OVERLAP], one[: first - OVERLAP])
    assert np.array_equal(joined[first:], other[OVERLAP:])


def test_the_cross_fade_seeks_the_quiet_place() -> None:
    one, other = tone(4000), tone(4000, 310.0)
    quiet = slice(600, 600 + FADE)
    one[4000 - OVERLAP :][quiet] = 0
    other[:OVERLAP][quiet] = 0
    joined = join(one, other)
    assert np.array_equal(joined[: 4000 - OVERLAP + 600], one[: 4000 - OVERLAP + 600])
    assert np.array_equal(joined[4000 - OVERLAP + 600 + FADE :], other[600 + FADE :])


def test_no_click_at_the_join() -> None:
    joined = join(tone(4000), -tone(4000))  # the worst case of a hard cut: a step of twice the level
    steepest = 0.3 * 2 * np.pi * 200 / 16000
    assert np.abs(np.diff(joined)).max() < 2 * steepest


def test_the_second_recording_takes_the_level_of_the_first() -> None:
    loud, soft = tone(8000, level=0.4), tone(8000, level=0.2)
    assert matching_gain(loud, soft) == pytest.approx(2.0, rel=0.01)
    assert active_level(soft * np.float32(matching_gain(loud, soft))) == pytest.approx(active_level(loud), rel=0.01)
    assert matching_gain(loud, tone(8000, level=0.001)) == pytest.approx(10 ** (12 / 20))
    assert matching_gain(loud, np.zeros(8000, np.float32)) == 1.0
