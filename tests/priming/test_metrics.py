"""Figures against values worked out by hand and against the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from priming.errors import DataError
from priming.metrics import auroc, frr_at_far, paired_difference, summarise

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


def test_two_small_episodes_by_hand() -> None:
    first = [[0.9, 0.1], [0.2, 0.6], [0.7, 0.3], [0.4, 0.5]]  # right, right, wrong, unknown
    second = [[0.8, 0.3], [0.1, 0.2]]  # right, right; no unknown
    summary = summarise([first, second], [[0, 1, 1, -1], [0, 1]])
    assert summary.accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert summary.accuracy_ci95 == pytest.approx(1.96 * np.std([2 / 3, 1], ddof=1) / np.sqrt(2))
    # positives .9 .6 .3 .8 .2; negatives .1 .2 .7 .4 .5 .3 .1: wins 7 + 6 + (4 - 1 + .5) + 7 + 2.5 of 35
    assert summary.auroc_pairs == pytest.approx((7 + 6 + 3.5 + 7 + 2.5) / 35)
    # best of known .9 .6 .7 .8 .2 against the unknown's .5
    assert summary.auroc_open_set == pytest.approx(4 / 5)
    assert summary.frr_at_far_5 == summary.frr_at_far_1 == pytest.approx(3 / 5)  # no negative may pass: the threshold is .7
    assert summary.episodes == 2
    assert summary.episode_accuracy == pytest.approx((2 / 3, 1))
    assert "episode_accuracy" not in summary.figures()


def test_constant_scores_give_chance() -> None:
    labels = [0] * 3 + [1] * 3 + [2] * 3 + [-1] * 5
    summary = summarise([np.zeros((14, 3))] * 4, [labels] * 4)
    assert (summary.accuracy, summary.auroc_pairs, summary.auroc_open_set) == pytest.approx((1 / 3, 0.5, 0.5))
    assert summary.frr_at_far_5 == 1


def test_one_episode_without_unknown_queries_leaves_figures_open() -> None:
    summary = summarise([[[1.0, 0.0]]], [[0]])
    assert (summary.accuracy, summary.accuracy_ci95, summary.auroc_open_set) == (1, None, None)


@given(scores, scores)
def test_the_area_is_the_share_of_won_pairs(positive: list[int], negative: list[int]) -> None:
    wins = np.mean([(p > n) + (p == n) / 2 for p in positive for n in negative])
    assert auroc(positive, negative) == pytest.approx(wins)
    assert auroc(negative, positive) == pytest.approx(1 - wins)


@given(scores, scores, st.sampled_from([0.01, 0.05, 0.3]))
def test_misses_are_counted_at_the_lowest_threshold_that_holds_the_false_accepts(positive: list[int], negative: list[int], far: float) -> None:
    rates = [np.mean(np.array(positive) <= t) for t in sorted({*negative, -99}) if np.mean(np.array(negative) > t) <= far]
    assert frr_at_far(positive, negative, far) == pytest.approx(min(rates))


def test_the_share_of_false_accepts_is_exact_where_floats_are_not() -> None:
    assert frr_at_far([56.5], range(60), 0.05) == 0  # three of sixty may pass: 57, 58, 59


def test_a_paired_difference_has_the_sign_of_first_minus_second() -> None:
    difference = paired_difference([0.9, 0.8, 1.0], [0.8, 0.8, 0.8])
    assert difference.mean == pytest.approx(0.1)
    assert difference.ci95 == pytest.approx(1.96 * 0.1 / np.sqrt(3))
    assert paired_difference([1.0], [0.5]).ci95 is None


@pytest.mark.parametrize(
    ("matrices", "labels"),
    [
        ([], []),
        ([[[1.0]]], []),
        ([[[1.0, 2.0]]], [[2]]),
        ([[[1.0, 2.0]]], [[-2]]),
        ([[[1.0, 2.0]]], [[-1]]),
        ([[[1.0, 2.0]]], [[0, 1]]),
        ([[1.0, 2.0]], [[0, 1]]),
        ([[[1.0, float("nan")]]], [[0]]),
    ],
)
def test_scores_that_do_not_describe_episodes_are_refused(matrices: list[object], labels: list[object]) -> None:
    with pytest.raises(DataError):
        summarise(matrices, labels)  # type: ignore[arg-type]


def test_empty_comparisons_are_refused() -> None:
    for call in (
        lambda: auroc([], [1]),
        lambda: frr_at_far([1], [], 0.05),
        lambda: paired_difference([], []),
        lambda: paired_difference([1], [1, 2]),
    ):
        with pytest.raises(DataError):
            call()
