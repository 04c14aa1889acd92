"""Words that were almost recognised: peaks of a score close below its threshold.

They answer the question that a user asks of a machine which did not react: was I not heard, or not understood? A peak is told once the score has
fallen away or stood for 0.3 s, and only if no word was over its threshold around that time, for then something else was said. Of peaks that lie
together the one nearest to its threshold is told. How the stream is cut changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.detector import REFRACTORY_S, RIVAL_S, Rule

NEAR = 0.25  # how far below the threshold a peak is still near, as a share of the threshold (of 1 where the threshold is smaller)


class NearMiss(NamedTuple):
    """A word that was almost recognised."""

    word: str
    time_s: float  # of the peak, from the stream's start
    score: float  # normalised, at its peak
    threshold: float


class _Peak(NamedTuple):
    step: int
    score: float
    short: float  # of the threshold


class NearMissDetector:
    """Follows the scores of W words beside the detector.

    Args:
        rules: of the words.
        step_s: length of a network step.
    """

    def __init__(self, rules: Sequence[Rule], step_s: float) -> None:
        self._rules = list(rules)
        self._thresholds = np.array([rule.threshold for rule in rules], np.float64)
        self._near = self._thresholds - NEAR * np.maximum(1.0, np.abs(self._thresholds))
        self._step_s = step_s
        self._hold, self._refractory = round(RIVAL_S / step_s), round(REFRACTORY_S / step_s)
        self._steps = 0
        self._peaks: list[_Peak | None] = [None] * len(self._rules)  # of scores that are near now
        self._armed = [True] * len(self._rules)  # has been far below the threshold since the last peak
        self._waiting: list[tuple[_Peak, int]] = []  # peaks that are over, and their words; something better may follow
        self._over = -(1 << 60)  # the last step at which a word was over its threshold
        self._told = [-(1 << 60)] * len(self._rules)

    def push(self, scores: NDArray[np.float32]) -> list[NearMiss]:
        """Take in the next piece of the stream.

        Args:
            scores: [T, W] normalised scores after each step.

        Returns:
            Near misses in the order of their peaks, each about 0.7 s after its peak.
        """
        found: list[NearMiss] = []
        near = np.asarray((scores >= self._near).any(axis=1))
        for row, any_near in zip(scores, near, strict=True):
            self._steps += 1
            if any_near or self._waiting or not all(self._armed) or any(self._peaks):
                found += self._step(row.tolist())
        return found

    def _step(self, scores: list[float]) -> list[NearMiss]:
        for w, score in enumerate(scores):
            peak = self._peaks[w]
            if score >= self._thresholds[w]:
                self._over, self._peaks[w], self._armed[w] = self._steps, None, False
                self._waiting = [(other, v) for other, v in self._waiting if self._steps - other.step > self._hold]
            elif score < self._near[w]:
                self._end(w)
                self._armed[w] = True
            elif peak is None:
                if self._armed[w]:
                    self._peaks[w] = _Peak(self._steps, score, float(self._thresholds[w]) - score)
                    self._armed[w] = False
            elif score > peak.score:
                self._peaks[w] = _Peak(self._steps, score, float(self._thresholds[w]) - score)
            elif self._steps - peak.step >= self._hold:
                self._end(w)
        due = [(peak, w) for peak, w in self._waiting if self._steps - peak.step > 2 * self._hold]
        return [self._near_miss(peak, w) for peak, w in self._settle(due)]

    def _near_miss(self, peak: _Peak, w: int) -> NearMiss:
        return NearMiss(self._rules[w].word, round(peak.step * self._step_s, 3), peak.score, self._rules[w].threshold)

    def _end(self, w: int) -> None:
        """Let a peak wait, unless a word was over its threshold shortly before it."""
        peak = self._peaks[w]
        self._peaks[w] = None
        if peak is not None and peak.step - self._over > self._hold:
            self._waiting.append((peak, w))

    def _settle(self, due: list[tuple[_Peak, int]]) -> list[tuple[_Peak, int]]:
        """Of peaks that lie together keep the nearest to its threshold; a word is told once within its refractory time."""
        told = []
        for entry in sorted(due):
            if entry not in self._waiting:
                continue  # gave way to another of this step
            peak, w = entry
            together = [other for other in self._waiting if abs(other[0].step - peak.step) < self._hold]
            self._waiting.remove(entry)
            if min(together, key=lambda other: (other[0].short, other)) != entry or peak.step - self._told[w] < self._refractory:
                continue
            self._waiting = [other for other in self._waiting if other not in together]
            self._told[w] = peak.step
            told.append((peak, w))
        return told
