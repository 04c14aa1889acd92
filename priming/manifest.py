"""The labels of a data folder: which recording says what, by whom, and what it may be used for.

A data folder holds either `manifest.csv` (one row a recording) and, for continuous speech, `alignments.csv` (one row a spoken word), or the plain
layout of Speech Commands (`<word>/<speaker>_nohash_<n>.wav`), whose roles and splits are then derived from the words and the dataset's own rule.
"""

import csv
import hashlib
import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from audio.constants import SAMPLE_RATE
from priming.errors import DataError

MANIFEST = "manifest.csv"
ALIGNMENTS = "alignments.csv"
ROLES = frozenset({"prime", "validation", "test", "noise", "speech", "unlisted"})
SPLITS = frozenset({"train", "validation", "test"})
DEMO_PREFIX = "connect"  # the demonstration enrols "connect": no word that begins so is primed on

# The division of words of Kim et al. 2022 ("splitGSC"), for a folder without a manifest.
PRIME_WORDS = frozenset({"bed", "bird", "cat", "dog", "eight", "five", "four", "nine", "one", "seven", "six", "three", "tree", "two", "zero"})
VALIDATION_WORDS = frozenset(
    {"happy", "house", "marvin", "sheila", "wow", "backward", "forward", "visual", "follow", "learn", "open", "close", "print", "fudan"}
)
TEST_WORDS = frozenset({"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"})
BACKGROUND_FOLDER = "_background_noise_"
BACKGROUND_SPLITS = {"dude_miaowing": "validation", "exercise_bike": "test", "white_noise": "test"}  # the other recordings of the folder: train
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})


@dataclass(frozen=True, slots=True)
class Row:
    """One recording of a data folder.

    Attributes:
        path: relative to the data folder, with forward slashes.
        corpus: the source's name.
        language: ISO 639-1 code, empty for noise.
        word: what is said; empty for noise and continuous speech.
        word_role: one of ROLES: what the word may be used for.
        speaker: the speaker's name in the source, empty if unknown.
        speaker_split: one of SPLITS.
        duration_s: length in seconds.
    """

    path: str
    corpus: str
    language: str
    word: str
    word_role: str
    speaker: str
    speaker_split: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One word of a continuous recording: its edges in seconds and the mean log acoustic score of a frame (higher is surer)."""

    word: str
    word_role: str
    start_s: float
    end_s: float
    score: float


def role_of(word: str, listed: str) -> str:
    """The role of a word: the listed one, except that the demonstration's words are held back like test words."""
    return "test" if word.startswith(DEMO_PREFIX) else listed


def _number(text: str, file: Path, line: int) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}, line {line}: {text!r} is not a number")
    return value


def _table(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Read the named columns of a CSV file with a header, with line numbers.

    Raises:
        DataError: the file is unreadable, or a column or a field is missing.
    """
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            reader = csv.reader(handle)
            header = next(reader, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError(f"{file} lacks the column {missing[0]!r}: its first line must name {', '.join(columns)}")
            places = [header.index(name) for name in columns]
            for fields in reader:
                if len(fields) != len(header):
                    raise DataError(f"{file}, line {reader.line_num}: {len(fields)} fields instead of {len(header)}")
                yield reader.line_num, [fields[place] for place in places]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {file}: {error}") from error


def read_manifest(data_dir: Path) -> list[Row]:
    """List the recordings of a data folder.

    Args:
        data_dir: a folder with `manifest.csv`, or one of the plain layout of Speech Commands.

    Returns:
        One row a recording; in the manifest's order, else sorted by path.

    Raises:
        DataError: no such folder, nothing usable in it, or a damaged manifest.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise DataError(f"{data_dir} is not a folder: give the folder that holds {MANIFEST} or one folder a word")
    file = data_dir / MANIFEST
    rows = list(_manifest_rows(file)) if file.is_file() else list(_plain_rows(data_dir))
    if len({row.path for row in rows}) < len(rows):
        twice = Counter(row.path for row in rows).most_common(1)[0][0]
        raise DataError(f"{file} lists {twice} more than once: a recording can have one role and one speaker only")
    if not rows:
        raise DataError(f"no recordings in {data_dir}: it must hold {MANIFEST} or folders <word>/<speaker>_nohash_<n>.wav")
    return rows


def _manifest_rows(file: Path) -> Iterator[Row]:
    columns = ("path", "corpus", "language", "word", "word_role", "speaker", "speaker_split", "duration_s")
    for line, (path, corpus, language, word, role, speaker, split, duration) in _table(file, columns):
        if role not in ROLES or split not in SPLITS:
            raise DataError(f"{file}, line {line}: word_role {role!r} or speaker_split {split!r} is none of the known ones")
        # Interned: 40,000 rows share a few thousand words, speakers and corpora.
        labels = [sys.intern(text) for text in (corpus, language, word, role_of(word, role), speaker, split)]
        yield Row(path, labels[0], labels[1], labels[2], labels[3], labels[4], labels[5], _number(duration, file, line))


def split_of_speaker(speaker: str) -> str:
    """The split of a Speech Commands speaker: the dataset's own hash rule, 10 % validation and 10 % test (Warden 2018).

    Args:
        speaker: the part of a file's name before `_nohash_`.

    Returns:
        One of SPLITS.

    >>> split_of_speaker("0165e0e8")
    'train'
    """
    most = 2**27 - 1
    share = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (most + 1) * (100.0 / most)
    return "validation" if share < 10 else "test" if share < 20 else "train"


def _plain_rows(data_dir: Path) -> Iterator[Row]:
    for folder in sorted(path for path in data_dir.iterdir() if path.is_dir()):
        for file in sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES):
            path = f"{folder.name}/{file.name}"
            if folder.name == BACKGROUND_FOLDER:
                yield Row(path, "background_noise", "", "", "noise", "", BACKGROUND_SPLITS.get(file.stem, "train"), _file_seconds(file))
            elif "_nohash_" in file.stem:
                speaker = sys.intern(file.stem.partition("_nohash_")[0])
                word = sys.intern(folder.name.lower())
                sets = (("prime", PRIME_WORDS), ("validation", VALIDATION_WORDS), ("test", TEST_WORDS))
                listed = next((role for role, words in sets if word in words), "unlisted")
                yield Row(path, "speech_commands", "en", word, role_of(word, listed), speaker, split_of_speaker(speaker), _file_seconds(file))


def _file_seconds(file: Path) -> float:
    """The length of a recording; of the 105,000 WAV files of Speech Commands (16-bit mono, 16 kHz) from their size, without opening them."""
    if file.suffix.lower() == ".wav":
        return max(file.stat().st_size - 44, 0) / (2 * SAMPLE_RATE)
    import soundfile

    try:
        return float(soundfile.info(file).duration)
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"cannot read {file}: {error}") from error


def read_alignments(data_dir: Path) -> Iterator[tuple[str, list[AlignedWord]]]:
    """Read the words of the continuous recordings, one recording at a time.

    Args:
        data_dir: the data folder; without `alignments.csv` there are none.

    Yields:
        A recording's path relative to the folder and its words in order of time.

    Raises:
        DataError: the file is damaged.
    """
    file = Path(data_dir) / ALIGNMENTS
    if not file.is_file():
        return
    columns = ("path", "word", "word_role", "start_s", "end_s", "score")
    seen: set[str] = set()
    for path, lines in itertools.groupby(_table(file, columns), key=lambda line: line[1][0]):
        if path in seen:
            raise DataError(f"{file}: the words of {path} do not stand together; sort the file by path")
        seen.add(path)
        words = []
        for line, (_, word, role, start, end, score) in lines:
            start_s, end_s = _number(start, file, line), _number(end, file, line)
            if role not in ROLES or not 0 <= start_s < end_s:
                raise DataError(f"{file}, line {line}: word_role {role!r} is unknown or the word's edges {start}-{end} are not in order")
            words.append(AlignedWord(sys.intern(word), sys.intern(role_of(word, role)), start_s, end_s, _number(score, file, line)))
        yield path, sorted(words, key=lambda word: word.start_s)


def held_back_words(rows: Iterable[Row], alignments: Iterable[tuple[str, list[AlignedWord]]]) -> frozenset[str]:
    """Words that any source of the folder holds back.

    One word may be for priming in one source and for validation in another ("three" is): it is then primed on in neither.

    Args:
        rows: the recordings of a data folder.
        alignments: their words, from `read_alignments`.

    Returns:
        All words that have a role other than `prime` somewhere.
    """
    held = {row.word for row in rows if row.word and row.word_role != "prime"}
    held.update(word.word for _, words in alignments for word in words if word.word_role != "prime")
    return frozenset(held)
