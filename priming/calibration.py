r"""Score normalisation and threshold of an enrolled word, from the model's background bank.

Raw scores of different words are not on one scale: a word made of common sounds scores higher on everything. As in the cohort normalisation of
speaker verification, each word's network hears speech and noise of the bank that ships with the model, and its scores are placed between what it
found there:

.. math:: s = \frac{\mathrm{raw} - l_0}{l_1 - l_0}, \qquad l_0 = \tfrac14 (q_{50} + 3 \bar q_{50}), \quad l_1 = \tfrac14 (q_{95} + 3 \bar q_{95})

with :math:`q` the quantiles, over pieces of 1.6 s, of the largest raw score within each, and :math:`\bar q` what they are for words on average, which
the model knows from the words that it was primed on: 0 is about an ordinary piece of background, 1 is exceeded by about a twentieth of them.
Quantiles, because a few pieces may say the very word. Mostly the average, because a word's own quantiles say partly how easily it is taken for
others, which a score must make up for, and partly how much the word has of what every speaker says, which it must not. A model without the average
has a word's own quantiles alone.

In running speech something is taken off the raw score (`audio.running_speech`): a command is said between pauses, so in the middle of a sentence a
score must be higher to be believed. Scales are taken from scores of which nothing is taken off, tails from what listening would see.

The **threshold** is that which background passes a stated number of times an hour (`priming.tail`). A quarter of the tail that says so is the word's
own; the rest is that of words on average, which are learnt from as many utterances as the word (`average_tail_for`): the scores that background gets
from a mean of several utterances have another tail than those it gets from one.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from hardware.backend import Backend, Shot
from hardware.heard import Heard, HearsOnce
from priming.errors import CalibrationError
from priming.tail import START_PER_HOUR, Tail, blended, fit_tail

if TYPE_CHECKING:
    from priming.bank import Bank
    from priming.model import PrimedModel

Clips = NDArray[np.uint8]  # [clips, T, I] spikes
Number = TypeVar("Number", np.uint8, np.float32)

PIECE_MS = 1600.0  # normalisation: as long as a spoken command with its surroundings
PIECES = 200  # that normalisation listens to, evenly over the bank
LEVELS = (0.5, 0.95)  # quantiles that become 0 and 1
OWN_SHARE = 0.25  # of a word's own quantiles and of its own tail, against those of words on average
SEVERAL = 5  # utterances of each word that a model's second average tail is of
SMALLEST_SCALE = 1e-3  # of a word whose network answers alike to everything
STRETCH_MS = 4 * PIECE_MS  # the tail: what begins and ends between two stretches is lost, a tenth at this length
LARGEST = 1.0  # raw score of background: the cosine of what was heard and what was learnt; the learning network adds a few hundredths
AT_ONCE = 200  # clips that are scored together
DEFAULT_PER_HOUR = 1.0  # false accepts of a word
PER_HOUR = (0.01, START_PER_HOUR)  # what can be aimed at


class Scale(BaseModel):
    """How a word's raw score is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: FiniteFloat
    scale: FiniteFloat = Field(gt=0)

    def normalise(self, raw: float) -> float:
        """Return the normalised score of a raw one."""
        return (raw - self.offset) / self.scale


class Calibration(Scale):
    """How a word's raw score is read, and from where on it is accepted."""

    threshold: FiniteFloat  # in normalised score, accepted from here on
    per_hour: FiniteFloat | None = Field(default=None, gt=0)  # false accepts aimed at; None where the threshold was set by hand
    tail: Tail
    own: tuple[FiniteFloat, ...]  # normalised score of each utterance that the word was learnt from

    def aimed(self, per_hour: float) -> "Calibration":
        """Return the same calibration with a threshold that aims at a rate of false accepts.

        Raises:
            CalibrationError: a rate that the bank says nothing about.
        """
        check_rate(per_hour)
        return self.model_copy(update={"threshold": self.tail.threshold(per_hour), "per_hour": per_hour})

    def fixed(self, threshold: float) -> "Calibration":
        """Return the same calibration with a threshold set by hand.

        Raises:
            CalibrationError: no finite number, or so low that ordinary background passes it.
        """
        check_threshold(threshold)
        return self.model_copy(update={"threshold": threshold, "per_hour": None})

    def check(self) -> None:
        """Check that the word can be recognised at all.

        Raises:
            CalibrationError: none of its own utterances passes the threshold.
        """
        if max(self.own) < self.threshold:
            wanted = f"at {self.per_hour:g} false accepts an hour it" if self.per_hour else "it"
            raise CalibrationError(
                f"this word does not stand out from background: {wanted} needs a score of {self.threshold:.1f}, and its own recording has "
                f"{max(self.own):.1f}; say it again, choose a longer word, or give a lower --threshold or a higher --false-accepts-per-hour"
            )


def check_rate(per_hour: float) -> None:
    """Check a rate of false accepts.

    Raises:
        CalibrationError: a rate that the bank says nothing about.
    """
    least, most = PER_HOUR
    if not least <= per_hour <= most:
        raise CalibrationError(f"{per_hour:g} false accepts an hour cannot be aimed at; give a rate from {least:g} to {most:g}")


def check_threshold(threshold: float) -> None:
    """Check a threshold that is set by hand.

    Raises:
        CalibrationError: no finite number, or so low that ordinary background passes it.
    """
    if not np.isfinite(threshold) or threshold <= 1.0:
        raise CalibrationError(f"a threshold of {threshold:g} cannot be used; give a number above 1, which a twentieth of all background passes")


def hear_pieces(backend: Backend, model: "PrimedModel") -> list[Heard] | None:
    """Let what words share hear what scales are taken from, once for all words; None where the backend cannot tell it apart. Leaves it reset."""
    cut = pieces(model)
    return [backend.hear(cut[part]) for part in groups(len(cut))] if isinstance(backend, HearsOnce) else None


def scale_deployed(backend: Backend, model: "PrimedModel", heard: Sequence[Heard] | None = None) -> list[Scale]:
    """Find how the raw scores of every deployed word are read; leaves the backend reset.

    Args:
        backend: with the model loaded and the words deployed.
        model: whose background bank is heard.
        heard: of `hear_pieces`, which makes it quicker and changes nothing else.

    Returns:
        One scale per deployed word, in order.

    Raises:
        CalibrationError: a score is no number.
    """
    if heard is not None and isinstance(backend, HearsOnce):
        return scales(model.config.levels, _checked(np.concatenate([backend.score_heard(group) for group in heard]).astype(np.float64)))
    return scales(model.config.levels, _score(backend, list(pieces(model))))


def levels_of(maxima: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantiles that become 0 and 1, [2, W], of the largest raw scores of W words in pieces, [P, W]."""
    found: NDArray[np.float64] = np.quantile(maxima, LEVELS, axis=0)
    return found


def scales(levels: tuple[float, float] | None, maxima: NDArray[np.float64]) -> list[Scale]:
    """Place 0 and 1 by the largest raw scores of W words in pieces, [P, W], and by where they are for words on average."""
    low, high = levels_of(maxima)
    if levels is not None:
        low, high = (OWN_SHARE * own + (1 - OWN_SHARE) * average for own, average in zip((low, high), levels, strict=True))
    return [Scale(offset=float(offset), scale=float(scale)) for offset, scale in zip(low, np.maximum(high - low, SMALLEST_SCALE), strict=True)]


def average_tail_for(model: "PrimedModel", utterances: int) -> Tail | None:
    """Return the tail of words on average that are learnt from so many utterances.

    The model knows it for one utterance and for several; between them the law is mixed, linear in the logarithm of their number, because each further
    utterance changes a mean less than the one before. More than `SEVERAL` count as so many: beyond what was measured nothing is extrapolated.

    Args:
        model: that knows the averages; without the one of several utterances, that of one stands for all.
        utterances: one at least.
    """
    one, several = model.config.tail, model.config.tail_several
    if one is None or several is None:
        return one
    return blended(several, one, min(1.0, math.log(utterances) / math.log(SEVERAL)))


def calibrate(
    backend: Backend,
    model: "PrimedModel",
    shots: Sequence[Shot],
    per_hour: float = DEFAULT_PER_HOUR,
    bank: "Bank | None" = None,
    own_raw: Sequence[float] | None = None,
) -> Calibration:
    """Calibrate one word, whether or not it stands out from background; it stays deployed, alone.

    Args:
        backend: with the model loaded.
        model: whose background bank is heard.
        shots: of the word.
        per_hour: false accepts to aim at.
        bank: of the model, so that what words share hears it once for all of them; the result is the same to the last bit.
        own_raw: largest raw score of the word for each of its utterances, where that is known already. Shots may be more than utterances, which are
            heard at several speeds, or fewer, where utterances were forgotten; without this, each shot counts as an utterance.

    Returns:
        The calibration.

    Raises:
        CalibrationError: a score is no number, or a rate that the bank says nothing about.
    """
    check_rate(per_hour)
    if bank is None or not isinstance(backend, HearsOnce):
        backend.deploy([shots])
        in_pieces, in_stretches = _score(backend, list(pieces(model))), _score(backend, list(stretches(model)), taken_off(model))
    else:
        in_pieces, in_stretches = map(_checked, bank.maxima(backend, shots))
        backend.deploy([shots])
    heard = _score(backend, [shot.inputs for shot in shots])[:, 0] if own_raw is None else _checked(np.array(own_raw, np.float64))
    (scale,) = scales(model.config.levels, in_pieces)
    tail = fit_tail((in_stretches[:, 0] - scale.offset) / scale.scale, stretch_s(model), scale.normalise(LARGEST))
    average = average_tail_for(model, len(heard))
    tail = tail if average is None else blended(tail, average, OWN_SHARE)
    own = tuple(scale.normalise(float(raw)) for raw in heard)
    return Calibration(**scale.model_dump(), threshold=tail.threshold(per_hour), per_hour=per_hour, tail=tail, own=own)


def stretch_maxima(backend: Backend, model: "PrimedModel", shots: Sequence[Shot], bank: "Bank | None" = None) -> NDArray[np.float64]:
    """Score the stretches of the bank for one word, which may stay deployed, alone.

    Args:
        backend: with the model loaded.
        model: whose background bank is heard.
        shots: of the word.
        bank: of the model; if the word was the last to be calibrated with it, nothing is heard again.

    Returns:
        [S] the largest raw score in each stretch, running speech taken off.

    Raises:
        CalibrationError: a score is no number.
    """
    if bank is None or not isinstance(backend, HearsOnce):
        backend.deploy([shots])
        return _score(backend, list(stretches(model)), taken_off(model))[:, 0]
    return _checked(bank.maxima(backend, shots)[1])[:, 0]


def pieces(model: "PrimedModel") -> Clips:
    """Cut out what the scale is taken from: [P, T, I], evenly over the bank."""
    return cut_pieces(model.background, model.config.learner.step_ms)


def cut_pieces(background: NDArray[np.uint8], step_ms: float) -> Clips:
    """Cut what scales are taken from out of a bank [T, I] of so long steps: [P, T, I]."""
    cut = _cut(background, round(PIECE_MS / step_ms))
    return cut[np.unique(np.linspace(0, len(cut) - 1, min(PIECES, len(cut))).round().astype(np.int64))]


def stretches(model: "PrimedModel") -> Clips:
    """Cut out what the tail is fitted to: [S, T, I]."""
    return cut_stretches(model.background, model.config.learner.step_ms)


def cut_stretches(background: NDArray[Number], step_ms: float) -> NDArray[Number]:
    """Cut what tails are fitted to out of a bank [T, I] of so long steps: [S, T, I]."""
    return _cut(background, round(STRETCH_MS / step_ms))


def taken_off(model: "PrimedModel") -> NDArray[np.float32] | None:
    """Return what is taken off the running scores in each stretch: [S, T], or None where nothing is."""
    if model.running_speech is None:
        return None
    lost = np.float32(model.config.running_speech) * model.running_speech
    return cut_stretches(lost[:, None], model.config.learner.step_ms)[:, :, 0]


def stretch_s(model: "PrimedModel") -> float:
    """Return the length of a stretch."""
    return float(stretches(model).shape[1] * model.config.learner.step_ms / 1000)


def _cut(background: NDArray[Number], steps: int) -> NDArray[Number]:
    """Cut a bank [T, I] into as many clips of so many steps as it holds; a shorter bank is one clip."""
    whole = max(1, len(background) // steps)
    return background[: whole * steps].reshape(whole, -1, background.shape[1])


def groups(clips: int) -> list[slice]:
    """Divide clips into what is scored together."""
    return [slice(first, first + AT_ONCE) for first in range(0, clips, AT_ONCE)]


def _score(backend: Backend, clips: Sequence[NDArray[np.uint8]], less: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """Score clips for the deployed words, less [clips, T], and check the scores: [clips, W]."""
    found = [backend.score(clips[part], None if less is None else list(less[part])) for part in groups(len(clips))]
    return _checked(np.concatenate(found).astype(np.float64))


def _checked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(scores).all():
        raise CalibrationError("the network that learnt this word does not answer with numbers; record the word again")
    return scores
