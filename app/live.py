"""The live session: sound in blocks goes in, words come out.

blocks -> spikes -> network -> normalised scores -> detector. Everything keeps its state between blocks and nothing depends on how the sound is cut,
so a file, a pipe and a microphone are heard alike.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.detector import Detection, Detector, Rule
from app.engine import Engine, normalise, open_engine
from app.errors import StoreError
from app.store import StoredWord, WordStore, same_model


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

    Attributes:
        words: those that are listened for.
        scores: float32 [W], the latest normalised scores.
        level_dbfs: level of the latest block.
        time_s: how much sound was heard.

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
    ) -> None:
        enrolled = WordStore(words).words() if words is None or isinstance(words, str | Path) else list(words)
        if not enrolled:
            place = WordStore(words).directory if words is None or isinstance(words, str | Path) else "the given words"
            raise StoreError(f"no word is enrolled in {place}; enroll one with: app enroll WORD")
        if engine is None:
            engine = open_engine(model or Counter(word.info.model for word in enrolled).most_common(1)[0][0], backend)
        self.engine = engine
        self.words = same_model(enrolled, engine.model.sha256, engine.reference)
        if not self.words:
            raise StoreError(f"no word was enrolled under the model {engine.model.name}; enroll one, or name the words' own model with --model")
        engine.deploy(self.words)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream at time 0."""
        from audio.voice import VoiceDetector, level_dbfs

        self.engine.backend.reset()
        self._stream = self.engine.encoder.stream()
        self._voice = VoiceDetector()
        rules = [Rule(info.word, info.calibration.threshold, info.duration_s, info.lag_s) for info in (word.info for word in self.words)]
        self._detector = Detector(rules, self.engine.step_s)
        self._heard = 0
        self.scores = np.full(len(self.words), -np.inf, np.float32)
        self.level_dbfs = level_dbfs(np.zeros(0, np.float32))

    @property
    def time_s(self) -> float:
        """How much sound was heard since the start of the stream."""
        from audio.constants import SAMPLE_RATE

        return self._heard / SAMPLE_RATE

    def push(self, samples: NDArray[np.float32]) -> list[Detection]:
        """Hear the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1], any n.

        Returns:
            Words that were recognised; a word is told at most 0.3 s after its score peaked.
        """
        from audio.voice import level_dbfs

        self._heard += len(samples)
        self.level_dbfs = level_dbfs(samples)
        self._voice.push(samples)
        raw = self.engine.backend.process(self._stream.push(samples))
        scores = normalise(raw, self.words)
        if len(scores):
            self.scores = scores[-1]
        return self._detector.push(scores, self._voice.raw)  # unsmoothed: the edges of a word must not carry a hangover

    def flush(self) -> list[Detection]:
        """End the stream: a word that is being recognised is told now."""
        return self._detector.flush()

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
        yield from self.flush()
