"""What the demo says and hears: one utterance to learn from, a stream to listen to, and what is said in it when.

The synthetic voices lie in `demo_voices`. A folder of real recordings serves as well: either one with files of the same names, or a corpus of single
words (`word/speaker_nohash_n.wav`), out of which a stream is put together.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from app.errors import AppError

if TYPE_CHECKING:
    from priming.corpus import Clip

VOICES = Path(__file__).parent / "demo_voices"
WORD = "connect"
TIMES, OTHERS = 5, 10  # how often a real stream holds the word, and how many other words
PAUSE_S = 0.6  # of background before and after each clip of a real stream
SEED = 0


class Said(BaseModel):
    """One utterance of the stream."""

    word: str
    voice: str
    start_s: FiniteFloat = Field(ge=0)
    end_s: FiniteFloat = Field(ge=0)


@dataclass(frozen=True)
class Material:
    """A demo."""

    word: str
    enrolled: NDArray[np.float32]  # [n] at 16 kHz: one utterance by one voice
    stream: NDArray[np.float32]  # [m] at 16 kHz: other voices, this word and others
    truth: list[Said]


def load(data: str | None) -> Material:
    """Read the demo's recordings.

    Args:
        data: a folder of real recordings; the synthetic voices when None.

    Raises:
        AppError: the folder holds nothing to show.
        AudioError: a recording cannot be used.
        DataError: a corpus that cannot be read.
    """
    folder = VOICES if data is None else Path(data)
    if not folder.is_dir():
        raise AppError(f"{folder} is not a folder; --data names recordings of single words")
    return _recorded(folder) if (folder / "truth.json").is_file() else _assembled(folder)


def _recorded(folder: Path) -> Material:
    """Read enroll.*, stream.* and truth.json."""
    from audio.files import read_audio

    try:
        truth = TypeAdapter(list[Said]).validate_python(json.loads((folder / "truth.json").read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        raise AppError(f"{folder / 'truth.json'}: not a list of word, voice, start_s and end_s") from None
    sounds = []
    for name in ("enroll", "stream"):
        found = sorted(folder.glob(f"{name}.*"))
        if not found:
            raise AppError(f"{folder} has no {name} recording beside truth.json")
        sounds.append(read_audio(found[0]))
    return Material(WORD, sounds[0], sounds[1], truth)


def _assembled(folder: Path) -> Material:
    """Put a stream together from clips of single words: `connect` if it is there, else the validation word that most people say."""
    from audio.constants import SAMPLE_RATE
    from audio.noise_floor import surround
    from audio.voice import speech_segments
    from priming.corpus import load as load_clip

    by_word = _clips(folder)
    word = WORD if WORD in by_word else max(by_word, key=lambda name: (len(by_word[name]), name))
    rng = np.random.default_rng(SEED)
    said = _one_per_speaker(by_word.pop(word), rng)
    others = [_one_per_speaker(clips, rng)[0] for _, clips in sorted(by_word.items())]
    others = [clip for clip in others if clip.speaker != said[0].speaker]
    chosen = [*said[1 : 1 + TIMES], *(others[k] for k in rng.permutation(len(others))[:OTHERS])]
    if len(said) < 2:
        raise AppError(f"{folder}: '{word}' is said by one speaker only; the demo needs two or more")
    pieces, truth, at = [], [], 0
    pause = round(PAUSE_S * SAMPLE_RATE)
    for k in rng.permutation(len(chosen)):
        samples = load_clip(chosen[k])
        speech = speech_segments(samples) or [(0.0, len(samples) / SAMPLE_RATE)]
        begin = (at + pause) / SAMPLE_RATE
        truth.append(Said(word=chosen[k].word, voice=chosen[k].speaker, start_s=begin + speech[0][0], end_s=begin + speech[-1][1]))
        pieces.append(surround(samples, pause, pause, seed=int(k)))
        at += len(pieces[-1])
    return Material(word, load_clip(said[0]), np.concatenate(pieces), truth)


def _clips(folder: Path) -> dict[str, list["Clip"]]:
    """Collect what may be shown: the demo's word if it is there, and validation words; nobody looks at test words here."""
    from priming.corpus import role_clips
    from priming.corpus import whole as whole_clip
    from priming.manifest import read_manifest

    found: dict[str, list[Clip]] = {}
    for clip in role_clips(folder, "validation"):
        found.setdefault(clip.word, []).append(clip)
    named = [whole_clip(folder, row) for row in read_manifest(folder) if row.word == WORD]
    if named:
        found[WORD] = named
    return found


def _one_per_speaker(clips: list["Clip"], rng: np.random.Generator) -> list["Clip"]:
    """Draw one clip of each speaker, in random order."""
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    speakers = sorted(by_speaker)
    return [by_speaker[speakers[k]][int(rng.integers(len(by_speaker[speakers[k]])))] for k in rng.permutation(len(speakers))]
