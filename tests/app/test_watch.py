"""Changes of a word store are noticed, once each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app import watch
from app.store import StoredWord, WordStore
from app.watch import StoreWatch


def test_words_that_come_change_and_go_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_word: Callable[..., StoredWord]) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    folder = tmp_path / "words"
    store, watched = WordStore(folder), StoreWatch(folder)
    assert not watched.changed()
    for change in (
        lambda: store.put(new_word("lamp")),
        lambda: store.put(new_word("lamp", shots=2)),
        lambda: store.rename("lamp", "light"),
        lambda: store.remove("light"),
    ):
        change()
        assert watched.changed()
        assert not watched.changed()
    (folder / "notes.txt").write_text("no word")
    assert not watched.changed()


def test_it_does_not_look_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_word: Callable[..., StoredWord]) -> None:
    watched = StoreWatch(tmp_path)
    WordStore(tmp_path).put(new_word("lamp"))
    assert not watched.changed()  # too soon
    monkeypatch.setattr(watch.time, "monotonic", lambda: watched._next)
    assert watched.changed()
