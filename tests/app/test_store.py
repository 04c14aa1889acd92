"""The word store keeps every word whole: through crashes, full disks, damaged files and other programs."""

import errno
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.errors import StoreError
from app.store import StoredWord, WordStore, encode, read_word, same_model
from priming.atomic import write_atomically

NewWord = Callable[..., StoredWord]


@pytest.fixture
def store(tmp_path: Path) -> WordStore:
    return WordStore(tmp_path / "words")


def files(store: WordStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir() if path.name != ".lock")


def test_a_word_comes_back_as_it_was(store: WordStore, new_word: NewWord) -> None:
    word = new_word("lights on", shots=3)
    store.put(word)
    found = store.get("lights  on ")
    assert found is not None
    assert found.info == word.info
    for before, after in zip(word.shots, found.shots, strict=True):
        for field in before._fields:
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
            assert getattr(after, field).dtype == getattr(before, field).dtype


def test_an_empty_store_has_no_words(store: WordStore) -> None:
    assert store.words() == []
    assert store.get("lamp") is None
    assert not store.directory.exists()  # reading makes nothing


def test_the_default_store_is_named_by_the_environment(home: Path) -> None:
    assert WordStore().directory == home / "words"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("")
    with pytest.raises(StoreError, match="not a folder"):
        WordStore(tmp_path / "words")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "text":
        path.write_text("not tensors")
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"word": "lamp"}))
    elif how == "foreign":
        save_file({"weight": np.zeros(3, np.float32)}, path)
    elif how == "huge header":
        path.write_bytes((2**62).to_bytes(8, "little") + content[8:])
    elif how == "description":
        path.write_bytes(content.replace(b'\\"threshold\\":2.0', b'\\"threshold\\":"a"'))
    elif how == "not finite":
        at = content.rindex(b"}") + 1
        path.write_bytes(content[:at] + b"\xff" * (len(content) - at))
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["empty", "truncated", "text", "pickle", "foreign", "huge header", "description", "not finite", "folder"])
def test_a_damaged_file_is_named_and_does_not_silence_the_others(
    store: WordStore, new_word: NewWord, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    for name in ("lamp", "radio"):
        store.put(new_word(name))
    path = next(store.directory.glob("lamp-*"))
    damage(path, how)
    with caplog.at_level(logging.WARNING, "sayonce"):
        assert [word.info.word for word in store.words()] == ["radio"]
    assert path.name in caplog.text


def test_a_damaged_word_can_be_removed_and_replaced(store: WordStore, new_word: NewWord) -> None:
    store.put(new_word("lamp"))
    path = next(store.directory.glob("lamp-*"))
    path.write_bytes(b"broken")
    with pytest.raises(StoreError, match="damaged"):
        store.get("lamp")
    store.put(new_word("lamp"))
    assert store.require("lamp").info.word == "lamp"
    path.write_bytes(b"broken")
    store.remove("lamp")
    assert files(store) == []


def test_a_file_under_another_name_is_passed_over(store: WordStore, new_word: NewWord, caplog: pytest.LogCaptureFixture) -> None:
    store.put(new_word("lamp"))
    path = next(store.directory.glob("lamp-*"))
    path.rename(path.with_name("copy.safetensors"))
    with caplog.at_level(logging.WARNING, "sayonce"):
        assert store.words() == []
    assert "app words rename" in caplog.text


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_word_and_nothing_else(store: WordStore, new_word: NewWord, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store.put(new_word("lamp", shots=1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        store.put(new_word("lamp", shots=2))
    monkeypatch.undo()
    assert len(store.require("lamp").shots) == 1
    assert len(files(store)) == 1


def test_rename(store: WordStore, new_word: NewWord) -> None:
    store.put(new_word("lamp", shots=2))
    store.put(new_word("radio"))
    store.rename("lamp", "lights on")
    assert [word.info.word for word in store.words()] == ["lights on", "radio"]
    assert len(store.require("lights on").shots) == 2
    store.rename("radio", "radio")
    with pytest.raises(StoreError, match="enrolled already"):
        store.rename("radio", "lights on")
    with pytest.raises(StoreError, match="not enrolled"):
        store.rename("door", "gate")
    with pytest.raises(StoreError, match="cannot hold"):
        store.rename("radio", "../radio")
    assert [word.info.word for word in store.words()] == ["lights on", "radio"]


def test_remove_takes_all_or_none(store: WordStore, new_word: NewWord) -> None:
    for name in ("lamp", "radio"):
        store.put(new_word(name))
    with pytest.raises(StoreError, match=r"'door' is not enrolled.*'lamp', 'radio'"):
        store.remove("lamp", "door")
    assert len(store.words()) == 2
    store.remove("lamp", "radio", "lamp")
    assert store.words() == []


def test_undo_brings_back_what_was_there_unless_it_changed_since(store: WordStore, new_word: NewWord) -> None:
    store.put(new_word("lamp", shots=1))
    before = store.contents("lamp")
    store.put(new_word("lamp", shots=2))
    written = store.contents("lamp")
    assert store.undo("lamp", written, before)
    assert len(store.require("lamp").shots) == 1
    store.put(new_word("lamp", shots=3))
    assert not store.undo("lamp", written, before)
    assert len(store.require("lamp").shots) == 3
    assert store.undo("lamp", store.contents("lamp"), None)
    assert store.get("lamp") is None


def test_words_of_another_model_are_named_and_left_out(new_word: NewWord, caplog: pytest.LogCaptureFixture) -> None:
    mine, other = new_word("lamp"), new_word("radio", sha256="1" * 64)
    with caplog.at_level(logging.WARNING, "sayonce"):
        assert same_model([mine, other], mine.info.model_sha256, "mel") == [mine]
    assert "'radio'" in caplog.text
    assert "--model embedding" in caplog.text


def test_left_over_parts_of_a_killed_program_go_away(store: WordStore, new_word: NewWord) -> None:
    store.put(new_word("lamp"))
    (store.directory / ".abc.part").write_bytes(b"half a word")
    with store.locked():
        pass
    assert len(files(store)) == 1


ADDER = """
import sys
from app.store import StoredWord, WordStore
store = WordStore(sys.argv[1])
for _ in range(10):  # as enrolling another shot does
    with store.locked():
        word = store.require("lamp")
        calibration = word.info.calibration.model_copy(update={"own": (*word.info.calibration.own, 4.5)})
        info = word.info.model_copy(update={"shots": (*word.info.shots, word.info.shots[0]), "calibration": calibration})
        store.put(StoredWord(info=info, shots=(*word.shots, word.shots[0])))
"""


def test_two_programs_lose_no_shot_of_each_other(store: WordStore, new_word: NewWord) -> None:
    store.put(new_word("lamp"))
    programs = [subprocess.Popen([sys.executable, "-c", ADDER, str(store.directory)]) for _ in range(2)]
    assert [program.wait(60) for program in programs] == [0, 0]
    assert len(store.require("lamp").shots) == 21


WRITER = """
import sys
from app.store import WordStore
store = WordStore(sys.argv[1])
word = store.require("lamp")
print("writing", flush=True)
while True:
    with store.locked():
        store.put(word)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_program_killed_while_it_writes_leaves_a_whole_word(store: WordStore, new_word: NewWord) -> None:
    store.put(new_word("lamp", shots=4))
    for wait in (0.0, 0.005, 0.02):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(store.directory)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL)
        assert len(store.require("lamp").shots) == 4
    with store.locked():
        pass
    assert len(files(store)) == 1


def test_atomic_writing_replaces_and_cleans_up(tmp_path: Path, new_word: NewWord) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_too_large_for_a_word_is_not_read(tmp_path: Path, new_word: NewWord) -> None:
    path = tmp_path / "lamp.safetensors"
    path.write_bytes(encode(new_word("lamp")))
    os.truncate(path, 65 << 20)
    with pytest.raises(StoreError, match="too large"):
        read_word(path)
