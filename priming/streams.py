"""Long continuous streams of one role's recordings, with the truth about them: what listening is measured on.

Two streams, both lists of scenes that are made one at a time from a seed, so that hours take the memory of a minute. The **background** plays every
recording of speech and noise of the role in random order. The **utterances** are single words of the role, each after a stretch of noise, of
sentences, of silence, or right behind the word before it. Levels differ by ±20 dB from recording to recording, and noise lies under half of the
scenes. Gaps hold the noise floor of the recording beside them: a room is never digitally silent.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.files import read_audio
from audio.noise_floor import surround
from audio.voice import speech_segments
from priming.corpus import Clip, load, whole
from priming.errors import DataError
from priming.joining import active_level
from priming.manifest import AlignedWord, read_alignments, read_manifest

REFERENCE_DBFS = -30.0  # level of the speech in the middle of the range
SPREAD_DB = 20.0  # levels are drawn evenly from so much below to so much above it
PEAK = 0.99  # what a higher level would carry beyond full scale is limited to this
BED_SHARE = 0.5  # of the scenes have noise under them
BED_SNR_DB = (10.0, 30.0)
BED_SHORTEST_S = 3.0  # shorter recordings of noise hold one click, not a room
BED_WEAKEST = 1e-4  # root mean square; fainter ones are silence
BACKGROUND_GAP_S = (0.1, 0.5)  # between two recordings of the background
AFTER_S = (0.3, 1.0)  # of noise floor behind an utterance
CONTEXT_S = (1.0, 4.0)  # of noise or sentences before an utterance
SILENCE_S, SHORT_GAP_S = (0.5, 3.0), (0.1, 0.8)  # gap before an utterance in silence, and after something else
ROLES = ("test", "validation")
UTTERANCES, BACKGROUND, DRAW = 1, 2, 3  # keep the generators of different purposes apart


class Occurrence(NamedTuple):
    """A word in a stream."""

    word: str
    speaker: str
    start_s: float
    end_s: float  # the last voiced frame of an utterance; the aligned edge of a word in a sentence
    counted: bool  # must be heard; otherwise it may be heard: a hit is no false accept, a miss no miss


class Scene(NamedTuple):
    """A piece of a stream."""

    samples: NDArray[np.float32]  # [n] at 16 kHz in [-1, 1]
    truth: tuple[Occurrence, ...]  # times from the scene's start
    background_s: float  # how much recorded background it plays; gaps count for nothing


@dataclass(frozen=True)
class RoleBackground:
    """The recordings of a role that hold no utterance of their own.

    Attributes:
        speech: continuous recordings, each with the words that are known to be in it.
        noise: recordings of noise.
    """

    speech: tuple[tuple[Clip, tuple[AlignedWord, ...]], ...]
    noise: tuple[Clip, ...]

    @property
    def hours(self) -> float:
        """How much there is."""
        return sum(clip.duration_s for clip in (*(clip for clip, _ in self.speech), *self.noise)) / 3600


def role_background(data: Path, role: str) -> RoleBackground:
    """Find the background of a role: speech and noise of its split.

    Recordings whose words are not known, though those of their corpus are, are left out: what is heard there could be right or wrong.

    Args:
        data: the data folder.
        role: `test` or `validation`.

    Raises:
        DataError: another role, an unusable folder, or no background of this role.
    """
    if role not in ROLES:
        raise DataError(f"streams are made of the role test or validation, not {role!r}")
    rows = [row for row in read_manifest(data) if row.speaker_split == role and not row.word]
    known = dict(read_alignments(data))
    aligned = {row.corpus for row in rows if row.path in known}
    speech = [row for row in rows if row.word_role != "noise" and (row.corpus not in aligned or row.path in known)]
    noise = [row for row in rows if row.word_role == "noise"]
    if not rows:
        raise DataError(f"{data} holds no continuous speech and no noise of the role {role}; false accepts cannot be counted without")
    return RoleBackground(tuple((whole(data, row), tuple(known.get(row.path, ()))) for row in speech), tuple(whole(data, row) for row in noise))


def draw_utterances(clips: Iterable[Clip], per_word: int, seed: int) -> list[Clip]:
    """Draw the utterances of a stream.

    Args:
        clips: of the role's words.
        per_word: how many of each word; fewer where there are fewer.
        seed: of the draw.

    Returns:
        Clips; nobody's second clip of a word before everybody's first.
    """
    said: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.key):
        said[clip.word].append(clip)
    drawn = []
    for number, (_, of_word) in enumerate(sorted(said.items())):
        rng = np.random.default_rng([seed, DRAW, number])
        turns: defaultdict[str, int] = defaultdict(int)
        ordered: list[tuple[int, int, Clip]] = []
        for index in rng.permutation(len(of_word)).tolist():
            ordered.append((turns[of_word[index].speaker], len(ordered), of_word[index]))
            turns[of_word[index].speaker] += 1
        drawn += [clip for _, _, clip in sorted(ordered, key=lambda turn: turn[:2])[:per_word]]
    return drawn


def background_scenes(background: RoleBackground, hours: float | None, snr_db: float | None, seed: int) -> Iterator[Scene]:
    """Play the background.

    Args:
        background: of a role.
        hours: how much of it; more than there is begins again in another order, at other levels. Everything once when None.
        snr_db: level of speech over the noise under it, in every scene; half of the scenes at 10 to 30 dB when None.
        seed: of order, levels, gaps and noise.

    Yields:
        One recording with a gap before it each.
    """
    recordings = (*background.speech, *((clip, ()) for clip in background.noise))
    played = 0.0
    for number in range(len(recordings) if hours is None else 1 << 40):
        turn, place = divmod(number, len(recordings))
        order = _order(len(recordings), seed, turn)
        clip, words = recordings[order[place]]
        rng = np.random.default_rng([seed, BACKGROUND, number])
        samples, gap = _at_some_level(_read(clip), rng), rng.uniform(*BACKGROUND_GAP_S)
        sound = surround(samples, _samples(gap), 0, seed=number)
        if clip.word_role != "noise":
            sound = _with_noise(sound, samples, background.noise, snr_db, rng)
        scene = Scene(_limited(sound), _embedded(words, clip, gap), len(samples) / SAMPLE_RATE)
        played += scene.background_s
        yield scene
        if hours is not None and played >= hours * 3600:
            return


def utterance_scenes(clips: Sequence[Clip], background: RoleBackground, snr_db: float | None, seed: int) -> Iterator[Scene]:
    """Say every utterance once, among background.

    Args:
        clips: the utterances, of one word each.
        background: of the role.
        snr_db: level of the utterance over the noise under it, in every scene; half of the scenes at 10 to 30 dB when None.
        seed: of order, contexts, levels, gaps and noise.

    Yields:
        One utterance with what precedes it each.
    """
    contexts = ["silence", "word", *(["noise"] if background.noise else []), *(["speech"] if background.speech else [])]
    for number, index in enumerate(np.random.default_rng([seed, UTTERANCES]).permutation(len(clips)).tolist()):
        rng = np.random.default_rng([seed, UTTERANCES, number])
        clip, context = clips[index], contexts[int(rng.integers(len(contexts)))]
        recorded = load(clip)
        voiced = speech_segments(recorded) or [(0.0, len(recorded) / SAMPLE_RATE)]
        said = _at_some_level(recorded, rng)
        before, embedded = np.zeros(0, np.float32), tuple[Occurrence, ...]()
        if context == "speech":
            before, embedded = _excerpt(*background.speech[int(rng.integers(len(background.speech)))], rng)
        elif context == "noise":
            before, _ = _excerpt(background.noise[int(rng.integers(len(background.noise)))], (), rng)
        gap = rng.uniform(*(SILENCE_S if context == "silence" else SHORT_GAP_S))
        sound = np.concatenate([before, surround(said, _samples(gap), _samples(rng.uniform(*AFTER_S)), seed=number)])
        begin = (len(before) + _samples(gap)) / SAMPLE_RATE
        spoken = Occurrence(clip.word, clip.speaker, begin + voiced[0][0], begin + voiced[-1][1], True)
        yield Scene(_limited(_with_noise(sound, said, background.noise, snr_db, rng)), (*embedded, spoken), len(before) / SAMPLE_RATE)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, turn: int) -> list[int]:
    """Order in which the recordings are played the so-manieth time."""
    order: list[int] = np.random.default_rng([seed, BACKGROUND, DRAW, turn]).permutation(count).tolist()
    return order


@lru_cache(maxsize=16)
def _read(clip: Clip) -> NDArray[np.float32]:
    """Read a recording; the few long ones of noise are wanted again and again."""
    samples = read_audio(clip.file)
    samples.flags.writeable = False
    return samples


def _at_some_level(samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Bring a recording to a level drawn at random; silence stays what it is."""
    wanted = 10 ** ((REFERENCE_DBFS + rng.uniform(-SPREAD_DB, SPREAD_DB)) / 20)
    level, peak = active_level(samples), float(np.abs(samples).max(initial=0.0))
    if level < 1e-7:
        return samples
    return samples * np.float32(min(wanted / level, PEAK / peak))


def _excerpt(clip: Clip, words: tuple[AlignedWord, ...], rng: np.random.Generator) -> tuple[NDArray[np.float32], tuple[Occurrence, ...]]:
    """Take a stretch out of a recording, at a level of its own, with the words in it."""
    samples = _read(clip)
    length = min(len(samples), _samples(rng.uniform(*CONTEXT_S)))
    start = int(rng.integers(len(samples) - length + 1))
    stretch = samples[start : start + length]
    end_s = (start + length) / SAMPLE_RATE
    inside = tuple(word for word in words if word.end_s > start / SAMPLE_RATE and word.start_s < end_s)
    return _at_some_level(stretch, rng), _embedded(inside, clip, -start / SAMPLE_RATE)


def _embedded(words: Iterable[AlignedWord], clip: Clip, shift_s: float) -> tuple[Occurrence, ...]:
    return tuple(Occurrence(word.word, clip.speaker, word.start_s + shift_s, word.end_s + shift_s, False) for word in words)


def _with_noise(
    sound: NDArray[np.float32], speech: NDArray[np.float32], noise: Sequence[Clip], snr_db: float | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Lay noise under a scene, so many decibels below its speech."""
    wanted = rng.uniform(*BED_SNR_DB) if snr_db is None else snr_db
    rooms = [clip for clip in noise if clip.duration_s >= BED_SHORTEST_S]
    if not rooms or (snr_db is None and rng.random() >= BED_SHARE):
        return sound
    for index in rng.permutation(len(rooms)).tolist():
        bed = _read(rooms[index])
        start = int(rng.integers(max(1, len(bed) - len(sound))))
        stretch = np.resize(bed[start : start + len(sound)], len(sound))
        level = float(np.sqrt(np.mean(np.square(stretch, dtype=np.float64))))
        if level > BED_WEAKEST:
            return sound + np.float32(active_level(speech) / level * 10 ** (-wanted / 20)) * stretch
    return sound


def _limited(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the peaks of a mix within full scale."""
    return sound / np.float32(max(1.0, float(np.abs(sound).max(initial=0.0)) / PEAK))
