"""Thresholds aim at a rate: known distributions, the mean over what may be known, and any bank at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from priming.tail import PRIOR_SHAPE, PRIOR_STRETCHES, START_PER_HOUR, Tail, blended, fit_tail, mean_tail

STRETCH_S = 6.4
END = 4.0  # from the level
TAIL = Tail(level=2.0, per_hour=60.0, spread=0.5, shape=-0.1, highest=3.1, minutes=40.0)


def maxima(rng: np.random.Generator, stretches: int, level: float, shape: float) -> NDArray[np.float64]:
    """Largest of the scores of a Poisson process in each stretch; scores over `level` come 60 times an hour, none over `level` + END."""
    per_hour = rng.exponential(size=stretches) * 3600 / STRETCH_S  # of the level that is the largest
    return np.asarray(level + END * (1 - (per_hour / START_PER_HOUR) ** -shape))


def rates_at(thresholds: NDArray[np.float64], level: float, shape: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """How often an hour the scores of this process pass thresholds."""
    return np.asarray(START_PER_HOUR * np.maximum(0.0, 1 - (thresholds - level) / END) ** (-1 / shape))


@pytest.mark.parametrize("level", [1.2, 4.0])
@pytest.mark.parametrize("stretches", [100, 400])
@pytest.mark.parametrize("aimed", [0.5, 1.0, 5.0])
def test_the_rate_that_is_aimed_at_holds_on_average_for_a_known_tail(level: float, stretches: int, aimed: float) -> None:
    rng = np.random.default_rng(0)
    shapes = PRIOR_STRETCHES * PRIOR_SHAPE / rng.gamma(PRIOR_STRETCHES, size=1000)  # of words, as the prior has them
    tails = [fit_tail(maxima(rng, stretches, level, shape), STRETCH_S, level + END) for shape in shapes]
    rates = rates_at(np.array([tail.threshold(aimed) for tail in tails]), level, shapes)
    assert 0.75 < rates.mean() / aimed < 1.3  # pooled over words, as false accepts are
    certain = [tail.model_copy(update={"stretches": None}) for tail in tails]
    likeliest = rates_at(np.array([tail.threshold(aimed) for tail in certain]), level, shapes)
    assert likeliest.mean() > rates.mean()
    if stretches == 100 and aimed < 5:
        assert likeliest.mean() / aimed > 1.3  # what taking the likeliest shape for the true one would do


def test_a_rate_is_the_mean_over_what_the_shape_may_be() -> None:
    tail = TAIL.model_copy(update={"stretches": 30.0})
    sizes = 1 / np.random.default_rng(0).gamma(30.0, 1 / (30.0 * 0.1), 400_000)  # |xi|: inverse gamma
    for threshold in (2.3, 3.0, 3.6):
        left = 1 - (threshold - 2.0) / (0.5 / 0.1)
        assert tail.rate(threshold) == pytest.approx(60 * (left ** (1 / sizes)).mean(), rel=0.02)


def test_many_stretches_leave_the_law_of_extreme_values() -> None:
    many = TAIL.model_copy(update={"stretches": 1e7})
    for threshold in (2.0, 2.5, 4.0):
        assert many.rate(threshold) == pytest.approx(TAIL.rate(threshold), rel=1e-4)
    assert many.threshold(0.3) == pytest.approx(TAIL.threshold(0.3), rel=1e-5)
    assert TAIL.model_copy(update={"stretches": 20.0}).threshold(0.3) > TAIL.threshold(0.3)  # the less is known, the higher
    assert TAIL.threshold(60 * 0.9**10) == pytest.approx(2.5)
    assert TAIL.rate(7.1) == many.rate(7.1) == 0.0  # beyond its end
    assert TAIL.rate(-3.0) == 60.0


def test_a_long_bank_outweighs_what_is_ordinary() -> None:
    for shape in (-0.03, -0.3):
        threshold = fit_tail(maxima(np.random.default_rng(0), 40_000, 2.0, shape), STRETCH_S, 2.0 + END).threshold(1.0)
        assert float(rates_at(np.array(threshold), 2.0, shape)) == pytest.approx(1.0, rel=0.25)


def test_a_bank_that_says_the_word_hardly_changes_its_threshold() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        clean = maxima(rng, 400, 2.0, -0.1)
        said = clean.copy()
        said[:4] = 5.9  # far beyond every false accept
        assert fit_tail(said, STRETCH_S, 2.0 + END).threshold(1.0) - fit_tail(clean, STRETCH_S, 2.0 + END).threshold(1.0) < 0.6


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60), st.floats(0.01, 60), st.floats(-50, 1000))
def test_any_bank_gives_a_threshold_that_falls_with_the_rate(scores: list[float], per_hour: float, end: float) -> None:
    tail = fit_tail(np.array(scores), STRETCH_S, end)
    assert tail.highest == max(scores)
    assert np.isfinite(tail.threshold(per_hour))
    assert tail.threshold(per_hour) > tail.threshold(2 * per_hour)
    if tail.threshold(per_hour) >= tail.level:
        assert tail.rate(tail.threshold(per_hour)) == pytest.approx(per_hour, rel=1e-3)


def test_equal_maxima_are_passed_by_a_threshold_above_them() -> None:
    for end in (7.0, 2.5, 0.0):
        tail = fit_tail(np.full(400, 2.5), STRETCH_S, end)
        assert tail.level == tail.highest == 2.5
        assert tail.threshold(1.0) > 2.5


def test_a_blend_of_two_tails_lies_between_them_and_a_mean_of_one_is_itself() -> None:
    heavier = TAIL.model_copy(update={"level": 2.6, "spread": 0.7, "shape": -0.05, "highest": 4.0, "minutes": 20.0})
    for per_hour in (0.1, 1.0, 10.0):
        thresholds = [blended(TAIL, heavier, share).threshold(per_hour) for share in (1.0, 0.7, 0.5, 0.2, 0.0)]
        assert thresholds[0] == pytest.approx(TAIL.threshold(per_hour))
        assert thresholds[-1] == pytest.approx(heavier.threshold(per_hour))
        assert np.all(np.diff(thresholds) > 0)
        mixed = blended(TAIL, heavier, 0.5)
        assert mixed.rate(mixed.threshold(per_hour)) == pytest.approx(per_hour)
        assert (mixed.highest, mixed.minutes) == (TAIL.highest, TAIL.minutes)
    certain = fit_tail(np.linspace(0, 3, 400), STRETCH_S, 6.0)
    assert mean_tail([certain]) == certain
    assert mean_tail([certain, certain.model_copy(update={"level": certain.level + 1})]).level == pytest.approx(certain.level + 0.5)
