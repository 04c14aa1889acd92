"""The word store: one safetensors file per enrolled word.

A file is replaced in one step (written beside it, flushed to the disk, renamed), so a reader sees the old word or the new one and a crash loses
nothing; a lock keeps two programs from undoing each other's changes. Nothing in a file is ever executed. A file that is damaged or not ours is
named in a warning and passed over: one bad file does not silence the other words.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from app.errors import StoreError
from app.names import SUFFIX, clean, file_name
from priming.atomic import PARTIAL, write_atomically
from priming.calibration import Calibration

if TYPE_CHECKING:
    from hardware import Shot

log = logging.getLogger("sayonce")

HEADER = "sayonce_word"  # key of our entry in a safetensors header
LOCK_SECONDS = 60.0  # how long to wait for another program that is changing the store
MAX_BYTES = 64 << 20  # a word takes some hundred kB; what is larger is no word


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShotInfo(_Frozen):
    """Where an utterance came from and what it was like."""

    source: str  # file name or microphone
    heard_at: str  # ISO 8601, UTC
    duration_s: FiniteFloat = Field(gt=0)  # of the speech
    end_s: FiniteFloat = Field(ge=0)  # where the speech ends in what the network heard
    level_dbfs: FiniteFloat
    snr_db: FiniteFloat
    remarks: tuple[str, ...] = ()  # problems that did not stop it from being learnt


class WordInfo(_Frozen):
    """Everything about an enrolled word that is not an array."""

    version: Literal[1] = 1
    word: str
    model: str  # name of a shipped model, or path of its file
    model_sha256: str
    created: str  # ISO 8601, UTC
    calibration: Calibration
    lag_s: FiniteFloat = Field(ge=0)  # from the end of an utterance to the peak of its score
    shots: tuple[ShotInfo, ...] = Field(min_length=1)

    @property
    def duration_s(self) -> float:
        """Mean length of the utterances."""
        return sum(shot.duration_s for shot in self.shots) / len(self.shots)


class StoredWord(_Frozen):
    """An enrolled word: its description and what each utterance taught."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    info: WordInfo
    shots: tuple[Any, ...]  # of hardware.Shot, one for each of info.shots


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def default_directory() -> Path:
    """Return the store that is used when none is named: SAYONCE_HOME, or the user's data folder."""
    home = os.environ.get("SAYONCE_HOME")
    if home:
        return Path(home) / "words"
    import platformdirs

    return Path(platformdirs.user_data_dir("sayonce", appauthor=False)) / "words"


class WordStore:
    """The enrolled words of a folder.

    Args:
        directory: the folder, made when the first word is stored; the default one when None.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory).expanduser() if directory else default_directory()
        if self.directory.exists() and not self.directory.is_dir():
            raise StoreError(f"{self.directory} is not a folder; name another with --words")

    def words(self) -> list[StoredWord]:
        """Read every word, sorted by name; files that cannot be used are named in a warning."""
        found = []
        for path in sorted(self.directory.glob(f"*{SUFFIX}")) if self.directory.is_dir() else []:
            try:
                found.append(read_word(path))
            except FileNotFoundError:
                continue  # removed by another program since the folder was listed
            except StoreError as error:
                log.warning("passed over %s", error)
            except OSError as error:
                log.warning("passed over %s: %s", path, error.strerror or error)
        return sorted(found, key=lambda word: word.info.word)

    def get(self, word: str) -> StoredWord | None:
        """Read one word; None when it is not enrolled.

        Raises:
            StoreError: the name is no word's, or its file is damaged.
        """
        try:
            return read_word(self._path(clean(word)))
        except FileNotFoundError:
            return None

    def require(self, word: str) -> StoredWord:
        """Read one word that must be there.

        Raises:
            StoreError: it is not enrolled, or its file is damaged.
        """
        found = self.get(word)
        if found is None:
            names = ", ".join(f"'{other.info.word}'" for other in self.words())
            raise StoreError(f"'{clean(word)}' is not enrolled in {self.directory}; " + (f"there are: {names}" if names else "there is no word yet"))
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store against other programs while it is read and changed.

        Raises:
            StoreError: another program held it for a minute.
        """
        from filelock import FileLock, Timeout

        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.directory / ".lock", timeout=LOCK_SECONDS):
                for left in self.directory.glob(f".*{PARTIAL}"):  # only the holder of the lock writes: these are of a program that was killed
                    left.unlink(missing_ok=True)
                yield
        except Timeout:
            raise StoreError(f"another program has held {self.directory} for {LOCK_SECONDS:.0f} s; end it and try again") from None

    def put(self, word: StoredWord) -> None:
        """Write a word, in one step; hold the lock when it is made from what was read."""
        write_atomically(self._path(word.info.word), encode(word), private=True)

    def contents(self, word: str) -> bytes | None:
        """Return the bytes of a word's file, or None: what `undo` goes by."""
        try:
            return self._path(clean(word)).read_bytes()
        except FileNotFoundError:
            return None

    def undo(self, word: str, written: bytes | None, before: bytes | None) -> bool:
        """Take back a change, unless the word was changed again since.

        Args:
            word: its name.
            written: the file's contents after the change.
            before: its contents before; None when there was no file.

        Returns:
            Whether it was taken back.
        """
        with self.locked():
            if self.contents(word) != written:
                return False
            if before is None:
                self._path(clean(word)).unlink(missing_ok=True)
            else:
                write_atomically(self._path(clean(word)), before, private=True)
            return True

    def remove(self, *words: str) -> None:
        """Forget words, even those whose file is damaged; all of them or none.

        Raises:
            StoreError: one is not enrolled.
        """
        with self.locked():
            paths = [self._path(clean(word)) for word in words]
            for word, path in zip(words, paths, strict=True):
                if not path.exists():
                    self.require(word)
            for path in paths:
                path.unlink(missing_ok=True)

    def rename(self, word: str, new: str) -> None:
        """Give a word another name.

        Raises:
            StoreError: it is not enrolled, or the new name is taken or no word's.
        """
        name = clean(new)
        with self.locked():
            found = self.require(word)
            if name == found.info.word:
                return
            if self._path(name).exists():
                raise StoreError(f"'{name}' is enrolled already; remove it first")
            self.put(StoredWord(info=found.info.model_copy(update={"word": name}), shots=found.shots))
            self._path(found.info.word).unlink()

    def _path(self, name: str) -> Path:
        return self.directory / file_name(name)


def encode(word: StoredWord) -> bytes:
    """Serialise a word: arrays as tensors `shots.<k>.<field>`, spikes eight to a byte, the description in the header."""
    import numpy as np
    from safetensors.numpy import save

    tensors: dict[str, Any] = {}
    steps = []
    for k, shot in enumerate(word.shots):
        lengths = {}
        for field in shot._fields:
            array = np.ascontiguousarray(getattr(shot, field))
            if array.dtype == np.uint8:  # spikes
                lengths[field] = array.shape[-1]
                array = np.packbits(array, axis=-1)
            tensors[f"shots.{k}.{field}"] = array
        steps.append(lengths)
    return save(tensors, metadata={HEADER: word.info.model_dump_json(), "channels": json.dumps(steps)})


def read_word(path: Path) -> StoredWord:
    """Read the file of a word.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is damaged or no word of ours.
    """
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size > MAX_BYTES:
        raise StoreError(f"{path}: too large for an enrolled word; move it elsewhere")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if HEADER not in header:
                raise StoreError(f"{path}: not an enrolled word; move it elsewhere")
            info = WordInfo.model_validate_json(header[HEADER])
            channels = json.loads(header["channels"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        shots = tuple(_shot(tensors, channels[k], k) for k in range(len(info.shots)))
    except (SafetensorError, ValidationError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: damaged; remove it and enroll the word again") from None
    if file_name(info.word) != path.name:
        raise StoreError(f"{path}: holds the word '{info.word}' under another file name; rename words with `app words rename`")
    return StoredWord(info=info, shots=shots)


def _shot(tensors: Mapping[str, Any], channels: Mapping[str, int], k: int) -> "Shot":
    """Rebuild one shot and check that its arrays fit together."""
    import numpy as np

    from hardware import Shot

    arrays = {}
    for field in Shot._fields:
        array = tensors[f"shots.{k}.{field}"]
        if field in channels:
            array = np.unpackbits(array, axis=-1, count=int(channels[field]))
        if not np.isfinite(array).all():
            raise ValueError(field)
        arrays[field] = array
    if len({len(array) for array in arrays.values() if array.ndim == 2}) != 1:
        raise ValueError("steps differ")
    return Shot(**arrays)


def same_model(words: Sequence[StoredWord], sha256: str, reference: str) -> list[StoredWord]:
    """Keep the words that were enrolled under a model; name the others in a warning.

    Args:
        words: any.
        sha256: of the model's file.
        reference: what `--model` calls it.

    Returns:
        The words of that model.
    """
    for word in words:
        if word.info.model_sha256 != sha256:
            remedy = f"listen with --model {word.info.model}" if word.info.model != reference else "the model has changed since"
            log.warning("passed over '%s': enrolled under another model; %s, or enroll it again with --replace", word.info.word, remedy)
    return [word for word in words if word.info.model_sha256 == sha256]
