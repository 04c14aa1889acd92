"""Raw PCM: every format, any reads, and what may be wrong with a pipe."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.errors import AudioError
from audio.pcm import SAMPLE_BYTES, decode, pcm_blocks


class Dripping(io.BytesIO):
    """A pipe that hands out a few bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self.sizes = sizes

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        return super().read(min(size, self.sizes.pop(0)) if self.sizes else size)


def encode(samples: np.ndarray, sample_format: str) -> bytes:
    if sample_format == "u8":
        return np.rint(samples * 128 + 128).astype(np.uint8).tobytes()
    if sample_format == "f32le":
        return samples.astype("<f4").tobytes()
    bits = 8 * SAMPLE_BYTES[sample_format]
    whole = np.rint(samples.astype(np.float64) * 2 ** (bits - 1)).astype("<i8")
    return whole.view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()


@pytest.mark.parametrize("sample_format", SAMPLE_BYTES)
def test_every_format_is_decoded(sample_format: str) -> None:
    samples = np.array([0.0, 0.5, -0.5, -1.0, 0.25, 0.9921875, -0.0078125])
    np.testing.assert_array_equal(decode(encode(samples, sample_format), sample_format), samples.astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(
    sample_format=st.sampled_from(sorted(SAMPLE_BYTES)),
    channels=st.integers(1, 4),
    frames=st.integers(10, 3000),
    sizes=st.lists(st.integers(1, 700), max_size=30),
    trailing=st.integers(0, 3),
    rate=st.sampled_from([16_000, 44_100]),
)
def test_any_reads_give_the_same_samples(sample_format: str, channels: int, frames: int, sizes: list[int], trailing: int, rate: int) -> None:
    samples = np.random.default_rng(frames).integers(-100, 100, (frames, channels)) / 128
    data = encode(samples.ravel(), sample_format)
    whole = list(pcm_blocks(io.BytesIO(data), rate, channels, sample_format, block_ms=1e6))
    broken = data + bytes(trailing % (channels * SAMPLE_BYTES[sample_format]))
    dripped = list(pcm_blocks(Dripping(broken, sizes), rate, channels, sample_format, block_ms=7.0))
    np.testing.assert_array_equal(np.concatenate(whole), np.concatenate(dripped))
    if rate == 16_000:
        np.testing.assert_allclose(np.concatenate(whole), samples.mean(1), atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"\0"])
def test_a_stream_without_sound_is_reported(data: bytes) -> None:
    with pytest.raises(AudioError, match="ended before any sound"):
        list(pcm_blocks(io.BytesIO(data)))


@pytest.mark.parametrize("mark", [b"RIFF", b"OggS", b"fLaC"])
def test_a_sound_file_is_not_raw_pcm(mark: bytes) -> None:
    with pytest.raises(AudioError, match="not raw PCM"):
        list(pcm_blocks(io.BytesIO(mark + bytes(1000))))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_floats_that_are_no_audio_are_refused(value: float) -> None:
    samples = np.zeros(20_000, "<f4")
    samples[15_000] = value
    blocks = pcm_blocks(io.BytesIO(samples.tobytes()), sample_format="f32le")
    assert len(next(blocks)) == 1600
    with pytest.raises(AudioError, match="f32le"):
        list(blocks)


def test_unknown_formats_rates_and_channels_are_refused_at_once() -> None:
    for keywords in ({"sample_format": "mp3"}, {"rate": 10}, {"channels": 0}, {"channels": 1000}):
        with pytest.raises(AudioError):
            pcm_blocks(io.BytesIO(), **keywords)
