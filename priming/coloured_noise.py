r"""Noise for a data folder without recordings of any: a minute each of white, pink and brown noise, of power :math:`\propto f^{-\gamma}`."""

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE

EXPONENTS = (0.0, 1.0, 2.0)  # gamma: white, pink, brown
SECONDS = 60
LOWEST_HZ = 20.0  # below it the power no longer grows: it would only shift the samples up and down
RMS = 0.1


def coloured_noise() -> NDArray[np.float32]:
    """Generate the noise, the same in every run.

    Returns:
        float32 [n] at 16 kHz in [-1, 1], the colours one after the other.
    """
    rng = np.random.default_rng(0)
    length = SECONDS * SAMPLE_RATE
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), LOWEST_HZ)
    parts = [np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * frequency ** (-gamma / 2), length) for gamma in EXPONENTS]
    joined: NDArray[np.float32] = np.concatenate([np.clip(RMS * part / part.std(), -1, 1) for part in parts]).astype(np.float32)
    return joined
