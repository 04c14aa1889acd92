"""Spliced pseudo-words: the beginning of one word and the end of another, both by one speaker.

A network that is to learn any word needs more words than people have recorded. A thousand words make a million pseudo-words, real speech on both
sides of the cut. For the same pseudo-word to be cut alike in all speakers, the cut lies at a boundary between phonemes, next to a vowel and near the
middle, whose place is estimated from the pronunciation: a vowel counts as half as long again as a consonant.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from priming.clip import Clip, load_many, spliced
from priming.homophones import SPLICE, VOWELS, Phones, forbidden, forbidden_splice, pronunciations, syllables
from priming.joining import OVERLAP_S
from priming.manifest import held_back_words, read_alignments, read_manifest

VOWEL_LENGTH = 1.5  # consonants
OUTERMOST = 0.27  # nearest to an edge of the word that a cut may lie, as a share of its length
SHORTEST_S = 0.25  # a word of this length leaves room for the cross-fade beside such a cut
LONGEST_S = 1.0
MOST_SYLLABLES = 2
FEWEST_PHONES = 3  # of a pseudo-word; one of them is a vowel
EDGE_S = 0.02  # kept around the speech of a recording of one word
CUT_CORPORA = frozenset({"speechocean762"})  # isolated words that were cut close

_Said = defaultdict[str, defaultdict[str, list[Clip]]]  # clips by word and speaker


def cut_place(phones: Phones) -> tuple[int, float] | None:
    """Where a word is cut.

    Args:
        phones: its pronunciation.

    Returns:
        How many phonemes come before the cut, and the share of the word's length before it; None if it has no boundary between a vowel and a
        consonant that is far enough from its edges.
    """
    lengths = np.cumsum([VOWEL_LENGTH if phone in VOWELS else 1.0 for phone in phones])
    shares = [float(length / lengths[-1]) for length in lengths[:-1]]
    vowels = [phone in VOWELS for phone in phones]
    places = [(abs(share - 0.5), at + 1, share) for at, share in enumerate(shares) if vowels[at] != vowels[at + 1]]
    best = min(places, default=None)
    return (best[1], best[2]) if best and OUTERMOST <= best[2] <= 1 - OUTERMOST else None


def spliced_phones(name: str) -> Phones:
    """The phonemes of a spliced pseudo-word, from its name.

    >>> spliced_phones("better|city")
    ('B', 'EH', 'T', 'IY')
    """
    first, second = (pronunciations(word)[0] for word in name.split(SPLICE))
    cuts = cut_place(first), cut_place(second)
    assert cuts[0]
    assert cuts[1]
    return first[: cuts[0][0]] + second[cuts[1][0] :]


def _edges(clips: Sequence[Clip]) -> dict[Clip, tuple[float, float]]:
    """Where the speech of clips lies in their recordings; only recordings of a word with silence around it are read."""
    from audio.voice import speech_segments

    close = [clip for clip in clips if clip.end_s is not None or clip.corpus in CUT_CORPORA]
    edges = {clip: (clip.start_s, clip.duration_s if clip.end_s is None else clip.end_s) for clip in close}
    for clip, samples in load_many(set(clips) - set(close)):
        if segments := speech_segments(samples):
            edges[clip] = (max(segments[0][0] - EDGE_S, 0.0), min(segments[-1][1] + EDGE_S, clip.duration_s))
    return {clip: (start_s, end_s) for clip, (start_s, end_s) in edges.items() if SHORTEST_S <= end_s - start_s <= LONGEST_S}


def _splice(first: Clip, second: Clip, edges: dict[Clip, tuple[float, float]]) -> Clip:
    """Join the beginning of a clip and the end of another at their cuts."""
    parts = []
    for clip, begins in ((first, True), (second, False)):
        start_s, end_s = edges[clip]
        place = cut_place(pronunciations(clip.word)[0])
        assert place is not None
        at = start_s + place[1] * (end_s - start_s)
        start_s, end_s = (start_s, at + OVERLAP_S / 2) if begins else (at - OVERLAP_S / 2, end_s)
        parts.append(replace(clip, start_s=start_s, end_s=end_s, duration_s=end_s - start_s))
    return spliced(parts[0], parts[1], f"{first.word}{SPLICE}{second.word}")


def splice_clips(data_dir: Path, clips: Sequence[Clip], words: int = 1500, speakers: int = 4, most_speakers: int = 8, seed: int = 0) -> list[Clip]:
    """Splice the beginnings and ends of words.

    Args:
        data_dir: the data folder, whose held-back words no splice may hold or sound like.
        clips: of single words, isolated or cut from continuous speech, for priming.
        words: pseudo-words to make; fewer where there are not so many. No two have the same phonemes, none those of a word of `clips`.
        speakers: least number of people who say both words.
        most_speakers: at most so many people's splice of a pseudo-word; one each.
        seed: of all draws.

    Returns:
        The splices, ordered by pseudo-word and speaker. The word of each is both words with a bar between them.

    Raises:
        DataError: the folder is unusable, or the pronouncing dictionary is not installed.
        audio.errors.AudioError: a recording cannot be read.
    """
    held = held_back_words(read_manifest(data_dir), read_alignments(data_dir))
    usable = {word for word in {clip.word for clip in clips} if _can_be_cut(word, held)}
    said: _Said = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        if clip.word in usable and clip.language == "en":
            said[clip.word][clip.speaker].append(clip)
    drawn: list[tuple[Clip, Clip]] = []
    for number, (first, second) in enumerate(_choose(said, held, {clip.word for clip in clips}, words, speakers, seed)):
        rng = np.random.default_rng([seed, number])
        both = sorted(set(said[first]) & set(said[second]))
        for index in rng.permutation(len(both))[:most_speakers].tolist():
            one, other = (options[int(rng.integers(len(options)))] for options in (said[first][both[index]], said[second][both[index]]))
            drawn.append((one, other))
    edges = _edges(list({clip for pair in drawn for clip in pair}))
    joined = (_splice(first, second, edges) for first, second in drawn if first in edges and second in edges)
    made = [clip for clip in joined if clip.duration_s >= SHORTEST_S]
    people = Counter(clip.word for clip in made)
    return sorted((clip for clip in made if people[clip.word] >= min(speakers, most_speakers)), key=lambda clip: (clip.word, clip.key))


def _can_be_cut(word: str, held: frozenset[str]) -> bool:
    """Whether a word is short, holds nothing held back, and has a place for a cut."""
    return forbidden(word, held) is None and syllables(word) <= MOST_SYLLABLES and cut_place(pronunciations(word)[0]) is not None


def _choose(said: _Said, held: frozenset[str], family: set[str], words: int, speakers: int, seed: int) -> list[tuple[str, str]]:
    """Draw allowed pairs of words that enough people say, using all words about equally often."""
    names = sorted(said)
    people = sorted({speaker for by in said.values() for speaker in by})
    says = np.array([[person in said[name] for person in people] for name in names], dtype=np.float32).reshape(len(names), len(people))
    pairs = np.argwhere(says @ says.T >= speakers)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    taken = {phones for word in family for phones in pronunciations(word)}
    used: Counter[tuple[bool, str]] = Counter()
    chosen: list[tuple[str, str]] = []
    order = np.random.default_rng(seed).permutation(pairs).tolist()
    for most in range(1, words + 1):  # uses of a word on either side: one more in each round, so that frequent words do not crowd out the others
        left = []
        for pair in order:
            if len(chosen) == words:
                return chosen
            first, second = names[pair[0]], names[pair[1]]
            if max(used[False, first], used[True, second]) >= most:
                left.append(pair)
                continue
            phones = spliced_phones(f"{first}{SPLICE}{second}")
            like_a_word = len(phones) >= FEWEST_PHONES and not VOWELS.isdisjoint(phones)
            if like_a_word and phones not in taken and forbidden_splice(first, second, held) is None:
                taken.add(phones)
                used.update([(False, first), (True, second)])
                chosen.append((first, second))
        if not left:
            break
        order = left
    return chosen
