"""A gate for silent rooms: sound passes while something happens, and for a while after it; from a second before it, so that no onset is lost.

A frame of 20 ms is **active** when its level lies 6 dB above the quietest of the last three seconds and above -75 dBFS. That is one of the two
conditions of `audio.voice.VoiceDetector` without the other, the spectrum, and with a lower floor: everything that is voice there is active here,
and so is much else. The gate opens at the first active frame and closes two seconds after the last, when every score and delay line has forgotten
what was heard. A noise that goes on unchanged for three seconds has become the background, and the gate closes on it; in a room that is never at
rest it stays open. The first three seconds of a stream always pass: what its background is, nobody knows yet.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.samples import as_samples
from audio.voice import FRAME, FRAME_S, MARGIN_DB, MEMORY

FLOOR_DBFS = -75.0  # what is fainter is a silent room, whatever happens in it
PRE_ROLL_S = 1.0  # heard when the gate opens: a soft onset, and 0.855 s of background, in which an utterance is learnt
HOLD_S = 2.0  # for which nothing must have been active
PRE_ROLL, HOLD = round(PRE_ROLL_S / FRAME_S), round(HOLD_S / FRAME_S)  # frames


class Passage(NamedTuple):
    """Sound that passes."""

    samples: NDArray[np.float32]  # whole frames, float32 [n] at 16 kHz
    start: int  # of the samples, counted from the stream's beginning
    opens: bool  # whether the gate was closed before it: the sound is no continuation of the last
    closes: bool  # whether the gate is closed after it


class Gate:
    """Lets through what is worth hearing. How the stream is cut changes nothing but how much of an unfinished frame waits, less than 20 ms.

    Attributes:
        is_open: whether sound passes at the moment.
    """

    def __init__(self) -> None:
        """Begin a stream."""
        self._held = np.zeros(0, np.float32)  # less than a frame
        self._levels: deque[float] = deque(maxlen=MEMORY)
        self._waiting: deque[NDArray[np.float32]] = deque(maxlen=PRE_ROLL)  # frames before the gate opens
        self._frames = 0
        self._left = MEMORY + 1  # frames for which the gate stays open without an active one
        self.is_open = True

    def push(self, samples: ArrayLike) -> list[Passage]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            What passes of it, of the second before it where the gate opens; possibly nothing.

        Raises:
            AudioError: samples that are no audio.
        """
        held = np.concatenate([self._held, as_samples(samples)])
        count = len(held) // FRAME
        self._held = held[count * FRAME :].copy()
        frames = held[: count * FRAME].reshape(count, FRAME)
        levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
        passages: list[Passage] = []
        passing: list[NDArray[np.float32]] = []
        opens = False
        for frame, level in zip(frames, levels.tolist(), strict=True):
            self._levels.append(level)
            self._frames += 1
            self._left -= 1
            if level > FLOOR_DBFS and level > min(self._levels) + MARGIN_DB:
                self._left = max(self._left, HOLD)
            if self._left > 0:
                if not self.is_open:
                    self.is_open, opens = True, True
                    passing += self._waiting
                    self._waiting.clear()
                passing.append(frame)
            elif self.is_open:
                passages.append(self._passage(passing, opens, self._frames - 1, closes=True))
                self.is_open, opens, passing = False, False, []
                self._waiting.append(frame)
            else:
                self._waiting.append(frame)
        if passing:
            passages.append(self._passage(passing, opens, self._frames, closes=False))
        return passages

    def _passage(self, frames: list[NDArray[np.float32]], opens: bool, end: int, *, closes: bool) -> Passage:
        """Put frames that end before frame `end` of the stream together."""
        samples = np.concatenate(frames) if frames else np.zeros(0, np.float32)
        return Passage(samples, (end - len(frames)) * FRAME, opens, closes)

    def flush(self) -> NDArray[np.float32]:
        """End the stream: return what an open gate holds of an unfinished frame, float32 [n]."""
        held, self._held = self._held, np.zeros(0, np.float32)
        return held if self.is_open else held[:0]
