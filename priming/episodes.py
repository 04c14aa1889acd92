"""One-shot tests: a few words learnt from one speaker each, recognised in other speakers.

An episode holds the enrolled words with their support clips and the queries, among them words that were not enrolled. No query is said by any
speaker of the episode's supports. Draws depend on the seed and the set of clips alone, not on their order: two systems tested with one seed hear
the same episodes, and the first hundred of six hundred are the hundred of a shorter run.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.noise_floor import surround
from audio.speed import change_speed
from priming.corpus import Clip
from priming.errors import DataError

BEFORE_S = 0.775 + 0.08  # background before a clip: one window of the speech embedding, and its hop
AFTER_S = 0.5  # background after a clip: a user would not wait longer for the answer
SUPPORT_AFTER_S = 0.4  # background after an utterance that a word is learnt from: its speech ends so long and a margin before the end
QUERIES_PER_WORD = 3
UNKNOWN_QUERIES = 5
UNKNOWN = -1  # label of a query whose word is not enrolled
ATTEMPTS = 20_000  # draws in which a query speaker is a support speaker are thrown away; rare unless a word has few speakers


@dataclass(frozen=True)
class Episode:
    """One test.

    Attributes:
        words: the enrolled words, W of them.
        support: W lists of clips that each word is learnt from.
        queries: clips to recognise, each with the index of its word in `words`, or -1 if its word is not enrolled.
    """

    words: tuple[str, ...]
    support: tuple[tuple[Clip, ...], ...]
    queries: tuple[tuple[Clip, int], ...]


def hearing(samples: NDArray[np.float32], seed: int = 0, lead_s: float = 0.0, follow_s: float = 0.0) -> NDArray[np.float32]:
    """What the learner hears of a clip: the clip in its own background.

    Args:
        samples: float32 [n] at 16 kHz.
        seed: of the background.
        lead_s: how much of the samples was said before the word: so much less background comes before it.
        follow_s: how much of them was said after it.

    Returns:
        float32 [13680 + n + 8000]: 0.855 s of background, the clip, 0.5 s of background; no digital silence. With `lead_s` and `follow_s` these
        lengths count from the word's edges.
    """
    before, after = max(0.0, BEFORE_S - lead_s), max(0.0, AFTER_S - follow_s)
    return surround(samples, round(before * SAMPLE_RATE), round(after * SAMPLE_RATE), seed)


def hearing_support(samples: NDArray[np.float32], speed: float = 1.0) -> NDArray[np.float32]:
    """What the learner hears of an utterance that it is to learn from: the utterance in its own background.

    Args:
        samples: float32 [n] at 16 kHz, cut around the speech (`audio.utterance`).
        speed: factor of `audio.speed.change_speed`.

    Returns:
        float32 [13680 + about n / speed + 6400]: 0.855 s of background, the utterance, 0.4 s of background.
    """
    return surround(change_speed(samples, speed), round(BEFORE_S * SAMPLE_RATE), round(SUPPORT_AFTER_S * SAMPLE_RATE))


class _Pool:
    """Clips by word and speaker, and who says what.

    Attributes:
        words: all words, sorted.
        clips: a word index and a speaker index to that speaker's clips of the word.
        counts: int [words, speakers], the number of these clips.
        speaks: bool [words, speakers], whether there are any.
    """

    def __init__(self, clips: Iterable[Clip]) -> None:
        ordered = sorted(clips, key=lambda clip: clip.key)
        self.words = sorted({clip.word for clip in ordered})
        speakers = sorted({clip.speaker for clip in ordered})
        word_index = {word: index for index, word in enumerate(self.words)}
        speaker_index = {speaker: index for index, speaker in enumerate(speakers)}
        self.clips: defaultdict[tuple[int, int], list[Clip]] = defaultdict(list)
        for clip in ordered:
            self.clips[word_index[clip.word], speaker_index[clip.speaker]].append(clip)
        self.counts = np.zeros((len(self.words), len(speakers)), dtype=np.int64)
        for (word, speaker), said in self.clips.items():
            self.counts[word, speaker] = len(said)
        self.speaks = self.counts > 0

    def fewest_speakers(self, word: int, shots: int) -> int | None:
        """The least number of speakers whose clips of a word make `shots`; None if all together have fewer."""
        most_first = np.cumsum(np.sort(self.counts[word])[::-1])
        return int(np.searchsorted(most_first, shots)) + 1 if most_first[-1] >= shots else None

    def support_speakers(self, word: int, shots: int, rng: np.random.Generator) -> list[int]:
        """Draw who says the supports of a word: one speaker if any has enough clips, else as many as it takes."""
        alone = np.flatnonzero(self.counts[word] >= shots)
        if len(alone):
            return [int(rng.choice(alone))]
        order = rng.permutation(np.flatnonzero(self.speaks[word]))
        enough = int(np.searchsorted(np.cumsum(self.counts[word, order]), shots))
        return [int(speaker) for speaker in order[: enough + 1]]

    def one(self, word: int, speaker: int, rng: np.random.Generator) -> Clip:
        """Draw one of a speaker's clips of a word."""
        said = self.clips[word, speaker]
        return said[int(rng.integers(len(said)))]


def draw_episodes(clips: Iterable[Clip], ways: int = 5, shots: int = 1, episodes: int = 600, seed: int = 0) -> Iterator[Episode]:
    """Draw one-shot tests.

    Each has `ways` words; for each of them `shots` clips of one speaker (of several where no speaker has so many) and three queries of three other
    speakers; and one query each of up to five words that are not enrolled. No query's speaker is a support speaker of the episode.

    Args:
        clips: of one role.
        ways: words to enrol; 1 to the number of words that have enough speakers.
        shots: support clips of a word.
        episodes: tests to draw.
        seed: of all draws.

    Returns:
        An iterator of the tests. It raises DataError if no valid draw is found.

    Raises:
        DataError: a number below 1, or too few words or speakers.
    """
    if min(ways, shots, episodes) < 1:
        raise DataError(f"ways, shots and episodes must be 1 or more, not {ways}, {shots} and {episodes}")
    pool = _Pool(clips)
    least = [pool.fewest_speakers(word, shots) for word in range(len(pool.words))]
    speakers = pool.speaks.sum(axis=1)
    usable = np.array([word for word, few in enumerate(least) if few is not None and speakers[word] >= few + QUERIES_PER_WORD], dtype=np.int64)
    if ways > len(usable):
        raise DataError(f"{ways} ways are asked for, but only {len(usable)} words have enough speakers for {shots} shots: ask for fewer")
    return (_draw(pool, usable, ways, shots, np.random.default_rng([seed, number])) for number in range(episodes))


def _draw(pool: _Pool, usable: NDArray[np.int64], ways: int, shots: int, rng: np.random.Generator) -> Episode:
    """Draw one test, again from the start until the speakers of supports and queries can differ."""
    unknown_count = min(UNKNOWN_QUERIES, len(pool.words) - ways)
    for _ in range(ATTEMPTS):
        words = rng.choice(usable, ways, replace=False)
        speakers = [pool.support_speakers(int(word), shots, rng) for word in words]
        free = pool.speaks.copy()
        free[:, [speaker for group in speakers for speaker in group]] = False
        others = np.setdiff1d(np.flatnonzero(free.any(axis=1)), words)
        if (free[words].sum(axis=1) >= QUERIES_PER_WORD).all() and len(others) >= unknown_count:
            break
    else:
        raise DataError(f"too few speakers to keep supports and queries apart with {ways} words and {shots} shots: ask for fewer")
    support = []
    for word, group in zip(words, speakers, strict=True):
        said = [clip for speaker in group for clip in rng.permutation(np.array(pool.clips[int(word), speaker], dtype=object))]
        support.append(tuple(said[:shots]))
    queries = []
    for label, word in enumerate(words):
        for speaker in rng.choice(np.flatnonzero(free[word]), QUERIES_PER_WORD, replace=False):
            queries.append((pool.one(int(word), int(speaker), rng), label))
    for word in rng.choice(others, unknown_count, replace=False):
        queries.append((pool.one(int(word), int(rng.choice(np.flatnonzero(free[word]))), rng), UNKNOWN))
    return Episode(tuple(pool.words[int(word)] for word in words), tuple(support), tuple(queries))
