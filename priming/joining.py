"""Two pieces of sound made one: level matched, cross-faded where both are quiet.

The end of the first piece and the beginning of the second are laid over each other for a fixed length, so the length of what comes out is known
before any sound is read. Within that overlap the cross-fade takes the place where the two together have least energy: a closure or a boundary between
sounds rather than the middle of a vowel.
"""

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE

ACTIVE_FRAME_S = 0.02  # frames in which the level of speech is measured
ACTIVE_RANGE_DB = 20.0  # a frame is speech when it is at most this much weaker than the loudest one
OVERLAP_S = 0.075  # in which the place of the cross-fade is sought
CROSS_FADE_S = 0.015
LARGEST_GAIN_DB = 12.0  # by which the second piece is made louder or softer


def active_level(samples: NDArray[np.float32]) -> float:
    """The level of the speech in a recording, pauses left out.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        Root mean square over the 20 ms frames that are at most 20 dB weaker than the loudest one.
    """
    size = round(ACTIVE_FRAME_S * SAMPLE_RATE)
    if len(samples) < size:
        return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return float(np.sqrt(np.mean(power[power >= power.max() * 10 ** (-ACTIVE_RANGE_DB / 10)])))


def matching_gain(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The factor that brings one recording to the level of another.

    Args:
        first: float32 [n], the recording whose level is wanted.
        second: float32 [m], the recording to change.

    Returns:
        A factor, at most 12 dB from 1; 1 if either is silent.
    """
    levels = active_level(first), active_level(second)
    if min(levels) <= 0:
        return 1.0
    limit = 10 ** (LARGEST_GAIN_DB / 20)
    return float(np.clip(levels[0] / levels[1], 1 / limit, limit))


def join(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Join two pieces that overlap by 75 ms.

    Args:
        first: float32 [n] at 16 kHz.
        second: float32 [m] at 16 kHz, of the same level; n and m at least 75 ms.

    Returns:
        float32 [n + m - 1200]: equal power through a cross-fade of 15 ms, where the overlap has least energy.
    """
    overlap, fade = round(OVERLAP_S * SAMPLE_RATE), round(CROSS_FADE_S * SAMPLE_RATE)
    start = len(first) - overlap
    both = np.square(first[start:], dtype=np.float64) + np.square(second[:overlap], dtype=np.float64)
    energy = np.concatenate([[0.0], np.cumsum(both)])
    at = int(np.argmin(energy[fade:] - energy[:-fade]))
    angle = (np.arange(fade, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / fade)
    middle = first[start + at : start + at + fade] * np.cos(angle) + second[at : at + fade] * np.sin(angle)
    return np.concatenate([first[: start + at], middle, second[at + fade :]])
