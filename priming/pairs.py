"""Two-word "words": two neighbours in a sentence, said as one by several people.

"Of course" or "the first" are longer than most commands and made of real transitions between words, and no two of them are alike in meaning or sound:
words that cost no recording.
"""

import itertools
from collections import defaultdict
from pathlib import Path

from priming.corpus import GUARD_S, MARGIN_S, Clip, aligned_recordings, cut, thinned
from priming.homophones import forbidden
from priming.manifest import held_back_words, read_alignments, read_manifest

LONGEST_GAP_S = 0.05  # between the two words: a longer one is a pause


def pair_clips(
    data_dir: Path,
    shortest_s: float = 0.4,
    longest_s: float = 1.2,
    lowest_score: float = -2.2,
    speakers: int = 3,
    most_words: int | None = None,
    most_per_word: int | None = None,
    most_per_speaker: int | None = None,
    seed: int = 0,
) -> list[Clip]:
    """Cut pairs of neighbouring words from continuous speech, 20 ms around each pair; never into a held-back neighbour.

    Args:
        data_dir: the data folder.
        shortest_s: least length of a pair, without margins.
        longest_s: greatest length of a pair, without margins.
        lowest_score: least acoustic score of either word, exclusive.
        speakers: least number of people who say a pair.
        most_words: if given, keep so many pairs: those that most people say.
        most_per_word: if given, keep at most so many cuts of a pair, drawn at random.
        most_per_speaker: if given, keep at most so many cuts of a pair by one speaker.
        seed: of these draws.

    Returns:
        The cuts, ordered by recording and time; the word of each is both words with a space between them.

    Raises:
        DataError: the folder is unusable, or the pronouncing dictionary is not installed.
    """
    held = held_back_words(read_manifest(data_dir), read_alignments(data_dir))
    clips: list[Clip] = []
    said_by: defaultdict[str, set[str]] = defaultdict(set)
    for row, words in aligned_recordings(data_dir):
        for place, (first, second) in enumerate(itertools.pairwise(words)):
            if {first.word_role, second.word_role} != {"prime"} or first.word in held or second.word in held:
                continue
            if not shortest_s <= second.end_s - first.start_s <= longest_s or second.start_s - first.end_s > LONGEST_GAP_S:
                continue
            if min(first.score, second.score) <= lowest_score or second.end_s > row.duration_s:
                continue
            outside = [
                word for word in (*words[max(place - 1, 0) : place], *words[place + 2 : place + 3]) if word.word_role != "prime" or word.word in held
            ]
            near = any(word.end_s > first.start_s - GUARD_S and word.start_s < second.end_s + GUARD_S for word in outside)
            margin = 0.0 if near else MARGIN_S
            name = f"{first.word} {second.word}"
            clips.append(cut(data_dir, row, name, "prime", max(first.start_s - margin, 0.0), min(second.end_s + margin, row.duration_s)))
            said_by[name].add(row.speaker)
    by_frequency = sorted((name for name, people in said_by.items() if len(people) >= speakers), key=lambda name: (-len(said_by[name]), name))
    allowed = set([name for name in by_frequency if forbidden(name, held) is None][:most_words])
    return thinned([clip for clip in clips if clip.word in allowed], most_per_word, most_per_speaker, seed)
