"""Encoded clips on disk: every clip that priming draws is heard, augmented and encoded once, then only read.

The cache is a folder of chunks, each a numpy file of spikes with the channels packed to bits; a chunk is written whole or not at all, so a killed run
goes on where it was. Its name is a hash of everything that its content depends on. Copy 0 of a clip is heard as it is, further copies are augmented,
each with a generator of its own: chunks and workers do not change a sample.
"""

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from audio.encoder import EncoderConfig, SpikeEncoder
from audio.utterance import MARGIN_S
from priming.atomic import write_atomically
from priming.augmentation import AugmentationConfig, NoiseBank, augment, draw_speed
from priming.corpus import Clip, load_many
from priming.episodes import AFTER_S, SUPPORT_AFTER_S, hearing
from priming.errors import DataError
from priming.fingerprint import fingerprint
from priming.gate import PrimingData, admit
from priming.speech_ends import rest_after_speech

CHUNK = 256  # clips of a chunk
Number = TypeVar("Number", np.uint8, np.float32)


class FeatureConfig(BaseModel):
    """What is cached of a clip."""

    steps: int  # the last so many steps are kept, repeated from the first where a clip is shorter
    copies: int = 2  # augmented copies besides the clean one
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """Encoded clips in memory-mapped chunks."""

    clips: Sequence[Clip]  # in the order of the first axis
    chunks: Sequence[NDArray[np.uint8]]  # [clips of the chunk, copies + 1, steps, channels / 8]
    channels: int
    late: NDArray[np.int64] | None = None  # [clips, copies + 1] steps by which a clip goes on longer than an utterance that is learnt from

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Clips up to the end of each chunk."""
        return np.cumsum([len(chunk) for chunk in self.chunks])

    def clean(self, clips: NDArray[np.int64]) -> "Features":
        """Return some clips as they are, without their augmented copies, as features of their own in memory.

        Args:
            clips: [n] indices into `clips`, one at least.
        """
        spikes = self.take(clips, np.zeros_like(clips))
        late = None if self.late is None else self.late[clips, :1]
        return Features([self.clips[clip] for clip in clips.tolist()], [np.packbits(spikes, axis=-1)[:, None]], self.channels, late)

    def take(self, clips: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read spikes.

        Args:
            clips: [n] indices into `clips`.
            copies: [n] copy of each.

        Returns:
            uint8 [n, steps, channels] of 0 and 1.
        """
        chunks = np.searchsorted(self._ends, clips, side="right")
        rows = clips - np.concatenate([[0], self._ends])[chunks]
        packed = np.stack([self.chunks[k][i, c] for k, i, c in zip(chunks.tolist(), rows.tolist(), copies.tolist(), strict=True)])
        return np.unpackbits(packed, axis=-1, count=self.channels)

    def lateness(self, clips: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return by how many steps clips go on longer than an utterance that is learnt from, [n]; 0 where that is not known."""
        return np.zeros(len(clips), np.int64) if self.late is None else self.late[clips, copies]

    def take_support(self, clips: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the spikes of clips that words are learnt from, as of `take`: the speech of each ends where that of an enrolment does."""
        return delayed(self.take(clips, copies), self.lateness(clips, copies))


def delayed(spikes: NDArray[np.uint8], steps: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Shift clips to later steps, the first step of each repeated; to earlier ones where the number is negative, its last step repeated.

    Args:
        spikes: [n, T, channels].
        steps: [n].

    Returns:
        uint8 [n, T, channels].
    """
    sources = np.arange(spikes.shape[1]) - steps[:, None]
    return np.take_along_axis(spikes, sources.clip(0, spikes.shape[1] - 1)[:, :, None], axis=1)


def joined_features(parts: Sequence[Features]) -> Features:
    """Put features that were encoded apart one after the other; sources that are added then leave the cache of the others as it is.

    Raises:
        DataError: their channels differ, or there are none.
    """
    channels = {part.channels for part in parts}
    if len(channels) != 1:
        raise DataError("there are no features to join" if not parts else f"features of {sorted(channels)} channels cannot be joined")
    known = [part.late for part in parts if part.late is not None]
    late = np.concatenate(known) if len(known) == len(parts) else None
    return Features([clip for part in parts for clip in part.clips], [chunk for part in parts for chunk in part.chunks], channels.pop(), late)


def last_steps(heard: NDArray[Number], steps: int) -> NDArray[Number]:
    """Keep the last steps; a shorter clip begins with its first step, which is background, repeated."""
    missing = steps - len(heard)
    return np.concatenate([np.repeat(heard[:1], missing, axis=0), heard]) if missing > 0 else heard[-steps:]


def identity(encoder: SpikeEncoder) -> list[Any]:
    """Return what a fitted encoder's spikes depend on, as JSON can write it."""
    constants: Mapping[str, NDArray[np.float32]] = encoder.constants  # type: ignore[attr-defined]
    digests = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in sorted(constants.items())}
    return [encoder.config.model_dump(), digests]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Job:
    """What a worker needs to encode one chunk."""

    clips: tuple[tuple[int, Clip], ...]  # with the number of each, which seeds its augmentation
    encoder: SpikeEncoder
    config: FeatureConfig
    augmentation: AugmentationConfig
    target: Path


_noise: NoiseBank | None = None  # of a worker process: read once, used by every chunk


def _start_worker(data: PrimingData | None) -> None:
    global _noise
    _noise = NoiseBank(data) if data is not None else None


def _encode_chunk(job: _Job) -> Path:
    number = {clip.key: index for index, clip in job.clips}
    rows: dict[int, NDArray[np.uint8]] = {}
    for clip, samples in load_many([clip for _, clip in job.clips]):
        index = number[clip.key]
        rows[index] = np.stack([_encode(clip, samples, index, copy, job) for copy in range(job.config.copies + 1)])
    buffer = io.BytesIO()
    np.save(buffer, np.stack([rows[index] for index, _ in job.clips]))
    write_atomically(job.target, buffer.getvalue())
    return job.target


def _encode(clip: Clip, samples: NDArray[np.float32], index: int, copy: int, job: _Job) -> NDArray[np.uint8]:
    if copy == 0:
        heard = hearing(samples, 0, clip.lead_s, clip.follow_s)
    else:
        assert _noise is not None
        rng = np.random.default_rng([job.config.seed, index, copy])
        heard = augment(samples, rng, _noise, job.augmentation, clip.lead_s, clip.follow_s)
    return np.packbits(last_steps(job.encoder.encode(heard), job.config.steps), axis=1)


def encode_features(
    clips: Sequence[Clip],
    encoder: SpikeEncoder,
    config: FeatureConfig,
    directory: Path,
    noise: PrimingData | None,
    augmentation: AugmentationConfig | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    words: bool = True,
) -> Features:
    """Encode clips, or read them where an earlier run already did.

    Args:
        clips: to encode.
        encoder: spike encoder, fitted.
        config: what to keep.
        directory: parent of the cache folders.
        noise: where augmentation takes its noise; may be None without augmented copies. Not None means for priming: clips then pass the gate.
        augmentation: ranges of the changes; the defaults when None.
        workers: processes; one per core when None.
        progress: called with chunks done and chunks in all.
        words: whether words can be learnt from the clips: when the speech of each ends is then found too.

    Returns:
        The features, memory-mapped.

    Raises:
        LeakError: for priming, a clip that is held back.
    """
    if noise is not None:
        admit(clips)
    ordered = tuple(sorted(clips, key=lambda clip: clip.key))
    augmentation = augmentation or AugmentationConfig()
    encoder_config: EncoderConfig = encoder.config  # type: ignore[attr-defined]
    noise_keys = [clip.key for clip in noise.noise] if noise is not None and config.copies else []
    heard = [(clip.key, clip.duration_s) for clip in ordered]  # lengths tell versions of a corpus apart
    parts = [*identity(encoder), config.model_dump(), asdict(augmentation), noise_keys, heard]
    folder = directory / f"{encoder_config.kind}-{fingerprint(parts)}"
    starts = range(0, len(ordered), CHUNK)
    targets = [folder / f"{start // CHUNK:05d}.npy" for start in starts]
    jobs = [
        _Job(tuple(enumerate(ordered))[start : start + CHUNK], encoder, config, augmentation, target)
        for start, target in zip(starts, targets, strict=True)
        if not target.exists()
    ]
    done = len(targets) - len(jobs)
    if jobs:
        source = noise if config.copies else None
        context = get_context("forkserver")
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context, initializer=_start_worker, initargs=(source,)) as pool:
            for number, _ in enumerate(pool.map(_encode_chunk, jobs), start=1):
                if progress:
                    progress(done + number, len(targets))
    late = _lateness(ordered, config, augmentation, directory, workers, encoder.step_ms / 1000) if words else None
    return Features(ordered, [np.load(target, mmap_mode="r") for target in targets], encoder.channels, late)


def _lateness(
    clips: Sequence[Clip], config: FeatureConfig, augmentation: AugmentationConfig, directory: Path, workers: int | None, step_s: float
) -> NDArray[np.int64]:
    """Return [clips, copies + 1] steps by which clips go on longer than utterances that are learnt from; a copy that is slower, by more."""
    factors = np.ones((len(clips), config.copies + 1))
    for index in range(len(clips)):
        for copy in range(1, config.copies + 1):
            factors[index, copy] = draw_speed(np.random.default_rng([config.seed, index, copy]), augmentation)
    excess_s = rest_after_speech(clips, directory, workers)[:, None] / factors + AFTER_S - (MARGIN_S + SUPPORT_AFTER_S)
    late: NDArray[np.int64] = np.rint(excess_s / step_s).astype(np.int64)
    return late
