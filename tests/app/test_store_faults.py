"""Whatever happens at any call to the file system, a store holds the old words or the new ones, whole, and its lock is free.

Every call by which the store reads or changes files is counted, and the n-th one kills the program or fails, for every n until the operation gets
through. Death between two calls looks like death at the second, and a write is cut in two, so that half-written files are among what is found.
"""

import builtins
import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import app.commands.words
import app.parser  # noqa: F401 - not to be imported again by every program that is killed
from app import enrolment, safety
from app.bundle import read_bundle, take_over, write_bundle
from app.cli import main
from app.enrolment import store_shots
from app.store import StoredWord, WordStore

fcntl: Any = pytest.importorskip("fcntl")

NewWord = Callable[..., StoredWord]
State = dict[str, tuple[str, bytes]]

DIED = 42
CALLS = ("open", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "close", "chmod", "listdir", "scandir", "stat", "fstat", "write")
MOST_CALLS = 200

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Fault:
    """Counts calls and lets one of them fail.

    Args:
        at: which call, from 1.
        happens: what is done instead of it.
        within: calls on other paths are not counted, nor are those by number of a file that was opened elsewhere.
    """

    def __init__(self, at: int, happens: Callable[[], None], within: Path) -> None:
        self.at, self.happens, self.within = at, happens, str(within)
        self.count = 0
        self.real = {name: getattr(os, name) for name in CALLS}

    def concerns(self, target: Any) -> bool:
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")
            except OSError:
                return False
        return isinstance(target, str | os.PathLike) and str(os.fspath(target)).startswith(self.within)

    def call(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.happens()

    def counted(self, name: str) -> Callable[..., Any]:
        def replacement(target: Any, *arguments: Any, **options: Any) -> Any:
            if self.concerns(target) or any(self.concerns(argument) for argument in arguments[:1]):
                self.call()
            return self.real[name](target, *arguments, **options)

        return replacement


class HalfWriting(io.FileIO):
    """A file whose writes are two calls, unbuffered."""

    fault: Fault

    def write(self, data: Any, /) -> int:
        contents = bytes(data)
        for part in (contents[: len(contents) // 2], contents[len(contents) // 2 :]):
            self.fault.call()
            super().write(part)
        return len(contents)


@contextmanager
def faulty(fault: Fault) -> Iterator[None]:
    """Put the counting layer under everything that opens, writes, moves and removes files of a folder."""
    real_open, real_flock = io.open, fcntl.flock

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not fault.concerns(file):
            return real_open(file, mode, *arguments, **options)
        if "w" not in mode:
            fault.call()
            return real_open(file, mode, *arguments, **options)
        handle = HalfWriting(file, mode.replace("b", ""))
        handle.fault = fault
        return handle

    def locking(handle: int, operation: int) -> None:
        if fault.concerns(handle):
            fault.call()
        real_flock(handle, operation)

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, fault.counted(name))
        patch.setattr(fcntl, "flock", locking)
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        patch.setattr(os, "fdopen", opened)
        patch.setattr(tempfile._os, "open", os.open)
        yield


def run(operation: Callable[[], None], at: int, within: Path) -> tuple[bool, int]:
    """Run an operation in a program that dies at a call.

    Returns:
        Whether it got through, and its exit status.
    """
    child = os.fork()
    if child == 0:
        try:
            with faulty(Fault(at, lambda: os._exit(DIED), within)):
                operation()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status != DIED, status


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def state(folder: Path) -> State:
    """What another program reads: the words, their descriptions and arrays."""
    read = WordStore(folder).words()
    return {word.info.word: (word.info.model_dump_json(), b"".join(array.tobytes() for shot in word.shots for array in shot)) for word in read}


class Scene:
    """A store with two words and the operations that change it."""

    def __init__(self, tmp_path: Path, new_word: NewWord) -> None:
        self.folder, self.bundle, self.number = tmp_path / "stores", tmp_path / "words.bundle", 0
        self.words = [new_word("lamp"), new_word("radio", shots=2)]
        self.brought = [new_word("door"), new_word("radio"), new_word("gate")]
        self.new_shot = (new_word("x").shots, new_word("x").info.shots[0])
        self.template = tmp_path / "template"
        store = WordStore(self.template)
        with store.locked():
            store.put(*self.words)
        write_bundle(self.bundle, self.brought)

    def fresh(self) -> WordStore:
        """A store of its own for each run."""
        self.number += 1
        return WordStore(shutil.copytree(self.template, self.folder / str(self.number)))

    def operation(self, name: str, store: WordStore) -> Callable[[], None]:
        folder = str(store.directory)
        of_command = {
            "rename": ["words", "rename", "lamp", "lights on", "--words", folder],
            "remove": ["words", "remove", "lamp", "--words", folder],
            "remove two": ["words", "remove", "lamp", "radio", "--words", folder],
            "set": ["words", "set", "lamp", "--threshold", "3", "--words", folder],
        }
        if name == "enroll":
            engine: Any = SimpleNamespace(
                reference="embedding",
                model=SimpleNamespace(sha256=self.words[0].info.model_sha256, weights={}, config=SimpleNamespace(speeds=(1.0,))),
                answers=lambda shots, said: [shot.readout for shot in said],
                calibrate=lambda shots, own_raw: self.words[0].info.calibration.model_copy(update={"own": (4.5,) * len(shots)}),
                lag=lambda answers, ends: 0.0,
            )
            return lambda: print(store_shots(engine, store, "lamp", [self.new_shot])[0].info.word)
        if name == "import":
            return lambda: print(len(take_over(store, read_bundle(self.bundle), [], replace=True)))
        return lambda: None if main(of_command[name]) == 0 else os._exit(3)


OPERATIONS = ["enroll", "rename", "remove", "remove two", "set", "import"]


@pytest.fixture
def scene(tmp_path: Path, new_word: NewWord, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(enrolment, "check", lambda *_: None)  # networks are not what is tested here
    monkeypatch.setattr(enrolment, "encoder_sha256", lambda _: "")
    assert safety.check is not enrolment.check
    return Scene(tmp_path, new_word)


def outcomes(scene: Scene, name: str) -> tuple[State, State]:
    """The words before an operation and after it."""
    before = state(scene.fresh().directory)
    store = scene.fresh()
    through, status = run(scene.operation(name, store), MOST_CALLS, store.directory)
    assert (through, status) == (True, 0)
    after = state(store.directory)
    assert after != before
    return before, after


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_program_killed_at_any_call_leaves_the_old_words_or_the_new_ones(scene: Scene, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    before, after = outcomes(scene, name)
    found, calls = set(), 0
    for at in range(1, MOST_CALLS):
        store = scene.fresh()
        through, _ = run(scene.operation(name, store), at, store.directory)
        calls = at
        now = state(store.directory)
        assert now in (before, after), f"killed at call {at}"
        found.add(now == after)
        with store.locked():  # would wait for a minute and fail if the dead program still held it
            assert litter(store.directory) == []
        assert state(store.directory) == now
        if through:
            assert now == after
            break
    assert calls > 8
    assert found == {False, True}
    assert "damaged" not in capfd.readouterr().err


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_call_that_fails_is_told_in_one_line_and_loses_nothing(scene: Scene, name: str, error: int, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = outcomes(scene, name)
    capsys.readouterr()

    def fail() -> None:
        raise OSError(error, os.strerror(error))

    for at in range(1, MOST_CALLS):
        store = scene.fresh()
        arguments = {
            "rename": ["rename", "lamp", "lights on"],
            "remove": ["remove", "lamp"],
            "remove two": ["remove", "lamp", "radio"],
            "set": ["set", "lamp", "--threshold", "3"],
        }.get(name)
        fault, status = Fault(at, fail, store.directory), 0
        with faulty(fault):
            if arguments:
                status = main(["words", *arguments, "--words", str(store.directory)])
            else:
                try:
                    scene.operation(name, store)()
                except (OSError, ValueError) as caught:
                    status = 2
                    print(caught)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert status in (0, 2)
        assert status == 0 or (told.err + told.out).count("\n") == 1
        now = state(store.directory)
        assert now in (before, after), f"failed at call {at}"
        assert status == 2 or now == after
        with store.locked():
            assert litter(store.directory) == []
        if fault.count < at:
            break
    else:
        pytest.fail("the operation never got through")


def test_an_import_that_is_killed_never_brings_a_part_of_a_bundle(scene: Scene) -> None:
    store = scene.fresh()
    names = {word.info.word for word in scene.words}
    for at in range(1, MOST_CALLS):
        through, _ = run(scene.operation("import", store), at, store.directory)
        here = {word.info.word for word in store.words()}
        assert here in (names, names | {"door", "gate"})
        if through or here != names:
            break
    assert here == names | {"door", "gate"}
