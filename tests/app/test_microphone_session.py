"""Enrolling and listening through a real audio system: what is played into a virtual microphone is learnt and recognised."""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.store import WordStore
from audio.microphone import Microphone

RECORDING = Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "enroll.flac"

Cli = Callable[..., tuple[int, str, str]]


def test_a_word_is_enrolled_and_recognised_through_the_microphone(
    virtual_microphone: Any, cli: Cli, enrolled_sound: NDArray[np.float32], home: Path
) -> None:
    rng = np.random.default_rng(0)
    room = (1e-3 * rng.standard_normal(16_000)).astype(np.float32)
    players = []
    enter = Microphone.__enter__

    def speak_once_open(microphone: Microphone) -> Microphone:
        opened = enter(microphone)
        players.append(virtual_microphone.play(np.concatenate([room, enrolled_sound, np.tile(room, 8)])))
        return opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Microphone, "__enter__", speak_once_open)
        for _ in range(3):  # a machine under heavy load may lose sound; a user would say it again
            status, out, err = cli("enroll", "connect", "--json")
            players[-1].terminate()
            players[-1].wait()
            if status == 0:
                break
    assert status == 0, err
    told = json.loads(out)
    assert told["heard"][0]["source"].startswith("microphone ")
    assert told["heard"][0]["duration_s"] == pytest.approx(0.5, abs=0.25)
    assert WordStore().get("connect") is not None

    environment = {**virtual_microphone.environment, "SAYONCE_HOME": str(home)}
    command = [sys.executable, "-m", "app", "listen", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stderr is not None
        assert program.stdout is not None
        assert "listening for connect" in program.stderr.readline()
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda stream=program.stdout: [lines.put(line) for line in stream])
        reader.start()
        try:
            line = ""
            for _ in range(3):  # a machine under heavy load may lose sound; a user would say it again
                player = virtual_microphone.play(np.concatenate([room, enrolled_sound, np.tile(room, 4)]))
                with contextlib.suppress(queue.Empty):
                    line = lines.get(timeout=30)
                player.terminate()
                player.wait()
                if line:
                    break
        finally:
            program.send_signal(signal.SIGINT)
            errors = program.stderr.read()
            reader.join()
    assert program.returncode == 0, errors
    assert json.loads(line)["word"] == "connect"
    assert lines.empty()  # one word, one detection
    assert "Traceback" not in errors


def test_an_unknown_device_is_refused(virtual_microphone: Any, cli: Cli, tiny_model: Path) -> None:
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    for arguments in (["listen", "--device", "nonesuch"], ["enroll", "lamp", "--model", tiny_model, "--device", "977"]):
        status, out, err = cli(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "app devices" in err


def test_the_microphone_is_listed(virtual_microphone: Any, cli: Cli) -> None:
    status, out, _ = cli("devices", "--json")
    assert status == 0
    assert any(device["default"] for device in json.loads(out))
