"""What people see: bars, the live display, questions."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app import terminal
from app.detector import Detection
from app.events import State, StateChange
from app.near_misses import NearMiss


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.3, 1.0, 2.0, float("-inf")])
def test_a_bar_has_one_length(share: float) -> None:
    assert len(terminal.bar(share, "green")) == terminal.BAR
    assert len(terminal.bar(share, "green", mark=2 / 3)) == terminal.BAR
    assert len(terminal.bar(share, "green", mark=1.0)) == terminal.BAR


def test_bars_fall_back_to_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "out", Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii")))
    assert terminal.bar(0.5, "green", mark=0.9).plain.isascii()


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00.0"), (65.26, "1:05.3"), (3600.0, "60:00.0"), (59.99, "1:00.0")])
def test_times_in_a_stream(seconds: float, text: str) -> None:
    assert terminal.clock(seconds) == text


def test_the_live_display_shows_every_word_with_its_score_and_scrolls_detections(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=90, height=20, color_system=None, highlight=False)
    monkeypatch.setattr(terminal, "out", console)

    def word(name: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(word=name, calibration=SimpleNamespace(threshold=2.5)))

    names = ["lamp", "[bold]開燈", *(f"word {k}" for k in range(40))]
    listener: Any = SimpleNamespace(words=[word(name) for name in names], scores=np.linspace(4, -9, 42), level_dbfs=-31.0, time_s=61.0)
    listener.scores[1], listener.scores[-1] = 3.1, -np.inf
    with terminal.LiveView(listener) as view:
        view.show(Detection("lamp", 1.12, 1.7, 4.2, 2.5))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "lamp" in text
    assert "[bold]開燈" in text
    assert "1:01.0" in text
    assert "-31 dB" in text
    assert "score 4.2 (needs 2.5)" in text
    assert "word 39" not in text  # more words than fit: those furthest from their threshold are left out


def test_a_question_takes_a_letter_or_a_word_and_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {"k": "keep", "d": "discard"}
    for given, expected in ((["d"], "d"), (["DISCARD"], "d"), ([""], "k"), (["what", "keep "], "k")):
        answers = iter(given)
        monkeypatch.setattr("builtins.input", lambda answers=answers: next(answers))
        assert terminal.ask("", choices) == expected


STATES = [
    (State.LISTENING, "listening", ""),
    (State.SPEECH, "hearing speech", ""),
    (State.MUTED, "muted", "space goes on"),
    (State.LOST, "device lost", "waiting for it"),
    (State.BEHIND, "falling behind", "2.5 s behind"),
]


@pytest.mark.parametrize(("state", "name", "advice"), STATES)
def test_the_display_says_what_listening_is_doing(monkeypatch: pytest.MonkeyPatch, state: State, name: str, advice: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=90, height=20, color_system=None, highlight=False)
    monkeypatch.setattr(terminal, "out", console)
    listener: Any = SimpleNamespace(words=[], scores=np.zeros(0), level_dbfs=-31.0, time_s=0.0)
    session: Any = SimpleNamespace(state=state, time_s=61.0, real_time_factor=0.0213, behind_s=2.5)
    with terminal.LiveView(listener, session) as view:
        view.tell(NearMiss("[bold]lamp", 1.5, 2.9, 3.2), near_misses=True)
        view.tell(NearMiss("hidden", 1.5, 2.9, 3.2), near_misses=False)
        view.tell(Detection("radio", 2.0, 2.5, 4.2, 2.5), near_misses=False)
        view.tell(StateChange(3.0, state), near_misses=True)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert name in text
    assert advice in text
    assert "0.02 of real time" in text
    assert "1:01.0" in text
    assert "[bold]lamp  almost: score 2.9 (needs 3.2)" in text
    assert "hidden" not in text
    assert "radio" in text


def test_a_bar_rises_at_once_and_sinks_slowly() -> None:
    listener: Any = SimpleNamespace(words=[], scores=np.zeros(0), level_dbfs=-31.0, time_s=0.0)
    view = terminal.LiveView(listener)
    assert view._standing("lamp", 0.9, 1.0) == 0.9
    assert 0.5 < view._standing("lamp", 0.1, 1.2) < 0.9
    assert view._standing("lamp", 0.95, 1.3) == 0.95
    assert view._standing("lamp", 0.1, 60.0) == 0.1
    assert view._standing("new", float("-inf"), 60.0) == 0.0
