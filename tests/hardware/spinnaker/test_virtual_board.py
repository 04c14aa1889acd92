"""The adapter against sPyNNaker itself, as far as a virtual board goes: its neurons never fire."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if find_spec("spynnaker") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("sPyNNaker is not installed: pip install 'sayonce[spinnaker]'")


def on_board(home: Path, task: str, *entries: str) -> tuple[dict[str, Any], list[str]]:
    """Do a task in a process with a virtual board; return what it printed, and the files that it left in its working folder."""
    (home / ".spynnaker.cfg").write_text("\n".join(["[Machine]", "virtual_board = True", *entries]), encoding="utf-8")
    work = home / "work"
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_CONFIG")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("virtual_board.py")), task]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found, [path.name for path in work.iterdir()]


def test_build_map_load_run_read_back_and_map_again(tmp_path: Path) -> None:
    found, left = on_board(tmp_path, "lifecycle", "version = 5")
    assert found["shapes"] == {"features": [24, 16], "word 0": [24, 16]}
    assert found["spikes"] == 0
    assert found["readback"] == 0  # the weights on the board are our quantiser's, to the bit
    assert found["placement"]["cores"] == 3
    assert found["placement"]["chips"] == 1
    assert found["placement"]["sdram_bytes"] > 10_000
    assert found["again"] == [5, 5]
    spikes = (np.random.default_rng(0).random((24, 12)) < 0.3).astype(np.uint8)[:5]
    assert found["times"] == [(5 + np.flatnonzero(column)).tolist() for column in spikes.T]  # ticks of the run that went on
    assert found["step_ms"] == 40
    assert found["remapped"] == 0
    assert found["changed"] > 0.1
    assert not left  # no reports in the user's folder


def test_a_network_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    found, _ = on_board(tmp_path, "capacity", "version = 3", "max_machine_core = 4")  # 4 chips, 2 cores of each for applications, one of them gathers
    assert found["error"] == "the network does not fit on the board: take a larger one or fewer words; app map counts the cores"
