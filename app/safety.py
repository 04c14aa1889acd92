r"""Safe learning: what must hold before a word is kept. What fails is never written, so the store and the networks are as before.

1. The word's weights and its network stay in the primed range (`app.safe_range`).
2. It does not fire on everything, and on the model's background bank no more often than its stated rate allows: with n stretches of the bank passing
   the threshold and :math:`\lambda` expected, a word is refused where :math:`P(X \ge n) < 0.001` for a Poisson variable of mean :math:`\lambda`. A
   threshold below the bank's tail states no rate; then at most every second stretch may pass.
3. It does not answer to the utterance of another enrolled word, nor another word to its own.

Each word has a change of the weights of its own on the shared primed ones, so a new word leaves what the others answer untouched; by 3. it also does
not speak up in their place when their own utterances are heard. Of the bank (2.) a word has heard every stretch when it was calibrated: that the rate
holds on other sound is shown on held-out stretches (docs/safe_learning.md), not guaranteed by this check.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.engine import Engine, normalise
from app.safe_range import SafeRange, SafetyError
from app.word_file import StoredWord

__all__ = ["Neighbour", "SafetyError", "check", "nearest"]

RARE = 1e-3  # how improbable a word's false accepts on the bank may be at its stated rate


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


def check(engine: Engine, word: StoredWord, others: Sequence[StoredWord], bounds: SafeRange | None = None) -> Neighbour | None:
    """Check a word before it is kept; the backend is left with other words deployed.

    Args:
        engine: with the word's model.
        word: with the calibration that it was just given.
        others: the enrolled words; those of other models and the word itself are left out.
        bounds: of the model, where they are known already.

    Returns:
        The nearest enrolled word.

    Raises:
        SafetyError: it would be unsafe to keep, with the reason.
        CalibrationError: the word does not stand out from background at its threshold.
    """
    word.info.calibration.check()
    (bounds or engine.safe_range).check(word)
    check_answers(engine, word, others)
    neighbour = nearest(engine, word, _rivals(engine, word, others))
    if neighbour is not None and neighbour.confusable:
        raise SafetyError(
            f"'{word.info.word}' was not kept: it would be taken for '{neighbour.word}' "
            f"(score {neighbour.score:.1f}, needs {neighbour.threshold:.1f}); choose a word that sounds different, or raise the threshold of "
            f"'{neighbour.word}' with `app words set`"
        )
    return neighbour


def check_answers(engine: Engine, word: StoredWord, others: Sequence[StoredWord], refusal: str = "was not kept") -> None:
    """Check what a word answers to at its threshold, besides itself; the backend is left with the word deployed.

    Args:
        engine: with the word's model.
        word: with its calibration.
        others: the enrolled words; those of other models and the word itself are left out.
        refusal: what is told of a word that fails.

    Raises:
        SafetyError: background, or the utterance of another word.
    """
    check_background(engine, word, refusal)
    _check_others(engine, word, _rivals(engine, word, others), refusal)


def _rivals(engine: Engine, word: StoredWord, others: Sequence[StoredWord]) -> list[StoredWord]:
    """Return the other words of the same model."""
    return [other for other in others if other.info.word != word.info.word and other.info.model_sha256 == engine.model.sha256]


def check_background(engine: Engine, word: StoredWord, refusal: str = "was not kept") -> None:
    """Check a word's false accepts on the background bank.

    Raises:
        SafetyError: more than its stated rate allows.
    """
    calibration = word.info.calibration
    scores = (engine.background_scores(word.shots) - calibration.offset) / calibration.scale  # of each stretch
    passed, hours = int((scores >= calibration.threshold).sum()), calibration.tail.minutes / 60
    rate = calibration.per_hour or (calibration.tail.rate(calibration.threshold) if calibration.threshold >= calibration.tail.level else math.inf)
    most = min((len(scores) + 1) // 2, most_accepts(rate * hours))
    if passed > most:
        raise SafetyError(
            f"'{word.info.word}' {refusal}: it fires {passed} times in {60 * hours:.0f} minutes of background, and at most {most} fit its rate; "
            "say it again, choose a longer word, or give a higher --threshold or --false-accepts-per-hour"
        )


def most_accepts(expected: float) -> int:
    """Return the largest count that is not improbable: the least n with P(X > n) < 0.001 for a Poisson variable X of this mean."""
    if expected > 500:  # more than there are stretches in a bank; the sum below would underflow
        return sys.maxsize
    n, term = 0, math.exp(-expected)
    left = 1 - term
    while left >= RARE:
        n += 1
        term *= expected / n
        left -= term
    return n


def nearest(engine: Engine, word: StoredWord, others: Sequence[StoredWord]) -> Neighbour | None:
    """Find the enrolled word that a new one is most easily taken for; the others stay deployed.

    Args:
        engine: with the model of all of them.
        word: the new word, with its utterances.
        others: of the same model.

    Returns:
        The word whose network answers most to the new utterances; None when there is no other, or the utterances are forgotten.
    """
    if not others or word.info.forgotten:
        return None
    engine.deploy(others)
    scores = normalise(engine.backend.score([shot.inputs for shot in word.said]), others).max(0)
    best = int(np.argmax(scores - np.array([other.info.calibration.threshold for other in others])))
    return Neighbour(others[best].info.word, float(scores[best]), others[best].info.calibration.threshold)


def _check_others(engine: Engine, word: StoredWord, others: Sequence[StoredWord], refusal: str) -> None:
    """Check that a word does not answer to utterances of other words.

    Raises:
        SafetyError: it does.
    """
    heard = [(other.info.word, shot.inputs) for other in others for shot in other.said]
    if not heard:
        return
    engine.deploy([word])
    scores = normalise(engine.backend.score([spikes for _, spikes in heard]), [word])[:, 0]
    worst, threshold = int(np.argmax(scores)), word.info.calibration.threshold
    if scores[worst] >= threshold:
        raise SafetyError(
            f"'{word.info.word}' {refusal}: it would also answer to '{heard[worst][0]}' (score {scores[worst]:.1f}, needs {threshold:.1f}); "
            "choose a word that sounds different, or give a higher --threshold or fewer --false-accepts-per-hour"
        )
