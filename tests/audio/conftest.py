"""Synthetic speech for the audio tests, and encoders fitted to it."""

from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from audio.encoder import SpikeEncoder, build_encoder, fit_embedding_encoder, fit_mel_encoder


def vowel(seconds: float, pitch: float, formants: tuple[float, ...], rate: int) -> NDArray[np.float64]:
    """Glottal pulses with a falling pitch through three resonances, with soft edges; peak 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    phase = np.cumsum(pitch * (1.1 - 0.2 * time / seconds)) / rate
    pulses = np.diff(np.floor(phase), prepend=0.0)
    response = sum(np.exp(-80 * np.pi * time) * np.sin(2 * np.pi * formant * time) for formant in formants)
    size = 2 * len(time)
    sound = np.fft.irfft(np.fft.rfft(pulses, size) * np.fft.rfft(response, size), size)[: len(time)]
    edge = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.02)
    return np.asarray(0.5 * edge * sound / np.max(np.abs(sound)))


def word(rate: int = 16_000, seed: int = 0, before: float = 0.5, after: float = 0.7, noise: float = 3e-4) -> NDArray[np.float32]:
    """Two vowels with a short gap, 0.55 s of speech from `before` seconds on, in faint noise."""
    parts = [
        np.zeros(round(before * rate)),
        vowel(0.25, 120.0, (700.0, 1200.0, 2600.0), rate),
        np.zeros(round(0.05 * rate)),
        vowel(0.25, 140.0, (350.0, 2000.0, 2800.0), rate),
        np.zeros(round(after * rate)),
    ]
    sound = np.concatenate(parts)
    return (sound + noise * np.random.default_rng(seed).standard_normal(len(sound))).astype(np.float32)


class MakeWord(Protocol):
    """The signature of `word`."""

    def __call__(self, rate: int = 16_000, seed: int = 0, before: float = 0.5, after: float = 0.7, noise: float = 3e-4) -> NDArray[np.float32]: ...


@pytest.fixture(scope="session")
def make_word() -> MakeWord:
    return word


@pytest.fixture(scope="session")
def clips() -> list[NDArray[np.float32]]:
    """A quarter of a minute of synthetic words at several levels."""
    return [np.asarray(10 ** (-level / 20) * word(seed=level), np.float32) for level in range(9)]


@pytest.fixture(scope="session", params=["embedding", "mel"])
def encoder(request: pytest.FixtureRequest, clips: list[NDArray[np.float32]]) -> SpikeEncoder:
    """Each encoder, fitted to the synthetic words."""
    fit = fit_embedding_encoder if request.param == "embedding" else fit_mel_encoder
    return build_encoder(*fit(clips, 0))
