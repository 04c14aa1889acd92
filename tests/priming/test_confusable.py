"""How far words sound apart: against the definition of the edit distance, and what cannot be told apart."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from priming.confusable import APART, Confusable, edit_distances, neighbours
from priming.homophones import pronunciations

symbols = st.lists(st.integers(0, 3), max_size=7)


@given(symbols, st.lists(symbols, min_size=1, max_size=5))
def test_edit_distances_are_levenshteins(one: list[int], others: list[list[int]]) -> None:
    @cache
    def distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))

    padded = np.full((len(others), max(map(len, others))), -1)
    for row, other in zip(padded, others, strict=True):
        row[: len(other)] = other
    found = edit_distances(np.array(one, dtype=np.int64), padded, np.array([len(other) for other in others]))
    assert found.tolist() == [distance(tuple(one), tuple(other)) for other in others]


def test_words_of_one_phoneme_difference_are_neighbours() -> None:
    words = ["cat", "bat", "cab", "at", "garden"]
    assert neighbours([pronunciations(word)[0] for word in words]).tolist() == [3, 2, 1, 2, 0]


@given(st.lists(symbols.map(lambda one: tuple("ABCD"[k] for k in one)), min_size=1, max_size=12, unique=True))
def test_neighbours_are_those_at_a_distance_of_one(sounds: list[tuple[str, ...]]) -> None:
    lengths = np.array([len(one) for one in sounds])
    padded = np.full((len(sounds), max(lengths.max(), 1)), -1)
    for row, one in zip(padded, sounds, strict=True):
        row[: len(one)] = ["ABCD".index(letter) for letter in one]
    expected = [np.count_nonzero(edit_distances(row[:length], padded, lengths) == 1) for row, length in zip(padded, lengths, strict=True)]
    assert neighbours(sounds).tolist() == expected


def test_near_words_are_near_and_what_nobody_can_pronounce_is_compared_by_length() -> None:
    words = ["cat", "bat", "garden", "ar_cat", "ar_dog", "ar_zebra"]
    confusable = Confusable(words, [0.4, 0.4, 0.5, 0.4, 0.4, 0.8])
    from_cat, from_arabic = confusable.distances(0), confusable.distances(3)
    assert from_cat[:2].tolist() == pytest.approx([0, 1 / 3])
    assert from_cat[1] < from_cat[2] <= 1
    assert (from_cat[3:] == APART).all()
    assert from_arabic[3:].tolist() == pytest.approx([0, 0, 0.5])
    assert (from_arabic[:3] == APART).all()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("sea", "see", True),
        ("the", "of the", True),
        ("of the", "the", True),
        ("in the", "of the", False),
        ("of it", "it of", False),
        ("cat", "bat", False),
        ("better|city", "city", False),
        ("ar_cat", "ar_dog", False),
    ],
)
def test_words_that_cannot_be_told_apart_clash(one: str, other: str, expected: bool) -> None:
    assert Confusable([one, other], [1.0, 1.0]).clash(0, 1) is expected
