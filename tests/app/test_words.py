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


@pytest.mark.usefixtures("store")
def test_show_tells_where_the_threshold_lies(cli: Cli) -> None:
    out = cli("words", "show", "lights on")[1]
    for line in ("2.00  threshold: aims at 1 false accepts an hour", "4.50  the best of its own utterances", "2.40  the highest of 40 minutes"):
        assert line in out
    assert "1.50  background passes this 60 times an hour" in out
    told = json.loads(cli("words", "show", "lights on", "--json")[1])["calibration"]
    assert (told["per_hour"], told["own"], told["tail"]["highest"]) == (1.0, [4.5, 4.5], 2.4)


def test_set_a_rate_or_a_threshold(cli: Cli, store: WordStore) -> None:
    assert cli("words", "set", "lights on", "--false-accepts-per-hour", "3")[:2] == (0, "")
    found = store.require("lights on")
    assert found.info.calibration.per_hour == 3.0
    assert found.info.calibration.threshold == pytest.approx(1.5 + 0.3 / 0.1 * (1 - 20**-0.1))
    assert len(found.shots) == 2
    assert cli("words", "set", "lights on", "--threshold", "3.75") == (0, "", "")
    assert (store.require("lights on").info.calibration.threshold, store.require("lights on").info.calibration.per_hour) == (3.75, None)
    out = cli("words", "show", "lights on")[1]
    assert "3.75  threshold: set by hand, less than 0.01 false accepts an hour" in out
    cli("words", "set", "lights on", "--threshold", "2.5")
    assert "2.50  threshold: set by hand, about 1 false accepts an hour" in cli("words", "show", "lights on")[1]
    assert "'lights on' now fires more than 60 times an hour on background" in cli("words", "set", "lights on", "--threshold", "1.2")[2]
    assert "1.20  threshold: set by hand, more than 60 false accepts an hour" in cli("words", "show", "lights on")[1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "nothing to set"),
        (["--threshold", "3", "--false-accepts-per-hour", "1"], "exclude each other"),
        (["--threshold", "0.9"], "above 1"),
        (["--threshold", "nan"], "above 1"),
        (["--threshold", "4.6"], "does not stand out"),
        (["--false-accepts-per-hour", "0"], "from 0.01 to 60"),
        (["--false-accepts-per-hour", "1000"], "from 0.01 to 60"),
        (["--threshold", "high"], "valid number"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_changes(cli: Cli, store: WordStore, options: list[str], reason: str) -> None:
    before = store.contents("lights on")
    status, out, err = cli("words", "set", "lights on", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert reason in err
    assert store.contents("lights on") == before


def test_rename_and_remove(cli: Cli, store: WordStore) -> None:
    assert cli("words", "rename", "lights on", "lamp")[:2] == (0, "")
    assert store.get("lamp") is not None
    assert cli("words", "remove", "lamp", "[red]開燈")[:2] == (0, "")
    assert store.words() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "door"],
        ["set", "door", "--threshold", "3"],
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
