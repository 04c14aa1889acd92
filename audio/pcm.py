"""Raw PCM from a pipe, as 16 kHz mono.

A pipe has no header, so the caller says what the bytes mean. Reads may return any number of bytes; whatever does not fill a frame waits for the rest.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.errors import AudioError
from audio.resample import StreamResampler
from audio.samples import as_samples

SAMPLE_BYTES = {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}
HEADERS = {b"RIFF": "WAV", b"OggS": "Ogg", b"fLaC": "FLAC"}
MAX_CHANNELS = 64


def decode(data: bytes, sample_format: str) -> NDArray[np.float32]:
    """Turn bytes into samples.

    Args:
        data: whole samples.
        sample_format: u8, s16le, s24le, s32le or f32le.

    Returns:
        float32 [n] in [-1, 1).
    """
    if sample_format == "u8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if sample_format == "s16le":
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)
    if sample_format == "s24le":
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        values = (parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) >> 8  # through the top byte, for the sign
        return values.astype(np.float32) / np.float32(2**23)
    if sample_format == "s32le":
        return (np.frombuffer(data, "<i4") / 2**31).astype(np.float32)
    return np.frombuffer(data, "<f4").astype(np.float32)


def pcm_blocks(
    stream: BinaryIO, rate: int = SAMPLE_RATE, channels: int = 1, sample_format: str = "s16le", block_ms: float = 100.0
) -> Iterator[NDArray[np.float32]]:
    """Read raw PCM to its end, in constant memory.

    Args:
        stream: where the bytes come from, for example `sys.stdin.buffer`.
        rate: its samples a second and channel.
        channels: its interleaved channels; they are averaged.
        sample_format: u8, s16le, s24le, s32le or f32le (in [-1, 1]).
        block_ms: how much sound is read at once.

    Returns:
        An iterator of float32 [n] blocks, 16 kHz mono, none of them empty. It raises AudioError when the stream ends before one whole frame, starts
        with the header of a sound file, or holds NaN. Bytes of an incomplete last frame are dropped.

    Raises:
        AudioError: an unknown format, or a rate or channel count that cannot be used.
    """
    if sample_format not in SAMPLE_BYTES:
        raise AudioError(f"unknown sample format {sample_format!r}: use one of {', '.join(SAMPLE_BYTES)}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{channels} channels: a stream has 1 to {MAX_CHANNELS}")
    return _blocks(stream, StreamResampler(rate), channels, sample_format, block_ms)


def _blocks(stream: BinaryIO, resampler: StreamResampler, channels: int, sample_format: str, block_ms: float) -> Iterator[NDArray[np.float32]]:
    """Read, decode, mix and resample until the stream ends."""
    frame_bytes = SAMPLE_BYTES[sample_format] * channels
    wanted = max(1, round(resampler.rate_in * block_ms / 1000)) * frame_bytes
    waiting, frames = b"", 0
    while data := stream.read(wanted):
        if not frames:
            for mark, kind in HEADERS.items():
                if (waiting + data).startswith(mark):
                    raise AudioError(f"the stream is a {kind} file, not raw PCM: give the file by its name instead")
        waiting += data
        whole = len(waiting) // frame_bytes
        if not whole:
            continue
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused in one line, not warned of in another
            mixed = decode(waiting[: whole * frame_bytes], sample_format).reshape(whole, channels).mean(axis=1)
        waiting, frames = waiting[whole * frame_bytes :], frames + whole
        samples = resampler.push(as_samples(mixed, f"the stream (read as {sample_format})"))
        if len(samples):
            yield samples
    if not frames:
        raise AudioError(f"the stream ended before any sound ({len(waiting)} of {frame_bytes} bytes came): check the program that writes it")
    samples = resampler.flush()
    if len(samples):
        yield samples
