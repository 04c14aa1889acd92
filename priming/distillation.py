r"""Distillation: before the episodes, the feature population of the encoder `mel` learns to say what a teacher says: by default the speech embedding.

The teacher hears the same clips, copy by copy, through the `embedding` encoder; its spikes, decoded linearly, give the values
:math:`v_k` of its 96 directions every 80 ms. The first 96 readout units of the student, low-passed but not weighted by salience, follow them:

.. math::
    y^t = \kappa y^{t-1} + (1-\kappa) P (h^t - c), \qquad
    E = \frac{\sum_k \lVert y^{t(k)} - \epsilon v_k \rVert^2}{\sum_k \lVert \epsilon v_k \rVert^2}
      + 1 - \big\langle \cos(y^{t(k)}, v_k) \big\rangle_k + \lambda \tfrac{1}{2N} \sum_j (\bar z_j - r^*)^2

with t(k) the last step of the vector's 80 ms and :math:`\epsilon` the size at which the readout of an `embedding` model starts. Both caches keep the
end of a clip, so a vector is up to 60 ms older than the step that is to give it; it sees 775 ms. No label is used, and the teacher hears only what
passed the gate. It goes on in the episodes, where its first two terms are added to the objective: without them the network forgets what the teacher
knows of all words and learns the primed ones by heart. The model that comes out hears mel bands alone. Another teacher is primed on the same
recordings (`priming.frame_teacher`): then nothing that the student says comes from elsewhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from audio.encoder import SpikeEncoder
from priming.errors import DataError
from priming.features import Features
from priming.objective import RATE_WEIGHT
from snn import features, readout
from snn.config import LearnerConfig
from snn.initialise import DECODER_GAIN
from snn.populations import Weights
from snn.precision import product
from snn.regulariser import rate_loss

VECTOR_MS = 80.0  # between vectors of the teacher
Take = Callable[[Features, NDArray[np.int64], NDArray[np.int64]], NDArray[np.uint8]]
BLIND_VECTORS = 2  # at the start of a clip, of which the student has not heard enough


class Teacher(Protocol):
    """What a student imitates."""

    @property
    def features(self) -> Features | None:
        """Spikes that `values` takes, clip by clip those of the student; None if it takes none."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the teacher comes from, for the model's header."""

    def values(self, clips: NDArray[np.int64], copies: NDArray[np.int64], take: Take = ...) -> Tensor:
        """Return what the teacher says of clips, [vectors, n, D], the last vector at the end of the clip."""


def check_student(units: int, directions: int, encoded: Features, student: Features) -> None:
    """Check that teacher and student hear the same clips, and that the student can say all that the teacher says.

    Args:
        units: readout units of the student.
        directions: of the teacher's vectors.
        encoded: clips as the teacher hears them.
        student: clips as the student hears them.

    Raises:
        DataError: too few units, or other clips.
    """
    if units < directions:
        raise DataError(f"the student has {units} readout units, the teacher {directions} directions: give the learner a larger projection")
    if [clip.key for clip in encoded.clips] != [clip.key for clip in student.clips]:
        raise DataError("the teacher's clips are not the student's; remove the cache folder and start again")


@dataclass(frozen=True)
class EmbeddingTeacher:
    """What the speech embedding says about every clip that priming draws."""

    features: Features  # spikes of the `embedding` encoder, clip by clip those of the student
    decoder: Tensor  # [96, channels]
    steps_per_vector: int
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, encoded: Features, encoder: SpikeEncoder, student: Features, units: int) -> "EmbeddingTeacher":
        """Check student and teacher against each other, see `check_student`.

        Args:
            encoded: clips as the teacher hears them.
            encoder: of the teacher.
            student: clips as the student hears them.
            units: readout units of the student.

        Raises:
            DataError: other clips, or too few units.
        """
        check_student(units, len(encoder.decoder()), encoded, student)
        return cls(encoded, torch.from_numpy(encoder.decoder()), round(VECTOR_MS / encoder.step_ms))

    def values(self, clips: NDArray[np.int64], copies: NDArray[np.int64], take: Take = Features.take) -> Tensor:
        """Decode what the teacher says, [vectors, n, 96]; `take` may have unpacked its spikes already (`priming.prefetch`)."""
        spikes = torch.from_numpy(take(self.features, clips, copies)[:, self.steps_per_vector - 1 :: self.steps_per_vector]).to(torch.float32)
        scale = DECODER_GAIN / math.sqrt(len(self.decoder))
        return scale * spikes.transpose(0, 1) @ self.decoder.T


def imitation_loss(config: LearnerConfig, weights: Weights, heard: Tensor, values: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Evaluate the first two terms of E on what the readout hears.

    Args:
        config: of the student.
        weights: of the student.
        heard: h [T, n, H] of the clips (`snn.features`).
        values: [V, n, D] of the teacher, the last at the end of the last step.

    Returns:
        Scalar loss, and the figures for the log: the first term and the mean cosine.
    """
    drive = product(heard - weights["center"], weights["readout.project"][: values.shape[-1]].T)
    stride = round(VECTOR_MS / config.step_ms)
    said = readout.low_pass(drive, config.readout_kappa).flip(0)[::stride].flip(0)[-len(values) :]
    said, values = said[BLIND_VECTORS:], values[BLIND_VECTORS:]
    error = (said - values).square().mean() / values.square().mean()
    cosine = functional.cosine_similarity(said, values, dim=-1).mean()
    return error + 1 - cosine, {"distillation error": float(error.detach()), "distillation cosine": float(cosine.detach())}


def distillation_loss(config: LearnerConfig, weights: Weights, x: Tensor, values: Tensor, target_rate: float) -> tuple[Tensor, dict[str, float]]:
    """Evaluate E on input spikes.

    Args:
        config: of the student.
        weights: of the student.
        x: [T, n, I] its input spikes.
        values: [V, n, D] of the teacher.
        target_rate: spikes a step of the feature population.

    Returns:
        Scalar loss, and figures for the log.
    """
    heard, population = features.hear(config, weights, x)
    loss, figures = imitation_loss(config, weights, heard, values)
    return loss + RATE_WEIGHT * rate_loss(population.z, target_rate), figures | {"feature rate": float(population.z.detach().mean())}


def draw_clips(student: Features, count: int, copies: int, seed: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw clips for a step of distillation, as many said in isolation as cut from sentences where there are both.

    Args:
        student: encoded clips.
        count: how many to draw.
        copies: augmented copies of each clip.
        seed: of the run.
        step: of the run.

    Returns:
        [count] clips and [count] copies.
    """
    rng = np.random.default_rng([seed, step, 1])
    alone = np.array([clip.source == "commands" for clip in student.clips])
    pools = [pool for pool in (np.flatnonzero(alone), np.flatnonzero(~alone)) if len(pool)]
    drawn = [rng.choice(pool, count // len(pools) + (k < count % len(pools))) for k, pool in enumerate(pools)]
    return np.concatenate(drawn), rng.integers(copies + 1, size=count)
