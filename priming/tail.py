r"""How often background passes a high threshold, from less of it than the rates that users ask for need.

A word's bank is shorter than an hour, so what happens once an hour is extrapolated from the largest scores in stretches of 6.4 s. Above the level
:math:`u` that the bank passes :math:`r_u` = 60 times an hour, scores follow the generalised Pareto law of extreme values (Pickands 1975),

.. math:: \mathrm{rate}(s) = r_u\, z^{-1/\xi}, \qquad z = 1 + \xi \frac{s - u}{\sigma} = 1 - \frac{s - u}{e}, \qquad \xi = -\sigma / e < 0

**Its end is known.** A score is the cosine of what was heard and what was learnt, to which the learning network adds little: no background scores
higher than the word itself, so the law ends where the cosine is 1, :math:`e` above :math:`u`. The high scores of a bank are too few to tell a word's
shape from them alone; with the end it follows from the spread, one number for both: :math:`t = -\ln z` is exponential with mean :math:`|\xi|`.

**It is estimated from a handful of stretches.** A threshold put where the likeliest law has the wanted rate is passed more often than that on
average, because a tail that is underestimated adds more false accepts than an overestimated one spares. So the rate is the mean over what :math:`\xi`
may be: given :math:`n` stretches whose t sum up to :math:`b`, :math:`|\xi|` has an inverse gamma distribution, and the mean is

.. math:: \mathrm{rate}(s) = r_u \left(1 + \frac{t}{b}\right)^{-n} \longrightarrow r_u\, z^{-1/\xi} \quad (n \to \infty,\ b = n |\xi|)

What is ordinary for validation words, :math:`\xi` = -0.1, counts as five stretches more (the conjugate prior). Of the highest fifth of the stretches
only the number counts (they are censored): they may say the very word, and then their scores belong to another law.

**Three quarters of it are that of words on average**, which the model knows from the words that it was primed on (`priming.levels`): the few high
scores of one word say less about how it fares elsewhere than they seem to.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

START_PER_HOUR = 60.0  # where the tail begins
CENSORED = 0.2  # share of the stretches in the tail of which only the number counts
PRIOR_SHAPE, PRIOR_STRETCHES = -0.1, 5.0  # what is ordinary for validation words, and how many stretches it weighs as much as
SHORTEST = 1e-3  # from the level to the end, for scores that do not differ


class Tail(BaseModel):
    """How often background passes a high threshold; all levels are normalised scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: FiniteFloat  # u: where the tail begins
    per_hour: FiniteFloat = Field(gt=0)  # r_u: how often the bank passes it
    spread: FiniteFloat = Field(gt=0)  # sigma: near the level, a threshold higher by so much is passed e times less often
    shape: FiniteFloat = Field(lt=0)  # xi
    stretches: FiniteFloat | None = Field(default=None, gt=0)  # n, that spread and shape rest on; None takes them for certain
    highest: FiniteFloat  # of the bank
    minutes: FiniteFloat = Field(gt=0)  # length of the bank

    def threshold(self, per_hour: float) -> float:
        """Return the threshold that background passes so many times an hour."""
        rarer = np.log(self.per_hour / per_hour)
        if self.stretches is not None:
            rarer = self.stretches * np.expm1(rarer / self.stretches)
        return float(self.level + self.spread / self.shape * np.expm1(self.shape * rarer))

    def rate(self, threshold: float) -> float:
        """Return how many times an hour background passes a threshold; below the tail's beginning, at least how many."""
        left = 1 + self.shape * max(0.0, threshold - self.level) / self.spread  # z
        if left <= 0:
            return 0.0
        rarer = np.log(left) / self.shape
        if self.stretches is not None:
            rarer = self.stretches * np.log1p(rarer / self.stretches)
        return float(self.per_hour * np.exp(-rarer))


def mean_tail(tails: Sequence[Tail]) -> Tail:
    """Return the tail whose every number is the mean of those of some tails."""
    known = [tail.model_dump() for tail in tails]
    return Tail(**{name: float(np.mean([each[name] for each in known])) for name in Tail.model_fields})


def blended(own: Tail, average: Tail, share: float) -> Tail:
    """Take a share of a word's own law and the rest from words on average; what was counted stays the word's own."""
    mixed = {name: share * getattr(own, name) + (1 - share) * getattr(average, name) for name in ("level", "per_hour", "spread", "shape")}
    return own.model_copy(update=mixed)


def fit_tail(maxima: NDArray[np.float64], stretch_s: float, end: float) -> Tail:
    """Fit the tail of a word's scores on the bank.

    Args:
        maxima: [S] largest normalised score of each stretch, S >= 1.
        stretch_s: length of a stretch.
        end: normalised score that no background reaches; where the bank comes nearer than half of the way to it, the end is put further away.

    Returns:
        The tail. Where the bank is too short to reach down to its usual beginning, it begins at the bank's median.
    """
    ordered = np.sort(maxima)[::-1]
    expected = len(ordered) * -np.expm1(-START_PER_HOUR * stretch_s / 3600)  # stretches that hold one false accept or more
    count = max(1, min(round(expected), (len(ordered) + 1) // 2))
    level = float(ordered[count - 1])
    per_hour = -np.log1p(-(count - 0.5) / len(ordered)) * 3600 / stretch_s
    censored = round(CENSORED * (count - 1))
    excess = np.minimum(ordered[: count - 1], ordered[censored]) - level
    length = max(end - level, 2 * float(excess.max(initial=0.0)), SHORTEST)  # e
    stretches = count - 1 - censored + PRIOR_STRETCHES
    shape = (np.log1p(-excess / length).sum() + PRIOR_STRETCHES * PRIOR_SHAPE) / stretches
    return Tail(
        level=level,
        per_hour=float(per_hour),
        spread=float(-shape * length),
        shape=float(shape),
        stretches=float(stretches),
        highest=float(ordered[0]),
        minutes=len(ordered) * stretch_s / 60,
    )
