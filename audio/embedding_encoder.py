"""Spikes from the frozen speech embedding.

Each 96-vector is centred, softly whitened and rotated at random, which spreads the information evenly over 96 directions of like variance. Every
direction then drives an ON spike for each threshold that it exceeds and an OFF spike for each that it falls below, like a pair of ON and OFF cells of
graded sensitivity: 6 x 96 = 576 channels. A vector lasts 80 ms and stands for two network steps of 40 ms with the same spikes.

Whitening is soft, eigenvalues plus 5 % of their mean, because the directions of least variance are mostly noise.
"""

import itertools
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from audio.errors import AudioError
from audio.speech_embedding import DIMENSIONS, HOP, SHA256, EmbeddingStream
from audio.whitening import soft_whitening

SOFTNESS = 0.05  # share of the mean eigenvalue that is added to each
ROWS = 2_048  # vectors that are whitened together: the intermediate results stay in the cache

Constants = dict[str, NDArray[np.float32]]


class EmbeddingEncoderConfig(BaseModel):
    """What defines the encoder besides its fitted constants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["embedding"] = "embedding"
    sha256: str = SHA256  # of the embedding network
    thresholds: tuple[float, ...] = Field(default=(0.5, 1.2, 2.0), min_length=1)  # in standard deviations of a direction
    step_ms: float = 40.0
    steps_per_vector: int = Field(default=2, ge=1)


def embedding_code(
    vectors: NDArray[np.float32], constants: Mapping[str, NDArray[np.float32]], config: EmbeddingEncoderConfig | None = None
) -> NDArray[np.uint8]:
    """Turn embedding vectors into spikes.

    The product with the whitening matrix is summed in a fixed order, one input dimension after the other: a matrix product of the numerical library
    rounds differently for different numbers of vectors, and a stream must give the same spikes as a file.

    Args:
        vectors: float [k, 96].
        constants: `mean` [96], `transform` [96, 96], `scale` [96] of `fit_embedding_constants`.
        config: thresholds and steps per vector; the default configuration when None.

    Returns:
        uint8 [2 k, 576] of 0 and 1; channels ordered [ON th0 | ON th1 | ON th2 | OFF th0 | OFF th1 | OFF th2], 96 directions each.
    """
    config = config or EmbeddingEncoderConfig()
    mean, transform, scale = constants["mean"], constants["transform"], constants["scale"]
    spikes = np.empty((len(vectors), 2 * len(config.thresholds), DIMENSIONS), np.uint8)
    for first in range(0, len(vectors), ROWS):
        part = vectors[first : first + ROWS].astype(np.float32) - mean
        values = np.zeros_like(part)
        if len(part) == 1:  # a live stream's: the same sums, row after row
            values[0] = np.add.reduce(part[0, :, None] * transform, axis=0)
        else:
            for dimension in range(DIMENSIONS):
                values += part[:, dimension, None] * transform[dimension]
        for index, threshold in enumerate(config.thresholds):
            limit = np.float32(threshold) * scale
            spikes[first : first + ROWS, index] = values > limit
            spikes[first : first + ROWS, len(config.thresholds) + index] = values < -limit
    return np.repeat(spikes.reshape(len(vectors), 2 * len(config.thresholds) * DIMENSIONS), config.steps_per_vector, axis=0)


def fit_embedding_constants(batches: Iterable[NDArray[np.float32]], seed: int = 0) -> Constants:
    """Fit the whitening to embedding vectors.

    Args:
        batches: float [k, 96] each, for example one for each clip; only sums are kept in memory.
        seed: of the random rotation.

    Returns:
        `mean` [96], `transform` [96, 96] (whitened = (vector - mean) @ transform) and `scale` [96], the standard deviation of each direction.

    Raises:
        AudioError: fewer vectors than dimensions.
    """
    count, total, products = 0, np.zeros(DIMENSIONS), np.zeros((DIMENSIONS, DIMENSIONS))
    for batch in batches:
        rows = batch.astype(np.float64)
        count, total, products = count + len(rows), total + rows.sum(0), products + rows.T @ rows
    if count <= DIMENSIONS:
        raise AudioError(f"{count} embedding vectors are too few to fit the encoder: give it at least a minute of speech")
    mean = total / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    transform = soft_whitening(covariance, SOFTNESS, seed)
    scale = np.sqrt(np.diag(transform.T @ covariance @ transform))
    return {"mean": mean.astype(np.float32), "transform": transform.astype(np.float32), "scale": scale.astype(np.float32)}


def fit_embedding_encoder(clips: Iterable[ArrayLike], seed: int = 0) -> tuple[EmbeddingEncoderConfig, Constants]:
    """Fit the encoder to recordings, each heard as a stream of its own.

    Args:
        clips: float32 [n] at 16 kHz each.
        seed: of the random rotation.

    Returns:
        The configuration and the constants of `fit_embedding_constants`.

    Raises:
        AudioError: too little audio.
    """
    return EmbeddingEncoderConfig(), fit_embedding_constants((EmbeddingStream().push(clip) for clip in clips), seed)


class EmbeddingEncoderStream:
    """Spikes of one stream of blocks."""

    def __init__(self, config: EmbeddingEncoderConfig, constants: Mapping[str, NDArray[np.float32]]) -> None:
        """Start a stream with the encoder's configuration and constants."""
        self._config, self._constants, self._embedding = config, constants, EmbeddingStream()

    def push(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            uint8 [steps, channels]: the steps completed by this block, possibly none.

        Raises:
            AudioError: samples that are no audio.
        """
        return embedding_code(self._embedding.push(samples), self._constants, self._config)


class EmbeddingEncoder:
    """The `embedding` encoder: 576 channels, steps of 40 ms."""

    name = "embedding"

    def __init__(self, config: EmbeddingEncoderConfig, constants: Mapping[str, NDArray[np.float32]]) -> None:
        """Set up the encoder.

        Args:
            config: its configuration.
            constants: `mean`, `transform` and `scale`.

        Raises:
            AudioError: constants missing or of the wrong shape, steps that do not fill 80 ms, or another embedding network.
        """
        shapes = {"mean": (DIMENSIONS,), "transform": (DIMENSIONS, DIMENSIONS), "scale": (DIMENSIONS,)}
        for key, shape in shapes.items():
            if key not in constants or constants[key].shape != shape:
                raise AudioError(f"the embedding encoder's constant {key!r} is missing or not of the shape {list(shape)}; the model file is damaged")
        if config.sha256 != SHA256:
            raise AudioError(f"the model was primed on another embedding network (SHA-256 {config.sha256[:12]}...); prime it again or choose another")
        if config.step_ms * config.steps_per_vector != 1000 * HOP / 16_000:
            raise AudioError(f"{config.steps_per_vector} steps of {config.step_ms} ms do not fill the 80 ms of an embedding vector")
        self.config = config
        self.constants = {key: np.asarray(constants[key], np.float32) for key in shapes}
        self.channels = 2 * len(config.thresholds) * DIMENSIONS
        self.step_ms = config.step_ms

    def stream(self) -> EmbeddingEncoderStream:
        """Start a stream of blocks."""
        return EmbeddingEncoderStream(self.config, self.constants)

    def decoder(self) -> NDArray[np.float32]:
        """Return the linear decoder of the code: float32 [96, channels], from spikes to directions in standard deviations.

        A threshold's spike adds the difference of two conditional means of a normal distribution: that of values beyond this threshold, up to the
        next one, and that of values one threshold lower.
        """
        normal = NormalDist()
        beyond = [(normal.pdf(threshold), 1 - normal.cdf(threshold)) for threshold in self.config.thresholds] + [(0.0, 0.0)]
        means = [(low[0] - high[0]) / (low[1] - high[1]) for low, high in itertools.pairwise(beyond)]
        steps = np.diff([0.0, *means])
        each = np.concatenate([steps, -steps]).astype(np.float32)  # ON, then OFF
        return np.kron(each, np.eye(DIMENSIONS, dtype=np.float32))

    def encode(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Encode a whole signal exactly as a stream would.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            uint8 [T, channels], T = 2 (n // 1280).

        Raises:
            AudioError: samples that are no audio.
        """
        return self.stream().push(samples)
