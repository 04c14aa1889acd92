"""The microphone, opened the way the device likes it, for weeks if need be.

A device is opened at its own default rate and resampled here: asking a 44.1 or 48 kHz device for 16 kHz is what makes PortAudio answer "Invalid
sample rate". The audio callback runs in a thread that must never wait, so it copies the block into a bounded queue and nothing else; what the reader
is too slow to take is dropped and counted in `overflows`. A device that disappears is told once and, if asked for, waited for: everything that may
hang while the sound system is away (closing, listing, opening) happens in a thread, so that the reader's loop goes on turning.
"""

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.errors import AudioError
from audio.resample import HIGHEST_RATE, LOWEST_RATE, StreamResampler
from audio.samples import as_samples

log = logging.getLogger("sayonce")

QUEUE_SECONDS = 10.0  # how far the reader may fall behind
LOST_SECONDS = 3.0  # a device that delivers nothing for so long is gone
RETRY_SECONDS = 1.0  # between two attempts to open a device that is gone
TICK_SECONDS = 0.1  # how often a reader that can wait for a device gets to do something else meanwhile
RATES = (48_000, 44_100, 16_000, 32_000, 96_000, 192_000, 8_000)  # Hz, tried in this order where a device refuses its own default
BUSY = -9985  # PortAudio's code of a device that another program holds
ATTEMPT = "microphone"  # name of the thread that tries to open a device again
NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class InputDevice:
    """One device that can record."""

    index: int  # what `Microphone` takes
    name: str
    rate: int  # Hz, the device's default
    channels: int
    default: bool  # whether the system records from it when nothing else is asked for


class _Format(NamedTuple):
    """One way to open a device."""

    rate: int  # Hz
    channels: int
    dtype: str  # float32 or int16


def _portaudio() -> Any:
    """Import sounddevice, which loads PortAudio."""
    try:
        import sounddevice
    except OSError:
        raise AudioError("PortAudio is missing, which the microphone needs: install it (Debian and Ubuntu: apt install libportaudio2)") from None
    return sounddevice


def list_devices() -> list[InputDevice]:
    """List the devices that can record.

    Returns:
        One entry a device, in PortAudio's order; empty when there is none.

    Raises:
        AudioError: PortAudio is missing or fails.
    """
    portaudio = _portaudio()
    try:
        devices, default = portaudio.query_devices(), portaudio.default.device[0]
    except portaudio.PortAudioError as error:
        raise AudioError(f"the audio devices cannot be listed ({error}): check the system's sound service") from None
    return [
        InputDevice(index, str(device["name"]), round(device["default_samplerate"]), int(device["max_input_channels"]), index == default)
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def _choose(device: int | str | None) -> InputDevice:
    """Find the device that a number, a part of a name, or None (the default) means."""
    devices = list_devices()
    if not devices:
        raise AudioError("no microphone found: plug one in or allow access to it, then look with `app devices`; files work with --from FILE")
    if device is None:
        return next((entry for entry in devices if entry.default), devices[0])
    if isinstance(device, int) or device.strip().isdigit():
        found = [entry for entry in devices if entry.index == int(device)]
    else:
        wanted = device.strip().lower()
        found = [entry for entry in devices if wanted and entry.name.lower() == wanted] or [
            entry for entry in devices if wanted and wanted in entry.name.lower()
        ]
    if not found:
        raise AudioError(f"there is no input device {device!r}: `app devices` lists them by number and name")
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise AudioError(f"{device!r} fits {len(found)} devices ({names}): give the number that `app devices` shows")
    return found[0]


def _same_again(gone: InputDevice) -> InputDevice:
    """Find a device that was away, by its name: its number changes when devices come and go, and so does ALSA's own at the end of the name."""
    devices = list_devices()
    for same in (lambda name: name, lambda name: re.sub(r" \(hw:\d+,\d+\)$", "", name)):
        for device in devices:
            if same(device.name) == same(gone.name):
                return device
    raise AudioError(f"the microphone {gone.name!r} is not there")


def _formats(device: InputDevice) -> list[_Format]:
    """List the ways to open a device, the likeliest first: some record in stereo only, some in 16 bits only, some at other rates than they say."""
    channels = sorted({1, min(2, device.channels), device.channels})
    rates = [device.rate] * (LOWEST_RATE <= device.rate <= HIGHEST_RATE) + [rate for rate in RATES if rate != device.rate]
    return [_Format(rate, count, dtype) for rate in rates for dtype in ("float32", "int16") for count in channels]


class Microphone:
    """A recording device as a context manager and an iterable of blocks.

    Attributes:
        device: the InputDevice in use, known after entering.
        overflows: blocks lost so far, in the driver or because the reader fell behind.
        lost: whether the device is gone and waited for.
    """

    def __init__(self, device: int | str | None = None, block_ms: float = 20.0, *, reconnect: bool = False) -> None:
        """Choose a device; it is opened on entering.

        Args:
            device: its number, a part of its name, or None for the system's default.
            block_ms: length of the blocks that the device delivers.
            reconnect: wait for a device that disappears, instead of raising. PortAudio is started afresh then, which ends every other stream that
                this process has open.
        """
        self._wanted, self._block_ms, self._reconnect = device, block_ms, reconnect
        self._blocks: queue.Queue[NDArray[Any] | None] = queue.Queue()
        self._stream: Any = None
        self._format = _Format(SAMPLE_RATE, 1, "float32")
        self._attempt: threading.Thread | None = None
        self._left = False
        self.device: InputDevice | None = None
        self.overflows = 0
        self.lost = False

    @property
    def behind_s(self) -> float:
        """How much sound waits to be read."""
        return self._blocks.qsize() * self._block_ms / 1000

    def __enter__(self) -> Self:
        """Open the device and start recording.

        Raises:
            AudioError: PortAudio is missing, no such device, or the device refuses.
        """
        self._left = False
        self._open(_choose(self._wanted))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop recording and release the device."""
        self._left = True
        if self._attempt is not None:
            self._attempt.join(TICK_SECONDS)
            if self._attempt.is_alive():  # the sound system hangs, and so would this; the attempt closes what it opens
                return
        self._close()

    def _open(self, device: InputDevice) -> None:
        """Open a device in the first format that it takes."""
        portaudio = _portaudio()
        reasons = []
        for tried in _formats(device):
            blocks: queue.Queue[NDArray[Any] | None] = queue.Queue(max(2, round(QUEUE_SECONDS * 1000 / self._block_ms)))
            try:
                self._stream = portaudio.InputStream(
                    samplerate=tried.rate,
                    blocksize=round(tried.rate * self._block_ms / 1000),
                    device=device.index,
                    channels=tried.channels,
                    dtype=tried.dtype,
                    latency="low",
                    callback=self._receiver(blocks),
                    finished_callback=self._ender(blocks),
                )
                self._stream.start()
            except BaseException as error:
                self._close()
                if not isinstance(error, portaudio.PortAudioError):  # Ctrl-C, for one: nobody leaves what was not entered
                    raise
                reasons.append(str(error))
                if BUSY in error.args:
                    raise AudioError(f"the microphone {device.name!r} is busy: close the program that uses it, or choose another") from None
            else:
                self.device, self._format, self._blocks = device, tried, blocks
                self._resampler = StreamResampler(tried.rate)
                return
        raise AudioError(f"the microphone {device.name!r} cannot be opened ({reasons[0]}): close other programs that use it, or choose another")

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close(ignore_errors=True)
            self._stream = None

    def _receiver(self, blocks: "queue.Queue[NDArray[Any] | None]") -> Callable[[NDArray[Any], int, object, Any], None]:
        """Return the function that PortAudio's thread calls with each block; nothing in it may wait."""

        def receive(data: NDArray[Any], _frames: int, _time: object, status: Any) -> None:
            if status.input_overflow:
                self.overflows += 1
            try:
                blocks.put_nowait(data.copy())
            except queue.Full:
                self.overflows += 1

        return receive

    def _ender(self, blocks: "queue.Queue[NDArray[Any] | None]") -> Callable[[], None]:
        """Return the function that wakes the reader when the device stops, whether closed or lost."""

        def finished() -> None:
            try:
                blocks.put_nowait(None)
            except queue.Full:
                self.overflows += 1

        return finished

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Iterate over the blocks as they come, without end.

        Yields:
            float32 [n], 16 kHz mono in [-1, 1]. With `reconnect`, some are empty: nothing came for a moment, or the device is gone (`lost`).

        Raises:
            AudioError: the device is not open, or it stopped delivering and is not waited for.
        """
        if self._stream is None or self.device is None:
            raise AudioError("the microphone is not open: use it in a with statement")
        heard = time.monotonic()
        while True:
            try:
                block = self._blocks.get(timeout=TICK_SECONDS)
            except queue.Empty:
                block = NOTHING
            if block is not None and len(block):
                heard = time.monotonic()
                yield from self._samples(block)
            elif block is None or time.monotonic() - heard > LOST_SECONDS:
                if not self._reconnect:
                    raise AudioError(
                        f"the microphone {self.device.name!r} stopped delivering sound: check that it is still plugged in, then start again"
                    )
                yield from self._return_of(self.device)
                heard = time.monotonic()
            elif self._reconnect:
                yield NOTHING

    def _samples(self, block: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Mix a block [n, channels] and bring it to 16 kHz; nothing where the resampler holds all of it back."""
        assert self.device is not None
        scale = 1 / 32768 if block.dtype == np.int16 else 1.0
        mixed = (block.mean(axis=1, dtype=np.float32) * np.float32(scale)).astype(np.float32)
        samples = self._resampler.push(as_samples(mixed, f"the microphone {self.device.name!r}"))
        if len(samples):
            yield samples

    def _return_of(self, gone: InputDevice) -> Iterator[NDArray[np.float32]]:
        """Wait until the device is back and delivers; yield nothing meanwhile, again and again."""
        self.lost = True
        log.warning("the microphone %r is gone; waiting until it comes back", gone.name)
        while True:
            self._attempt = threading.Thread(target=self._try_again, args=(gone,), name=ATTEMPT, daemon=True)
            self._attempt.start()
            while self._attempt.is_alive():
                yield NOTHING
                self._attempt.join(TICK_SECONDS)
            if self._stream is not None:
                deadline = time.monotonic() + LOST_SECONDS
                while time.monotonic() < deadline and not self._blocks.qsize():  # a device may open and stay silent
                    yield NOTHING
                    time.sleep(TICK_SECONDS)
                if self._blocks.qsize() and self._blocks.queue[0] is not None:
                    break
            deadline = time.monotonic() + RETRY_SECONDS
            while time.monotonic() < deadline:
                yield NOTHING
                time.sleep(TICK_SECONDS)
        self.lost = False
        log.info("the microphone %r is back", self.device.name if self.device else gone.name)

    def _try_again(self, gone: InputDevice) -> None:
        """Start PortAudio afresh, which alone makes it see devices that came and went, and open the device if it is there."""
        try:
            portaudio = _portaudio()
            self._close()
            portaudio._terminate()
            portaudio._initialize()
            if not self._left:
                self._open(_choose(None) if self._wanted is None else _same_again(gone))
        except Exception as error:  # not there yet, in one of many ways; the next attempt tells
            log.debug("the microphone %r did not open: %s", gone.name, error)
        if self._left:  # meanwhile, and nobody else closes the stream: PortAudio would call functions that are gone
            self._close()


@dataclass(frozen=True)
class Level:
    """What a device delivered in a short while."""

    mean_dbfs: float
    peak_dbfs: float


def measure_level(device: InputDevice, seconds: float = 1.0) -> Level:
    """Record from a device for a moment and measure it.

    Args:
        device: as `list_devices` returns it.
        seconds: how long.

    Returns:
        Root mean square and largest magnitude, in decibels below full scale; -120 for digital silence.

    Raises:
        AudioError: the device cannot be opened or delivers nothing.
    """
    from audio.voice import level_dbfs

    blocks, heard = [], 0
    with Microphone(device.index) as microphone:
        for block in microphone:
            blocks.append(block)
            heard += len(block)
            if heard >= seconds * SAMPLE_RATE:
                break
    sound = np.concatenate(blocks)
    return Level(level_dbfs(sound), max(-120.0, 20 * float(np.log10(np.max(np.abs(sound)) + 1e-6))))
