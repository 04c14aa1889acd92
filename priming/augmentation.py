"""Other rooms, distances and tempos: random changes of the waveform, so that priming does not rest on how its recordings were made.

In the order in which they happen in the world: the speaker is faster or slower, a noise is in the room, the microphone is near or far, and the
listener's frames begin at any moment. All draws come from the generator that is passed in: the same seed gives the same samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.speed import change_speed
from priming.coloured_noise import coloured_noise
from priming.corpus import load_many
from priming.episodes import hearing
from priming.errors import DataError
from priming.gate import PrimingData
from priming.joining import active_level

SILENT_RMS = 1e-4  # -80 dBFS: digital silence inside recordings of noise, which is no noise
FADE = SAMPLE_RATE // 100  # samples of fade where two recordings of noise meet


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes.

    Attributes:
        speed: least and greatest factor of tempo (and pitch); 1 leaves the clip as it is.
        speed_share: share of clips whose speed is changed.
        snr_db: least and greatest speech level over noise level.
        noise_share: share of clips that get noise.
        gain_db: least and greatest change of level; a gain that would clip is lowered to what fits.
        shift_s: greatest length that is dropped from the start.
    """

    speed: tuple[float, float] = (0.88, 1.12)
    speed_share: float = 0.5
    snr_db: tuple[float, float] = (0.0, 25.0)
    noise_share: float = 0.7
    gain_db: tuple[float, float] = (-20.0, 10.0)
    shift_s: float = 0.08


class NoiseBank:
    """All noise that priming may hear, end to end in memory (16 bit: 32 kB a second).

    Args:
        data: what the gate let through; its recordings of noise are read. Without any, noise is generated (`priming.coloured_noise`).

    Raises:
        DataError: nothing but digital silence is in them.
        audio.errors.AudioError: a recording cannot be read.
    """

    def __init__(self, data: PrimingData) -> None:
        recordings = (samples for _, samples in load_many(data.noise)) if data.noise else [coloured_noise()]
        pieces = [quantised for samples in recordings if len(quantised := _without_silence(samples))]
        if not pieces:
            raise DataError("no noise to prime with: the recordings of noise whose split is train are digital silence")
        self._samples = np.concatenate(pieces)

    @property
    def seconds(self) -> float:
        """How much noise there is."""
        return len(self._samples) / SAMPLE_RATE

    def draw(self, length: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw a stretch of noise.

        Args:
            length: samples.
            rng: source of the place.

        Returns:
            float32 [length]; starts again at the beginning of the bank after its end.
        """
        start = int(rng.integers(len(self._samples)))
        stretch = np.take(self._samples, np.arange(start, start + length), mode="wrap")
        return np.divide(stretch, 32768, dtype=np.float32)


def _without_silence(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Drop digital silence in frames of 100 ms and fade the ends."""
    frames = [frame for frame in np.split(samples, range(SAMPLE_RATE // 10, len(samples), SAMPLE_RATE // 10)) if _rms(frame) > SILENT_RMS]
    kept = np.concatenate([*frames, np.zeros(0, np.float32)])
    if len(kept) < 2 * FADE:
        return np.zeros(0, np.int16)
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    kept[:FADE] *= ramp
    kept[-FADE:] *= ramp[::-1]
    quantised: NDArray[np.int16] = np.rint(np.clip(kept, -1, 1) * 32767).astype(np.int16)
    return quantised


def _rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def mix_at_snr(clean: NDArray[np.float32], noise: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    """Add noise so that the speech lies a given number of decibels above it.

    Args:
        clean: float32 [n] at 16 kHz, the speech.
        noise: float32 [m], m >= 1; repeated or cut to n samples.
        snr_db: level of the active speech over the level of the noise.

    Returns:
        float32 [n]; may exceed [-1, 1].

    Raises:
        DataError: the noise is digital silence, or the ratio is not a number.
    """
    if not np.isfinite(snr_db):
        raise DataError(f"a signal-to-noise ratio of {snr_db} dB cannot be mixed: give a finite number")
    added = np.resize(noise, len(clean))
    level = _rms(added)
    if len(clean) and level < 1e-7:
        raise DataError("the noise to mix in is digital silence: choose another recording")
    gain = active_level(clean) / level * 10 ** (-snr_db / 20) if len(clean) else 0.0
    return (clean + np.float32(gain) * added).astype(np.float32)


def draw_speed(rng: np.random.Generator, config: AugmentationConfig) -> float:
    """Draw the factor of tempo and pitch, which is the first draw of `augment`."""
    return float(rng.uniform(*config.speed)) if rng.random() < config.speed_share else 1.0


def augment(
    samples: NDArray[np.float32],
    rng: np.random.Generator,
    noise: NoiseBank,
    config: AugmentationConfig | None = None,
    lead_s: float = 0.0,
    follow_s: float = 0.0,
) -> NDArray[np.float32]:
    """Turn a clip into one of the many ways in which it could be heard; `priming.episodes.hearing` is the way without changes.

    Args:
        samples: float32 [n] at 16 kHz in [-1, 1], the bare clip: its background before and after is added here.
        rng: source of every draw.
        noise: what may be in the room.
        config: ranges of the changes; the defaults when None.
        lead_s: how much of the samples was said before the word.
        follow_s: how much of them was said after it.

    Returns:
        float32 [m] in [-1, 1]: the clip with its background around it, changed; ends 0.5 s after the word.
    """
    config = config or AugmentationConfig()
    factor = draw_speed(rng, config)
    samples = change_speed(samples, factor)
    heard = hearing(samples, int(rng.integers(2**31)), lead_s / factor, follow_s / factor)
    if rng.random() < config.noise_share:
        heard = mix_at_snr(heard, noise.draw(len(heard), rng), rng.uniform(*config.snr_db))
    peak = float(np.max(np.abs(heard)))
    gain = min(10 ** (rng.uniform(*config.gain_db) / 20), 1 / peak)  # hearing() leaves no digital silence, so the peak is not 0
    drop = int(rng.integers(round(config.shift_s * SAMPLE_RATE) + 1))
    changed: NDArray[np.float32] = np.clip(heard[drop:] * np.float32(gain), -1, 1)
    return changed
