"""The microphone, opened the way the device likes it.

A device is opened at its own default rate and resampled here: asking a 44.1 or 48 kHz device for 16 kHz is what makes PortAudio answer "Invalid
sample rate". The audio callback runs in a thread that must never wait, so it copies the block into a bounded queue and nothing else; what the reader
is too slow to take is dropped and counted in `overflows`.
"""

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from audio.errors import AudioError
from audio.resample import StreamResampler
from audio.samples import as_samples

QUEUE_SECONDS = 10.0  # how far the reader may fall behind
LOST_SECONDS = 3.0  # a device that delivers nothing for so long is gone


@dataclass(frozen=True)
class InputDevice:
    """One device that can record."""

    index: int  # what `Microphone` takes
    name: str
    rate: int  # Hz, the device's default
    channels: int
    default: bool  # whether the system records from it when nothing else is asked for


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


class Microphone:
    """A recording device as a context manager and an iterable of blocks.

    Attributes:
        device: the InputDevice in use, known after entering.
        overflows: blocks lost so far, in the driver or because the reader fell behind.
    """

    def __init__(self, device: int | str | None = None, block_ms: float = 20.0) -> None:
        """Choose a device; it is opened on entering.

        Args:
            device: its number, a part of its name, or None for the system's default.
            block_ms: length of the blocks that the device delivers.
        """
        self._wanted, self._block_ms = device, block_ms
        self._blocks: queue.Queue[NDArray[np.float32] | None] = queue.Queue(max(2, round(QUEUE_SECONDS * 1000 / block_ms)))
        self._stream: Any = None
        self.device: InputDevice | None = None
        self.overflows = 0

    def __enter__(self) -> Self:
        """Open the device and start recording.

        Raises:
            AudioError: PortAudio is missing, no such device, or the device refuses.
        """
        portaudio = _portaudio()
        self.device = _choose(self._wanted)
        self._resampler = StreamResampler(self.device.rate)
        errors = []
        for channels in sorted({1, min(2, self.device.channels), self.device.channels}):  # some devices record in stereo only
            try:
                self._stream = portaudio.InputStream(
                    samplerate=self.device.rate,
                    blocksize=round(self.device.rate * self._block_ms / 1000),
                    device=self.device.index,
                    channels=channels,
                    dtype="float32",
                    latency="low",
                    callback=self._receive,
                    finished_callback=self._finished,
                )
                self._stream.start()
            except portaudio.PortAudioError as error:
                errors.append(str(error))
                self._close()
            else:
                return self
        raise AudioError(f"the microphone {self.device.name!r} cannot be opened ({errors[-1]}): close other programs that use it, or choose another")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop recording and release the device."""
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close(ignore_errors=True)
            self._stream = None

    def _receive(self, data: NDArray[np.float32], _frames: int, _time: object, status: Any) -> None:
        """Keep a copy of the block; PortAudio's thread, so nothing here may wait."""
        if status.input_overflow:
            self.overflows += 1
        try:
            self._blocks.put_nowait(data.copy())
        except queue.Full:
            self.overflows += 1

    def _finished(self) -> None:
        """Wake the reader when the device stops, whether closed or lost."""
        try:
            self._blocks.put_nowait(None)
        except queue.Full:
            self.overflows += 1

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Iterate over the blocks as they come, without end.

        Yields:
            float32 [n], 16 kHz mono in [-1, 1], not empty.

        Raises:
            AudioError: the device is not open, or it stopped delivering.
        """
        if self._stream is None or self.device is None:
            raise AudioError("the microphone is not open: use it in a with statement")
        while True:
            try:
                block = self._blocks.get(timeout=LOST_SECONDS)
            except queue.Empty:
                block = None
            if block is None:
                raise AudioError(f"the microphone {self.device.name!r} stopped delivering sound: check that it is still plugged in, then start again")
            samples = self._resampler.push(as_samples(block.mean(axis=1), f"the microphone {self.device.name!r}"))
            if len(samples):
                yield samples
