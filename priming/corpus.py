"""Choosing clips: by the role of their words and the split of their speakers, whole recordings or words cut from continuous speech."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from priming.clip import Clip, cut, load, load_many, read_cut, whole
from priming.errors import DataError
from priming.manifest import AlignedWord, Row, held_back_words, read_alignments, read_manifest

__all__ = [
    "ALIGNED_CORPUS",
    "CUT_CORPORA",
    "GUARD_S",
    "MARGIN_S",
    "Clip",
    "aligned_clips",
    "aligned_recordings",
    "background_clips",
    "cut",
    "isolated_clips",
    "load",
    "load_many",
    "noise_clips",
    "read_cut",
    "role_clips",
    "thinned",
    "whole",
]

MARGIN_S = 0.02  # kept around an aligned word: its edges are known to about 17 ms
GUARD_S = 0.05  # kept free between a stretch of background speech and a held-back word: 95 % of the edges are known to this
CUT_CORPORA = frozenset({"speechocean762"})  # whose recordings of words were cut from sentences, not said as commands
ALIGNED_CORPUS = "librispeech"


def isolated_clips(data_dir: Path, role: str = "prime", split: str = "train") -> list[Clip]:
    """Whole recordings of one word each.

    Args:
        data_dir: the data folder.
        role: the words' role.
        split: the speakers' split.

    Returns:
        Their clips, in the manifest's order. For `prime`, without the words that another source of the folder holds back.

    Raises:
        DataError: the folder is unusable.
    """
    rows = read_manifest(data_dir)
    held = held_back_words(rows, read_alignments(data_dir)) if role == "prime" else frozenset()
    return [whole(data_dir, row) for row in rows if row.word_role == role and row.speaker_split == split and row.word and row.word not in held]


def noise_clips(data_dir: Path, split: str = "train") -> list[Clip]:
    """Recordings of noise without wanted speech.

    Args:
        data_dir: the data folder.
        split: which part: priming may hear `train`, reported figures use `test`.

    Returns:
        Their clips, in the manifest's order.

    Raises:
        DataError: the folder is unusable.
    """
    return [whole(data_dir, row) for row in read_manifest(data_dir) if row.word_role == "noise" and row.speaker_split == split]


def aligned_recordings(data_dir: Path, split: str = "train") -> Iterator[tuple[Row, list[AlignedWord]]]:
    """The continuous recordings of a split whose words are known, and these words in order of time."""
    rows = {row.path: row for row in read_manifest(data_dir) if row.corpus == ALIGNED_CORPUS and row.speaker_split == split}
    return ((rows[path], words) for path, words in read_alignments(data_dir) if path in rows)


def aligned_clips(
    data_dir: Path,
    role: str = "prime",
    split: str = "train",
    shortest_s: float = 0.25,
    longest_s: float = 1.0,
    lowest_score: float = -2.2,
    letters: int = 3,
    speakers: int = 4,
    most_per_word: int | None = None,
    most_per_speaker: int | None = None,
    seed: int = 0,
) -> list[Clip]:
    """Words cut from continuous speech, 20 ms around each; never into a held-back neighbour of a word for priming.

    Args:
        data_dir: the data folder.
        role: the words' role.
        split: the speakers' split.
        shortest_s: least length of a word, without margins.
        longest_s: greatest length of a word, without margins.
        lowest_score: least acoustic score, exclusive: below, the alignment is doubtful.
        letters: least number of letters of a word.
        speakers: least number of people who say a word: an episode needs several.
        most_per_word: if given, keep at most so many cuts of a word, drawn at random.
        most_per_speaker: if given, keep at most so many cuts of a word by one speaker, drawn at random.
        seed: of these draws.

    Returns:
        The cuts, ordered by recording and time.

    Raises:
        DataError: the folder is unusable.
    """
    held = held_back_words(read_manifest(data_dir), read_alignments(data_dir)) if role == "prime" else frozenset()
    clips: list[Clip] = []
    said_by: defaultdict[str, set[str]] = defaultdict(set)
    for row, words in aligned_recordings(data_dir, split):
        for place, word in enumerate(words):
            length = word.end_s - word.start_s
            if word.word_role != role or word.word in held or len(word.word) < letters:
                continue
            if not shortest_s <= length <= longest_s or word.score <= lowest_score or word.start_s >= row.duration_s:
                continue
            start_s, end_s = max(word.start_s - MARGIN_S, 0.0), min(word.end_s + MARGIN_S, row.duration_s)
            if role == "prime" and place and words[place - 1].word_role != "prime":
                start_s = max(start_s, words[place - 1].end_s)
            if role == "prime" and place + 1 < len(words) and words[place + 1].word_role != "prime":
                end_s = min(end_s, words[place + 1].start_s)
            clips.append(cut(data_dir, row, word.word, word.word_role, start_s, end_s))
            said_by[word.word].add(row.speaker)
    clips = [clip for clip in clips if len(said_by[clip.word]) >= speakers]
    return thinned(clips, most_per_word, most_per_speaker, seed)


def thinned(clips: Sequence[Clip], most_per_word: int | None, most_per_speaker: int | None, seed: int) -> list[Clip]:
    """Keep some clips of each word, drawn at random.

    Args:
        clips: of any words.
        most_per_word: if given, at most so many of a word.
        most_per_speaker: if given, at most so many of a word by one speaker.
        seed: of the draw.

    Returns:
        Those kept, in their order.
    """
    if most_per_word is None and most_per_speaker is None:
        return list(clips)
    kept: list[int] = []
    of_word: defaultdict[str, int] = defaultdict(int)
    of_speaker: defaultdict[tuple[str, str], int] = defaultdict(int)
    for index in np.random.default_rng(seed).permutation(len(clips)).tolist():
        word, speaker = clips[index].word, clips[index].speaker
        if of_word[word] < (most_per_word or len(clips)) and of_speaker[word, speaker] < (most_per_speaker or len(clips)):
            of_word[word] += 1
            of_speaker[word, speaker] += 1
            kept.append(index)
    return [clips[index] for index in sorted(kept)]


def background_clips(data_dir: Path, shortest_s: float = 1.5) -> list[Clip]:
    """Stretches of continuous speech that priming may hear: those between the held-back words, 50 ms away from them.

    Args:
        data_dir: the data folder.
        shortest_s: shorter stretches are left out.

    Returns:
        The stretches, without a word of their own, ordered by recording and time; none where the words of a recording are not known.

    Raises:
        DataError: the folder is unusable.
    """
    held = held_back_words(read_manifest(data_dir), read_alignments(data_dir))
    clips = []
    for row, words in aligned_recordings(data_dir, "train"):
        barriers = [(word.start_s, word.end_s) for word in words if word.word_role != "prime" or word.word in held]
        starts = [0.0] + [end_s + GUARD_S for _, end_s in barriers]
        ends = [start_s - GUARD_S for start_s, _ in barriers] + [row.duration_s]
        clips += [cut(data_dir, row, "", row.word_role, a, b) for a, b in zip(starts, ends, strict=True) if b - a >= shortest_s]
    return clips


def role_clips(data_dir: Path, role: str, subset: str = "isolated") -> list[Clip]:
    """The clips that evaluation draws from.

    Args:
        data_dir: the data folder.
        role: `test` (test words by test speakers) or `validation`.
        subset: of `validation`: `isolated` (words said as commands, by any speaker who is not for test) or `connected` (words of 0.3-1 s cut from
            the sentences of the validation speakers). `test` has isolated words only.

    Returns:
        The clips, ordered as in the folder.

    Raises:
        DataError: no such role or set, or no clips of it.
    """
    if (role, subset) not in {("test", "isolated"), ("validation", "isolated"), ("validation", "connected")}:
        raise DataError(f"there is no {subset} set of the role {role!r}: choose test, or validation with isolated or connected words")
    if subset == "connected":
        clips = aligned_clips(data_dir, role, role, shortest_s=0.3, lowest_score=-math.inf, letters=1, speakers=1)
    else:
        splits = ["test"] if role == "test" else ["train", "validation"]
        clips = [clip for split in splits for clip in isolated_clips(data_dir, role, split) if clip.corpus not in CUT_CORPORA]
    if not clips:
        raise DataError(f"{data_dir} holds no {subset} clips of the role {role!r}")
    return clips
