"""Features of utterances, computed once for each sound and kept in memory."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from alternatives.errors import UnavailableError
from audio.constants import SAMPLE_RATE
from audio.encoder import EmbeddingEncoderConfig
from audio.speech_embedding import HOP, WINDOW, EmbeddingStream
from priming.episodes import BEFORE_S
from priming.evaluation import Utterance
from priming.model import PrimedModel

KEPT = 6000  # all clips of a role; features of noisy queries, each heard once, push one another out
FIRST_WHOLE_VECTOR = -(-WINDOW // HOP) - 1  # the first vector of a stream whose window holds nothing from before the stream
LEAD_MS = FIRST_WHOLE_VECTOR * HOP / 16  # of background in front of every clip, which mean values over time leave out

T = TypeVar("T")


def bare(utterance: Utterance) -> NDArray[np.float32]:
    """Return the clip alone, without the background before and after it: float32 [n] at 16 kHz."""
    samples = utterance.samples()
    return samples[round(BEFORE_S * SAMPLE_RATE) : len(samples) - round(utterance.after_s * SAMPLE_RATE)]


class PerSound(Generic[T]):
    """A feature of utterances.

    Args:
        compute: from an utterance to the feature.
        kept: sounds whose features are kept; those asked for least recently go first.
    """

    def __init__(self, compute: Callable[[Utterance], T], kept: int = KEPT) -> None:
        self._compute, self._most = compute, kept
        self._features: OrderedDict[str, T] = OrderedDict()

    def __call__(self, utterance: Utterance) -> T:
        """Return the feature of an utterance."""
        if utterance.key in self._features:
            self._features.move_to_end(utterance.key)
        else:
            self._features[utterance.key] = self._compute(utterance)
            if len(self._features) > self._most:
                self._features.popitem(last=False)
        return self._features[utterance.key]


class Spikes:
    """Spikes of a model's encoder, kept with the channels packed to bits.

    Args:
        model: whose encoder hears.
    """

    def __init__(self, model: PrimedModel) -> None:
        encoder = model.encoder()
        self._channels = encoder.channels
        self._packed = PerSound(lambda utterance: np.packbits(encoder.encode(utterance.samples()), axis=1))

    def __call__(self, utterance: Utterance) -> NDArray[np.uint8]:
        """Return the spikes of an utterance, uint8 [T, I]."""
        return np.unpackbits(self._packed(utterance), axis=1, count=self._channels)


class Embedding:
    """The speech embedding before it is turned into spikes.

    Args:
        model: a model behind the speech embedding.

    Raises:
        UnavailableError: the model hears with another encoder.
    """

    def __init__(self, model: PrimedModel) -> None:
        if not isinstance(model.config.encoder, EmbeddingEncoderConfig):
            raise UnavailableError(f"it needs the speech embedding, and the model '{model.name}' hears with another encoder")
        self._mean, self._transform = model.encoder_constants["mean"], model.encoder_constants["transform"]
        self._vectors = PerSound(lambda utterance: EmbeddingStream().push(utterance.samples()))

    def __call__(self, utterance: Utterance) -> NDArray[np.float32]:
        """Return float32 [T, 96] as the frozen network gives them; vector k ends 80 (k + 1) ms after the sound begins."""
        return self._vectors(utterance)

    def whitened(self, utterance: Utterance) -> NDArray[np.float32]:
        """Return float32 [T, 96], centred and whitened with the encoder's constants, of the windows that lie within the sound."""
        white = (self(utterance)[FIRST_WHOLE_VECTOR:] - self._mean) @ self._transform
        return white.astype(np.float32, copy=False)
