"""Enrolling a word: from a recording to a stored word.

A recording is judged before anything is learnt from it; several are judged before any is stored, and what was learnt is checked before it is kept
(`app.safety`). Learning happens outside the store's lock, what is read from the store and written back happens inside it: two programs that enroll
shots of one word at a time both find their shot there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.engine import Engine, open_engine
from app.errors import AppError, StoreError
from app.forgetting import forget
from app.names import clean
from app.safety import Neighbour, check
from app.store import ShotInfo, StoredWord, WordInfo, WordStore, now
from app.word_file import encoder_sha256, fitting

if TYPE_CHECKING:
    from audio.quality import Quality
    from hardware import Shot
    from priming.calibration import Calibration


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
Learnt = tuple[Sequence["Shot"], ShotInfo]  # what an utterance taught at each speed, and its description


def judge(samples: NDArray[np.float32], source: str) -> Utterance:
    """Judge a recording and cut it around its speech.

    Args:
        samples: float32 [n] at 16 kHz.
        source: where it comes from, for messages and for the store.

    Raises:
        AppError: silent, without speech, clipped, too short or too long; with the reason.
    """
    from audio.errors import AudioError
    from audio.quality import assess
    from audio.utterance import MARGIN_S, cut_around
    from priming.episodes import BEFORE_S

    quality = assess(samples)
    reasons = [problem.message for problem in quality.verdict if problem.fatal]
    if reasons or quality.speech_start_s is None or quality.speech_end_s is None or quality.snr_db is None:
        raise AudioError(f"{source}: {reasons[0] if reasons else 'no speech found'}")
    about = ShotInfo(
        source=source,
        heard_at=now(),
        duration_s=round(quality.speech_end_s - quality.speech_start_s, 3),
        end_s=round(BEFORE_S + quality.speech_end_s - max(0.0, quality.speech_start_s - MARGIN_S), 3),
        level_dbfs=round(quality.level_dbfs, 1),
        snr_db=round(quality.snr_db, 1),
        remarks=tuple(problem.message for problem in quality.verdict),
    )
    return Utterance(cut_around(samples, quality.speech_start_s, quality.speech_end_s), about, quality)


def learn(engine: Engine, utterance: Utterance) -> tuple[tuple["Shot", ...], ShotInfo]:
    """Learn from an utterance, and note where that happened.

    Args:
        engine: to learn on.
        utterance: that was judged good enough.

    Returns:
        What it taught at each speed, and its description.
    """
    return engine.learn(utterance.speech), utterance.about.model_copy(update={"backend": engine.backend.name})


def same_model_or_refuse(word: StoredWord | None, engine: Engine) -> None:
    """Refuse to add to a word that another model learnt.

    Raises:
        StoreError: the word was enrolled under another model, or its earlier utterances are forgotten.
    """
    if word is None:
        return
    if word.info.forgotten:
        raise StoreError(f"the utterances of '{word.info.word}' were not kept, so none can be added; enroll it afresh with --replace")
    if word.info.model_sha256 == engine.model.sha256:
        return
    other = f"under the model {word.info.model}" if word.info.model != engine.reference else f"under another version of the model {word.info.model}"
    raise StoreError(f"'{word.info.word}' was enrolled {other}, whose networks differ; enroll it afresh with --replace")


def store_shots(
    engine: Engine,
    store: WordStore,
    word: str,
    shots: Sequence[Learnt],
    *,
    replace: bool = False,
    acceptance: Acceptance = KEPT,
    forget_utterance: bool = False,
) -> tuple[StoredWord, Neighbour | None]:
    """Add shots to a word, or enroll it, if that is safe; one atomic change of the store.

    Args:
        engine: that the shots were learnt on.
        store: to write to.
        word: clean name.
        shots: what each utterance taught, and what it was.
        replace: forget earlier shots.
        acceptance: when the word is accepted.
        forget_utterance: keep the change of the weights without what was heard (`app.forgetting`).

    Returns:
        The word as stored, and the nearest word that was enrolled before.

    Raises:
        StoreError: the word was enrolled under another model, its utterances are forgotten, or its file is damaged, and `replace` was not asked for.
        SafetyError: the word would be unsafe to keep.
        CalibrationError: the word does not stand out from background as asked.
    """
    with store.locked():
        earlier = None if replace else store.get(word)
        same_model_or_refuse(earlier, engine)
        speeds = engine.model.config.speeds
        everything, kept, created, calibration = list(shots), speeds, now(), None
        if earlier is not None:
            info = earlier.info
            created, calibration = info.created, info.calibration
            kept = tuple(speed for speed in speeds if speed in info.speeds)  # a word of an older model may have been heard at fewer
            known = [(_at(kept, info.speeds, taught), about) for taught, about in zip(earlier.utterances, info.shots, strict=True)]
            everything = [*known, *((_at(kept, speeds, taught), about) for taught, about in shots)]
        stored = describe(engine, word, everything, created, earlier=calibration, acceptance=acceptance, speeds=kept)
        neighbour = check(engine, stored, store.words())
        store.put(stored if not forget_utterance else forget(stored, engine.model.weights["center"]))
    return stored, neighbour


def _at(kept: Sequence[float], speeds: Sequence[float], taught: Sequence["Shot"]) -> tuple["Shot", ...]:
    """Keep of what an utterance taught at some speeds that of others, which are among them."""
    by_speed = dict(zip(speeds, taught, strict=True))
    return tuple(by_speed[speed] for speed in kept)


def describe(
    engine: Engine,
    word: str,
    shots: Sequence[Learnt],
    created: str,
    *,
    earlier: "Calibration | None" = None,
    acceptance: Acceptance = KEPT,
    speeds: Sequence[float] | None = None,
) -> StoredWord:
    """Calibrate a word and write down everything about it; the word stays deployed, alone.

    Args:
        engine: that the shots were learnt on.
        word: clean name.
        shots: what each of the word's utterances taught, and where it is from.
        created: when the word was enrolled first.
        earlier: the word's calibration before this enrolment.
        acceptance: when the word is accepted; whether the word itself passes is not checked.
        speeds: at which each utterance was learnt from; those of the model when None.
    """
    learnt = fitting([shot for taught, _ in shots for shot in taught])
    heard_at = tuple(engine.model.config.speeds if speeds is None else speeds)
    answers = engine.answers(learnt, learnt[:: len(heard_at)])
    info = WordInfo(
        word=word,
        model=engine.reference,
        model_sha256=engine.model.sha256,
        encoder_sha256=encoder_sha256(engine.model),
        created=created,
        calibration=acceptance.apply(engine.calibrate(learnt, [float(scores.max()) for scores in answers]), earlier),
        lag_s=round(engine.lag(answers, [about.end_s for _, about in shots]), 3),
        shots=tuple(about for _, about in shots),
        speeds=heard_at,
    )
    return StoredWord(info=info, shots=learnt)


def enroll(
    word: str,
    *recordings: NDArray[np.float32],
    words: str | Path | None = None,
    model: str | None = None,
    backend: str = "torch",
    replace: bool = False,
    forget_utterance: bool = False,
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
        forget_utterance: keep what was learnt without what was heard; then no shot can be added and no other model can learn the word from it.
        false_accepts_per_hour: what the threshold aims at; that of the word, or 1 for a new one, when None.
        threshold: of the normalised score, instead.

    Returns:
        The word as stored.

    Raises:
        AppError: the word's name is unusable, the word belongs to another model, or it would be unsafe to keep.
        AudioError: a recording is unusable.
        CalibrationError: the word does not stand out from background as asked.
    """
    name, store, acceptance = clean(word), WordStore(words), Acceptance(false_accepts_per_hour, threshold)
    utterances = [judge(samples, f"recording {k}") for k, samples in enumerate(recordings, 1)]
    if not utterances:
        raise AppError("no recording was given; a word is learnt from at least one")
    engine = open_engine(model, backend)
    shots = [learn(engine, utterance) for utterance in utterances]
    return store_shots(engine, store, name, shots, replace=replace, acceptance=acceptance, forget_utterance=forget_utterance)[0]
