"""Clips: whole recordings, cuts of them, or two cuts joined; and how they are read.

A clip carries its labels. They are the folder's when the sources of `priming.family` made it; `priming.gate` looks them up again and believes no
clip.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.files import read_audio
from priming.errors import DataError
from priming.joining import OVERLAP_S, join, matching_gain
from priming.manifest import ALIGNMENTS, Row

FADE_S = 0.01  # at both ends of a cut, so that it does not begin or end with a click
KEPT_RECORDINGS = 16  # decoded recordings in memory while many clips are read: parts of joined clips lie in several
SYNTHETIC_CORPUS = "synthetic"
SPLICED_CORPUS = "splices"


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, a cut of one, or two cuts joined, and who says what in it.

    Attributes:
        root: the data folder, whose labels decide what the clip may be used for.
        path: the recording, relative to `root`, or to `store` if there is one; of a joined clip, that of its first part.
        corpus: the source's name.
        language: ISO 639-1 code, empty for noise.
        word: what is said; empty for noise and for stretches of continuous speech.
        word_role: one of ROLES.
        speaker: the speaker's name, empty if unknown.
        speaker_split: one of SPLITS.
        start_s: where the cut begins in the recording, margins included; 0 for a whole recording.
        end_s: where the cut ends, margins included; None for a whole recording.
        duration_s: length of what `load` returns, in seconds.
        lead_s: how much of that was said before the word and its margin.
        follow_s: how much of it was said after the word and its margin.
        parts: two cuts that are joined; none for an ordinary clip.
        store: the folder of a recording that was made on this machine; None where the data folder holds it.
    """

    root: Path
    path: str
    corpus: str
    language: str
    word: str
    word_role: str
    speaker: str
    speaker_split: str
    start_s: float
    end_s: float | None
    duration_s: float
    lead_s: float = 0.0
    follow_s: float = 0.0
    parts: "tuple[Clip, ...]" = ()
    store: Path | None = None

    @property
    def file(self) -> Path:
        """The recording on this machine."""
        return (self.store or self.root) / self.path

    @property
    def key(self) -> str:
        """A name of the clip that does not depend on where the data folder lies, for caches and for ordering."""
        if self.parts:
            return "+".join(part.key for part in self.parts)
        path = self.path if self.store is None else f"{self.store.name}/{self.path}"
        edges = "" if self.end_s is None else f"#{self.start_s:.3f}-{self.end_s:.3f}"
        return path + edges + (f"~{self.lead_s:.3f}~{self.follow_s:.3f}" if self.lead_s or self.follow_s else "")

    @property
    def source(self) -> str:
        """Which source of `priming.family` it comes from."""
        if self.parts:
            return "splices"
        if self.corpus == SYNTHETIC_CORPUS:
            return "synthetic"
        if self.lead_s or self.follow_s:
            return "context"
        if self.end_s is None:
            return "commands"
        return "pairs" if " " in self.word else "aligned"


def whole(data_dir: Path, row: Row) -> Clip:
    """The clip of a whole recording."""
    return Clip(data_dir, row.path, row.corpus, row.language, row.word, row.word_role, row.speaker, row.speaker_split, 0.0, None, row.duration_s)


def cut(data_dir: Path, row: Row, word: str, word_role: str, start_s: float, end_s: float) -> Clip:
    """The clip of a part of a recording."""
    return Clip(data_dir, row.path, row.corpus, row.language, word, word_role, row.speaker, row.speaker_split, start_s, end_s, end_s - start_s)


def spliced(first: Clip, second: Clip, word: str) -> Clip:
    """The clip of two cuts joined: the end of the first and the beginning of the second overlap."""
    length = first.duration_s + second.duration_s - OVERLAP_S
    labels = (SPLICED_CORPUS, first.language, word, "prime", first.speaker, first.speaker_split)
    return Clip(first.root, first.path, *labels, first.start_s, first.end_s, length, parts=(first, second))


def _stretch(samples: NDArray[np.float32], clip: Clip) -> NDArray[np.float32]:
    """Copy a cut out of its decoded recording."""
    assert clip.end_s is not None
    piece = samples[round(clip.start_s * SAMPLE_RATE) : round(clip.end_s * SAMPLE_RATE)].copy()
    if not len(piece):
        raise DataError(f"{clip.file} ends before {clip.start_s:.2f} s, where a word of {ALIGNMENTS} begins: the two do not belong together")
    return piece


def _fade_ends(piece: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fade in and out over 10 ms, in place."""
    fade = min(round(FADE_S * SAMPLE_RATE), len(piece) // 2)
    ramp = (np.arange(fade, dtype=np.float32) + 1) / (fade + 1)
    piece[:fade] *= ramp
    piece[len(piece) - fade :] *= ramp[::-1]
    return piece


def read_cut(samples: NDArray[np.float32], clip: Clip) -> NDArray[np.float32]:
    """Take a clip out of its decoded recording.

    Args:
        samples: float32 [n] at 16 kHz, the recording.
        clip: what to take; not a joined one.

    Returns:
        float32 [m]: the recording itself for a whole one, else a copy of the cut, faded in and out over 10 ms.

    Raises:
        DataError: the cut lies outside the recording.
    """
    return samples if clip.end_s is None else _fade_ends(_stretch(samples, clip))


def read_joined(recordings: tuple[NDArray[np.float32], NDArray[np.float32]], clip: Clip) -> NDArray[np.float32]:
    """Put a joined clip together.

    Args:
        recordings: the decoded recordings of its two parts, each float32 [n] at 16 kHz.
        clip: the joined clip.

    Returns:
        float32 [m]: the second part at the level of the first one's recording, cross-faded, faded in and out over 10 ms.

    Raises:
        DataError: a part lies outside its recording.
    """
    first, second = (_stretch(samples, part) for samples, part in zip(recordings, clip.parts, strict=True))
    if min(len(first), len(second)) < round(OVERLAP_S * SAMPLE_RATE):
        raise DataError(f"{clip.key}: a part ends outside its recording; {ALIGNMENTS} and the recordings do not belong together")
    return _fade_ends(join(first, second * np.float32(matching_gain(*recordings))))


def load(clip: Clip) -> NDArray[np.float32]:
    """Read one clip.

    Returns:
        float32 [n] at 16 kHz in [-1, 1].

    Raises:
        audio.errors.AudioError: a recording is missing or unreadable.
        DataError: a cut lies outside its recording.
    """
    if clip.parts:
        first, second = clip.parts
        return read_joined((read_audio(first.file), read_audio(second.file)), clip)
    return read_cut(read_audio(clip.file), clip)


def load_many(clips: Iterable[Clip]) -> Iterator[tuple[Clip, NDArray[np.float32]]]:
    """Read many clips with every recording decoded once, the second parts of joined clips excepted, and few of them in memory.

    Args:
        clips: in any order.

    Yields:
        Each clip and its samples, ordered by recording and time.

    Raises:
        audio.errors.AudioError: a recording is missing or unreadable.
        DataError: a cut lies outside its recording.
    """
    read = lru_cache(maxsize=KEPT_RECORDINGS)(read_audio)
    ordered = sorted(clips, key=lambda clip: (str(clip.root), clip.path, clip.start_s))
    for file, group in itertools.groupby(ordered, key=lambda clip: clip.file):
        samples = read(file)
        for clip in group:
            yield clip, read_joined((samples, read(clip.parts[1].file)), clip) if clip.parts else read_cut(samples, clip)
