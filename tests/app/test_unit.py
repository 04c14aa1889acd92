"""The systemd unit in docs/: systemd takes every line of it, and the program takes its command line."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.actions import Action

UNIT = Path(__file__).resolve().parents[2] / "docs" / "sayonce.service"


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("systemd is not here (apt install systemd)")

    def told(text: str) -> str:
        unit = tmp_path / UNIT.name
        unit.write_text(text)
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        done = subprocess.run(["systemd-analyze", "--user", "verify", str(unit)], capture_output=True, text=True, env=environment, timeout=60)
        return "".join(line for line in done.stderr.splitlines(keepends=True) if UNIT.name in line) + ("failed" if done.returncode else "")

    text = UNIT.read_text().replace("%h/sayonce/.venv/bin/app", "/bin/true")  # which must exist
    assert told(text) == ""
    assert "on-falure" in told(text.replace("on-failure", "on-falure"))  # it does look


def test_the_program_takes_the_command_of_the_unit(cli: Callable[..., tuple[int, str, str]]) -> None:
    command = shlex.split(settings()["ExecStart"][0].replace("%h", "/home/ann"))
    assert command[0] == "/home/ann/sayonce/.venv/bin/app"
    status, _, err = cli(*command[1:])
    assert (status, err.count("\n")) == (2, 1)
    assert "no word is enrolled" in err  # it got so far: every option is known
    with pytest.raises(ValueError, match="on-word"):
        Action(command[command.index("--exec") + 1])  # no such program here, but the placeholders are where they may be


def test_a_mistake_does_not_start_it_again_and_a_defect_does() -> None:
    found = settings()
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == ["2"]  # the status of `app` where the user has to mend something
    assert "User" not in found  # a user unit: no root
