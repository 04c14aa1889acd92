r"""Evidence that somebody speaks on, rather than said a single word: what a command in a sentence has and a command by itself has not.

A command is said between pauses. Background says its sounds in the middle of sentences: "off" in "often", "go" in "going". With :math:`p` the
probability of speech (`audio.speech_probability`), the evidence after a step that ends at time :math:`t` is

.. math:: e(t) = \tfrac12 \left( \bar p(t - 0.12\,\mathrm{s}, t) + \bar p(t - 1.2\,\mathrm{s}, t - 0.8\,\mathrm{s}) \right)

whether there is speech now, when the score of a word peaks a quarter of a second after its end, and whether there was before a word of usual length
began. It is the same for all words, and it is causal: nothing is told later because of it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.constants import SAMPLE_RATE
from audio.speech_probability import WINDOW, SpeechProbability

AFTER_MS = 120.0  # up to now
BEFORE_MS = (1200.0, 800.0)  # before now: a quarter of a second until the score peaks, and the length of a word


class RunningSpeech:
    """The evidence after each network step of a stream; bit-equal for any block size.

    Args:
        step_ms: length of a step.
        weight: that the evidence is multiplied by: what is taken off a score where it is certain.
    """

    def __init__(self, step_ms: float, weight: float = 1.0) -> None:
        """Start a stream, after silence.

        Raises:
            AudioError: the voice detector is missing.
        """
        self._probability = SpeechProbability()
        self._weight = np.float32(weight)
        self._step = round(step_ms * SAMPLE_RATE / 1000)
        self._after = round(AFTER_MS / step_ms)
        self._first, self._last = (round(ms / step_ms) for ms in BEFORE_MS)
        self._windows = np.zeros(1, np.float32)  # probabilities that steps to come may need; silence before the first
        self._dropped = -1  # windows of the stream that stand before them no more
        self._steps = 0
        self._history = np.zeros(self._first, np.float32)  # probability at the last steps

    def push(self, samples: ArrayLike, steps: int) -> NDArray[np.float32]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].
            steps: how many network steps the encoder makes of it. Where sound of them is missing, the last that there was counts.

        Returns:
            float32 [steps] in [0, weight].

        Raises:
            AudioError: samples that are no audio.
        """
        self._windows = np.concatenate([self._windows, self._probability.push(samples)])
        ends = np.arange(self._steps + 1, self._steps + steps + 1) * self._step
        latest = ends // WINDOW - 1  # window that ended last when a step ends
        now = self._windows[np.minimum(latest - self._dropped, len(self._windows) - 1)]  # an interrupted call may have left sound out
        self._steps += steps
        if steps:
            kept = min(int(latest[-1]) - self._dropped, len(self._windows) - 1)
            self._windows, self._dropped = self._windows[kept:], self._dropped + kept
        held = np.concatenate([self._history, now])
        self._history = held[len(held) - self._first :].copy()
        after, before = _sums(held, self._first, 0, self._after), _sums(held, self._first, self._last, self._first)
        return self._weight * (np.float32(0.5 / self._after) * after + np.float32(0.5 / (self._first - self._last)) * before)


def evidence(samples: ArrayLike, steps: int, step_ms: float) -> NDArray[np.float32]:
    """Return the evidence of a whole recording, heard after silence: float32 [steps], see `RunningSpeech`."""
    return RunningSpeech(step_ms).push(samples, steps)


def _sums(held: NDArray[np.float32], first: int, least: int, most: int) -> NDArray[np.float32]:
    """Sum, for every step from index `first` on, over the steps from so many to fewer than so many before it; always in the same order."""
    total = np.zeros(len(held) - first, np.float32)
    for back in range(least, most):
        total += held[first - back : len(held) - back]
    return total
