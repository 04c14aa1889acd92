"""What a deployed word's score compares with: the readout weights of its utterances, pooled. One arithmetic for all backends."""

from collections.abc import Sequence

import numpy as np

from hardware.backend import Shot
from hardware.numpy_cells import Floats

EPSILON = np.float32(1e-6)  # as `snn.readout`


def pooled_readouts(words: Sequence[Sequence[Shot]], metric: Floats | None, width: int) -> Floats:
    """Pool the readout weights of words and bring them into the form that scores compare with (`snn.readout.compared`).

    Args:
        words: shots of each word, one at least.
        metric: M [D K, D K] of the model, if it has one.
        width: D K.

    Returns:
        float32 [W, D K], each row of norm 1.
    """
    pooled = np.zeros((len(words), width), np.float32)
    for w, shots in enumerate(words):
        mean = np.mean([shot.readout for shot in shots], axis=0).astype(np.float32)
        pooled[w] = normalised(mean if metric is None else mean @ metric)
    return pooled


def normalised(features: Floats) -> Floats:
    """Scale features or a word's weights [..., D K] to norm 1."""
    scaled: Floats = features / np.sqrt(np.square(features).sum(-1, keepdims=True) + EPSILON)
    return scaled
