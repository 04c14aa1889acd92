"""What a deployed word's score compares with: the readout weights of its utterances, pooled. One arithmetic for all backends."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hardware.backend import Shot
from snn.config import METRIC

Floats = NDArray[np.float32]
EPSILON = np.float32(1e-6)  # as `snn.readout`


def pooled_readouts(words: Sequence[Sequence[Shot]], weights: Mapping[str, Floats], width: int) -> Floats:
    """Pool the readout weights of words and bring them into the form that scores compare with (`snn.readout.compared`).

    Args:
        words: shots of each word, one at least.
        weights: primed, float32.
        width: D K.

    Returns:
        float32 [W, D K], each row of norm 1.
    """
    pooled = np.zeros((len(words), width), np.float32)
    metric = weights.get(METRIC)
    for w, shots in enumerate(words):
        mean = np.mean([shot.readout for shot in shots], axis=0).astype(np.float32)
        pooled[w] = normalised(mean if metric is None else mean @ metric)
    return pooled


def normalised(features: Floats) -> Floats:
    """Scale features or a word's weights [..., D K] to norm 1."""
    scaled: Floats = features / np.sqrt(np.square(features).sum(-1, keepdims=True) + EPSILON)
    return scaled
