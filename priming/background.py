"""The background bank: spikes of speech and noise that say none of a user's words, built into the model file.

Stretches of continuous speech, one speaker each and all speakers in turn, and stretches of household noise, at the levels and in the noise that
priming hears words in; each is encoded as a stream of its own. Calibration listens to them (`priming.calibration`): they must be what a device
hears when nobody means it. A data folder without continuous speech gives its words, one after the other; one without noise, coloured noise. The bank
is as long as fits into a megabyte, about 40 minutes for the embedding and 20 for mel bands, because the rate of false accepts that a user asks for is
rare. It is made of what the gate has let through, so no held-back word is in it.
"""

import io
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.encoder import SpikeEncoder
from audio.running_speech import AFTER_MS, BEFORE_MS, evidence
from audio.speech_probability import SHA256
from priming.atomic import write_atomically
from priming.augmentation import AugmentationConfig, NoiseBank, mix_at_snr
from priming.calibration import STRETCH_MS
from priming.corpus import Clip, load
from priming.episodes import BEFORE_S
from priming.features import identity, last_steps
from priming.fingerprint import fingerprint
from priming.gate import PrimingData
from priming.packing import pack_spikes

MAX_BYTES = 1_000_000  # of the packed bank
MAX_STRETCHES = 400  # 43 minutes: what enrolling has time to listen to
NOISE_EVERY = 5  # a fifth of the stretches is noise alone


class Background(NamedTuple):
    """A bank of T steps."""

    spikes: NDArray[np.uint8]  # [T, I] of the encoder
    running_speech: NDArray[np.float32]  # [T] evidence that somebody speaks on (`audio.running_speech`)


def build_background(encoder: SpikeEncoder, data: PrimingData, seed: int = 0, stretches: int | None = None) -> Background:
    """Encode the bank.

    Args:
        encoder: fitted.
        data: what may be heard.
        seed: of the choice of stretches, their levels and their noise.
        stretches: how many to make; as many as the recordings fill, 400 at most, when None. Fewer are kept if they do not fit into a megabyte.

    Returns:
        Its steps, those of one stretch after those of another.
    """
    steps = round(STRETCH_MS / encoder.step_ms)
    length = round((BEFORE_S + STRETCH_MS / 1000) * SAMPLE_RATE)
    readers, noise = _Readers(data.speech or data.words, seed), NoiseBank(data)
    if stretches is None:
        there = sum(clip.duration_s for clip in (*(data.speech or data.words), *data.noise))
        stretches = min(MAX_STRETCHES, math.ceil(there * SAMPLE_RATE / length))
    heard: list[NDArray[np.uint8]] = []
    spoken: list[NDArray[np.float32]] = []
    for number in range(stretches):
        rng = np.random.default_rng([seed, number])
        alone = number % NOISE_EVERY == NOISE_EVERY - 1 or not readers.count
        samples = noise.draw(length, rng) if alone else readers.next(length)
        sound = _changed(samples, None if alone else noise, rng)
        spikes = encoder.encode(sound)
        heard.append(last_steps(spikes, steps))
        spoken.append(last_steps(evidence(sound, len(spikes), encoder.step_ms), steps))
    bank = np.concatenate(heard)
    while (size := len(pack_spikes(bank))) > MAX_BYTES:
        bank = bank[: int(len(bank) * 0.99 * MAX_BYTES / size) // steps * steps]
    return Background(bank, np.concatenate(spoken)[: len(bank)])


def cached_background(encoder: SpikeEncoder, data: PrimingData, seed: int, directory: Path) -> Background:
    """Encode the bank, or read it where an earlier run has.

    Args:
        encoder: fitted.
        data: what may be heard.
        seed: of the choice of stretches.
        directory: parent of the caches.

    Returns:
        As `build_background`.
    """
    heard = [(clip.key, clip.duration_s) for clip in (*(data.speech or data.words), *data.noise)]
    parts = [
        identity(encoder),
        seed,
        MAX_BYTES,
        MAX_STRETCHES,
        NOISE_EVERY,
        STRETCH_MS,
        SHA256,
        AFTER_MS,
        BEFORE_MS,
        asdict(AugmentationConfig()),
        heard,
    ]
    file = directory / f"background-{fingerprint(parts)}.npz"
    if not file.exists():
        buffer = io.BytesIO()
        built = build_background(encoder, data, seed)
        np.savez(buffer, spikes=np.packbits(built.spikes, axis=1), running_speech=built.running_speech)
        write_atomically(file, buffer.getvalue())
    with np.load(file) as kept:
        return Background(np.unpackbits(kept["spikes"], axis=1, count=encoder.channels), kept["running_speech"])


class _Readers:
    """Speech, speaker after speaker.

    Args:
        clips: of continuous speech, or of words.
        seed: of the order of speakers and of their recordings.

    Attributes:
        count: how many speakers there are.
    """

    def __init__(self, clips: Iterable[Clip], seed: int) -> None:
        rng = np.random.default_rng(seed)
        said: defaultdict[str, list[Clip]] = defaultdict(list)
        for clip in clips:
            said[clip.speaker].append(clip)
        self._said = [[own[int(i)] for i in rng.permutation(len(own))] for _, own in sorted(said.items())]
        self._said = [self._said[int(i)] for i in rng.permutation(len(self._said))]
        self.count = len(self._said)
        self._turn = 0

    def next(self, length: int) -> NDArray[np.float32]:
        """Read float32 [length] of the next speaker; one who has little to say begins again."""
        clips = self._said[self._turn % self.count]
        self._turn += 1
        parts: list[NDArray[np.float32]] = []
        while sum(len(part) for part in parts) < length:
            clips.append(clips.pop(0))
            parts.append(load(clips[-1]))
        return np.concatenate(parts)[:length]


def _changed(samples: NDArray[np.float32], noise: NoiseBank | None, rng: np.random.Generator) -> NDArray[np.float32]:
    """Put a noise in the room and the microphone near or far, as priming does."""
    ranges = AugmentationConfig()
    if noise is not None and rng.random() < ranges.noise_share:
        samples = mix_at_snr(samples, noise.draw(len(samples), rng), rng.uniform(*ranges.snr_db))
    gain = min(10 ** (rng.uniform(*ranges.gain_db) / 20), 1 / max(float(np.abs(samples).max()), 1e-6))
    changed: NDArray[np.float32] = samples * np.float32(gain)
    return changed
