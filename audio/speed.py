"""Speed perturbation: a recording played faster or slower, as if another person said it.

Pitch, formants and tempo change together (Ko et al., Audio augmentation for speech recognition, 2015): a smaller person with a shorter vocal tract
speaks higher and, often, faster. Priming hears its clips at random speeds; an enrolment lets the networks hear its one utterance at a few.
"""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field

from audio.constants import SAMPLE_RATE


def _listed(given: Any) -> Any:
    """Read speeds from a line such as "1,0.86,1.16"."""
    return tuple(part.strip() for part in given.split(",")) if isinstance(given, str) else given


def _as_said_first(speeds: tuple[float, ...]) -> tuple[float, ...]:
    if not speeds or speeds[0] != 1.0 or len(set(speeds)) < len(speeds):
        raise ValueError("the first of the speeds is 1, an utterance as it was said, and none comes twice")
    return speeds


Speeds = Annotated[
    tuple[Annotated[float, Field(ge=0.5, le=2.0)], ...], BeforeValidator(_listed), AfterValidator(_as_said_first)
]  # at which an utterance is learnt from: a field of a configuration


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
