"""The background of a recording, continued before and after it.

Listening never hears digital silence, and the frozen speech embedding was made on rooms, not on zeros: a clip that is surrounded by zeros is a
different sound from the same clip in its own room. A clip is therefore continued with noise that has the power spectrum of its quietest stretch.
The noise is drawn from a seeded generator: the same clip always continues in the same way.
"""

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE

QUIET_MS = 160  # the quietest stretch of this length is taken for background
FRAME = 512  # samples of one spectrum (32 ms)
DIGITAL_SILENCE = 1e-4  # root mean square (-80 dBFS) below which a stretch is no room at all; the continuation is then noise of this level


def quietest_stretch(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find the quietest stretch of a recording.

    Args:
        samples: float32 [n] at 16 kHz, n >= 1.

    Returns:
        float32 [min(n, 2560)]: the contiguous 160 ms of least energy, searched in steps of 10 ms.
    """
    length = SAMPLE_RATE * QUIET_MS // 1000
    if len(samples) <= length:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(0, len(samples) - length + 1, SAMPLE_RATE // 100)
    first = int(starts[np.argmin(energy[starts + length] - energy[starts])])
    return samples[first : first + length]


def noise_floor(samples: NDArray[np.float32], length: int, seed: int = 0) -> NDArray[np.float32]:
    """Synthesise background noise with the power spectrum of a recording's quietest stretch.

    Args:
        samples: float32 [n] at 16 kHz, the recording.
        length: samples to return.
        seed: of the generator that draws the noise.

    Returns:
        float32 [length], stationary Gaussian noise; never digital silence.
    """
    if length == 0:
        return np.zeros(0, np.float32)
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(length + FRAME)
    quiet = quietest_stretch(samples).astype(np.float64)
    level = float(np.sqrt(np.mean(np.square(quiet)))) if len(quiet) else 0.0
    if level < DIGITAL_SILENCE or len(quiet) < FRAME:
        return (max(level, DIGITAL_SILENCE) * white[:length]).astype(np.float32)
    window = np.hanning(FRAME)
    starts = range(0, len(quiet) - FRAME + 1, FRAME // 4)
    power = np.mean([np.abs(np.fft.rfft(window * quiet[s : s + FRAME])) ** 2 for s in starts], axis=0)
    impulse = np.fft.fftshift(np.fft.irfft(np.sqrt(power)))  # zero phase: the filter whose gain is the background's spectrum
    size = 1 << int(np.ceil(np.log2(length + 2 * FRAME)))
    shaped = np.fft.irfft(np.fft.rfft(white, size) * np.fft.rfft(impulse, size), size)[FRAME : FRAME + length]
    shaped *= level / max(float(np.sqrt(np.mean(np.square(shaped)))), 1e-12)
    return shaped.astype(np.float32)


def surround(samples: NDArray[np.float32], before: int, after: int, seed: int = 0) -> NDArray[np.float32]:
    """Continue a recording with its own background on both sides.

    Args:
        samples: float32 [n] at 16 kHz.
        before: samples of background put in front.
        after: samples of background put behind.
        seed: of the generator that draws the background.

    Returns:
        float32 [before + n + after].
    """
    floor = noise_floor(samples, before + after, seed)
    return np.concatenate([floor[:before], samples.astype(np.float32, copy=False), floor[before:]])
