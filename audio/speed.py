"""Speed perturbation: a recording played faster or slower, as if another person said it.

Pitch, formants and tempo change together (Ko et al., Audio augmentation for speech recognition, 2015): a smaller person with a shorter vocal tract
speaks higher and, often, faster. Priming hears its clips at random speeds; an enrolment lets the networks hear its one utterance at a few.
"""

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE


def change_speed(samples: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Play a recording faster or slower; pitch follows.

    Args:
        samples: float32 [n] at 16 kHz.
        factor: above 1 is faster; 1 changes nothing.

    Returns:
        float32 [about n / factor].
    """
    if factor == 1.0:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE), dtype=np.float32)
