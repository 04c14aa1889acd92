"""Spikes from mel bands after PCEN: the front end in which nothing is pre-trained.

Each band drives a thermometer code: one channel for each level, which spikes as long as the band is above it. The levels are quantiles of the band's
values in the fitted clips, so that every channel carries a like amount of information, whatever the shape of the distribution. Two more channels a
band mark change: an onset spike while the band rises fast over 60 ms, an offset spike while it falls. Channels are ordered
[level 0 | level 1 | ... | onset | offset], `bands` channels each.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.errors import AudioError
from audio.mel import MelEncoderConfig, MelStream, Pcen, mel_filters

FEWEST_FRAMES = 500  # 10 s of audio
Constants = dict[str, NDArray[np.float32]]


def _history(config: MelEncoderConfig) -> int:
    """Frames over which a rise is measured."""
    return max(1, round(config.rise_ms / config.step_ms))


def fit_mel_encoder(clips: Iterable[ArrayLike], seed: int = 0, config: MelEncoderConfig | None = None) -> tuple[MelEncoderConfig, Constants]:
    """Fit the encoder to recordings, each heard as a stream of its own.

    Args:
        clips: float32 [n] at 16 kHz each.
        seed: unused: the fit draws nothing; it is here so that both encoders are fitted by the same call.
        config: the configuration; the default one when None.

    Returns:
        The configuration and the constants `filters` [window // 2 + 1, bands], `ceiling` [bands] (mean magnitudes), `levels` [levels, bands] and
        `rise` [bands].

    Raises:
        AudioError: too little audio.
    """
    del seed
    config = config or MelEncoderConfig()
    filters = mel_filters(config)
    magnitudes = [MelStream(config, filters).push(clip) for clip in clips]
    frames = sum(len(clip) for clip in magnitudes)
    if frames < FEWEST_FRAMES:
        raise AudioError(f"{frames} frames are too few to fit the mel encoder: give it at least a minute of speech")
    ceiling = np.concatenate(magnitudes).mean(0)
    values = np.concatenate([Pcen(config, ceiling).push(clip) for clip in magnitudes])
    levels = np.quantile(values, config.quantiles, axis=0).astype(np.float32)
    rise = (config.rise * values.std(0)).astype(np.float32)
    return config, {"filters": filters, "ceiling": ceiling, "levels": levels, "rise": rise}


class MelEncoderStream:
    """Spikes of one stream of blocks."""

    def __init__(self, config: MelEncoderConfig, constants: Mapping[str, NDArray[np.float32]]) -> None:
        """Start a stream with the encoder's configuration and constants."""
        self._mel, self._pcen = MelStream(config, constants["filters"]), Pcen(config, constants["ceiling"])
        self._levels, self._rise = constants["levels"], constants["rise"]
        self._past: NDArray[np.float32] | None = None  # [history, bands]: the values before the next frame
        self._history = _history(config)

    def push(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            uint8 [steps, channels]: the steps completed by this block, possibly none.

        Raises:
            AudioError: samples that are no audio.
        """
        values = self._pcen.push(self._mel.push(samples))
        if not len(values):
            return np.zeros((0, (len(self._levels) + 2) * values.shape[1]), np.uint8)
        past = np.repeat(values[:1], self._history, axis=0) if self._past is None else self._past
        joined = np.concatenate([past, values])
        change = values - joined[: len(values)]
        self._past = joined[-self._history :]
        above = values[:, None, :] > self._levels  # [steps, levels, bands]
        groups = np.concatenate([above, (change > self._rise)[:, None], (change < -self._rise)[:, None]], axis=1)
        return groups.reshape(len(values), -1).astype(np.uint8)


class MelEncoder:
    """The `mel` encoder: 320 channels by default, steps of 20 ms."""

    name = "mel"

    def __init__(self, config: MelEncoderConfig, constants: Mapping[str, NDArray[np.float32]]) -> None:
        """Set up the encoder.

        Args:
            config: its configuration.
            constants: `filters`, `ceiling`, `levels` and `rise` of `fit_mel_encoder`.

        Raises:
            AudioError: constants missing or of the wrong shape.
        """
        shapes = {
            "filters": (config.window // 2 + 1, config.bands),
            "ceiling": (config.bands,),
            "levels": (len(config.quantiles), config.bands),
            "rise": (config.bands,),
        }
        for key, shape in shapes.items():
            if key not in constants or constants[key].shape != shape:
                raise AudioError(f"the mel encoder's constant {key!r} is missing or not of the shape {list(shape)}; the model file is damaged")
        self.config = config
        self.constants = {key: np.asarray(constants[key], np.float32) for key in shapes}
        self.channels = (len(config.quantiles) + 2) * config.bands
        self.step_ms = config.step_ms

    def stream(self) -> MelEncoderStream:
        """Start a stream of blocks."""
        return MelEncoderStream(self.config, self.constants)

    def decoder(self) -> NDArray[np.float32]:
        """Return the linear decoder of the code: float32 [2 bands, channels], from spikes to each band's level and change, both of order 1."""
        levels = self.constants["levels"]
        steps = np.diff(levels, axis=0, prepend=levels[:1] - np.diff(levels, axis=0).mean(0, keepdims=True))  # [levels, bands]
        steps = steps / np.maximum(steps.sum(0), np.finfo(np.float32).tiny) * 2
        bands = np.eye(self.config.bands, dtype=np.float32)
        nothing = np.zeros_like(bands)
        level = np.concatenate([*(bands * row for row in steps), nothing, nothing], 1)
        change = np.concatenate([*(nothing for _ in steps), bands, -bands], 1)
        return np.concatenate([level, change]).astype(np.float32)

    def encode(self, samples: ArrayLike) -> NDArray[np.uint8]:
        """Encode a whole signal exactly as a stream would.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            uint8 [T, channels], T = n // 320.

        Raises:
            AudioError: samples that are no audio.
        """
        return self.stream().push(samples)
