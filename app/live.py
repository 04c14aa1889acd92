"""The live session: sound in blocks goes in, words come out.

blocks -> spikes -> network -> normalised scores -> detector. Where somebody speaks on, something is taken off the scores (`audio.running_speech`): a
command is said between pauses. Everything keeps its state between blocks and nothing depends on how the sound is cut, so a file, a pipe and a
microphone are heard alike.

With a **gate** (`audio.gate`) only the voice detector hears a silent room. What passes the gate is heard from rest, beginning with the second
before it opened, as an utterance is learnt in its own background after a beginning from rest: the same passage gives the same scores whenever it
comes. They differ a little from those of networks that heard everything before (docs/endurance.md says how much); times are those of the stream all
the same.
"""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.detector import Detection, Detector, Rule
from app.engine import Engine, normalise, open_engine
from app.errors import StoreError
from app.near_misses import NearMiss, NearMissDetector
from app.store import StoredWord, WordStore, same_model
from audio.constants import SAMPLE_RATE

if TYPE_CHECKING:
    from audio.gate import Gate


class Listener:
    """Recognises enrolled words in a stream.

    >>> from app import Listener                                  # doctest: +SKIP
    >>> from audio.files import file_blocks                       # doctest: +SKIP
    >>> for detection in Listener().listen(file_blocks("kitchen.wav")):   # doctest: +SKIP
    ...     print(detection.word, detection.start_s)

    Args:
        words: folder of a word store (the default one when None), or enrolled words.
        model: primed model; that of most of the words when None.
        backend: name of the backend.
        engine: a model that is loaded already, instead of `model` and `backend`.
        on_detection: called with each word that is recognised, besides its being returned.
        on_near_miss: called with each word that was almost recognised.
        gate: spare encoder and networks a silent room.

    Attributes:
        words: those that are listened for.
        scores: float32 [W], the latest normalised scores.
        block_scores: float32 [T, W], the normalised scores after each step of the latest block.
        near_misses: words that were almost recognised, of the latest block.
        level_dbfs: level of the latest block.
        speech: whether somebody spoke in the latest block.
        time_s: how much sound was heard or skipped.

    Raises:
        StoreError: no word is enrolled, or none under this model.
        ModelError: the model cannot be loaded.
        BackendError: the backend cannot run it.
    """

    def __init__(
        self,
        words: str | Path | Sequence[StoredWord] | None = None,
        model: str | None = None,
        backend: str = "torch",
        *,
        engine: Engine | None = None,
        on_detection: Callable[[Detection], None] | None = None,
        on_near_miss: Callable[[NearMiss], None] | None = None,
        gate: bool = False,
    ) -> None:
        enrolled = WordStore(words).words() if words is None or isinstance(words, str | Path) else list(words)
        if not enrolled:
            place = WordStore(words).directory if words is None or isinstance(words, str | Path) else "the given words"
            raise StoreError(f"no word is enrolled in {place}; enroll one with: app enroll WORD")
        if engine is None:
            engine = open_engine(model or Counter(word.info.model for word in enrolled).most_common(1)[0][0], backend, learning=False)
        self.engine = engine
        self.words = same_model(enrolled, engine.model.sha256, engine.reference)
        if not self.words:
            raise StoreError(f"no word was enrolled under the model {engine.model.name}; enroll one, or name the words' own model with --model")
        self.on_detection, self.on_near_miss, self._gated = on_detection, on_near_miss, gate
        engine.deploy(self.words)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream at time 0."""
        self._begin(0.0)

    def fork(self) -> "Listener":
        """Return a listener for another stream at the same time: it shares the model and the words, and has a state of its own.

        Words are deployed once, however many streams are heard: what a backend deploys is not changed until the next deployment, and resting
        or hearing puts new states in place of old ones, so that a shallow copy of the backend is enough.
        """
        twin = copy.copy(self)
        twin.engine = dataclasses.replace(self.engine, backend=copy.copy(self.engine.backend))
        twin.reset()
        return twin

    def _begin(self, at_s: float) -> None:
        """Begin to hear, from rest, at a time of the stream."""
        from audio.gate import Gate
        from audio.voice import VoiceDetector, level_dbfs

        self._voice, self._gate = VoiceDetector(), Gate() if self._gated else None
        self._voiced: list[bool] = []  # of the last frames, as many as may pass the gate late
        self._frames = 0  # of voice activity so far
        self._heard, self._start_s = 0, at_s
        self._recent = np.zeros(0, np.float32)  # the last second
        self.level_dbfs = level_dbfs(np.zeros(0, np.float32))
        self.speech = False
        self.near_misses: list[NearMiss] = []
        self.block_scores = np.zeros((0, len(self.words)), np.float32)
        self._rest(at_s)

    def _rest(self, at_s: float) -> None:
        """Put encoder, networks and detectors to rest; what they hear next begins at a time of the stream."""
        self.engine.backend.reset()
        self._stream, self._running = self.engine.encoder.stream(), self.engine.model.listens_for_running_speech()
        rules = [Rule(info.word, info.calibration.threshold, info.duration_s, info.lag_s) for info in (word.info for word in self.words)]
        self._detector, self._near = Detector(rules, self.engine.step_s), NearMissDetector(rules, self.engine.step_s)
        self._origin_s = at_s
        self.scores = np.full(len(self.words), -np.inf, np.float32)

    @property
    def asleep(self) -> bool:
        """Whether the room is silent and the networks are spared it."""
        return self._gate is not None and not self._gate.is_open

    @property
    def time_s(self) -> float:
        """How much sound was heard or skipped since the start of the stream."""
        return self._start_s + self._heard / SAMPLE_RATE

    def push(self, samples: NDArray[np.float32]) -> list[Detection]:
        """Hear the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1], any n.

        Returns:
            Words that were recognised; `app.detector` says when a word is told.
        """
        from audio.voice import level_dbfs

        self._heard += len(samples)
        self._recent = np.concatenate([self._recent, samples])[-SAMPLE_RATE:]
        self.level_dbfs = level_dbfs(samples)
        smoothed = self._voice.push(samples)
        self.speech = any(smoothed) if smoothed else self.speech
        self.near_misses, self.block_scores = [], self.block_scores[:0]
        voiced = self._voice.raw  # unsmoothed: the edges of a word must not carry a hangover
        if self._gate is None:
            return self._hear(samples, voiced)
        return self._hear_through(self._gate, samples, voiced)

    def _hear_through(self, gate: "Gate", samples: NDArray[np.float32], voiced: Sequence[bool]) -> list[Detection]:
        """Hear what passes the gate, each passage from rest."""
        from audio.gate import PRE_ROLL
        from audio.voice import FRAME

        self._frames += len(voiced)
        self._voiced += voiced
        told: list[Detection] = []
        for passage in gate.push(samples):
            if passage.opens:
                self._rest(self._start_s + passage.start / SAMPLE_RATE)
            first = passage.start // FRAME - (self._frames - len(self._voiced))
            told += self._hear(passage.samples, self._voiced[first : first + len(passage.samples) // FRAME])
            if passage.closes:
                told += self._told(self._detector.flush())
                self.scores = np.full(len(self.words), -np.inf, np.float32)
        del self._voiced[:-PRE_ROLL]
        return told

    def _hear(self, samples: NDArray[np.float32], voiced: Sequence[bool]) -> list[Detection]:
        """Let the networks hear samples; voice activity of the 20 ms frames that they complete stands beside them."""
        raw = self.engine.backend.process(self._stream.push(samples))
        if self._running is not None:
            raw = raw - self._running.push(samples, len(raw))[:, None]
        scores = normalise(raw, self.words)
        self.block_scores = np.concatenate([self.block_scores, scores])
        if len(scores):
            self.scores = scores[-1]
        near_misses = [near._replace(time_s=round(near.time_s + self._origin_s, 3)) for near in self._near.push(scores)]
        self.near_misses += near_misses
        if self.on_near_miss:
            for near in near_misses:
                self.on_near_miss(near)
        return self._told(self._detector.push(scores, voiced))

    def flush(self) -> list[Detection]:
        """End the stream: a word that is being recognised is told now."""
        left = self._hear(self._gate.flush(), ()) if self._gate is not None else []
        return left + self._told(self._detector.flush())

    def end(self) -> list[Detection]:
        """End a recording: half a second of its own background is heard after it, so that a word said last has time to be told."""
        from audio.noise_floor import noise_floor
        from priming.episodes import AFTER_S

        heard = self._heard
        told = self.push(noise_floor(self._recent, round(AFTER_S * SAMPLE_RATE), 0)) if heard else []
        self._heard = heard
        return told + self.flush()

    def skip(self, seconds: float) -> list[Detection]:
        """Pass over sound that is not heard, while listening is muted or the microphone is away; what follows is heard from rest.

        Args:
            seconds: how much, at least 0.

        Returns:
            A word that was being recognised.
        """
        told = self.flush()
        self._begin(self.time_s + seconds)
        return told

    def replace(self, words: Sequence[StoredWord]) -> list[Detection]:
        """Listen for other words from now on; the stream goes on, heard from rest.

        Args:
            words: enrolled words; those of other models are left out, with a warning.

        Returns:
            A word that was being recognised.

        Raises:
            StoreError: none was enrolled under this listener's model; the words stay as they are.
        """
        kept = same_model(words, self.engine.model.sha256, self.engine.reference)
        if not kept:
            raise StoreError(f"no word is enrolled under the model {self.engine.model.name} any more")
        told = self.flush()
        self.words = kept
        self.engine.deploy(kept)
        self._begin(self.time_s)
        return told

    def _told(self, detections: list[Detection]) -> list[Detection]:
        """Shift detections to the time of the stream and hand them to the callback."""
        if self._origin_s:
            start = self._origin_s
            detections = [d._replace(start_s=round(d.start_s + start, 3), end_s=round(d.end_s + start, 3)) for d in detections]
        if self.on_detection:
            for detection in detections:
                self.on_detection(detection)
        return detections

    def listen(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Detection]:
        """Hear a whole stream from its start.

        Args:
            blocks: float32 [n] each, for instance of `audio.files.file_blocks` or `audio.microphone.Microphone`.

        Yields:
            Words as they are recognised.
        """
        self.reset()
        for block in blocks:
            yield from self.push(block)
        yield from self.end()
