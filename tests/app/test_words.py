"""The verbs on the word store: what they print and what they change."""

import json
from collections.abc import Callable

import pytest

from app.store import StoredWord, WordStore

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(new_word: Callable[..., StoredWord]) -> WordStore:
    words = WordStore()
    words.put(new_word("lights on", shots=2))
    words.put(new_word("[red]開燈"))
    return words


@pytest.mark.usefixtures("store")
def test_list(cli: Cli) -> None:
    status, out, err = cli("words", "list")
    assert (status, err) == (0, "")
    assert "lights on" in out
    assert "[red]開燈" in out
    assert cli("words")[1] == out
    told = json.loads(cli("words", "list", "--json")[1])
    assert [word["word"] for word in told] == ["[red]開燈", "lights on"]
    assert len(told[1]["shots"]) == 2


def test_list_of_nothing(cli: Cli) -> None:
    assert cli("words", "list", "--json") == (0, "[]\n", "")
    status, out, err = cli("words", "list")
    assert (status, out) == (0, "")
    assert "app enroll WORD" in err


@pytest.mark.usefixtures("store")
def test_show(cli: Cli) -> None:
    status, out, _ = cli("words", "show", "lights on")
    assert status == 0
    assert out.count("kitchen.wav") == 2
    assert json.loads(cli("words", "show", "lights on", "--json")[1])["calibration"]["threshold"] == 2.0


def test_rename_and_remove(cli: Cli, store: WordStore) -> None:
    assert cli("words", "rename", "lights on", "lamp")[:2] == (0, "")
    assert store.get("lamp") is not None
    assert cli("words", "remove", "lamp", "[red]開燈")[:2] == (0, "")
    assert store.words() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "door"],
        ["remove", "door"],
        ["remove", "lights on", "door"],
        ["remove", "../lights on"],
        ["rename", "door", "gate"],
        ["rename", "lights on", "[red]開燈"],
        ["rename", "lights on", "a\nb"],
        ["list", "--words", __file__],
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(cli: Cli, store: WordStore, arguments: list[str]) -> None:
    status, out, err = cli("words", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert len(store.words()) == 2
