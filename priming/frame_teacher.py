r"""A teacher that was primed on the same recordings: the frames of a prototypical network that does not spike (`priming.prototypical`).

A convolutional network is primed in minutes for what a spiking one needs hours for, but its clip vector is a mean over the whole clip, which no
listener can follow. What the student is to say at a frame k is what could have been heard by then, the mean of earlier frames f of the last block,

.. math:: v_k = R\, W \Big(\tfrac{1}{n} \sum_{j=l}^{l+n-1} f_{k-j} - m\Big), \qquad n = 4,\ l = 1

(fewer at the beginning of a clip), with m and W the mean and the soft whitening of such means over the family, as the speech embedding is whitened
before it is coded (`audio.whitening`), and R a fixed rotation, so that all directions have like variance. Frames are divided by their mean
norm in the clip, as clip vectors are by theirs. Compared at a few delays these vectors tell words apart better than the clip vectors of the network
itself.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.whitening import soft_whitening
from priming.analog import values
from priming.distillation import VECTOR_MS, Take, check_student
from priming.errors import DataError
from priming.features import Features
from priming.prototypical import PrimedProtonet
from snn.initialise import DECODER_GAIN

FRAMES = 4  # n: averaged; a student that is to remember longer means, or to say them later, learns them worse
LATE_FRAMES = 1  # l: a frame hears some of what follows it, so a student may answer a little later
SOFTNESS = 0.3  # of the mean eigenvalue, added to every one
FITTED_EVERY = 13  # clip of the family that the whitening is fitted on
AT_ONCE = 256  # clips


class FrameTeacher:
    """What the network says about every clip that priming draws; see `priming.distillation.Teacher`.

    Args:
        network: primed on log-mel bands.
        encoded: clips as the network hears them.
        student: clips as the student hears them.
        units: readout units of the student.

    Raises:
        DataError: a network of other features or another pace, other clips, or too few units.
    """

    features: None = None  # nothing is unpacked while the student learns: all vectors are computed here

    def __init__(self, network: PrimedProtonet, encoded: Features, student: Features, units: int) -> None:
        config = network.config
        if config.features.kind != "log-mel" or config.hop_ms != VECTOR_MS:
            raise DataError(f"a teacher of mel hears log-mel bands and has a frame every {VECTOR_MS:g} ms: prime one with --input mel")
        check_student(units, config.widths[-1], encoded, student)
        self.provenance: dict[str, Any] = {"sha256": network.sha256, "provenance": config.provenance}
        copies = encoded.chunks[0].shape[1]
        groups = np.array_split(np.arange(len(encoded.clips)), math.ceil(len(encoded.clips) / AT_ONCE))
        said = [np.stack([_means(network, encoded, clips, copy) for copy in range(copies)], 1) for clips in groups]
        self._vectors = np.concatenate(said)  # [clips, copies, V, D]
        fitted = self._vectors[::FITTED_EVERY, 0, LATE_FRAMES:].astype(np.float64).reshape(-1, config.widths[-1])
        mean, transform = fitted.mean(0), soft_whitening(np.cov(fitted.T), SOFTNESS)
        scale = DECODER_GAIN / math.sqrt(config.widths[-1])
        for clips in groups:
            self._vectors[clips] = scale * ((self._vectors[clips].astype(np.float64) - mean) @ transform)

    def values(self, clips: NDArray[np.int64], copies: NDArray[np.int64], take: Take = Features.take) -> Tensor:
        """Return what the teacher says, [V, n, D]; there is nothing to `take`."""
        del take
        return torch.from_numpy(self._vectors[clips, copies].astype(np.float32)).transpose(0, 1)


@torch.no_grad()
def _means(network: PrimedProtonet, encoded: Features, clips: NDArray[np.int64], copy: int) -> NDArray[np.float16]:
    """Return the means of earlier frames of clips, [n, V, D], before they are centred."""
    heard = values(encoded.take(clips, np.full(len(clips), copy)), network.config.features.kind)
    frames = network.network.eval().frames(torch.from_numpy(heard)).double()
    frames = frames / frames.norm(dim=2, keepdim=True).mean(1, keepdim=True).clamp_min(1e-6)
    total = torch.nn.functional.pad(frames, (0, 0, FRAMES + LATE_FRAMES, 0)).cumsum(1)
    there = (torch.arange(frames.shape[1]) + 1 - LATE_FRAMES).clamp(1, FRAMES)  # a clip begins anywhere: nothing may tell how long ago
    means = (total[:, FRAMES:-LATE_FRAMES] - total[:, : -FRAMES - LATE_FRAMES]) / there[:, None]
    found: NDArray[np.float16] = means.numpy().astype(np.float16)
    return found
