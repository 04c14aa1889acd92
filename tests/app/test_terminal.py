"""What people see: bars, the live display, questions."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app import terminal
from app.detector import Detection


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
