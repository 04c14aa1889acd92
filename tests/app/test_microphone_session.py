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


class Listening:
    """`app listen --events` in a program of its own; its lines are collected as they come."""

    def __init__(self, environment: dict[str, str], *options: str) -> None:
        command = [sys.executable, "-m", "app", "listen", "--events", *options]
        self.program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.complaints: list[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._listen_to_complaints)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.program.stdout is not None
        for line in self.program.stdout:
            self.events.put(json.loads(line))

    def _listen_to_complaints(self) -> None:
        assert self.program.stderr is not None
        self.complaints += list(self.program.stderr)

    def until(self, event: str, seconds: float = 200.0, **fields: str) -> dict[str, Any]:
        """Wait for an event with these fields."""
        while True:
            try:
                found = self.events.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"no {event} {fields}; {self.program.poll()}") from None
            if found["event"] == event and fields.items() <= found.items():
                return found

    def end(self) -> str:
        """Interrupt the program, and return what it said on standard error."""
        self.program.send_signal(signal.SIGINT)
        for reader in self._readers:
            reader.join(60)
        self.program.wait(60)
        for stream in (self.program.stdout, self.program.stderr):
            assert stream is not None
            stream.close()
        return "".join(self.complaints)


@pytest.fixture
def enrolled(cli: Cli, tiny_model: Path) -> Path:
    """A word that even a network that was never primed recognises, because it is played back as it was enrolled."""
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    return RECORDING


def hear(listening: Listening, microphone: Any, sound: NDArray[np.float32]) -> dict[str, Any]:
    """Play a word until it is recognised: a machine under heavy load may lose sound, and a user would say it again."""
    room = (1e-3 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    for _ in range(4):
        player = microphone.play(np.concatenate([room, sound, np.tile(room, 4)]))
        try:
            return listening.until("detection", 30.0, word="connect")
        except AssertionError:
            continue
        finally:
            player.terminate()
            player.wait()
    raise AssertionError("the word was not recognised")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("enrolled")
def test_a_sound_server_that_dies_is_told_once_waited_for_and_heard_again(
    mortal_microphone: Any, enrolled_sound: NDArray[np.float32], home: Path
) -> None:
    listening = Listening({**mortal_microphone.environment, "SAYONCE_HOME": str(home)})
    try:
        listening.until("state", state="listening")
        first = hear(listening, mortal_microphone, enrolled_sound)
        mortal_microphone.kill()
        lost = listening.until("state", state="device lost")
        assert listening.until("heartbeat", state="device lost")["time_s"] > lost["time_s"]  # alive without its device
        mortal_microphone.start()
        while listening.until("state")["state"] == "device lost":
            pass
        second = hear(listening, mortal_microphone, enrolled_sound)
    finally:
        said = listening.end()
    assert listening.program.returncode == 0, said
    assert second["start_s"] > lost["time_s"] > first["end_s"]  # time went on
    assert said.count("is gone; waiting until it comes back") == 1, said
    assert said.count("is back") == 1, said
    assert len(said.splitlines()) <= 5, said  # nothing of the sound libraries' own


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("enrolled")
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX")
def test_a_signal_pauses_and_resumes(mortal_microphone: Any, enrolled_sound: NDArray[np.float32], home: Path) -> None:
    listening = Listening({**mortal_microphone.environment, "SAYONCE_HOME": str(home)})
    try:
        listening.until("state", state="listening")
        listening.program.send_signal(signal.SIGUSR1)
        listening.until("state", state="muted")
        player = mortal_microphone.play(np.concatenate([enrolled_sound, np.zeros(16_000, np.float32)]))
        player.wait(200)
        listening.program.send_signal(signal.SIGUSR1)
        while (event := listening.events.get(timeout=200))["event"] != "state":
            assert event["event"] != "detection"
        assert event["state"] != "muted"
        assert hear(listening, mortal_microphone, enrolled_sound)["start_s"] > event["time_s"] - 0.5
    finally:
        said = listening.end()
    assert listening.program.returncode == 0, said


def test_levels_of_the_devices_are_measured(virtual_microphone: Any, cli: Cli) -> None:
    loud = 0.25 * np.sin(np.arange(16_000 * 30) / 5).astype(np.float32)
    player = virtual_microphone.play(loud)
    try:
        for _ in range(5):
            status, out, _ = cli("devices", "--levels", "--json")
            assert status == 0
            default = next(device for device in json.loads(out) if device["default"])
            assert default["problem"] is None
            if default["level_dbfs"] > -60:  # the player has begun
                break
    finally:
        player.terminate()
        player.wait()
    assert default["level_dbfs"] == pytest.approx(-15.0, abs=3.0)
    assert default["peak_dbfs"] == pytest.approx(-12.0, abs=1.0)
