"""Where somebody speaks: a detector for streams, one for whole recordings, and a recorder that waits for an utterance.

Two conditions must hold in a frame of 20 ms. WebRTC's detector (mode 2) must take its spectrum for speech, and its level must rise above the
background, which is what keeps a hum or a fan, however speech-like its spectrum, from counting as speech: it never rises above itself. Single frames
are unreliable, so speech starts after three voiced frames of five and lasts 200 ms beyond the last voiced one.
"""

from collections import deque
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.constants import SAMPLE_RATE
from audio.samples import as_samples

FRAME = 320  # samples: 20 ms
FRAME_S = FRAME / SAMPLE_RATE
MODE = 2  # of WebRTC's detector, 0 (lenient) to 3 (strict)
MARGIN_DB = 6.0  # above the background
LOWEST_DBFS = -65.0  # what is fainter is nobody speaking into this microphone
MEMORY = 150  # frames (3 s) whose quietest is the background of a stream
HANGOVER = 10  # frames (200 ms): gaps inside words, such as the closure of a stop
ONSET, ONSET_SPAN = 3, 5  # voiced frames, of so many


def level_dbfs(samples: NDArray[np.float32]) -> float:
    """Measure a level.

    Args:
        samples: float32 [n].

    Returns:
        The root mean square in decibels below full scale; -120 for digital silence or nothing.
    """
    if not len(samples):
        return -120.0
    return max(-120.0, 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12)))


class _SpeechLike:
    """WebRTC's judgement of single frames; it adapts to what it hears, so each stream needs its own."""

    def __init__(self) -> None:
        import webrtcvad

        self._detector = webrtcvad.Vad(MODE)

    def judge(self, frame: NDArray[np.float32]) -> bool:
        """Say whether float32 [320] sounds like speech."""
        pcm = (np.clip(frame, -1.0, 32767 / 32768) * 32768).astype("<i2").tobytes()
        return bool(self._detector.is_speech(pcm, SAMPLE_RATE))


class VoiceDetector:
    """Voiced or not, for each 20 ms of a stream; causal."""

    def __init__(self) -> None:
        """Start a stream."""
        self._speech_like = _SpeechLike()
        self._held = np.zeros(0, np.float32)
        self._levels: deque[float] = deque(maxlen=MEMORY)
        self._recent: deque[bool] = deque(maxlen=ONSET_SPAN)
        self._left = 0  # frames that the present speech still lasts without a voiced one
        self.raw: list[bool] = []  # of the last push: the judgement of each frame before smoothing

    def push(self, samples: ArrayLike) -> list[bool]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            One flag for each frame of 20 ms completed by this block, possibly none.

        Raises:
            AudioError: samples that are no audio.
        """
        held = np.concatenate([self._held, as_samples(samples)])
        count = len(held) // FRAME
        self._held = held[count * FRAME :].copy()
        self.raw = [self._judge(frame) for frame in held[: count * FRAME].reshape(count, FRAME)]
        return [self._smooth(voiced) for voiced in self.raw]

    def _judge(self, frame: NDArray[np.float32]) -> bool:
        level = level_dbfs(frame)
        self._levels.append(level)
        threshold = max(LOWEST_DBFS, min(self._levels) + MARGIN_DB)
        return self._speech_like.judge(frame) and level > threshold

    def _smooth(self, voiced: bool) -> bool:
        self._recent.append(voiced)
        if sum(self._recent) >= ONSET or (voiced and self._left):
            self._left = HANGOVER + 1
        self._left = max(0, self._left - 1)
        return self._left > 0


def speech_segments(samples: ArrayLike) -> list[tuple[float, float]]:
    """Find speech in a whole recording.

    The recording's level is brought to a common one first, and its background is its tenth percentile, so that a recording cut close to the
    word works too.

    Args:
        samples: float32 [n] at 16 kHz in [-1, 1].

    Returns:
        (start, end) of each stretch in seconds, in order; gaps up to 200 ms are bridged, stretches under 60 ms dropped.

    Raises:
        AudioError: samples that are no audio.
    """
    signal = as_samples(samples)
    frames = signal[: len(signal) // FRAME * FRAME].reshape(-1, FRAME)
    if not len(frames) or level_dbfs(signal) < LOWEST_DBFS:
        return []
    levels = np.array([level_dbfs(frame) for frame in frames])
    threshold = max(LOWEST_DBFS, float(np.quantile(levels, 0.1)) + MARGIN_DB)
    gain, speech_like = 0.5 / float(np.max(np.abs(signal))), _SpeechLike()
    voiced = [index for index, frame in enumerate(frames) if speech_like.judge(gain * frame) and levels[index] > threshold]
    segments: list[list[int]] = []
    for index in voiced:
        if segments and index - segments[-1][1] <= HANGOVER:
            segments[-1][1] = index + 1
            segments[-1][2] += 1
        else:
            segments.append([index, index + 1, 1])
    return [(start * FRAME / SAMPLE_RATE, end * FRAME / SAMPLE_RATE) for start, end, count in segments if count >= ONSET]


class RecorderState(StrEnum):
    """What an utterance recorder is doing."""

    WAITING = "waiting"
    RECORDING = "recording"
    DONE = "done"


class UtteranceRecorder:
    """Cuts one utterance out of a stream: waits for speech, keeps 0.3 s before it, and stops after 0.5 s of silence.

    Attributes:
        state: waiting, recording or done.
        level_dbfs: level of the last block, for a meter.
        heard_s: seconds of sound pushed so far, for a time limit on waiting.
    """

    def __init__(self, pre_roll_s: float = 0.3, silence_s: float = 0.5, max_s: float = 4.0) -> None:
        """Set the times.

        Args:
            pre_roll_s: sound kept before speech was noticed; onsets are soft.
            silence_s: silence that ends the utterance.
            max_s: longest utterance, pre-roll included.
        """
        self._detector = VoiceDetector()
        self._kept, self._pending = np.zeros(0, np.float32), np.zeros(0, np.float32)
        self._pre_roll, self._max = round((pre_roll_s + ONSET_SPAN * FRAME_S) * SAMPLE_RATE), round(max_s * SAMPLE_RATE)
        self._silence = round(silence_s / FRAME_S)
        self._quiet = 0  # frames since the last voiced one
        self.state = RecorderState.WAITING
        self.level_dbfs = -120.0
        self.heard_s = 0.0

    def push(self, samples: ArrayLike) -> NDArray[np.float32] | None:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            The utterance, float32 [m], once it has ended; None until then. Nothing is recorded after the end.

        Raises:
            AudioError: samples that are no audio.
        """
        block = as_samples(samples)
        self.level_dbfs, self.heard_s = level_dbfs(block), self.heard_s + len(block) / SAMPLE_RATE
        self._pending = np.concatenate([self._pending, block])
        while len(self._pending) >= FRAME and self.state is not RecorderState.DONE:
            frame, self._pending = self._pending[:FRAME], self._pending[FRAME:]
            self._step(frame)
        return self._kept if self.state is RecorderState.DONE else None

    def flush(self) -> NDArray[np.float32] | None:
        """End the stream.

        Returns:
            The utterance so far, float32 [m], or None when no speech had begun.
        """
        if self.state is RecorderState.RECORDING:
            self.state = RecorderState.DONE
        return self._kept if self.state is RecorderState.DONE else None

    def _step(self, frame: NDArray[np.float32]) -> None:
        speaking = self._detector.push(frame)[0]
        self._kept = np.concatenate([self._kept, frame])
        if self.state is RecorderState.WAITING:
            self._kept = self._kept[-self._pre_roll :]
            if not speaking:
                return
            self.state = RecorderState.RECORDING
        self._quiet = 0 if self._detector.raw[0] else self._quiet + 1
        if self._quiet >= self._silence or len(self._kept) >= self._max:
            self.state = RecorderState.DONE
