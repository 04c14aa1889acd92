"""A manifest for a folder of recordings that has none: who says what, which words are for priming, which are held back.

Words and speakers are divided by a hash of their names and the seed: the same folder is divided in the same way everywhere, and a word or a speaker
that joins later moves few of the others. About a sixth of the words, and of the speakers, is for validation, as much for test, and three at least.
"""

import csv
import hashlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from priming.errors import DataError
from priming.manifest import AUDIO_SUFFIXES, BACKGROUND_FOLDER, Row

LAYOUT = "{word}/{speaker}_*"
HELD_BACK = 6  # one word in so many is for validation, one for test; speakers likewise
FEWEST = 3  # words or speakers of each part: an episode has two ways, and somebody else who asks


@dataclass(frozen=True)
class Labelled:
    """What was found in a folder."""

    rows: list[Row]
    skipped: list[tuple[str, str]]  # path and why it is left out


def label_folder(folder: Path, layout: str = LAYOUT, language: str = "", seed: int = 0) -> Labelled:
    """Label the recordings of a folder by their paths.

    Args:
        folder: holds the recordings; those in `_background_noise_` are noise.
        layout: of their paths below it, without suffix: `{word}` and `{speaker}` stand for what is said and by whom, `*` for anything.
        language: ISO 639-1 code, for the record.
        seed: of the division.

    Returns:
        The rows of a manifest, sorted by path, and what was left out.

    Raises:
        DataError: no such folder, a layout without word or speaker, or too few words or speakers.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the one that holds the recordings")
    pattern = _pattern(layout)
    found: list[tuple[str, str, str, float]] = []
    skipped: list[tuple[str, str]] = []
    noise: list[tuple[str, float]] = []
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()):
        path = file.relative_to(folder).as_posix()
        matched = pattern.fullmatch(path.removesuffix(file.suffix))
        try:
            seconds = _seconds(file)
        except DataError as error:
            skipped.append((path, str(error)))
            continue
        if path.startswith(f"{BACKGROUND_FOLDER}/"):
            noise.append((path, seconds))
        elif matched is None:
            skipped.append((path, f"its path is not of the layout {layout}"))
        else:
            found.append((path, unicodedata.normalize("NFC", matched["word"]).lower(), matched["speaker"], seconds))
    roles = _divide("word", {word for _, word, _, _ in found}, seed)
    splits = _divide("speaker", {speaker for _, _, speaker, _ in found}, seed)
    role_of = {"train": "prime", "validation": "validation", "test": "test"}
    corpus = folder.resolve().name
    rows = [Row(path, corpus, language, word, role_of[roles[word]], who, splits[who], round(seconds, 3)) for path, word, who, seconds in found]
    rows += [Row(path, "background_noise", "", "", "noise", "", "train", round(seconds, 3)) for path, seconds in noise]
    return Labelled(sorted(rows, key=lambda row: row.path), skipped)


def manifest_bytes(rows: Iterable[Row]) -> bytes:
    """Return the content of a manifest."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(field.name for field in fields(Row))
    table.writerows(astuple(row) for row in rows)
    return buffer.getvalue().encode()


def counts(rows: Iterable[Row]) -> dict[str, tuple[int, int, int]]:
    """Count words, speakers and clips of each role, of those clips that are used (`priming.corpus.role_clips`).

    Args:
        rows: of a manifest.

    Returns:
        By role: prime, validation, test.
    """
    used = {"prime": {"train"}, "validation": {"train", "validation"}, "test": {"test"}}
    kept = [row for row in rows if row.speaker_split in used.get(row.word_role, set())]
    clips = Counter(row.word_role for row in kept)
    return {
        role: (len({row.word for row in kept if row.word_role == role}), len({row.speaker for row in kept if row.word_role == role}), clips[role])
        for role in used
    }


def _pattern(layout: str) -> re.Pattern[str]:
    """Turn a layout into a regular expression; a speaker or a word ends where what follows it begins for the first time."""
    for name in ("{word}", "{speaker}"):
        if layout.count(name) != 1:
            raise DataError(f"the layout {layout!r} must hold {name} once, as in {LAYOUT!r}")
    parts = re.split(r"(\{word\}|\{speaker\}|\*)", layout)
    places = {"{word}": "(?P<word>[^/]+?)", "{speaker}": "(?P<speaker>[^/]+?)", "*": ".*"}
    return re.compile("".join(places.get(part, re.escape(part)) for part in parts))


def _seconds(file: Path) -> float:
    """The length of a recording.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    import soundfile

    try:
        seconds = float(soundfile.info(file).duration)
    except (OSError, RuntimeError) as error:
        raise DataError("it is no recording that can be read") from error
    if seconds <= 0:
        raise DataError("it is empty")
    return seconds


def _divide(what: str, names: set[str], seed: int) -> dict[str, str]:
    """Divide names into splits.

    Raises:
        DataError: there are too few.
    """
    held = max(FEWEST, len(names) // HELD_BACK)
    if len(names) < 3 * FEWEST:
        raise DataError(f"{len(names)} {what}s are too few: priming, validation and test need {FEWEST} each, and priming is worth it with many more")
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {what} {name}".encode()).digest())
    return {name: "validation" if place < held else "test" if place < 2 * held else "train" for place, name in enumerate(ordered)}
