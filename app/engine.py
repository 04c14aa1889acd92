"""A primed model on a backend: what enrolling, listening and the demo share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.store import StoredWord

if TYPE_CHECKING:
    from app.safe_range import SafeRange
    from audio.encoder import SpikeEncoder
    from hardware import Backend, Shot
    from priming.bank import Bank
    from priming.calibration import Calibration
    from priming.model import PrimedModel


@dataclass(frozen=True)
class Engine:
    """A model that is loaded on a backend."""

    reference: str  # what `--model` takes to load it again: a shipped model's name, or the path of a file
    model: "PrimedModel"
    backend: "Backend"
    encoder: "SpikeEncoder"
    bank: "Bank | None" = None  # of the model, heard once for all words

    @property
    def step_s(self) -> float:
        """Length of a network step."""
        return self.encoder.step_ms / 1000

    def learn(self, speech: NDArray[np.float32]) -> tuple["Shot", ...]:
        """Learn from one utterance.

        Args:
            speech: float32 [n] at 16 kHz, cut around the word. It is heard in its own background, as listening would hear it.

        Returns:
            What it taught at each of the model's speeds, as it was said first.
        """
        from priming.episodes import hearing_support

        heard = [hearing_support(speech, speed) for speed in self.model.config.speeds]
        return tuple(self.backend.learn(self.encoder.encode(sound)) for sound in heard)

    def answers(self, shots: Sequence["Shot"], said: Sequence["Shot"]) -> list[NDArray[np.float32]]:
        """Let a word hear its own utterances; the word stays deployed, alone.

        Args:
            shots: of the word.
            said: those of utterances as they were said.

        Returns:
            For each utterance float32 [T], the word's raw scores after each step.
        """
        self.backend.deploy([shots])
        found = []
        for shot in said:
            self.backend.reset()
            found.append(self.backend.process(shot.inputs)[:, 0])
        return found

    def calibrate(self, shots: Sequence["Shot"], own_raw: Sequence[float]) -> "Calibration":
        """Find how a word's raw scores are to be read; the word stays deployed, alone.

        Args:
            shots: of the word.
            own_raw: its largest raw score for each of its utterances.
        """
        from priming.calibration import calibrate

        return calibrate(self.backend, self.model, shots, bank=self.bank, own_raw=own_raw)

    @cached_property
    def safe_range(self) -> "SafeRange":
        """The bounds that a word must keep to."""
        from app.safe_range import SafeRange

        return SafeRange(self.model)

    def prepare(self) -> None:
        """Do what the first enrolment would have to wait for, where that can be done before there is a word."""
        from hardware.heard import HearsOnce

        if self.bank is not None and isinstance(self.backend, HearsOnce):
            self.bank.prepare(self.backend)
        _ = self.safe_range

    def background_scores(self, shots: Sequence["Shot"]) -> NDArray[np.float64]:
        """Score the stretches of the background bank for a word; right after its calibration they are there already.

        Returns:
            [S] the largest raw score in each stretch (`priming.calibration.stretches`).
        """
        from priming.calibration import stretch_maxima

        return stretch_maxima(self.backend, self.model, shots, self.bank)

    def lag(self, answers: Sequence[NDArray[np.float32]], ends_s: Sequence[float]) -> float:
        """Measure how long after the end of its utterances a word's score peaks.

        Args:
            answers: of the word to its utterances.
            ends_s: where the speech of each ends in what was heard.

        Returns:
            Seconds, the mean over the utterances, not negative.
        """
        peaks = [(int(np.argmax(scores)) + 1) * self.step_s for scores in answers]
        return max(0.0, float(np.mean(np.subtract(peaks, ends_s))))

    def deploy(self, words: Sequence[StoredWord]) -> None:
        """Run the networks of these words, from rest."""
        self.backend.deploy([word.shots for word in words])


def normalise(raw: NDArray[np.float32], words: Sequence[StoredWord]) -> NDArray[np.float32]:
    """Bring the raw scores of words on one scale.

    Args:
        raw: [..., W].
        words: W words with their calibration.

    Returns:
        [..., W] 0 for ordinary background, 1 where about a twentieth of it scores higher.
    """
    offset = np.array([word.info.calibration.offset for word in words], np.float32)
    scale = np.array([word.info.calibration.scale for word in words], np.float32)
    return (raw - offset) / scale


def listening_backend(name: str) -> "Backend":
    """Return a backend that only has to recognise words: in place of the torch emulator its decisions without torch, which starts and runs quicker.

    Raises:
        BackendError: there is no backend of this name.
    """
    from hardware import open_backend
    from hardware.numpy_backend import NumpyBackend

    return NumpyBackend() if name == "torch" else open_backend(name)


def open_engine(model: str | None, backend: str, *, learning: bool = True) -> Engine:
    """Load a primed model on a backend.

    Args:
        model: name of a shipped model or a file; the default model when None.
        backend: name of the backend.
        learning: whether words will be learnt; if not, see `listening_backend`.

    Raises:
        ModelError: no such model, or the file is damaged or foreign.
        BackendError: no such backend, or it cannot run this model.
    """
    from hardware import open_backend
    from priming.bank import Bank
    from priming.model import ALIASES, DEFAULT_MODEL, built_in_models, load_model

    opened = open_backend(backend) if learning else listening_backend(backend)
    wanted = model or DEFAULT_MODEL
    loaded = load_model(wanted, check_shapes=learning)
    opened.load(loaded.config.learner, loaded.weights)
    reference = wanted if wanted in (*built_in_models(), *ALIASES) else str(Path(wanted).resolve())
    return Engine(reference, loaded, opened, loaded.encoder(), Bank(loaded, cache_directory()))


def cache_directory() -> Path:
    """Return where what can be computed again is kept: SAYONCE_HOME, or the user's cache folder."""
    home = os.environ.get("SAYONCE_HOME")
    if home:
        return Path(home) / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("sayonce", appauthor=False))
