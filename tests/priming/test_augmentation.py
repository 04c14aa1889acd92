"""What every augmented clip keeps, and what the mixture of speech and noise promises."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.files import write_wav
from priming.augmentation import AugmentationConfig, NoiseBank, active_level, augment, change_speed, mix_at_snr
from priming.corpus import isolated_clips, noise_clips
from priming.episodes import hearing
from priming.errors import DataError
from priming.gate import PrimingData

HEADER = "path,corpus,language,word,word_role,speaker,speaker_split,duration_s\n"


def burst(seed: int = 0, seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    """Noise in the middle of a quiet room."""
    samples = 0.001 * np.random.default_rng(seed).standard_normal(round(seconds * 16000))
    samples[len(samples) // 3 : 2 * len(samples) // 3] *= level / 0.001
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> NoiseBank:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "manifest.csv").write_text(
        HEADER + "a.wav,household_noise,,,noise,,train,2\nb.wav,household_noise,,,noise,,train,1\nc.wav,household_noise,,,noise,,test,1\n"
    )
    noise = (0.05 * np.random.default_rng(9).standard_normal(32000)).astype(np.float32)
    noise[8000:24000] = 0  # a second of digital silence inside
    write_wav(folder / "a.wav", noise)
    write_wav(folder / "b.wav", noise[:8000])
    return NoiseBank(PrimingData(tuple(noise_clips(folder))))


def test_the_bank_holds_the_noise_without_digital_silence(bank: NoiseBank) -> None:
    assert bank.seconds == pytest.approx(1.5)
    drawn = bank.draw(100_000, np.random.default_rng(0))  # longer than the bank
    assert (drawn.dtype, drawn.shape) == (np.float32, (100_000,))
    frames = drawn.reshape(-1, 1000)
    assert np.sqrt((frames**2).mean(axis=1)).min() > 0.01
    assert np.sqrt((drawn**2).mean()) == pytest.approx(0.05, rel=0.05)


def test_a_bank_needs_noise(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(16000, np.float32))
    (tmp_path / "manifest.csv").write_text(HEADER + "a.wav,household_noise,,,noise,,train,1\n")
    with pytest.raises(DataError, match="no noise"):
        NoiseBank(PrimingData(tuple(noise_clips(tmp_path))))


def test_without_recordings_noise_is_generated() -> None:
    bank = NoiseBank(PrimingData(()))
    assert bank.seconds == pytest.approx(180, abs=1)
    colours = np.split(np.take(bank._samples, np.arange(179 * 16000)), [60 * 16000, 120 * 16000])
    below = [
        power[:100].sum() / power.sum() for power in (np.abs(np.fft.rfft(part[: 16000 * 30].reshape(-1, 1600))).mean(0) ** 2 for part in colours)
    ]
    assert below[0] < below[1] < below[2]  # white, pink, brown: ever more of it below 1 kHz
    assert below[0] == pytest.approx(100 / 801, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(0.1, 1.5), level=st.floats(1e-4, 1.0))
def test_every_augmented_clip_is_audio_of_the_expected_length(bank: NoiseBank, seed: int, seconds: float, level: float) -> None:
    clip = np.clip(burst(seed, seconds, level), -1, 1)
    heard = augment(clip, np.random.default_rng(seed), bank)
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1
    assert len(clip) / 1.12 - 2 <= len(heard) - 21680 + 1280
    assert len(heard) - 21680 <= len(clip) / 0.88 + 2
    assert np.array_equal(heard, augment(clip, np.random.default_rng(seed), bank))


def test_other_seeds_give_other_sounds(bank: NoiseBank) -> None:
    heard = [augment(burst(), np.random.default_rng(seed), bank) for seed in range(5)]
    assert len({(len(samples), float(samples.sum())) for samples in heard}) == 5


def test_nothing_changes_but_the_background_when_every_range_is_a_point(bank: NoiseBank) -> None:
    still = AugmentationConfig(speed_share=0, noise_share=0, gain_db=(0, 0), shift_s=0)
    heard, plain = augment(burst(), np.random.default_rng(0), bank, still), hearing(burst())
    assert np.array_equal(heard[13680:29680], plain[13680:29680])
    assert len(heard) == len(plain)


def test_gain_never_clips(bank: NoiseBank) -> None:
    loud = AugmentationConfig(speed_share=0, noise_share=0, gain_db=(10, 10), shift_s=0)
    heard = augment(burst(level=0.3), np.random.default_rng(0), bank, loud)
    assert np.abs(heard).max() == pytest.approx(1)
    assert (np.abs(heard) > 0.999).sum() < 3


@settings(max_examples=40, deadline=None)
@given(snr_db=st.floats(-10, 40), seed=st.integers(0, 100), length=st.integers(1, 40_000))
def test_speech_lies_the_asked_number_of_decibels_over_the_noise(snr_db: float, seed: int, length: int) -> None:
    clean = burst(seed)
    noise = np.random.default_rng(seed + 1).standard_normal(length).astype(np.float32)
    added = mix_at_snr(clean, noise, snr_db).astype(np.float64) - clean
    assert 20 * np.log10(active_level(clean) / np.sqrt(np.mean(added**2))) == pytest.approx(snr_db, abs=0.1)


def test_the_level_of_speech_leaves_pauses_out() -> None:
    speech = (0.2 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    padded = np.concatenate([np.zeros(32000, np.float32), speech, np.zeros(32000, np.float32)])
    assert active_level(padded) == pytest.approx(active_level(speech)) == pytest.approx(0.2, rel=0.02)
    assert active_level(speech[:10]) > 0
    assert active_level(np.zeros(0, np.float32)) == 0


def test_silent_noise_and_meaningless_ratios_are_refused() -> None:
    with pytest.raises(DataError, match="silence"):
        mix_at_snr(burst(), np.zeros(100, np.float32), 10)
    with pytest.raises(DataError, match="finite"):
        mix_at_snr(burst(), burst(), float("nan"))


def test_speed_changes_length_and_pitch() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    fast = change_speed(tone, 1.1)
    assert len(fast) == pytest.approx(16000 / 1.1, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(fast, 16000))) == pytest.approx(484, abs=1)
    assert np.array_equal(change_speed(tone, 1.0), tone)


def test_the_projects_recordings_can_be_augmented(shared_data: Path) -> None:
    from priming.corpus import load

    bank = NoiseBank(PrimingData(tuple(noise_clips(shared_data)[:40])))
    for seed, clip in enumerate(isolated_clips(shared_data)[::2000]):
        heard = augment(load(clip), np.random.default_rng(seed), bank)
        assert 0 < np.abs(heard).max() <= 1
