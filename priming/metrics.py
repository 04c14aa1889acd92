"""From scores to figures: how often the right word wins, and what a threshold costs.

Accuracy is a mean over episodes; everything about thresholds pools the scores of all episodes, because listening has one threshold for scores
that must therefore mean the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from priming.errors import DataError


@dataclass(frozen=True)
class Summary:
    """Figures of a run; None where the run cannot tell.

    Attributes:
        accuracy: share of known queries whose right word scores highest, mean over episodes.
        accuracy_ci95: half width of its 95 % interval, 1.96 standard deviations of the episodes / √episodes; None for one episode.
        auroc_pairs: probability that a word scores higher for a query that says it than another word for another query.
        auroc_open_set: probability that the highest score of a known query exceeds that of an unknown one; None without unknown queries.
        frr_at_far_5: share of positive pairs missed at the threshold that 5 % of negative pairs pass.
        frr_at_far_1: the same at 1 %.
        episodes: how many.
        episode_accuracy: accuracy of each, for paired comparisons.
    """

    accuracy: float
    accuracy_ci95: float | None
    auroc_pairs: float
    auroc_open_set: float | None
    frr_at_far_5: float
    frr_at_far_1: float
    episodes: int
    episode_accuracy: tuple[float, ...]

    def figures(self) -> dict[str, float | int | None]:
        """The figures without the list of episodes, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "episode_accuracy"}


@dataclass(frozen=True)
class Difference:
    """A paired difference: its mean over episodes and the half width of its 95 % interval (None for one episode)."""

    mean: float
    ci95: float | None


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Area under the receiver operating characteristic: how surely a positive scores higher than a negative.

    Args:
        positive: [p] scores, p >= 1.
        negative: [n] scores, n >= 1.

    Returns:
        P(positive > negative) + P(equal) / 2, from 0 to 1.

    Raises:
        DataError: one of them is empty.

    >>> auroc([3, 2], [1, 2])
    0.875
    """
    above, below = np.asarray(positive, dtype=np.float64).ravel(), np.sort(np.asarray(negative, dtype=np.float64).ravel())
    if not len(above) or not len(below):
        raise DataError("an area under the curve needs both positive and negative scores")
    wins = np.searchsorted(below, above, side="left") + np.searchsorted(below, above, side="right")
    return float(wins.sum() / (2 * len(above) * len(below)))


def frr_at_far(positive: ArrayLike, negative: ArrayLike, far: float) -> float:
    """Share of positives missed at the lowest threshold that at most a given share of negatives passes.

    Args:
        positive: [p] scores, p >= 1.
        negative: [n] scores, n >= 1.
        far: share of negatives that may pass, below 1.

    Returns:
        False rejection rate, from 0 to 1. A score passes when it exceeds the threshold.

    Raises:
        DataError: one of them is empty.
    """
    above, below = np.asarray(positive, dtype=np.float64).ravel(), np.sort(np.asarray(negative, dtype=np.float64).ravel())
    if not len(above) or not len(below):
        raise DataError("a false rejection rate needs both positive and negative scores")
    threshold = below[len(below) - 1 - int(far * len(below) + 1e-9)]  # 1e-9: 0.05 * 60 is 3, whatever floats say
    return float(np.mean(above <= threshold))


def _mean_and_ci95(values: NDArray[np.float64]) -> tuple[float, float | None]:
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def summarise(scores: Sequence[ArrayLike], labels: Sequence[ArrayLike]) -> Summary:
    """Reduce the scores of episodes to figures.

    Args:
        scores: an array [queries, words] for each episode: how well each query fits each enrolled word.
        labels: an array [queries] for each episode: the index of the query's word, or -1 if it is not enrolled.

    Returns:
        The figures. Words that share the highest score share the query, so constant scores give chance.

    Raises:
        DataError: no episodes, shapes that do not match, a label out of range, an episode without known queries, or NaN among the scores.
    """
    if not scores or len(scores) != len(labels):
        raise DataError(f"{len(scores)} score matrices and {len(labels)} label lists: give one of each for every episode, and at least one")
    accuracies, positives, negatives, known, unknown = [], [], [], [], []
    for number, (matrix, wanted) in enumerate(zip(scores, labels, strict=True)):
        score, label = np.asarray(matrix, dtype=np.float64), np.asarray(wanted)
        if score.ndim != 2 or label.shape != score.shape[:1] or not np.isin(label, range(-1, score.shape[1])).all() or not (label >= 0).any():
            raise DataError(f"episode {number}: scores {score.shape} and labels {label.shape} do not describe queries of enrolled words")
        if np.isnan(score).any():
            raise DataError(f"episode {number}: a score is NaN")
        says = label[:, None] == np.arange(score.shape[1])  # [queries, words]
        top = score == score.max(axis=1, keepdims=True)
        accuracies.append((top & says).sum(axis=1)[label >= 0] / top.sum(axis=1)[label >= 0])
        positives.append(score[says])
        negatives.append(score[~says])
        known.append(score.max(axis=1)[label >= 0])
        unknown.append(score.max(axis=1)[label < 0])
    episode_accuracy = np.array([values.mean() for values in accuracies])
    accuracy, ci95 = _mean_and_ci95(episode_accuracy)
    positive, negative, outside = np.concatenate(positives), np.concatenate(negatives), np.concatenate(unknown)
    return Summary(
        accuracy=accuracy,
        accuracy_ci95=ci95,
        auroc_pairs=auroc(positive, negative),
        auroc_open_set=auroc(np.concatenate(known), outside) if len(outside) else None,
        frr_at_far_5=frr_at_far(positive, negative, 0.05),
        frr_at_far_1=frr_at_far(positive, negative, 0.01),
        episodes=len(scores),
        episode_accuracy=tuple(episode_accuracy.tolist()),
    )


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two systems on the same episodes.

    Args:
        first: accuracy of each episode.
        second: accuracy of the same episodes, by another system.

    Returns:
        First minus second.

    Raises:
        DataError: none, or not the same number of episodes.
    """
    if not len(first) or len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} episodes cannot be compared in pairs: run both on the same ones")
    return Difference(*_mean_and_ci95(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)))
