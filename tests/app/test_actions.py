"""Commands on detections: no shell, no injection, no waiting, a bounded number at a time, none left behind."""

import json
import logging
import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import actions
from app.actions import AT_ONCE, Action
from app.detector import Detection
from app.errors import AppError, StoreError
from app.names import clean

# What a command was given: arguments and variables, as JSON in the file that its first argument names, written in one step.
SPY = """
import json, os, sys
about = {"arguments": sys.argv[2:], "variables": {k: v for k, v in os.environ.items() if k.startswith("SAYONCE_WORD")}}
with open(sys.argv[1] + ".part", "w") as file:
    json.dump(about, file)
os.rename(sys.argv[1] + ".part", sys.argv[1])
"""


def heard(word: str, score: float = 4.1234) -> Detection:
    return Detection(word, 1.0, 1.5, score, 3.0)


@pytest.fixture
def spy(tmp_path: Path) -> str:
    """A command line that writes down what it is given."""
    script = tmp_path / "spy.py"
    script.write_text(SPY)
    return f"'{sys.executable}' '{script}' '{tmp_path / 'given.json'}'"


def given_to(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "given.json"
    for _ in range(600):
        if path.exists():
            found: dict[str, object] = json.loads(path.read_text())
            path.unlink()
            return found
        time.sleep(0.05)
    raise AssertionError("the command was not run")


def test_placeholders_become_arguments(spy: str, tmp_path: Path) -> None:
    action = Action(spy + " --word={word} '{word} at {score}' {start_s} {end_s} {threshold} {other} '{\"a\": 1}'")
    action(heard("lights on"))
    assert given_to(tmp_path)["arguments"] == ["--word=lights on", "lights on at 4.123", "1.000", "1.500", "3.000", "{other}", '{"a": 1}']
    action.close()


NASTY = [
    "; touch x",
    "$(touch x)",
    "`touch x`",
    "a' 'b",
    'a" "b',
    "a b",
    "{score}",
    "{word}",
    "a | b",
    "a > b",
    "a && b",
    "%n",
    "a*b?[c]",
    "~a",
    "$HOME a",
    "été",
]


@pytest.mark.parametrize("word", NASTY)
def test_a_words_name_stays_one_argument(spy: str, tmp_path: Path, word: str) -> None:
    name = clean(word)
    action = Action(spy + " {word} -m {word}")
    action(heard(name))
    given = given_to(tmp_path)
    assert given["arguments"] == [name, "-m", name]
    assert given["variables"] == {"SAYONCE_WORD": name}
    action.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=20))
def test_any_name_is_one_argument_as_it_is_or_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    try:
        name = clean(text)
    except StoreError:
        return
    started: list[list[str]] = []

    class Started:
        returncode = 0

        def __init__(self, arguments: list[str], **_: object) -> None:
            started.append(arguments)

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(actions.subprocess, "Popen", Started)
    action = Action("env tell {word} -- '<{word}>'")
    action(heard(name))
    assert started == ([] if name.startswith("-") else [["env", "tell", name, "--", f"<{name}>"]])


def test_a_name_that_would_be_an_option_is_not_run(spy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    action = Action(spy + " {word}")
    with caplog.at_level(logging.WARNING, "sayonce"):
        action(heard("-rf"))
    assert action.dropped == 1
    assert "rename the word" in caplog.text
    action = Action(spy + " --name={word}")
    action(heard("-rf"))  # here the dash begins no argument
    assert given_to(tmp_path)["arguments"] == ["--name=-rf"]
    action.close()


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'echo {word}'",
        "/bin/sh -ec 'echo {word}'",
        "env X=1 bash -lc 'echo {word} {score}'",
        "python3 -c 'print(\"{word}\")'",
        "sh {word}",
        "perl -e{word}",
        "env ssh host notify {word}",
    ],
)
def test_a_name_is_never_run_as_code(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions.shutil, "which", lambda program: program)
    with pytest.raises(AppError, match="SAYONCE_WORD"):
        Action(command)


@pytest.mark.parametrize(
    "command", ["sh -c 'echo \"$1\"' sh {word}", "sh -c 'echo \"$SAYONCE_WORD\"'", "sh notify.sh {word}", "env -u X grep -c {word} f"]
)
def test_a_name_beside_code_is_fine(command: str) -> None:
    Action(command)


@pytest.mark.parametrize("command", ["", "   ", "echo 'open", "{word} x", "nonesuch-program {word}", "/etc {word}"])
def test_a_command_that_cannot_be_run_is_refused(command: str) -> None:
    with pytest.raises(AppError, match="--exec"):
        Action(command)


def test_only_so_many_run_at_a_time_and_none_blocks(caplog: pytest.LogCaptureFixture) -> None:
    action = Action("sleep 30")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "sayonce"):
        for _ in range(AT_ONCE + 3):
            action(heard("lamp"))
    assert time.monotonic() - began < 20  # the commands take 30 s each
    running = list(action._running)
    assert len(running) == AT_ONCE
    assert action.dropped == 3
    assert caplog.text.count("not run for 'lamp'") == 1  # said once
    for child in running:
        child.kill()
        child.wait()
    action(heard("lamp"))
    assert len(action._running) == 1  # the others were collected
    action._running[0].kill()
    action.close()
    assert action._running == []


def test_ended_commands_leave_no_zombie_and_failures_are_told(caplog: pytest.LogCaptureFixture) -> None:
    action = Action("sh -c 'exit 3'")
    with caplog.at_level(logging.WARNING, "sayonce"):
        action(heard("lamp"))
        pid = action._running[0].pid
        action.close()
    assert "status 3" in caplog.text
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_program_that_goes_away_does_not_end_listening(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = tmp_path / "tell"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    action = Action(str(program))
    program.unlink()
    with caplog.at_level(logging.WARNING, "sayonce"):
        action(heard("lamp"))
    assert "could not be started" in caplog.text
    assert action.dropped == 1
