"""Near misses: one for each peak close below a threshold, none where a word was recognised, however the stream is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.detector import REFRACTORY_S, Rule
from app.near_misses import NEAR, NearMiss, NearMissDetector

STEP_S = 0.04
LAMP, RADIO = Rule("lamp", 4.0, 0.5), Rule("radio", 4.0, 0.5)


def bumps(*peaks: tuple[float, float], seconds: float = 8.0) -> NDArray[np.float32]:
    """Scores with peaks (time, height)."""
    time = (np.arange(round(seconds / STEP_S)) + 1) * STEP_S
    return sum((h * np.exp(-0.5 * ((time - p) / 0.12) ** 2) for p, h in peaks), np.zeros_like(time)).astype(np.float32)


def near(*columns: NDArray[np.float32]) -> list[NearMiss]:
    return NearMissDetector([LAMP, RADIO][: len(columns)], STEP_S).push(np.stack(columns, 1))


def test_a_peak_close_below_the_threshold_is_told_once() -> None:
    (found,) = near(bumps((2.0, 3.6)))
    assert found.word == "lamp"
    assert found.time_s == pytest.approx(2.0, abs=STEP_S)
    assert found.score == pytest.approx(3.6, abs=0.05)
    assert found.threshold == 4.0


@pytest.mark.parametrize("height", [1.0, 4 * (1 - NEAR) - 0.05, 4.3])
def test_what_is_far_below_or_above_is_no_near_miss(height: float) -> None:
    assert near(bumps((2.0, height))) == []


@pytest.mark.parametrize("lag_s", [-0.2, 0.0, 0.2])
def test_where_another_word_was_recognised_nothing_was_missed(lag_s: float) -> None:
    assert near(bumps((2.0, 3.6)), bumps((2.0 + lag_s, 6.0))) == []


@pytest.mark.parametrize("lag_s", [-0.2, -0.04, 0.0, 0.04, 0.2])
def test_of_peaks_that_lie_together_the_nearest_to_its_threshold_is_told(lag_s: float) -> None:
    assert [found.word for found in near(bumps((2.0, 3.3)), bumps((2.0 + lag_s, 3.7)))] == ["radio"]


def test_a_score_that_stays_near_is_told_once() -> None:
    assert len(near(np.full(200, 3.5, np.float32))) == 1


def test_a_word_is_told_again_only_after_its_refractory_time() -> None:
    assert len(near(bumps((2.0, 3.5), (2.0 + 0.7 * REFRACTORY_S, 3.6)))) == 1
    assert len(near(bumps((2.0, 3.5), (2.0 + 1.5 * REFRACTORY_S, 3.6)))) == 2


def test_a_low_threshold_has_a_margin_too() -> None:
    detector = NearMissDetector([Rule("lamp", 0.1, 0.5)], STEP_S)
    assert len(detector.push(bumps((2.0, 1.0))[:, None] - 1.0)) == 1  # peaks at 0.0, within 0.25 of 0.1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 60), max_size=12))
def test_how_the_stream_is_cut_changes_nothing(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    scores = np.stack([bumps(*zip(rng.uniform(0, 8, 6), rng.uniform(2, 5, 6), strict=True)) for _ in range(2)], 1)
    whole = NearMissDetector([LAMP, RADIO], STEP_S).push(scores)
    assert all(4 * (1 - NEAR) <= found.score < 4 for found in whole)
    detector, pieces, at = NearMissDetector([LAMP, RADIO], STEP_S), [], 0
    for size in [*cuts, len(scores)]:
        pieces += detector.push(scores[at : at + size])
        at += size
    assert pieces == whole
