r"""Score normalisation and threshold of an enrolled word, from the model's background bank.

Raw scores of different words are not on one scale: a word made of common sounds scores higher on everything. As in the cohort normalisation of
speaker verification, each word's network hears the bank of speech and noise that ships with the model, and its scores are placed between what it
found there:

.. math:: s = \frac{\mathrm{raw} - q_{50}}{q_{90} - q_{50}}

with :math:`q` the quantiles, over the pieces of the bank, of the largest raw score within each: 0 is an ordinary piece of background, 1 one that only
a tenth of the background exceeds. Quantiles, because a few pieces may say the very word. (On 40 validation episodes of an early model, mean and
standard deviation in their place cost four points of accuracy.) The threshold is the same for every word, chosen on validation words (`THRESHOLDS`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from hardware.backend import Backend, Shot

if TYPE_CHECKING:
    from priming.model import PrimedModel

PIECE_MS = 1600.0  # a piece of the bank is as long as a spoken command with its surroundings
LEVELS = (0.5, 0.9)  # quantiles that become 0 and 1
SMALLEST_SCALE = 1e-3  # of a word whose network answers alike to everything
# By encoder: about 2 false accepts an hour of continuous validation speech, for each word; docs/models.md has the whole curves.
THRESHOLDS = {"embedding": 3.25, "mel": 2.5}


class Calibration(BaseModel):
    """How a word's raw score is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: FiniteFloat
    scale: FiniteFloat = Field(gt=0)
    threshold: FiniteFloat  # in normalised score, accepted from here on

    def normalise(self, raw: float) -> float:
        """Return the normalised score of a raw one."""
        return (raw - self.offset) / self.scale


def calibrate_deployed(backend: Backend, model: "PrimedModel") -> list[Calibration]:
    """Calibrate every word that is deployed on a backend; leaves the backend reset.

    Args:
        backend: with the model loaded and the words deployed.
        model: whose background bank is heard.

    Returns:
        One calibration per deployed word, in order.
    """
    steps = round(PIECE_MS / model.config.learner.step_ms)
    whole = len(model.background) // steps
    pieces = [model.background[k * steps : (k + 1) * steps] for k in range(whole)]
    low, high = np.quantile(backend.score(pieces).astype(np.float64), LEVELS, axis=0)  # each [W]
    scales = np.maximum(high - low, SMALLEST_SCALE)
    threshold = THRESHOLDS[model.config.encoder.kind]
    return [Calibration(offset=float(offset), scale=float(scale), threshold=threshold) for offset, scale in zip(low, scales, strict=True)]


def calibrate(backend: Backend, model: "PrimedModel", shots: Sequence[Shot]) -> Calibration:
    """Calibrate one word.

    Args:
        backend: with the model loaded; the word stays deployed, alone.
        model: whose background bank is heard.
        shots: of the word.

    Returns:
        Its calibration.
    """
    backend.deploy([shots])
    return calibrate_deployed(backend, model)[0]
