"""Resampling of a stream: blocks of any size in, the same samples out as from the whole signal at once.

soxr's streaming resampler keeps its filter's history between calls and holds back what it cannot yet compute, so the output is neither shifted nor
dependent on where the blocks were cut; `flush` returns the end.
"""

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.errors import AudioError

LOWEST_RATE, HIGHEST_RATE = 8_000, 384_000  # Hz; telephone speech is the least that the encoders can use


class StreamResampler:
    """Resamples one channel of float32 audio, block by block."""

    def __init__(self, rate_in: int, rate_out: int = SAMPLE_RATE) -> None:
        """Prepare a stream.

        Args:
            rate_in: samples a second that `push` receives, 8,000 to 384,000.
            rate_out: samples a second that it returns.

        Raises:
            AudioError: a rate outside this range.
        """
        if not LOWEST_RATE <= rate_in <= HIGHEST_RATE:
            raise AudioError(f"a sample rate of {rate_in} Hz is not usable: record with {LOWEST_RATE} to {HIGHEST_RATE} Hz, 16000 Hz is best")
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._stream = None
        if rate_in != rate_out:
            import soxr

            self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ")

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample the next block.

        Args:
            samples: float32 [n] at `rate_in`.

        Returns:
            float32 [m] at `rate_out`: all output that the input so far determines; may be empty.
        """
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(samples)), dtype=np.float32)

    def flush(self) -> NDArray[np.float32]:
        """End the stream.

        Returns:
            float32 [m] at `rate_out`: what was held back. Nothing may be pushed afterwards.
        """
        if self._stream is None:
            return np.zeros(0, np.float32)
        return np.asarray(self._stream.resample_chunk(np.zeros(0, np.float32), last=True), dtype=np.float32)
