"""EfficientWord-Net 1.0.5, where it is installed: a ResNet-50 that turns 1.5 s of sound into a vector, words compared by the cosine.

`pip install --no-deps EfficientWord-Net==1.0.5` is enough (88 MB): the part that is used needs numpy and onnxruntime alone, while the whole package
asks for PyAudio, which is built against PortAudio. It was trained on the Multilingual Spoken Words Corpus and may have heard the words that it is
tested on.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alternatives.errors import UnavailableError
from alternatives.features import PerSound
from audio.constants import SAMPLE_RATE
from priming.episodes import BEFORE_S
from priming.evaluation import Utterance

WINDOW = SAMPLE_RATE * 3 // 2  # samples that the network hears


def window_around(samples: NDArray[np.float32], after_s: float) -> NDArray[np.float32]:
    """Cut the network's window around the clip in what `priming.episodes.hearing` gives.

    Args:
        samples: float32 [n] at 16 kHz: background, the clip, background; n >= 24000.
        after_s: seconds of the background behind the clip.

    Returns:
        float32 [24000], the clip in its middle, or at its end where less follows it.
    """
    clip = round(BEFORE_S * SAMPLE_RATE) + len(samples) - round(after_s * SAMPLE_RATE)  # twice its middle
    first = min(max(0, (clip - WINDOW) // 2), len(samples) - WINDOW)
    return samples[first : first + WINDOW]


class EfficientWordNet:
    """The network behind the protocol of the comparison; a word's score is that of its best support, as in its own detector.

    Raises:
        UnavailableError: it is not installed.
    """

    def __init__(self) -> None:
        try:
            from eff_word_net.audio_processing import Resnet50_Arc_loss
        except ImportError as error:
            raise UnavailableError("it is not installed: pip install --no-deps EfficientWord-Net==1.0.5") from error
        network = Resnet50_Arc_loss()
        self._vector = PerSound(lambda utterance: np.ravel(network.audioToVector(window_around(utterance.samples(), utterance.after_s))))

    def score(self, supports: Sequence[Sequence[Utterance]], queries: Sequence[Utterance]) -> NDArray[np.float64]:
        """Compare vectors; see `alternatives.protocol.Alternative`."""
        words = [[self._vector(utterance) for utterance in utterances] for utterances in supports]
        heard = [self._vector(query) for query in queries]
        return np.array([[max(float(query @ one) for one in vectors) for vectors in words] for query in heard])
