"""How alike words sound: the edit distance of their phonemes, and for words that no dictionary knows, how long they last.

Draws of words that are hard to tell apart start from one word and take those nearest to it. Words of one sound ("sea" and "see"), and a pair of words
with one of its two, are no hard task but an impossible one.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from priming.homophones import SPLICE, Phones, pronunciations
from priming.splices import spliced_phones

PAD = -1
DURATION_CLASS = 0.5  # a factor of two in length is as far apart as half of the phonemes
APART = 2.0  # words that cannot be compared


def edit_distances(one: NDArray[np.int64], others: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Levenshtein distances of one sequence to many.

    Args:
        one: [m] symbols.
        others: [n, L] symbols, padded behind their end.
        lengths: [n] length of each.

    Returns:
        [n] least number of insertions, deletions and substitutions.
    """
    columns = np.arange(others.shape[1] + 1)
    row = np.broadcast_to(columns, (len(others), len(columns)))
    for symbol in one.tolist():
        best = np.empty_like(row)
        best[:, 0] = row[:, 0] + 1
        best[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + (others != symbol))
        row = np.minimum.accumulate(best - columns, axis=1) + columns  # insertions: each cell from the cheapest one to its left
    found: NDArray[np.int64] = row[np.arange(len(others)), lengths]
    return found


def _as_numbers(sounds: Sequence[Phones]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write pronunciations as padded numbers [n, L] and lengths [n]."""
    number = {phone: k for k, phone in enumerate(sorted({phone for one in sounds for phone in one}))}
    lengths = np.array([len(one) for one in sounds], dtype=np.int64)
    padded = np.full((len(sounds), int(lengths.max(initial=0))), PAD, dtype=np.int64)
    for row, one in zip(padded, sounds, strict=True):
        row[: len(one)] = [number[phone] for phone in one]
    return padded, lengths


def neighbours(sounds: Sequence[Phones]) -> NDArray[np.int64]:
    """Count for each pronunciation the others that one insertion, deletion or substitution makes of it.

    Args:
        sounds: n pronunciations, all different.

    Returns:
        [n] counts.
    """
    number = {phones: k for k, phones in enumerate(sounds)}
    near: list[set[int]] = [set() for _ in sounds]
    alike_but_one: defaultdict[tuple[int, Phones], list[int]] = defaultdict(list)
    for k, phones in enumerate(sounds):
        for at in range(len(phones)):
            rest = phones[:at] + phones[at + 1 :]
            alike_but_one[at, rest].append(k)
            if rest in number:
                near[k].add(number[rest])
                near[number[rest]].add(k)
    for group in alike_but_one.values():
        for k in group:
            near[k].update(group)
    return np.array([len(others - {k}) for k, others in enumerate(near)])


@lru_cache(maxsize=65536)
def label_phones(word: str) -> Phones:
    """The usual phonemes of a clip's word: one word, a pair or a splice; none if they are unknown.

    Raises:
        DataError: the pronouncing dictionary is not installed.
    """
    if SPLICE in word:
        return spliced_phones(word)
    said = [pronunciations(part) for part in word.split()]
    return tuple(chain.from_iterable(one[0] for one in said)) if all(said) else ()


class Confusable:
    """Which words of a family are near each other.

    Args:
        words: of the family.
        durations_s: [words] mean length of the clips of each.

    Raises:
        DataError: the pronouncing dictionary is not installed.
    """

    def __init__(self, words: Sequence[str], durations_s: Sequence[float]) -> None:
        self._phones = [label_phones(word) for word in words]
        self._padded, self._lengths = _as_numbers(self._phones)
        self._log_durations = np.log2(durations_s)
        self._first = [word.split() for word in words]

    def distances(self, word: int) -> NDArray[np.float64]:
        """Compare a word with all.

        Args:
            word: index of a word.

        Returns:
            [words] 0 for what sounds like it, 1 for what shares nothing with it, 2 for what cannot be compared.
        """
        known = self._lengths > 0
        if not known[word]:
            by_length = DURATION_CLASS * np.abs(self._log_durations - self._log_durations[word])
            return np.where(known, APART, np.minimum(by_length, APART))
        edits = edit_distances(self._padded[word, : self._lengths[word]], self._padded, self._lengths)
        return np.where(known, edits / np.maximum(self._lengths, self._lengths[word]), APART)

    def clash(self, one: int, other: int) -> bool:
        """Whether two words cannot be told apart: they sound alike, or one of them is a part of the other, a pair of words."""
        if self._phones[one] and self._phones[one] == self._phones[other]:
            return True
        a, b = self._first[one], self._first[other]
        return len(a) != len(b) and (set(a) <= set(b) or set(b) <= set(a))
