"""The one gate before everything that priming touches.

Only words whose role is `prime`, said by speakers whose split is `train`, and noise of the `train` part, pass. The gate looks roles, splits and
spoken words up in the data folder itself, so that a clip with wrong labels does not pass either, and refuses everything it cannot find there. What is
joined of two words, spliced or synthesised must besides neither hold nor sound like a held-back word (`priming.homophones`). What priming hears
(episodes, constants of the encoder, background, caches, noise) comes out of a `PrimingData`, and that exists only behind the gate.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from priming.clip import SPLICED_CORPUS, SYNTHETIC_CORPUS, Clip
from priming.corpus import MARGIN_S
from priming.errors import LeakError
from priming.homophones import SPLICE, forbidden, forbidden_splice
from priming.manifest import AlignedWord, Row, held_back_words, read_alignments, read_manifest

ROUNDING_S = 1e-6  # of edges in seconds


@dataclass(frozen=True)
class _Facts:
    """What a data folder says, independent of any clip.

    Attributes:
        rows: its recordings by path.
        held_words: words that some source holds back.
        held_speakers: speakers of whom some recording is not for training.
        held_stretches: start and end in seconds of the held-back words of each recording whose words are known.
        spoken: the words of each of these recordings, in order of time.
        prime_words: words that may be primed on.
    """

    rows: dict[str, Row]
    held_words: frozenset[str]
    held_speakers: frozenset[str]
    held_stretches: dict[str, list[tuple[float, float]]]
    spoken: dict[str, list[AlignedWord]]
    prime_words: frozenset[str]


@lru_cache(maxsize=4)
def _facts(root: Path) -> _Facts:
    rows = {row.path: row for row in read_manifest(root)}
    alignments = list(read_alignments(root))
    held_words = held_back_words(rows.values(), alignments)
    said = {row.word for row in rows.values()} | {word.word for _, words in alignments for word in words}
    return _Facts(
        rows=rows,
        held_words=held_words,
        held_speakers=frozenset(row.speaker for row in rows.values() if row.speaker and row.speaker_split != "train"),
        held_stretches={path: [(word.start_s, word.end_s) for word in words if word.word in held_words] for path, words in alignments},
        spoken=dict(alignments),
        prime_words=frozenset(said - held_words - {""}),
    )


@lru_cache(maxsize=4)
def _made(store: Path) -> dict[str, list[AlignedWord]]:
    """What the recordings say that were made on this machine."""
    return dict(read_alignments(store))


def _says(spoken: Iterable[AlignedWord], names: list[str], clip: Clip) -> bool:
    """Whether a cut lies within neighbouring words of these names and the margins around them."""
    words = list(spoken)
    runs = zip(*(itertools.islice(words, at, None) for at in range(len(names))), strict=False)
    for run in runs:
        edges = run[0].start_s - MARGIN_S - ROUNDING_S, run[-1].end_s + MARGIN_S + ROUNDING_S
        if [word.word for word in run] == names and clip.end_s is not None and edges[0] <= clip.start_s and clip.end_s <= edges[1]:
            return True
    return False


def _synthetic_refusal(clip: Clip, facts: _Facts) -> str | None:
    """Why priming must not hear a word that was synthesised, or None."""
    if clip.corpus != SYNTHETIC_CORPUS or clip.store is None or clip.parts:
        return "it is no recording of the data folder and no synthetic word"
    if (clip.word_role, clip.speaker_split) != ("prime", "train") or clip.word not in facts.prime_words:
        return f"{clip.word!r} is no word for priming"
    if clip.end_s is None or not 0 <= clip.start_s < clip.end_s < math.inf:
        return "its edges are not in order"
    heard = [word.word for word in _made(clip.store).get(clip.path, []) if word.end_s > clip.start_s and word.start_s < clip.end_s]
    return forbidden(clip.word, facts.held_words) if heard == [clip.word] else f"its recording says {heard}"


def _splice_refusal(clip: Clip, facts: _Facts) -> str | None:
    """Why priming must not hear two cuts joined, or None."""
    if len(clip.parts) != 2 or clip.corpus != SPLICED_CORPUS or clip.store is not None:
        return "it is not made of two cuts"
    first, second = clip.parts
    for part in clip.parts:
        if part.parts or part.end_s is None or not part.word or (part.root, part.speaker) != (clip.root, clip.speaker):
            return "one of its parts is no cut of a word by its speaker"
        if reason := _refusal(part):
            return reason
        if not facts.rows[part.path].word and not _says(facts.spoken[part.path], [part.word], part):
            return f"one of its parts does not say {part.word!r}"
    if (first.path, clip.word_role, clip.speaker_split) != (clip.path, "prime", "train") or clip.word != f"{first.word}{SPLICE}{second.word}":
        return "its labels are not those of its parts"
    return forbidden_splice(first.word, second.word, facts.held_words)


def _refusal(clip: Clip) -> str | None:
    """Why priming must not hear a clip, or None."""
    facts = _facts(clip.root)
    if clip.store is not None or clip.corpus == SYNTHETIC_CORPUS:
        return _synthetic_refusal(clip, facts)
    if clip.parts or clip.corpus == SPLICED_CORPUS:
        return _splice_refusal(clip, facts)
    row = facts.rows.get(clip.path)
    if row is None:
        return "the data folder does not list it"
    if row.speaker_split != "train" or clip.speaker_split != "train" or row.speaker in facts.held_speakers:
        return f"its speaker or part is held back ({row.speaker_split})"
    end_s = math.inf if clip.end_s is None else clip.end_s
    if not 0 <= clip.start_s < end_s:  # NaN fails this too
        return "its edges are not in order"
    if row.word_role == "noise":
        return None if clip.word_role == "noise" and not clip.word else "it is noise but labelled as a word"
    if row.word_role != "prime" or clip.word_role != "prime":
        return f"its role is {row.word_role if row.word_role != 'prime' else clip.word_role}, not prime"
    if clip.word in facts.held_words:
        return f"the word {clip.word!r} is held back"
    if row.word:
        return None if clip.word == row.word else f"the data folder says that its word is {row.word!r}"
    stretches = facts.held_stretches.get(clip.path)
    if stretches is None:
        return "nothing says which words this continuous speech holds"
    if any(clip.start_s < end and end_s > start for start, end in stretches):
        return "it overlaps a held-back word"
    if " " in clip.word:
        return forbidden(clip.word, facts.held_words) if _says(facts.spoken[clip.path], clip.word.split(), clip) else f"it does not say {clip.word!r}"
    return None


def admit(clips: Iterable[Clip]) -> list[Clip]:
    """Let clips through to priming, all or none.

    Args:
        clips: candidates.

    Returns:
        The same clips.

    Raises:
        LeakError: at least one clip is not for priming; names the first.
        priming.errors.DataError: a data folder is unusable.
    """
    admitted = list(clips)
    for clip in admitted:
        reason = _refusal(clip)
        if reason is not None:
            raise LeakError(f"{clip.key} ({clip.word or 'no word'}) must not reach priming: {reason}")
    return admitted


@dataclass(frozen=True)
class PrimingData:
    """What priming may hear: the only form in which its samplers accept recordings. Making one passes the gate.

    Attributes:
        clips: admitted clips.

    Raises:
        LeakError: at least one clip is not for priming.
    """

    clips: tuple[Clip, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "clips", tuple(admit(self.clips)))

    @property
    def words(self) -> list[Clip]:
        """The clips that say one word."""
        return [clip for clip in self.clips if clip.word]

    @property
    def noise(self) -> list[Clip]:
        """The recordings of noise."""
        return [clip for clip in self.clips if clip.word_role == "noise"]

    @property
    def speech(self) -> list[Clip]:
        """The stretches of continuous speech."""
        return [clip for clip in self.clips if not clip.word and clip.word_role == "prime"]
