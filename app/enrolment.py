"""Enrolling a word: from a recording to a stored word.

A recording is judged before anything is learnt from it; several are judged before any is stored. Learning happens outside the store's lock, what is
read from the store and written back happens inside it: two programs that enroll shots of one word at a time both find their shot there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.engine import Engine, normalise, open_engine
from app.errors import AppError, StoreError
from app.names import clean
from app.store import ShotInfo, StoredWord, WordInfo, WordStore, now

if TYPE_CHECKING:
    from audio.quality import Quality
    from hardware import Shot
    from priming.calibration import Calibration

MARGIN_S = 0.15  # kept around the speech that was found


@dataclass(frozen=True)
class Utterance:
    """A recording that is good enough to learn from."""

    speech: NDArray[np.float32]  # [n] at 16 kHz, cut around the word
    about: ShotInfo
    quality: "Quality"


@dataclass(frozen=True)
class Acceptance:
    """When a word is accepted; neither given keeps what holds for the word, or the default for a new one.

    Attributes:
        per_hour: false accepts to aim at.
        threshold: of the normalised score.

    Raises:
        AppError: both are given.
        CalibrationError: a rate or a threshold that means nothing.
    """

    per_hour: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        from priming.calibration import check_rate, check_threshold

        if self.per_hour is not None and self.threshold is not None:
            raise AppError("--threshold and --false-accepts-per-hour exclude each other; give one")
        if self.per_hour is not None:
            check_rate(self.per_hour)
        if self.threshold is not None:
            check_threshold(self.threshold)

    def apply(self, calibration: "Calibration", earlier: "Calibration | None" = None) -> "Calibration":
        """Set the threshold of a word.

        Args:
            calibration: of the word.
            earlier: the calibration that it replaces.

        Returns:
            The calibration with its threshold. Whether the word itself passes it is for the caller to check.
        """
        from priming.calibration import DEFAULT_PER_HOUR

        if self.threshold is not None:
            return calibration.fixed(self.threshold)
        if self.per_hour is None and earlier is not None and earlier.per_hour is None:
            return calibration.fixed(earlier.threshold)
        return calibration.aimed(self.per_hour or (earlier.per_hour if earlier else None) or DEFAULT_PER_HOUR)


KEPT = Acceptance()


@dataclass(frozen=True)
class Neighbour:
    """An enrolled word that sounds like another."""

    word: str
    score: float  # normalised, of the utterance for that word
    threshold: float

    @property
    def confusable(self) -> bool:
        """Whether the utterance would have been taken for that word."""
        return self.score >= self.threshold


def judge(samples: NDArray[np.float32], source: str) -> Utterance:
    """Judge a recording and cut it around its speech.

    Args:
        samples: float32 [n] at 16 kHz.
        source: where it comes from, for messages and for the store.

    Raises:
        AppError: silent, without speech, clipped, too short or too long; with the reason.
    """
    from audio.constants import SAMPLE_RATE
    from audio.errors import AudioError
    from audio.quality import assess
    from priming.episodes import BEFORE_S

    quality = assess(samples)
    reasons = [problem.message for problem in quality.verdict if problem.fatal]
    if reasons or quality.speech_start_s is None or quality.speech_end_s is None or quality.snr_db is None:
        raise AudioError(f"{source}: {reasons[0] if reasons else 'no speech found'}")
    begin = max(0, round((quality.speech_start_s - MARGIN_S) * SAMPLE_RATE))
    end = round((quality.speech_end_s + MARGIN_S) * SAMPLE_RATE)
    about = ShotInfo(
        source=source,
        heard_at=now(),
        duration_s=round(quality.speech_end_s - quality.speech_start_s, 3),
        end_s=round(BEFORE_S + quality.speech_end_s - begin / SAMPLE_RATE, 3),
        level_dbfs=round(quality.level_dbfs, 1),
        snr_db=round(quality.snr_db, 1),
        remarks=tuple(problem.message for problem in quality.verdict),
    )
    return Utterance(samples[begin:end], about, quality)


def same_model_or_refuse(word: StoredWord | None, engine: Engine) -> None:
    """Refuse to add to a word that another model learnt.

    Raises:
        StoreError: the word was enrolled under another model.
    """
    if word is None or word.info.model_sha256 == engine.model.sha256:
        return
    other = f"under the model {word.info.model}" if word.info.model != engine.reference else f"under another version of the model {word.info.model}"
    raise StoreError(f"'{word.info.word}' was enrolled {other}, whose networks differ; enroll it afresh with --replace")


def nearest(engine: Engine, store: WordStore, word: str, shots: Sequence["Shot"]) -> Neighbour | None:
    """Find the enrolled word that a new one is most easily taken for.

    Args:
        engine: with the model of the new word.
        store: of the enrolled words; those of other models are left out.
        word: name of the new word.
        shots: of the new word.

    Returns:
        The word, other than the new one, whose network answers most to the new utterances; None when there is no other.
    """
    others = [other for other in store.words() if other.info.word != word and other.info.model_sha256 == engine.model.sha256]
    if not others:
        return None
    engine.deploy(others)
    scores = normalise(engine.backend.score([shot.inputs for shot in shots]), others).max(0)
    best = int(np.argmax(scores - np.array([other.info.calibration.threshold for other in others])))
    return Neighbour(others[best].info.word, float(scores[best]), others[best].info.calibration.threshold)


def store_shots(
    engine: Engine,
    store: WordStore,
    word: str,
    shots: Sequence[tuple["Shot", ShotInfo]],
    *,
    replace: bool = False,
    acceptance: Acceptance = KEPT,
) -> StoredWord:
    """Add shots to a word, or enroll it; one atomic change of the store.

    Args:
        engine: that the shots were learnt on.
        store: to write to.
        word: clean name.
        shots: what was learnt, and from what.
        replace: forget earlier shots.
        acceptance: when the word is accepted.

    Returns:
        The word as stored.

    Raises:
        StoreError: the word was enrolled under another model, or its file is damaged, and `replace` was not asked for.
        CalibrationError: the word does not stand out from background as asked.
    """
    with store.locked():
        earlier = None if replace else store.get(word)
        same_model_or_refuse(earlier, engine)
        known = list(zip(earlier.shots, earlier.info.shots, strict=True)) if earlier else []
        created, calibration = (earlier.info.created, earlier.info.calibration) if earlier else (now(), None)
        stored = describe(engine, word, [*known, *shots], created, earlier=calibration, acceptance=acceptance)
        stored.info.calibration.check()
        store.put(stored)
    return stored


def describe(
    engine: Engine,
    word: str,
    shots: Sequence[tuple["Shot", ShotInfo]],
    created: str,
    *,
    earlier: "Calibration | None" = None,
    acceptance: Acceptance = KEPT,
) -> StoredWord:
    """Calibrate a word and write down everything about it; the word stays deployed, alone.

    Args:
        engine: that the shots were learnt on.
        word: clean name.
        shots: all of the word's, and where they are from.
        created: when the word was enrolled first.
        earlier: the word's calibration before this enrolment.
        acceptance: when the word is accepted; whether the word itself passes is not checked.
    """
    learnt = tuple(shot for shot, _ in shots)
    info = WordInfo(
        word=word,
        model=engine.reference,
        model_sha256=engine.model.sha256,
        created=created,
        calibration=acceptance.apply(engine.calibrate(learnt), earlier),
        lag_s=round(engine.lag(learnt, [about.end_s for _, about in shots]), 3),
        shots=tuple(about for _, about in shots),
    )
    return StoredWord(info=info, shots=learnt)


def enroll(
    word: str,
    *recordings: NDArray[np.float32],
    words: str | Path | None = None,
    model: str | None = None,
    backend: str = "torch",
    replace: bool = False,
    false_accepts_per_hour: float | None = None,
    threshold: float | None = None,
) -> StoredWord:
    """Learn a word from one recording, or several, and store it.

    >>> from app import enroll                               # doctest: +SKIP
    >>> from audio.files import read_audio                   # doctest: +SKIP
    >>> enroll("lights on", read_audio("lights_on.wav"))     # doctest: +SKIP

    Args:
        word: its name.
        recordings: float32 [n] at 16 kHz each, one utterance of the word each.
        words: folder of the word store; the default one when None.
        model: primed model; the default one when None.
        backend: name of the backend.
        replace: forget earlier shots of the word.
        false_accepts_per_hour: what the threshold aims at; that of the word, or 1 for a new one, when None.
        threshold: of the normalised score, instead.

    Returns:
        The word as stored.

    Raises:
        AppError: the word's name is unusable, or the word belongs to another model.
        AudioError: a recording is unusable.
        CalibrationError: the word does not stand out from background as asked.
    """
    name, store, acceptance = clean(word), WordStore(words), Acceptance(false_accepts_per_hour, threshold)
    utterances = [judge(samples, f"recording {k}") for k, samples in enumerate(recordings, 1)]
    if not utterances:
        raise AppError("no recording was given; a word is learnt from at least one")
    engine = open_engine(model, backend)
    shots = [(engine.learn(utterance.speech), utterance.about) for utterance in utterances]
    return store_shots(engine, store, name, shots, replace=replace, acceptance=acceptance)
