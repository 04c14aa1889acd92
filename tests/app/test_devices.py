"""The list of microphones, and what is told when there is none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import audio.microphone
from audio.errors import AudioError
from audio.microphone import InputDevice, Level

Cli = Callable[..., tuple[int, str, str]]
RECORDING = Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "enroll.flac"
FOUND = [InputDevice(0, "built-in [mic]", 44_100, 2, False), InputDevice(3, "USB", 48_000, 1, True)]


def test_devices_are_listed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio.microphone, "list_devices", lambda: FOUND)
    status, out, _ = cli("devices")
    assert status == 0
    assert "built-in [mic]" in out
    assert "48000 Hz" in out
    told = json.loads(cli("devices", "--json")[1])
    assert told[1] == {"index": 3, "name": "USB", "rate": 48_000, "channels": 1, "default": True}


@pytest.mark.parametrize("arguments", [["devices"], ["enroll", "lamp"], ["listen"]])
def test_no_microphone_is_told_with_the_remedy(cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str | Path], tiny_model: Path) -> None:
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    monkeypatch.setattr(audio.microphone, "list_devices", list)
    if arguments[0] == "enroll":
        arguments = [*arguments, "--model", tiny_model]
    status, out, err = cli(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no microphone found" in err
    assert "--from FILE" in err


def test_a_missing_library_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise AudioError("PortAudio is missing")

    monkeypatch.setattr(audio.microphone, "list_devices", missing)
    assert cli("devices") == (2, "", "app: PortAudio is missing\n")


def test_levels_are_shown_and_a_busy_device_does_not_hide_the_others(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(device: InputDevice, seconds: float) -> Level:
        if device.index == 0:
            raise AudioError("the microphone 'built-in [mic]' is busy")
        return Level(-21.04, -3.0)

    monkeypatch.setattr(audio.microphone, "list_devices", lambda: FOUND)
    monkeypatch.setattr(audio.microphone, "measure_level", measure)
    status, out, err = cli("devices", "--levels")
    assert status == 0
    assert "is busy" in out.replace("\n", "")
    assert "-21 dB, peak -3" in out
    assert err.count("say something") == 2
    told = json.loads(cli("devices", "--levels", "--json")[1])
    assert [told[0][name] for name in ("level_dbfs", "peak_dbfs", "problem")] == [None, None, "the microphone 'built-in [mic]' is busy"]
    assert told[1] == {
        "index": 3,
        "name": "USB",
        "rate": 48_000,
        "channels": 1,
        "default": True,
        "level_dbfs": -21.0,
        "peak_dbfs": -3.0,
        "problem": None,
    }
