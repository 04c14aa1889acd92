"""Sound files: every format and rate, and everything that can be wrong with one."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.errors import AudioError
from audio.files import file_blocks, read_audio, write_wav
from audio.resample import StreamResampler

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]


def tone(rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)


def middle_error(samples: np.ndarray) -> float:
    """How far samples are from the 16 kHz tone, apart from the edges, where the resampler's filter sees nothing."""
    assert len(samples) == pytest.approx(8000, abs=2)
    return float(np.max(np.abs(samples - tone(16_000)[: len(samples)] if len(samples) <= 8000 else samples[:8000] - tone(16_000))[500:-500]))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_every_rate_and_channel_count_becomes_16_khz_mono(tmp_path: Path, rate: int, channels: int) -> None:
    soundfile.write(tmp_path / "tone.wav", np.stack([tone(rate)] * channels, 1), rate, subtype="FLOAT")
    samples = read_audio(tmp_path / "tone.wav")
    assert samples.dtype == np.float32
    assert middle_error(samples) < 1e-3


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate"),
    [
        ("wav", "PCM_U8", 16_000),
        ("wav", "PCM_16", 44_100),
        ("wav", "PCM_24", 48_000),
        ("wav", "PCM_32", 16_000),
        ("wav", "FLOAT", 16_000),
        ("wav", "DOUBLE", 16_000),
        ("wav", "ULAW", 8_000),
        ("flac", "PCM_16", 44_100),
        ("flac", "PCM_24", 96_000),
        ("ogg", "VORBIS", 44_100),
        ("opus", "OPUS", 48_000),
        ("mp3", "MPEG_LAYER_III", 44_100),
        ("aiff", "PCM_16", 22_050),
    ],
)
def test_every_format_is_read(tmp_path: Path, suffix: str, subtype: str, rate: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(rate), rate, subtype=subtype, format="OGG" if suffix == "opus" else None)
    samples = read_audio(path)
    assert 0.48 < len(samples) / 16_000 < 0.6
    spectrum = np.abs(np.fft.rfft(samples[1000:7000]))
    assert np.argmax(spectrum) == round(440 * 6000 / 16_000)
    assert 0.4 < np.max(np.abs(samples)) < 0.65


def test_stereo_is_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([np.full(1000, 0.5), np.full(1000, -0.25)], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), 0.125)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("block_ms", [1.0, 20.0, 333.0, 5000.0])
def test_blocks_join_to_the_whole_file(tmp_path: Path, make_word, rate: int, block_ms: float) -> None:
    soundfile.write(tmp_path / "a.wav", make_word(rate), rate)
    blocks = list(file_blocks(tmp_path / "a.wav", block_ms))
    assert all(len(block) for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(tmp_path / "a.wav"))


@settings(max_examples=30, deadline=None)
@given(rate=st.sampled_from(RATES), sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_resampling_in_blocks_is_bit_equal(rate: int, sizes: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, sum(sizes) + 1000).astype(np.float32)
    whole, pieces = StreamResampler(rate), StreamResampler(rate)
    expected = np.concatenate([whole.push(samples), whole.flush()])
    parts = [pieces.push(part) for part in np.split(samples, np.cumsum(sizes))]
    np.testing.assert_array_equal(np.concatenate([*parts, pieces.flush()]), expected)
    assert len(expected) == pytest.approx(len(samples) * 16_000 / rate, abs=2)


@pytest.mark.parametrize("rate", [0, -16_000, 4_000, 1_000_000])
def test_unusable_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioError, match="not usable"):
        StreamResampler(rate)


def test_a_file_of_an_unusable_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 4000)
    with pytest.raises(AudioError, match=r"a\.wav.*not usable"):
        file_blocks(tmp_path / "a.wav")


def test_an_hour_takes_no_more_memory_than_a_second(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    minute = np.random.default_rng(0).integers(-3000, 3000, 60 * 8000, dtype=np.int16)
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    tracemalloc.start()
    total = sum(len(block) for block in file_blocks(path, block_ms=1000.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == pytest.approx(3600 * 16_000, abs=2)
    assert peak < 5e6


def test_a_longer_file_than_wanted_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(32_000, np.float32))
    assert len(read_audio(tmp_path / "a.wav", max_seconds=2.0)) == 32_000
    with pytest.raises(AudioError, match=r"longer than 1.5 s"):
        read_audio(tmp_path / "a.wav", max_seconds=1.5)


def test_missing_and_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("these are words, but nobody says them\n" * 50)
    (tmp_path / "bytes.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "headerless.raw").write_bytes(bytes(5000))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (tmp_path / "riff.wav").write_bytes(b"RIFF\x24\0\0\0WAVE")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    for name, message in {
        "absent.wav": "no such file",
        ".": "is a folder",
        "empty.wav": "0 bytes",
        "text.wav": "not a readable sound file",
        "bytes.mp3": "not a readable sound file|no sound",
        "headerless.raw": "not a readable sound file",
        "picture.png": "not a readable sound file",
        "riff.wav": "not a readable sound file",
        "nothing.wav": "holds no sound",
    }.items():
        for read in (read_audio, file_blocks):
            with pytest.raises(AudioError, match=message) as caught:
                read(tmp_path / name)
            assert "\n" not in str(caught.value)
            assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("suffix", "format_"), [("wav", "WAV"), ("flac", "FLAC"), ("ogg", "OGG"), ("opus", "OGG")])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, make_word, suffix: str, format_: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, make_word(noise=0.05), 16_000, format=format_, subtype="OPUS" if suffix == "opus" else None)
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    with pytest.raises(AudioError, match=r"truncated|damaged|not a readable|no sound"):
        read_audio(path)


@pytest.mark.parametrize("length", [0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_wav_of_unknown_length_is_read(tmp_path: Path, length: int) -> None:
    write_wav(tmp_path / "a.wav", np.full(1600, 0.25, np.float32))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = length.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), 0.25, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 20_000.0])
def test_samples_that_are_no_audio_are_refused(tmp_path: Path, value: float) -> None:
    samples = np.zeros(48_000, np.float32)
    samples[40_000] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav"):
        read_audio(tmp_path / "a.wav")


def test_written_files_read_back(tmp_path: Path, make_word) -> None:
    samples = make_word()
    write_wav(tmp_path / "a.wav", samples)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), samples, atol=2 / 2**15)
    with pytest.raises(AudioError, match="cannot be written"):
        write_wav(tmp_path / "no" / "a.wav", samples)
    with pytest.raises(AudioError, match="NaN"):
        write_wav(tmp_path / "b.wav", np.full(10, np.nan, np.float32))


def test_the_recordings_are_all_complete(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("*/*/*.opus"))[::200]:
        assert len(read_audio(path)) > 1000
