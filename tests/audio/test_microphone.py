"""The microphone, for real: sound is played into a virtual device and recorded through PortAudio."""

import builtins
import sys
from typing import Any

import numpy as np
import pytest

from audio.errors import AudioError
from audio.microphone import LOST_SECONDS, InputDevice, Microphone, list_devices


def correlation(recorded: np.ndarray, played: np.ndarray) -> float:
    """The largest normalised correlation over all delays."""
    size = 1 << int(np.ceil(np.log2(len(recorded) + len(played))))
    product = np.fft.irfft(np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(played, size)), size)
    energy = np.convolve(np.square(recorded), np.ones(len(played)))[len(played) - 1 :]
    return float(np.max(product[: len(energy)] / np.sqrt(np.maximum(energy, 1e-6) * np.sum(np.square(played)))))


def test_what_is_played_is_recorded(virtual_microphone, make_word) -> None:
    played = make_word(before=0.2, after=0.3)
    blocks, seconds = [], 0.0
    with Microphone() as microphone:
        player = virtual_microphone.play(played)
        for block in microphone:
            assert block.dtype == np.float32
            assert block.ndim == 1
            blocks.append(block)
            seconds += len(block) / 16_000
            if seconds > len(played) / 16_000 + 1.5:
                break
        assert microphone.device is not None
        assert microphone.overflows == 0
    assert player.wait(10) == 0
    speech = played[3200:-4800]
    assert correlation(np.concatenate(blocks).astype(np.float64), speech.astype(np.float64)) > 0.99


def test_devices_are_listed_with_one_default(virtual_microphone) -> None:
    devices = list_devices()
    assert sum(device.default for device in devices) == 1
    assert all(device.rate > 0 and device.channels > 0 and device.name for device in devices)
    with Microphone(devices[0].index) as microphone:
        assert microphone.device == devices[0]


@pytest.mark.parametrize("device", [99, "99", "no such thing", ""])
def test_an_unknown_device_is_refused(virtual_microphone, device: int | str) -> None:
    with pytest.raises(AudioError, match="app devices"), Microphone(device):
        pass


def test_without_portaudio_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AudioError, match="libportaudio2"):
        list_devices()


class FakePortAudio:
    """A sound system with devices of our choosing, which the test drives from the outside."""

    class PortAudioError(Exception):
        pass

    class default:  # noqa: N801 - sounddevice's own name
        device = (1, 0)

    def __init__(self, devices: list[tuple[str, float, int]], fails_below: int = 0) -> None:
        self.devices, self.fails_below = devices, fails_below
        self.stream: Any = None

    def query_devices(self) -> list[dict[str, Any]]:
        return [{"name": name, "default_samplerate": rate, "max_input_channels": channels} for name, rate, channels in self.devices]

    def InputStream(self, **options: Any) -> Any:  # noqa: N802
        if options["channels"] < self.fails_below:
            raise self.PortAudioError("Invalid number of channels")
        self.options = options
        return self

    def start(self) -> None:
        pass

    def close(self, ignore_errors: bool = False) -> None:
        pass


class Status:
    input_overflow = False


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    system = FakePortAudio([("speaker", 48000.0, 0), ("USB microphone", 48000.0, 2), ("USB camera", 44100.0, 1)])
    monkeypatch.setitem(sys.modules, "sounddevice", system)
    return system


def test_the_devices_own_rate_is_used(fake: FakePortAudio) -> None:
    with Microphone() as microphone:
        assert microphone.device == InputDevice(1, "USB microphone", 48000, 2, True)
    assert fake.options["samplerate"] == 48000
    with Microphone("camera") as microphone:
        assert microphone.device == InputDevice(2, "USB camera", 44100, 1, False)
    assert fake.options["samplerate"] == 44100


def test_a_stereo_only_device_is_mixed(fake: FakePortAudio) -> None:
    fake.fails_below = 2
    with Microphone() as microphone:
        assert fake.options["channels"] == 2
        tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
        fake.options["callback"](np.stack([tone, np.zeros_like(tone)], 1), 48_000, None, Status())
        block = next(iter(microphone))
    assert np.max(np.abs(block[1000:-1000])) == pytest.approx(0.5, abs=0.01)


def test_an_ambiguous_name_is_refused(fake: FakePortAudio) -> None:
    with pytest.raises(AudioError, match="fits 2 devices"), Microphone("usb"):
        pass


def test_a_device_that_cannot_be_opened_is_refused(fake: FakePortAudio) -> None:
    fake.fails_below = 9
    with pytest.raises(AudioError, match="Invalid number of channels"), Microphone():
        pass


def test_no_microphone_at_all(fake: FakePortAudio) -> None:
    fake.devices = fake.devices[:1]
    assert list_devices() == []
    with pytest.raises(AudioError, match="no microphone found"), Microphone():
        pass


def test_a_lost_device_is_reported(fake: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    with Microphone() as microphone:
        fake.options["finished_callback"]()
        with pytest.raises(AudioError, match="stopped delivering"):
            next(iter(microphone))
    assert LOST_SECONDS < 10
    monkeypatch.setattr("audio.microphone.LOST_SECONDS", 0.05)
    with Microphone() as microphone, pytest.raises(AudioError, match="stopped delivering"):
        next(iter(microphone))


def test_a_slow_reader_loses_blocks_and_counts_them(fake: FakePortAudio) -> None:
    with Microphone(block_ms=1000.0) as microphone:
        for _ in range(13):
            fake.options["callback"](np.zeros((48_000, 1), np.float32), 48_000, None, Status())
        assert microphone.overflows == 3
