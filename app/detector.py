r"""From running scores to words: one detection for each spoken word, with its edges.

The score of a word rises while the word is heard and peaks near its end. A word **fires** when its score has peaked at or over its threshold: when
it has not risen for 40 ms, or has fallen below the threshold again. Where no other word is over its own threshold or near it, which could be the one
that was said, there is nothing to wait for: the word fires 40 ms after it came over its threshold. Then

* among words whose scores peak within 0.3 s of each other one spoken word is meant: the first whose peak is over, unless another exceeds its own
  threshold by more at that time;
* for the **refractory time** after its peak a word cannot fire again, and after firing its score must fall below the threshold first.

The **edges** come from voice activity. The score of the enrolled utterance itself peaked a known lag after its end, and the utterance had a known
length; where a stretch of voice ends or begins near the times that follow from them, the word does so too; in running speech, where none does,
those times are taken as they are. A word that is told before its score has peaked is taken to peak as long after it came over its threshold as words
usually do, and to have ended by now. A short gap inside a word (a stop consonant) does not end a stretch.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FRAME_S = 0.02  # of voice activity
HOLD_S = 0.04  # how long a maximum must stand: a word is told as soon as its score has stopped rising
NEAR = 1.0  # normalised score: a word that is less below its threshold may yet be the one that was said
RISE_S = 0.12  # from the threshold to the peak of a score: the median of validation words
RIVAL_S = 0.3  # how close two peaks are one spoken word
REFRACTORY_S = 1.0
GAP_FRAMES = 10  # 200 ms: silence of this length and less is inside a word
FEWEST_FRAMES = 3  # voiced frames of a stretch of voice: one or two are a click
END_TOLERANCE_S = 0.25  # between where a word should end and where a voice does
START_TOLERANCE = 0.75  # the same for the start, as a share of the enrolled length: people speak faster and slower
SHORTEST_S = 0.1  # of a word
MEMORY_S = 10.0  # how far back voice activity is kept


class Detection(NamedTuple):
    """A word that was heard."""

    word: str
    start_s: float  # from the stream's start
    end_s: float
    score: float  # normalised, the largest until it was told
    threshold: float


class Rule(NamedTuple):
    """What a word needs to be detected."""

    word: str
    threshold: float
    duration_s: float  # of the enrolled utterance
    lag_s: float = 0.0  # from the end of the enrolled utterance to the peak of its own score


class _Peak(NamedTuple):
    score: float
    time_s: float
    excess: float  # of the score over the word's threshold
    since_s: float  # when the score came over it


class Detector:
    """Turns a stream of scores and voice activity into detections. How the stream is cut changes nothing.

    Args:
        rules: of the W words.
        step_s: length of a network step.
        refractory_s: shortest time between two detections of a word.
    """

    def __init__(self, rules: Sequence[Rule], step_s: float, refractory_s: float = REFRACTORY_S) -> None:
        self._rules = list(rules)
        self._thresholds = np.array([rule.threshold for rule in self._rules])
        self._step_s = step_s
        self._refractory_s = refractory_s
        self._steps = 0
        self._frames = 0  # taken into _voiced so far
        self._voiced: deque[bool] = deque(maxlen=round(MEMORY_S / FRAME_S))
        self._ahead: deque[bool] = deque()  # frames later than the last step
        self._peaks: list[_Peak | None] = [None] * len(self._rules)  # of scores that are over the threshold now
        self._ready_s = [0.0] * len(self._rules)  # before which the word cannot have been said again
        self._armed = [True] * len(self._rules)  # has been below the threshold since it fired
        self._last_s = -math.inf  # peak of the last detection

    def push(self, scores: NDArray[np.float32], voiced: Sequence[bool]) -> list[Detection]:
        """Take in the next piece of the stream.

        Args:
            scores: [T, W] normalised scores after each step.
            voiced: voice activity of the next 20 ms frames; at the time of a step those that ended before it should be there.

        Returns:
            Words that fired, in the order of their peaks.
        """
        self._ahead.extend(voiced)
        fired: list[Detection] = []
        below: NDArray[np.bool_] = np.logical_and.reduce(scores < self._thresholds, axis=1)
        at = 0
        while at < len(scores):
            quiet = 0  # steps that change nothing but the time
            if all(self._armed) and not any(self._peaks):
                quiet = len(scores) - at if below[at:].all() else int(np.argmin(below[at:]))
            self._steps += quiet or 1
            time_s = self._steps * self._step_s
            while self._ahead and (self._frames + 1) * FRAME_S <= time_s + 1e-9:
                self._voiced.append(self._ahead.popleft())
                self._frames += 1
            if not quiet:
                fired += self._step(scores[at].tolist(), time_s)
            at += quiet or 1
        return fired

    def flush(self) -> list[Detection]:
        """End the stream: what is over its threshold now fires."""
        return self._settle(list(range(len(self._rules))), self._steps * self._step_s)

    def _step(self, scores: list[float], time_s: float) -> list[Detection]:
        """Take in one step: follow every word's score, let those fire whose peak is over."""
        over = []
        alone = sum(score >= rule.threshold - NEAR for score, rule in zip(scores, self._rules, strict=True)) <= 1
        for w, (score, rule) in enumerate(zip(scores, self._rules, strict=True)):
            peak = self._peaks[w]
            if score < rule.threshold:
                self._armed[w] = True
                over.append(w)
            elif peak is None:
                if self._armed[w]:
                    self._peaks[w] = _Peak(score, time_s, score - rule.threshold, time_s)
            else:
                if score > peak.score:
                    self._peaks[w] = peak = peak._replace(score=score, time_s=time_s, excess=score - rule.threshold)
                if time_s - (peak.since_s if alone else peak.time_s) >= HOLD_S - 1e-9:
                    over.append(w)
        return self._settle(over, time_s)

    def _settle(self, over: Sequence[int], now_s: float) -> list[Detection]:
        """Decide which of the words that need not be waited for any longer were said."""
        said: list[tuple[float, Detection]] = []
        for w in over:
            peak = self._peaks[w]
            if peak is None:
                continue  # was not over its threshold, or gave way to another word of this step
            self._end(w)
            rivals = [(v, rival) for v, rival in enumerate(self._peaks) if rival is not None and abs(rival.time_s - peak.time_s) < RIVAL_S]
            if peak.time_s < self._ready_s[w] or peak.time_s - self._last_s < RIVAL_S or any(rival.excess > peak.excess for _, rival in rivals):
                continue
            for v, _ in rivals:
                self._end(v)
            peak_s = peak.time_s if now_s - peak.time_s >= HOLD_S - 1e-9 else max(peak.time_s, peak.since_s + RISE_S)
            self._last_s = peak_s
            self._ready_s[w] = peak_s + self._refractory_s
            rule = self._rules[w]
            said.append((peak.time_s, Detection(rule.word, *self._edges(peak_s, now_s, rule), peak.score, rule.threshold)))
        return [detection for _, detection in sorted(said)]

    def _end(self, w: int) -> None:
        """Forget a word's peak; the word rises again only after it has been below its threshold."""
        self._peaks[w] = None
        self._armed[w] = False

    def _edges(self, peak_s: float, now_s: float, rule: Rule) -> tuple[float, float]:
        """Find the edges of the word whose score peaks at a time, from what was heard up to now."""
        heard_s = min(peak_s, now_s)
        runs = self._runs_before(heard_s)
        if runs and runs[-1][1] > heard_s - 1.5 * FRAME_S:
            runs[-1] = (runs[-1][0], math.inf)  # the voice goes on: this is no end
        expected = min(heard_s, max(0.0, peak_s - rule.lag_s))
        end_s = min((end for _, end in runs), key=lambda end: abs(end - expected), default=math.inf)
        if abs(end_s - expected) > END_TOLERANCE_S:
            end_s = expected
        expected = max(0.0, end_s - rule.duration_s)
        starts = [start for start, _ in runs if start < end_s - SHORTEST_S]
        start_s = min(starts, key=lambda start: abs(start - expected), default=-math.inf)
        if abs(start_s - expected) > START_TOLERANCE * rule.duration_s:
            start_s = expected
        return round(start_s, 3), round(end_s, 3)

    def _runs_before(self, time_s: float) -> list[tuple[float, float]]:
        """Return the stretches of voice up to a time: (start, end) in seconds."""
        first = self._frames - len(self._voiced)  # frame that _voiced begins with
        runs: list[list[int]] = []  # first frame, last frame, voiced frames
        for k, flag in enumerate(self._voiced, first):
            if not flag or k >= round(time_s / FRAME_S):
                continue
            if runs and k - runs[-1][1] <= GAP_FRAMES:
                runs[-1][1:] = [k, runs[-1][2] + 1]
            else:
                runs.append([k, k, 1])
        return [(begin * FRAME_S, (end + 1) * FRAME_S) for begin, end, count in runs if count >= FEWEST_FRAMES]
