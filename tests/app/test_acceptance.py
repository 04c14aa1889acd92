"""When a word is accepted: a rate or a threshold, at enrolment and set later, and what it would then answer to."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app import engine
from app.commands import words as verbs
from app.store import StoredWord, WordStore
from priming import calibration as calibrating
from priming.calibration import Calibration

Cli = Callable[..., tuple[int, str, str]]
RECORDING = Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "enroll.flac"


def calibration() -> Calibration:
    return WordStore().require("connect").info.calibration


def test_a_rate_is_aimed_at_and_kept_when_shots_are_added(cli: Cli, tiny_model: Path) -> None:
    options = ["enroll", "connect", "--from", RECORDING, "--model", tiny_model]
    assert json.loads(cli(*options, "--json")[1])["false_accepts_per_hour"] == 1.0
    first = calibration()
    assert json.loads(cli(*options, "--replace", "--false-accepts-per-hour", "7", "--json")[1])["false_accepts_per_hour"] == 7.0
    assert calibration().threshold < first.threshold
    cli(*options)
    assert calibration().per_hour == 7.0
    assert len(calibration().own) == 2
    cli(*options, "--false-accepts-per-hour", "1")
    assert calibration().per_hour == 1.0


def test_a_threshold_set_by_hand_is_kept_when_shots_are_added(cli: Cli, tiny_model: Path) -> None:
    options = ["enroll", "connect", "--from", RECORDING, "--model", tiny_model]
    told = json.loads(cli(*options, "--threshold", "1.25", "--json")[1])
    assert (told["threshold"], told["false_accepts_per_hour"]) == (1.25, None)
    cli(*options)
    assert (calibration().threshold, calibration().per_hour) == (1.25, None)
    cli(*options, "--replace")
    assert calibration().per_hour == 1.0


@pytest.mark.parametrize(
    "options",
    [["--threshold", "1e9"], ["--threshold", "0.5"], ["--false-accepts-per-hour", "0"], ["--threshold", "2", "--false-accepts-per-hour", "2"]],
)
def test_an_acceptance_that_cannot_be_is_refused_and_nothing_is_stored(cli: Cli, tiny_model: Path, options: list[str]) -> None:
    status, out, err = cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert WordStore().words() == []


def test_a_word_that_does_not_stand_out_is_refused_with_the_remedy(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = calibrating.fit_tail
    monkeypatch.setattr(calibrating, "fit_tail", lambda maxima, stretch_s, end: fitted(maxima + 1000, stretch_s, end))  # fires on everything
    status, out, err = cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    assert (status, out) == (2, "")
    assert "does not stand out from background" in err
    assert "--false-accepts-per-hour" in err
    assert WordStore().words() == []


def recalibrated(word: StoredWord, **changes: object) -> StoredWord:
    changed = word.info.calibration.model_copy(update=changes)
    return StoredWord(info=word.info.model_copy(update={"calibration": changed}), shots=word.shots)


def test_a_threshold_at_which_a_word_answers_to_another_is_refused_and_nothing_changes(cli: Cli, tiny_model: Path, other_word: Path) -> None:
    cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    told = json.loads(cli("enroll", "telephone", "--from", other_word, "--json")[1])["nearest"]
    store = WordStore()
    word = store.require("connect")
    known = word.info.calibration
    louder = {"offset": known.offset - 3 * known.scale, "own": (known.own[0] + 3,), "threshold": known.threshold + 3}
    store.put(recalibrated(word, **louder, tail=known.tail.model_copy(update={"level": known.tail.level + 9})))
    score = told["score"] + 3  # of "telephone" for "connect": high enough to be a threshold
    before = store.contents("connect")
    status, out, err = cli("words", "set", "connect", "--threshold", score - 0.01)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"'connect' was not changed: it would also answer to 'telephone' (score {score:.1f}" in err
    assert store.contents("connect") == before
    status, out, err = cli("words", "set", "connect", "--threshold", score + 0.01)
    assert (status, out, err.count("\n")) == (0, "", 1)
    assert "'connect' now fires more than" in err  # its threshold lies where no rate is aimed at
    assert calibration().threshold == pytest.approx(score + 0.01)


def test_a_higher_threshold_needs_no_network(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    higher = calibration().threshold + 0.01

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a network was loaded")

    monkeypatch.setattr(engine, "open_engine", load)
    assert cli("words", "set", "connect", "--threshold", higher) == (0, "", "")
    assert calibration().threshold == pytest.approx(higher)


@pytest.mark.parametrize("model", ["embedding", "/nowhere/model.safetensors"])
def test_a_word_whose_model_is_not_here_is_set_unchecked_and_that_is_told(cli: Cli, new_word: Callable[..., StoredWord], model: str) -> None:
    word = new_word("connect")
    WordStore().put(StoredWord(info=word.info.model_copy(update={"model": model}), shots=word.shots))
    status, out, err = cli("words", "set", "connect", "--threshold", "1.8")
    assert (status, out, err.count("\n")) == (0, "", 1)
    assert f"'connect' is not checked against background and other words: the model that it was enrolled under ({model}) is not here" in err
    assert calibration().threshold == 1.8


def test_a_word_that_another_program_changes_meanwhile_stays_as_that_left_it(
    cli: Cli, new_word: Callable[..., StoredWord], monkeypatch: pytest.MonkeyPatch
) -> None:
    WordStore().put(new_word("connect"))
    other = recalibrated(new_word("connect"), threshold=2.2)
    monkeypatch.setattr(verbs, "_engine_of", lambda _: WordStore().put(other))
    status, out, err = cli("words", "set", "connect", "--threshold", "1.8")
    assert (status, out) == (2, "")
    assert "was changed by another program meanwhile; try again" in err
    assert calibration().threshold == 2.2
