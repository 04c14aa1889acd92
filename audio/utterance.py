"""A recording cut around its speech: what a word is learnt from.

When a word has ended decides what its readout learns (`snn.lsg`), so what is learnt from ends at the same time after its speech, however long the
recording goes on.
"""

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.noise_floor import surround
from audio.voice import speech_segments

MARGIN_S = 0.15  # kept around the speech that was found


def cut_around(samples: NDArray[np.float32], start_s: float, end_s: float) -> NDArray[np.float32]:
    """Cut a recording around speech that was found in it.

    Args:
        samples: float32 [n] at 16 kHz.
        start_s: where the speech begins.
        end_s: where it ends.

    Returns:
        float32 [m]: from 0.15 s before the speech, or the beginning of the recording, to 0.15 s after it; continued with the recording's own
        background where it ends earlier.
    """
    begin, end = max(0, round((start_s - MARGIN_S) * SAMPLE_RATE)), round((end_s + MARGIN_S) * SAMPLE_RATE)
    return surround(samples[begin:end], 0, max(0, end - len(samples)))


def cut_utterance(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a recording around its speech; one in which none is found is left whole.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        float32 [m], as of `cut_around`.

    Raises:
        AudioError: samples that are no audio.
    """
    segments = speech_segments(samples)
    return cut_around(samples, segments[0][0], segments[-1][1]) if segments else samples
