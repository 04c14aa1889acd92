"""The word store: a folder with one file per enrolled word (`app.word_file`).

A change happens as a whole or not at all, whatever interrupts it (`app.transaction`), so a crash loses nothing; a lock keeps two programs from
undoing each other's changes, and ends with the program that held it. A file that is damaged or not ours is named in a warning and passed over: one
bad file does not silence the other words.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.errors import StoreError
from app.names import SUFFIX, clean, file_name
from app.portable import lock
from app.transaction import PENDING, change, finish, sweep
from app.word_file import ShotInfo, StoredWord, WordInfo, encode, now, read_word

__all__ = ["ShotInfo", "StoredWord", "WordInfo", "WordStore", "encode", "now", "read_word", "same_model"]

log = logging.getLogger("sayonce")

LOCK_SECONDS = 60.0  # how long to wait for another program that is changing the store
READINGS = 3  # of a store that another program is changing meanwhile


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
        found: list[StoredWord] = []
        for _ in range(READINGS):
            self._settle()
            found, gone = [], False
            for path in sorted(self.directory.glob(f"*{SUFFIX}")) if self.directory.is_dir() else []:
                try:
                    found.append(read_word(path))
                except FileNotFoundError:
                    gone = True  # another program is changing the store: read what it makes of it
                    break
                except StoreError as error:
                    log.warning("passed over %s", error)
                except OSError as error:
                    log.warning("passed over %s: %s", path, error.strerror or error)
            if not gone:
                break
        return sorted(found, key=lambda word: word.info.word)

    def get(self, word: str) -> StoredWord | None:
        """Read one word; None when it is not enrolled.

        Raises:
            StoreError: the name is no word's, or its file is damaged.
        """
        path = self._path(clean(word))
        self._settle()
        try:
            return read_word(path)
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
        self.directory.mkdir(parents=True, exist_ok=True)
        with lock(self.directory / ".lock", LOCK_SECONDS):
            finish(self.directory)  # only the holder of the lock writes: what is found here, a program that was killed has left
            sweep(self.directory)
            yield

    def put(self, *words: StoredWord) -> None:
        """Write words, all of them or none; hold the lock when they are made from what was read.

        Raises:
            StoreError: one is too large.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        change(self.directory, {file_name(word.info.word): encode(word) for word in words})

    def contents(self, word: str) -> bytes | None:
        """Return the bytes of a word's file, or None: what `undo` goes by."""
        self._settle()
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
            change(self.directory, {file_name(clean(word)): before})
            return True

    def remove(self, *words: str) -> None:
        """Forget words, even those whose file is damaged; all of them or none.

        Raises:
            StoreError: one is not enrolled.
        """
        names = [clean(word) for word in words]
        with self.locked():
            for name in names:
                if not self._path(name).exists():
                    self.require(name)
            change(self.directory, dict.fromkeys(map(file_name, names)))

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
            renamed = StoredWord(info=found.info.model_copy(update={"word": name}), shots=found.shots)
            change(self.directory, {file_name(name): encode(renamed), file_name(found.info.word): None})

    def _settle(self) -> None:
        """Complete a change that counts but was interrupted."""
        if (self.directory / PENDING).exists():
            try:
                with self.locked():
                    pass
            except OSError as error:
                log.warning("an interrupted change of %s cannot be completed: %s", self.directory, error.strerror or error)

    def _path(self, name: str) -> Path:
        return self.directory / file_name(name)


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
            remedies = (
                []
                if word.info.forgotten
                else [f'`app words upgrade "{word.info.word}" --model {reference}` learns it anew if the encoder is the same']
            )
            if word.info.model != reference:
                remedies.insert(0, f"listen with --model {word.info.model}")
            what = "enrolled under another model" if word.info.model != reference else "enrolled under another version of the model"
            log.warning("passed over '%s': %s; %s", word.info.word, what, ", or ".join([*remedies, "enroll it again with --replace"]))
    return [word for word in words if word.info.model_sha256 == sha256]
