"""Detections held against what was said: misses against false accepts per hour.

A detection belongs to an occurrence of its word when it is told between the word's start and a moment after its end: in time within 0.5 s of the end,
late after that, and late is missed. An occurrence takes one detection, every other is wrong. False accepts are counted in background, per hour and
enrolled word; misses among utterances. Both are pooled over enrolments, and intervals are bootstraps over these: what is enrolled varies more than an
hour of background does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from priming.errors import DataError
from priming.streams import Occurrence

WITHIN_S = 0.5  # of the word's end: a user would not wait longer
LATE_S = 1.5  # after the word's end a detection is not about it any more
RESAMPLES = 1000
LEVELS = (0.025, 0.975)  # quantiles of an interval


class Event(NamedTuple):
    """A detection."""

    word: str
    told_s: float  # when listening told it, in seconds from the stream's start
    score: float


class Matching(NamedTuple):
    """Which detections belong to which occurrences."""

    latency_s: NDArray[np.float64]  # [occurrences] from the word's end until it was told; NaN where it was not
    wrong: list[Event]  # detections that belong to none


def match(events: Sequence[Event], occurrences: Sequence[Occurrence]) -> Matching:
    """Give every occurrence at most one detection of its word, those that are in time first.

    Args:
        events: of one stream.
        occurrences: of the same stream.
    """
    latency = np.full(len(occurrences), np.nan)
    left = sorted(events, key=lambda event: event.told_s)
    by_end = sorted(range(len(occurrences)), key=lambda index: occurrences[index].end_s)
    of_word: dict[str, list[int]] = {}
    for index in by_end:
        of_word.setdefault(occurrences[index].word, []).append(index)
    for limit in (WITHIN_S, LATE_S):
        unmatched = []
        for event in left:
            for index in of_word.get(event.word, ()):
                said = occurrences[index]
                if np.isnan(latency[index]) and said.start_s <= event.told_s <= said.end_s + limit + 1e-9:
                    latency[index] = event.told_s - said.end_s
                    break
            else:
                unmatched.append(event)
        left = unmatched
    return Matching(latency, left)


@dataclass(frozen=True)
class Counts:
    """What one enrolment of W words did at K operating points.

    Attributes:
        words: W names.
        false_accepts: int [K, W] in the background.
        hits: int [K, W] utterances heard in time.
        late: int [K, W] utterances heard later.
        spoken: int [W] utterances.
        wrong: int [K] detections among the utterances that are of no occurrence: another word, or a word a second time.
        latency_s: K arrays, of all utterances that were heard.
    """

    words: tuple[str, ...]
    false_accepts: NDArray[np.int64]
    hits: NDArray[np.int64]
    late: NDArray[np.int64]
    spoken: NDArray[np.int64]
    wrong: NDArray[np.int64]
    latency_s: tuple[NDArray[np.float64], ...]


class Heard(NamedTuple):
    """What was detected in the two streams at one operating point."""

    background: Sequence[Event]
    utterances: Sequence[Event]


def count(words: Sequence[str], points: Sequence[Heard], background: Sequence[Occurrence], utterances: Sequence[Occurrence]) -> Counts:
    """Count one enrolment's detections.

    Args:
        words: that were enrolled.
        points: what was detected at each operating point.
        background: words that the background says.
        utterances: what was said among the utterances; only what is marked as counted can be missed.
    """
    enrolled = [said for said in utterances if said.word in words]
    place = {word: w for w, word in enumerate(words)}
    columns = np.array([place[said.word] for said in enrolled if said.counted], dtype=np.int64)
    counted = np.array([said.counted for said in enrolled], dtype=bool)
    shape = (len(points), len(words))
    false_accepts, hits, late = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    wrong, latencies = np.zeros(len(points), dtype=np.int64), []
    for k, heard in enumerate(points):
        for event in match(heard.background, background).wrong:
            false_accepts[k, place[event.word]] += 1
        matching = match(heard.utterances, enrolled)
        latency = matching.latency_s[counted]
        np.add.at(hits[k], columns[latency <= WITHIN_S + 1e-9], 1)
        np.add.at(late[k], columns[latency > WITHIN_S + 1e-9], 1)
        wrong[k] = len(matching.wrong)
        latencies.append(latency[~np.isnan(latency)])
    return Counts(tuple(words), false_accepts, hits, late, np.bincount(columns, minlength=len(words)), wrong, tuple(latencies))


class Estimate(NamedTuple):
    """A figure and its 95 % interval over enrolments (None for one enrolment)."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Curve:
    """Misses against false accepts over K operating points, from permissive to strict.

    Attributes:
        settings: float [K] thresholds, or shifts of the words' own thresholds.
        counts: of each enrolment.
        hours: of background that every enrolment heard.
        seed: of the bootstrap.

    Raises:
        DataError: no enrolment, no background, or nothing was said.
    """

    settings: NDArray[np.float64]
    counts: Sequence[Counts]
    hours: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.counts or self.hours <= 0 or not sum(int(c.spoken.sum()) for c in self.counts):
            raise DataError("a curve needs at least one enrolment, some background and some utterances")

    @property
    def word_hours(self) -> float:
        """Background hours, counted once for each enrolled word."""
        return self.hours * sum(len(c.words) for c in self.counts)

    def false_accept_rates(self) -> NDArray[np.float64]:
        """[K] false accepts per hour and enrolled word."""
        rates, _ = self._pool(np.ones((1, len(self.counts))))
        return rates.reshape(-1)

    def misses(self, late: bool = False) -> NDArray[np.float64]:
        """[K] share of utterances that were not heard in time, or, with `late`, not at all."""
        _, misses = self._pool(np.ones((1, len(self.counts))), late)
        return misses.reshape(-1)

    def _pool(self, weights: NDArray[np.float64], late: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pool the enrolments with weights [B, E]; return rates [B, K] and misses [B, K]."""
        accepts = np.array([c.false_accepts.sum(1) for c in self.counts], dtype=np.float64)  # [E, K]
        hits = np.array([(c.hits + late * c.late).sum(1) for c in self.counts], dtype=np.float64)
        spoken = np.array([c.spoken.sum() for c in self.counts], dtype=np.float64)  # [E]
        words = np.array([len(c.words) for c in self.counts], dtype=np.float64)
        rates = weights @ accepts / (self.hours * (weights @ words))[:, None]
        return rates, 1 - weights @ hits / np.maximum(weights @ spoken, 1)[:, None]

    def _resampled(self, late: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pool enrolments drawn with replacement, many times."""
        share = np.full(len(self.counts), 1 / len(self.counts))
        return self._pool(np.random.default_rng(self.seed).multinomial(len(self.counts), share, RESAMPLES).astype(np.float64), late)

    def bands(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[2, K] intervals of the rates and of the misses at each operating point; the figures themselves for one enrolment."""
        if len(self.counts) == 1:
            return np.tile(self.false_accept_rates(), (2, 1)), np.tile(self.misses(), (2, 1))
        rates, misses = self._resampled()
        return np.quantile(rates, LEVELS, axis=0), np.quantile(misses, LEVELS, axis=0)

    def at(self, k: int) -> tuple[Estimate, Estimate]:
        """Rate and misses at one operating point."""
        figures = []
        for value, band in zip((self.false_accept_rates()[k], self.misses()[k]), self.bands(), strict=True):
            figures.append(Estimate(float(value), (float(band[0, k]), float(band[1, k])) if len(self.counts) > 1 else None))
        return figures[0], figures[1]

    def misses_at(self, rate: float, late: bool = False) -> Estimate:
        """Misses where a rate of false accepts per hour and word is reached; the setting is found anew for every resample."""
        value = crossing(self.false_accept_rates(), self.misses(late), rate)
        if len(self.counts) == 1:
            return Estimate(value, None)
        found = [crossing(rates, misses, rate) for rates, misses in zip(*self._resampled(late), strict=True)]
        low, high = np.quantile(found, LEVELS).tolist()
        return Estimate(value, (low, high))

    def setting_at(self, rate: float) -> float:
        """Setting at which a rate is reached."""
        return crossing(self.false_accept_rates(), self.settings, rate)

    def misses_with_own_best(self, rate: float) -> float:
        """Misses if each enrolled word had the most permissive setting that keeps its rate on this very background.

        The settings are picked on what they are measured on: a comparison, not a result. False accepts come in whole numbers, so in 1.5 hours a word
        may have one, not one and a half: with little background this can lie above `misses_at`.
        """
        missed = 0
        for c in self.counts:
            for w in range(len(c.words)):
                over = np.flatnonzero(c.false_accepts[:, w] > rate * self.hours)
                k = int(over[-1]) + 1 if len(over) else 0
                missed += int(c.spoken[w] - (c.hits[k, w] if k < len(c.hits) else 0))
        return missed / sum(int(c.spoken.sum()) for c in self.counts)

    def latency_s(self, k: int) -> NDArray[np.float64]:
        """Latencies of every utterance that was heard at an operating point, late ones too."""
        return np.concatenate([c.latency_s[k] for c in self.counts])

    def by_word(self, k: int) -> dict[str, tuple[float, float]]:
        """Rate and misses of each word at an operating point, over the enrolments that hold it."""
        totals: dict[str, NDArray[np.float64]] = {}
        for c in self.counts:
            for w, word in enumerate(c.words):
                row = np.array([c.false_accepts[k, w], self.hours, c.spoken[w] - c.hits[k, w], c.spoken[w]], dtype=np.float64)
                totals[word] = totals.get(word, np.zeros(4)) + row
        return {word: (float(t[0] / t[1]), float(t[2] / t[3]) if t[3] else 0.0) for word, t in sorted(totals.items())}


def crossing(rates: NDArray[np.float64], values: NDArray[np.float64], rate: float) -> float:
    """Find the value of a curve where its rate comes down to a given one for good.

    Args:
        rates: [K] from permissive to strict.
        values: [K] beside them.
        rate: wanted.

    Returns:
        Interpolated between the last point above the rate and the next; the first value where none is above, the last where no point is below.

    >>> crossing(np.array([4.0, 2.0, 0.0]), np.array([0.1, 0.2, 0.4]), 1.0)
    0.30000000000000004
    """
    above = np.flatnonzero(rates > rate)
    if not len(above):
        return float(values[0])
    k = int(above[-1])
    if k + 1 == len(rates):
        return float(values[-1])
    share = (rates[k] - rate) / (rates[k] - rates[k + 1])
    return float(values[k] + share * (values[k + 1] - values[k]))
