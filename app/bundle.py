"""A bundle: words in one file, to take them to another machine.

One safetensors file whose tensors are the words' files, byte for byte, numbered; a count in the header tells it from other files. Nothing in it names
a path and nothing is compressed or executed: where a word goes follows from its name, checked as if it had been typed, and what is read is as large
as the file. A bundle is taken over as a whole or not at all, a word that is there already stays unless it is to be replaced, and a word whose model
is here is calibrated and checked as if it had just been enrolled (`app.safety`): a bundle may come from anybody.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.enrolment import KEPT, describe
from app.errors import StoreError
from app.safety import check
from app.word_file import MAX_BYTES as WORD_BYTES
from app.word_file import StoredWord, decode, encode, metadata
from priming.atomic import write_atomically

if TYPE_CHECKING:
    from app.engine import Engine
    from app.store import WordStore

HEADER = "sayonce_bundle"  # key of our entry in a safetensors header; its value is the number of words
MOST_WORDS = 1000
MAX_BYTES = MOST_WORDS * (WORD_BYTES + 100)  # of a bundle


def write_bundle(path: Path, words: Sequence[StoredWord]) -> None:
    """Write a bundle; an older bundle of that name stays whole until the new one is.

    Args:
        path: file to write, readable by its owner alone.
        words: at least one.

    Raises:
        StoreError: there are no words or too many, or the file exists and is no bundle.
        OSError: it cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    if not 0 < len(words) <= MOST_WORDS:
        raise StoreError(f"a bundle holds between 1 and {MOST_WORDS} words, not {len(words)}")
    if path.exists():
        try:
            read_bundle(path)
        except StoreError:
            raise StoreError(f"{path} exists and is no bundle of words; choose another name") from None
    tensors = {f"{number:03d}": np.frombuffer(encode(word), np.uint8) for number, word in enumerate(words)}
    write_atomically(path, save(tensors, metadata={HEADER: str(len(words))}), private=True)


def read_bundle(path: Path) -> list[StoredWord]:
    """Read a bundle.

    Args:
        path: a file of any origin.

    Returns:
        Its words, no two of one name.

    Raises:
        StoreError: it is missing, too large, damaged, or no bundle.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise StoreError(f"{path} is no file; give one that `app words export` wrote")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise StoreError(f"{path} is too large for a bundle of words")
    try:
        tensors = load(content)
        count = metadata(content).get(HEADER)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreError(f"{path} is no bundle of words, or it is damaged; export it again") from None
    if count is None:
        raise StoreError(f"{path} is no bundle of words; give one that `app words export` wrote")
    if count != str(len(tensors)) or not 0 < len(tensors) <= MOST_WORDS:
        raise StoreError(f"{path} does not hold the words that it announces; export it again")
    words = [decode(tensors[number].tobytes(), f"{path}, word {number}") for number in sorted(tensors)]
    if len({word.info.word for word in words}) < len(words):
        raise StoreError(f"{path} holds two words of one name; export it again")
    return words


def take_over(store: "WordStore", words: Sequence[StoredWord], engines: "Sequence[Engine]", *, replace: bool = False) -> list[StoredWord]:
    """Put words into a store, all of them or none.

    Args:
        store: to write to.
        words: of a bundle.
        engines: models that are here; words of theirs are calibrated and checked.
        replace: whether words of the same name are replaced.

    Returns:
        Those whose model is not among the engines: they are stored, and cannot be listened for under the models that are here.

    Raises:
        StoreError: a word is there already.
        SafetyError: a word would be unsafe to keep.
        CalibrationError: a word does not stand out from background at its threshold.
        BackendError: a word does not fit its model.
    """
    from app.safe_range import SafeRange

    with store.locked():
        if not replace and (taken := [word.info.word for word in words if store.contents(word.info.word) is not None]):
            names = ", ".join(f"'{name}'" for name in taken)
            raise StoreError(
                f"{names} is enrolled already; rename or remove it first, or give --replace"
                if len(taken) == 1
                else f"{names} are enrolled already; rename or remove them first, or give --replace"
            )
        enrolled, names_here = store.words(), {word.info.word for word in words}
        others = [word for word in enrolled if word.info.word not in names_here]
        kept, unknown = list[StoredWord](), list(words)
        for engine in engines:
            mine = [word for word in unknown if word.info.model_sha256 == engine.model.sha256]
            unknown = [word for word in unknown if word not in mine]
            bounds = SafeRange(engine.model) if mine else None
            for word in mine:
                derived = _derived(engine, word)
                check(engine, derived, [*others, *kept], bounds)  # words of one bundle too must not be taken for each other
                kept.append(derived)
        store.put(*kept, *unknown)
    return unknown


def _derived(engine: "Engine", word: StoredWord) -> StoredWord:
    """Work out again what the description of a word says about its scores; of what it brings, the wish when to be accepted alone is believed."""
    info = word.info
    if not info.forgotten:
        return describe(
            engine, info.word, list(zip(word.utterances, info.shots, strict=True)), info.created, earlier=info.calibration, speeds=info.speeds
        )
    own_raw = [score * info.calibration.scale + info.calibration.offset for score in info.calibration.own]  # utterances not to be heard again
    calibration = KEPT.apply(engine.calibrate(word.shots, own_raw), info.calibration)
    return StoredWord(info=info.model_copy(update={"model": engine.reference, "calibration": calibration}), shots=word.shots)
