"""Spike encoders: sound in, spikes out, one protocol for a whole signal and for a stream of blocks.

An encoder is a configuration plus constants that were fitted on priming clips; both travel in the model file. It emits spikes only, 0 or 1 for each
channel and step, never analog values, so that any neuromorphic board can receive them. `encode` is a stream that gets everything in one block:
listening and learning share every line of code, and any block size gives the same bits.
"""

from collections.abc import Mapping
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from audio.embedding_encoder import (
    EmbeddingEncoder,
    EmbeddingEncoderConfig,
    embedding_code,
    fit_embedding_constants,
    fit_embedding_encoder,
)
from audio.mel import MelEncoderConfig
from audio.mel_encoder import MelEncoder, fit_mel_encoder

__all__ = [
    "EmbeddingEncoder",
    "EmbeddingEncoderConfig",
    "EncoderConfig",
    "EncoderStream",
    "MelEncoder",
    "MelEncoderConfig",
    "SpikeEncoder",
    "build_encoder",
    "embedding_code",
    "fit_embedding_constants",
    "fit_embedding_encoder",
    "fit_mel_encoder",
]

EncoderConfig = Annotated[EmbeddingEncoderConfig | MelEncoderConfig, Field(discriminator="kind")]


class EncoderStream(Protocol):
    """The spikes of one stream of blocks."""

    def push(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Take the next block, float32 [n] at 16 kHz; return uint8 [steps, channels], the steps completed so far, possibly none."""
        ...


class SpikeEncoder(Protocol):
    """What every encoder offers."""

    name: str
    channels: int
    step_ms: float

    def stream(self) -> EncoderStream:
        """Start a stream of blocks."""
        ...

    def decoder(self) -> NDArray[np.float32]:
        """Return a linear decoder of the code, float32 [values, channels]: what priming starts the readout from."""
        ...

    def encode(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Encode a whole signal, float32 [n] at 16 kHz, into uint8 [T, channels]."""
        ...


def build_encoder(config: EmbeddingEncoderConfig | MelEncoderConfig, constants: Mapping[str, NDArray[np.float32]]) -> SpikeEncoder:
    """Set up the encoder that a configuration describes.

    Args:
        config: of either encoder.
        constants: what was fitted together with it.

    Returns:
        The encoder.

    Raises:
        AudioError: constants that do not fit the configuration.
    """
    if isinstance(config, EmbeddingEncoderConfig):
        return EmbeddingEncoder(config, constants)
    return MelEncoder(config, constants)
