"""The microphone, for real: sound is played into a virtual device and recorded through PortAudio."""

import builtins
import logging
import sys
import threading
from typing import Any

import numpy as np
import pytest

from audio.errors import AudioError
from audio.microphone import ATTEMPT, LOST_SECONDS, InputDevice, Microphone, list_devices, measure_level


def correlation(recorded: np.ndarray, played: np.ndarray) -> float:
    """The largest normalised correlation over all delays."""
    size = 1 << int(np.ceil(np.log2(len(recorded) + len(played))))
    product = np.fft.irfft(np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(played, size)), size)
    energy = np.convolve(np.square(recorded), np.ones(len(played)))[len(played) - 1 :]
    return float(np.max(product[: len(energy)] / np.sqrt(np.maximum(energy, 1e-6) * np.sum(np.square(played)))))


def test_what_is_played_is_recorded(virtual_microphone, make_word) -> None:
    played = make_word(before=0.2, after=0.3)
    speech = played[3200:-4800].astype(np.float64)
    best = 0.0
    for _ in range(4):  # a machine under heavy load may lose sound on the way
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
        assert player.wait(30) == 0
        best = max(best, correlation(np.concatenate(blocks).astype(np.float64), speech))
        if best > 0.99:
            break
    assert best > 0.99


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
        self.rates: set[int] | None = None  # that can be opened; any when None
        self.dtypes = {"float32", "int16"}
        self.busy = False
        self.tried: list[tuple[int, str, int]] = []
        self.starts = 0  # how often it was started afresh
        self.open = 0  # streams
        self.stream: Any = None

    def query_devices(self) -> list[dict[str, Any]]:
        return [{"name": name, "default_samplerate": rate, "max_input_channels": channels} for name, rate, channels in self.devices]

    def InputStream(self, **options: Any) -> Any:  # noqa: N802
        self.tried.append((options["samplerate"], options["dtype"], options["channels"]))
        if self.busy:
            raise self.PortAudioError("Error opening InputStream: Device unavailable", -9985)
        if options["channels"] < self.fails_below:
            raise self.PortAudioError("Invalid number of channels")
        if self.rates is not None and options["samplerate"] not in self.rates:
            raise self.PortAudioError("Error opening InputStream: Invalid sample rate", -9997)
        if options["dtype"] not in self.dtypes:
            raise self.PortAudioError("Error opening InputStream: Sample format not supported", -9994)
        self.options = options
        self.open += 1
        return self

    def start(self) -> None:
        pass

    def close(self, ignore_errors: bool = False) -> None:
        self.open -= 1

    def _terminate(self) -> None:
        self.open = 0

    def _initialize(self) -> None:
        self.starts += 1


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


def tone(seconds: float, rate: int) -> np.ndarray:
    return (0.25 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize(("channels", "dtype"), [(1, "float32"), (2, "int16"), (8, "float32")])
def test_every_rate_and_format_becomes_16_khz_mono(fake: FakePortAudio, rate: int, channels: int, dtype: str) -> None:
    fake.devices[1] = ("interface", float(rate), channels)
    fake.dtypes, fake.fails_below = {dtype}, channels
    with Microphone() as microphone:
        assert (fake.options["samplerate"], fake.options["channels"], fake.options["dtype"]) == (rate, channels, dtype)
        sound = np.repeat(tone(1.0, rate)[:, None], channels, 1)
        if dtype == "int16":
            sound = np.round(sound * 32768).astype(np.int16)
        blocks = iter(microphone)
        for piece in np.array_split(sound, 20):
            fake.options["callback"](piece, len(piece), None, Status())
        heard = []
        while sum(map(len, heard)) < 14_000:
            heard.append(next(blocks))
    samples = np.concatenate(heard)
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in heard)
    np.testing.assert_allclose(samples[2000:14_000], tone(1.0, 16_000)[2000:14_000], atol=2e-3)


def test_a_device_that_refuses_its_own_rate_is_opened_at_another(fake: FakePortAudio) -> None:
    fake.rates = {44_100, 8_000}
    with Microphone() as microphone:
        assert fake.options["samplerate"] == 44_100
        fake.options["callback"](tone(1.0, 44_100)[:, None], 44_100, None, Status())
        block = next(iter(microphone))
    np.testing.assert_allclose(block[2000:14_000], tone(1.0, 16_000)[2000:14_000], atol=2e-3)
    assert fake.tried[0][0] == 48_000  # its own first


def test_a_busy_device_is_told_at_once(fake: FakePortAudio) -> None:
    fake.busy = True
    with pytest.raises(AudioError, match=r"'USB microphone' is busy: close the program"), Microphone():
        pass
    assert len(fake.tried) == 1


def test_the_callback_keeps_a_copy_and_counts_what_the_driver_lost(fake: FakePortAudio) -> None:
    class Overflow:
        input_overflow = True

    with Microphone(block_ms=20.0) as microphone:
        buffer = np.full((9600, 1), 0.25, np.float32)
        fake.options["callback"](buffer, 9600, None, Overflow())
        buffer[:] = -0.5  # PortAudio uses its buffer again
        fake.options["callback"](buffer, 9600, None, Status())
        assert microphone.overflows == 1
        assert microphone.behind_s == pytest.approx(0.04)
        blocks = iter(microphone)
        heard = np.concatenate([next(blocks), next(blocks)])
    assert heard[500:2500] == pytest.approx(0.25, abs=0.01)  # recognition goes on with what came


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LOST_SECONDS": 0.3, "RETRY_SECONDS": 0.05, "TICK_SECONDS": 0.02}.items():
        monkeypatch.setattr(f"audio.microphone.{name}", seconds)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["ends", "is silent"])
def test_a_device_that_goes_is_told_once_waited_for_and_found_by_its_name(fake: FakePortAudio, caplog: pytest.LogCaptureFixture, how: str) -> None:
    caplog.set_level(logging.INFO, "sayonce")
    devices = list(fake.devices)
    with Microphone("USB mic", reconnect=True) as microphone:
        blocks = iter(microphone)
        fake.options["callback"](np.zeros((9600, 1), np.float32), 9600, None, Status())
        assert len(next(blocks)) > 0
        if how == "ends":
            fake.options["finished_callback"]()
        fake.devices = devices[:1]  # nothing left that records
        while not microphone.lost:
            next(blocks)
        for _ in range(30):
            assert len(next(blocks)) == 0
        assert microphone.lost
        fake.devices = [devices[0], devices[2], devices[1]]  # it has another number now
        starts = fake.starts
        while fake.starts < starts + 2:
            next(blocks)
        while microphone.lost:  # it is back when it delivers, not when it opens
            fake.options["callback"](np.full((9600, 1), 0.5, np.float32), 9600, None, Status())
            next(blocks)
        fake.options["callback"](np.full((9600, 1), 0.5, np.float32), 9600, None, Status())
        assert fake.options["device"] == 2
        assert microphone.device is not None
        assert microphone.device.name == "USB microphone"
        assert np.max(np.concatenate([next(blocks) for _ in range(5)])) == pytest.approx(0.5, abs=0.2)
    gone = [record.message for record in caplog.records]
    assert [("is gone" in line, "is back" in line) for line in gone] == [(True, False), (False, True)]


@pytest.mark.usefixtures("impatient")
def test_a_device_that_opens_and_stays_silent_is_not_back(fake: FakePortAudio, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sayonce")
    with Microphone(reconnect=True) as microphone:
        blocks = iter(microphone)
        fake.options["finished_callback"]()
        while fake.starts < 3:
            next(blocks)
        assert microphone.lost
        assert sum("is back" in record.message for record in caplog.records) == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("step", ["close", "_terminate", "_initialize", "query_devices", "InputStream", "start"])
def test_a_sound_system_that_hangs_does_not_hold_up_the_reader(fake: FakePortAudio, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    released = threading.Event()
    with Microphone(reconnect=True) as microphone:
        then = getattr(fake, step)

        def hang(*arguments: Any, **options: Any) -> Any:
            assert released.wait(60)
            return then(*arguments, **options)

        monkeypatch.setattr(fake, step, hang)
        blocks = iter(microphone)
        fake.options["finished_callback"]()
        for _ in range(20):
            assert len(next(blocks)) == 0
        assert microphone.lost
        attempt = next(thread for thread in threading.enumerate() if thread.name == ATTEMPT)
    assert attempt.is_alive()  # leaving did not wait for it
    released.set()
    attempt.join(60)
    assert not attempt.is_alive()
    assert fake.open == 0  # nobody is left to close what it opened: PortAudio would call functions that are gone


def test_ctrl_c_while_the_device_opens_leaves_nothing_open(fake: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), Microphone():
        pass
    assert fake.open == 0


def test_levels_are_measured(fake: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = fake.InputStream

    def playing(**options: Any) -> Any:
        stream = opened(**options)
        options["callback"](tone(2.0, 48_000)[:, None], 96_000, None, Status())
        return stream

    monkeypatch.setattr(fake, "InputStream", playing)
    level = measure_level(list_devices()[0])
    assert level.mean_dbfs == pytest.approx(20 * np.log10(0.25 / np.sqrt(2)), abs=0.2)
    assert level.peak_dbfs == pytest.approx(20 * np.log10(0.25), abs=0.2)


@pytest.mark.usefixtures("impatient")
def test_a_device_that_is_plugged_into_another_socket_is_found(fake: FakePortAudio) -> None:
    fake.devices[1] = ("USB microphone: Audio (hw:2,0)", 48000.0, 1)
    with Microphone(1, reconnect=True) as microphone:
        blocks = iter(microphone)
        fake.options["finished_callback"]()
        fake.devices = [("other: Audio (hw:2,0)", 48000.0, 1), fake.devices[0], fake.devices[2], ("USB microphone: Audio (hw:11,0)", 44100.0, 1)]
        next(blocks)
        while microphone.lost:
            fake.options["callback"](np.zeros((9600, 1), np.float32), 9600, None, Status())
            next(blocks)
        assert microphone.device is not None
        assert (microphone.device.index, fake.options["samplerate"]) == (3, 44_100)
