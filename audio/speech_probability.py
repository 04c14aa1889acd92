"""How likely it is that somebody speaks, every 32 ms: Silero VAD (Silero Team, MIT licence), a small recurrent network.

It is the ONNX file for 16 kHz inside the wheel silero-vad 6.2.3 (`audio.packaged_network`). The wheel's own modules would need torch.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.constants import SAMPLE_RATE
from audio.packaged_network import PackagedNetwork
from audio.samples import as_samples

SHA256 = "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
NETWORK = PackagedNetwork("the voice detector", "silero_vad", "silero-vad==6.2.3", "data/silero_vad_16k_op15.onnx", SHA256)
WINDOW = 512  # samples that a probability is of: 32 ms
CONTEXT = 64  # samples before them that the network hears too


def find_model() -> Path:
    """Find the network's file; see `PackagedNetwork.find`."""
    return NETWORK.find()


@functools.lru_cache(maxsize=1)
def open_session() -> Any:
    """Load the network, once per process; see `PackagedNetwork.open`."""
    return NETWORK.open(find_model())


class SpeechProbability:
    """The probabilities of a stream of blocks; bit-equal for any block size, because every window is a run of its own."""

    def __init__(self) -> None:
        """Start a stream, from rest.

        Raises:
            AudioError: the network is missing.
        """
        self._session = open_session()
        self._state = np.zeros((2, 1, 128), np.float32)
        self._rate = np.array(SAMPLE_RATE, np.int64)
        self._held = np.zeros(CONTEXT, np.float32)  # the context of the next window, and what there is of it

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1]; n may be 0.

        Returns:
            float32 [k] in [0, 1]: of the windows completed by this block; window k of a stream ends at sample 512 (k + 1).

        Raises:
            AudioError: samples that are no audio.
        """
        self._held = np.concatenate([self._held, as_samples(samples)])
        count = (len(self._held) - CONTEXT) // WINDOW
        found = np.empty(count, np.float32)
        for k in range(count):
            heard = self._held[None, k * WINDOW : (k + 1) * WINDOW + CONTEXT]
            probability, self._state = self._session.run(None, {"input": heard, "state": self._state, "sr": self._rate})
            found[k] = probability[0, 0]
        self._held = self._held[count * WINDOW :].copy()
        return found
