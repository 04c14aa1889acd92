"""Features for networks that do not spike: log-mel bands, or the whitened speech embedding, 8 bits a value.

Behind the interface of a spike encoder, the bits of a value stand where spikes would: whatever hears, augments and caches clips for the spiking
network does the same for these features.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from audio.encoder import EncoderStream
from audio.mel import MelEncoderConfig, MelStream, mel_filters
from audio.speech_embedding import DIMENSIONS, HOP, EmbeddingStream

BANDS = 40
FRAME_MS = 10.0
RANGES = {"log-mel": (-6.0, 1.0), "whitened": (-5.0, 5.0)}  # of log10 magnitudes, and of whitened values in standard deviations
BITS = 8


class AnalogConfig(BaseModel):
    """What defines the features besides their constants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["log-mel", "whitened"]

    @property
    def width(self) -> int:
        """Values of a frame."""
        return BANDS if self.kind == "log-mel" else DIMENSIONS

    @property
    def step_ms(self) -> float:
        """Time from frame to frame."""
        return FRAME_MS if self.kind == "log-mel" else 1000 * HOP / 16_000


class AnalogStream:
    """The features of one stream of blocks."""

    def __init__(self, config: AnalogConfig, constants: Mapping[str, NDArray[np.float32]]) -> None:
        """Start a stream with the features' configuration and constants."""
        self._config, self._constants = config, constants
        mel = MelEncoderConfig(bands=BANDS, step_ms=FRAME_MS)
        self._source = MelStream(mel, constants["filters"]) if config.kind == "log-mel" else EmbeddingStream()

    def push(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Take the next block, float32 [n] at 16 kHz; return the bits of its frames, uint8 [T, 8 width]."""
        found, (low, high) = self._source.push(samples), RANGES[self._config.kind]
        heard: NDArray[np.floating]
        if self._config.kind == "log-mel":
            heard = np.log10(np.maximum(found, 1e-9))
        else:
            heard = (found - self._constants["mean"]) @ self._constants["transform"] / self._constants["scale"]
        levels = np.rint((np.clip(heard, low, high) - low) * ((2**BITS - 1) / (high - low)))
        return np.unpackbits(levels.astype(np.uint8), axis=1)


class AnalogEncoder:
    """Analog features behind `audio.encoder.SpikeEncoder`.

    Args:
        config: which features.
        constants: `filters` [window // 2 + 1, 40], or `mean`, `transform` and `scale` of the embedding encoder.
    """

    def __init__(self, config: AnalogConfig, constants: Mapping[str, NDArray[np.float32]]) -> None:
        names = ("filters",) if config.kind == "log-mel" else ("mean", "transform", "scale")
        self.config, self.constants = config, {name: constants[name] for name in names}
        self.name: str = config.kind
        self.channels, self.step_ms = BITS * config.width, config.step_ms

    def stream(self) -> EncoderStream:
        """Start a stream of blocks."""
        return AnalogStream(self.config, self.constants)

    def decoder(self) -> NDArray[np.float32]:
        """Return the linear decoder of the bits: float32 [width, 8 width], to values above the least one."""
        low, high = RANGES[self.config.kind]
        worth = 2.0 ** np.arange(BITS - 1, -1, -1) * (high - low) / (2**BITS - 1)
        return np.kron(np.eye(self.config.width), worth).astype(np.float32)

    def encode(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Encode a whole signal, float32 [n] at 16 kHz, into uint8 [T, 8 width] of 0 and 1."""
        return self.stream().push(samples)


def log_mel_constants() -> dict[str, NDArray[np.float32]]:
    """Return what `AnalogEncoder` needs for log-mel bands."""
    return {"filters": mel_filters(MelEncoderConfig(bands=BANDS, step_ms=FRAME_MS))}


def values(bits: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Turn bits back into values.

    Args:
        bits: uint8 [..., 8 width] of 0 and 1.
        kind: of the features.

    Returns:
        float32 [..., width]; within 0.014 (log-mel) or 0.02 (whitened) of what was encoded.
    """
    low, high = RANGES[kind]
    return low + np.packbits(bits, axis=-1).astype(np.float32) * np.float32((high - low) / (2**BITS - 1))
