"""Mel bands and PCEN: the part of the `mel` front end that is plain signal processing.

PCEN (per-channel energy normalisation, Wang et al. 2017) divides each band by a running mean of itself and compresses the ratio:

    M_t = (1 - s) M_{t-1} + s E_t,     y_t = (E_t / (e + M_t)^a + d)^r - d^r

A louder speaker, a duller microphone and a steady background scale E and M alike and nearly cancel, while the onsets of speech stand out. The
running mean needs a start: the first frame, because the level of a recording is its own, but never more than the mean energy of the speech that
the encoder was fitted to, so that a stream that begins inside a word does not take the word for background.

Everything works frame by frame: a frame's values depend on the samples up to its end and on nothing else, so blocks of any size give the same bits.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from audio.constants import SAMPLE_RATE
from audio.samples import as_samples


class MelEncoderConfig(BaseModel):
    """What defines the mel encoder besides its fitted constants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mel"] = "mel"
    bands: int = Field(default=40, ge=8, le=80)
    step_ms: float = Field(default=20.0, gt=0)  # one frame is one network step
    window_ms: float = Field(default=32.0, gt=0)
    fmin: float = 60.0  # Hz
    fmax: float = Field(default=7600.0, le=SAMPLE_RATE / 2)  # Hz
    pcen_time_ms: float = 200.0  # of the running mean; about a syllable
    pcen_gain: float = 0.98  # a above: 1 would cancel the level altogether
    pcen_bias: float = 2.0  # d: steady background, whose ratio is 1, stays small beside it
    pcen_power: float = 0.25  # r
    pcen_floor: float = 1e-6  # e, in units of the band's magnitude: digital silence stays silent
    quantiles: tuple[float, ...] = (0.4, 0.55, 0.7, 0.8, 0.9, 0.96)  # of the fitted clips' values: the levels of the thermometer code
    rise_ms: float = 60.0  # span of the change that the onset and offset channels see
    rise: float = 0.25  # its least size, in standard deviations of the band

    @property
    def window(self) -> int:
        """Samples of one window."""
        return round(self.window_ms * SAMPLE_RATE / 1000)

    @property
    def hop(self) -> int:
        """Samples between windows."""
        return round(self.step_ms * SAMPLE_RATE / 1000)


def mel_filters(config: MelEncoderConfig) -> NDArray[np.float32]:
    """Compute the mel filters (Slaney's scale and area normalisation), with torchaudio; they are kept in the model file.

    Args:
        config: window, bands and frequency range.

    Returns:
        float32 [window // 2 + 1, bands].

    Raises:
        ImportError: torchaudio is not installed.
    """
    from audio.torchaudio_guard import import_torchaudio

    functional = import_torchaudio().functional
    filters = functional.melscale_fbanks(
        config.window // 2 + 1, config.fmin, config.fmax, config.bands, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return np.asarray(filters.numpy(), dtype=np.float32)


class MelStream:
    """Magnitudes in mel bands, frame by frame; frame k ends at sample (k + 1) hop."""

    def __init__(self, config: MelEncoderConfig, filters: NDArray[np.float32]) -> None:
        """Start a stream.

        Args:
            config: window, hop and bands.
            filters: float32 [window // 2 + 1, bands] of `mel_filters`.
        """
        self._config = config
        self._filters = filters.astype(np.float64)
        self._taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
        noise = np.random.default_rng(0).standard_normal(config.window - config.hop)
        self._held = (1e-4 * noise).astype(np.float32)  # faint noise (-80 dBFS) in front: the first frame comes after one hop

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next block.

        Args:
            samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
            float32 [frames, bands]: root of the power in each band, for the frames completed by this block, possibly none.

        Raises:
            AudioError: samples that are no audio.
        """
        config = self._config
        held = np.concatenate([self._held, as_samples(samples)])
        count = max(0, (len(held) - config.window) // config.hop + 1)
        magnitudes = np.empty((count, config.bands), np.float32)
        for frame in range(count):  # one at a time: library products over several frames round differently
            windowed = self._taper * held[frame * config.hop : frame * config.hop + config.window]
            spectrum = np.fft.rfft(windowed) * (2.0 / config.window)
            power = spectrum.real**2 + spectrum.imag**2
            magnitudes[frame] = np.sqrt(np.einsum("f,fb->b", power, self._filters))
        self._held = held[count * config.hop :].copy()
        return magnitudes


class Pcen:
    """PCEN of one stream of band magnitudes."""

    def __init__(self, config: MelEncoderConfig, ceiling: NDArray[np.float32]) -> None:
        """Start a stream.

        Args:
            config: PCEN's parameters.
            ceiling: float32 [bands], the highest start of the running mean: the mean magnitudes of speech.
        """
        self._config, self._ceiling = config, ceiling.astype(np.float64)
        self._smoothing = 1.0 - np.exp(-config.step_ms / config.pcen_time_ms)
        self._mean: NDArray[np.float64] | None = None

    def push(self, magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalise the next frames.

        Args:
            magnitudes: float32 [frames, bands] of `MelStream`.

        Returns:
            float32 [frames, bands], not negative.
        """
        config, values = self._config, np.empty_like(magnitudes)
        for frame, magnitude in enumerate(magnitudes.astype(np.float64)):
            mean = np.minimum(magnitude, self._ceiling) if self._mean is None else self._mean
            self._mean = mean + self._smoothing * (magnitude - mean)
            ratio = magnitude / (config.pcen_floor + self._mean) ** config.pcen_gain
            values[frame] = (ratio + config.pcen_bias) ** config.pcen_power - config.pcen_bias**config.pcen_power
        return values
