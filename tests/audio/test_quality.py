"""What a recording must be to learn a word from, each limit from both sides."""

import numpy as np
import pytest

from audio.errors import AudioError
from audio.quality import Quality, assess


def problems(samples: np.ndarray) -> dict[str, bool]:
    quality = assess(samples)
    assert quality.usable == (not any(problem.fatal for problem in quality.verdict))
    assert all(problem.message and "\n" not in problem.message for problem in quality.verdict)
    return {problem.name: problem.fatal for problem in quality.verdict}


def test_a_good_recording(make_word) -> None:
    quality = assess(make_word())
    assert quality.verdict == []
    assert quality.usable
    assert quality.duration_s == pytest.approx(1.75, abs=0.001)
    assert quality.speech_start_s == pytest.approx(0.5, abs=0.06)
    assert quality.speech_end_s == pytest.approx(1.05, abs=0.08)
    assert quality.peak_dbfs == pytest.approx(-6.0, abs=0.3)
    assert -30 < quality.level_dbfs < -10
    assert quality.snr_db is not None
    assert quality.snr_db > 35
    assert quality.clipped_share == 0


@pytest.mark.parametrize("level", [0.0, 1e-5, 3e-4])
def test_silence_is_refused(level: float) -> None:
    noise = np.asarray(level * np.random.default_rng(0).standard_normal(32_000), np.float32)
    assert problems(noise) == {"silent": True}
    assert problems(np.zeros(0, np.float32)) == {"silent": True}


def test_noise_without_speech_is_refused() -> None:
    assert problems(np.asarray(0.02 * np.random.default_rng(0).standard_normal(32_000), np.float32)) == {"no_speech": True}


@pytest.mark.parametrize("gain", [6.0, 30.0])
def test_clipping_is_refused(make_word, gain: float) -> None:
    assert problems(np.clip(gain * make_word(), -1, 1))["clipped"]


def test_clipping_beyond_recognition_is_called_clipping() -> None:
    square = np.where(np.sin(np.arange(32_000) * 0.3) > 0, 1.0, -1.0)
    assert problems(square) == {"clipped": True}


def test_a_single_clipped_peak_is_no_problem(make_word) -> None:
    samples = make_word()
    samples[np.argmax(np.abs(samples))] = 1.0
    assert problems(samples) == {}


def test_too_short_is_refused(make_word) -> None:
    samples = make_word()
    rest = samples[round(0.62 * 16_000) :]
    rest[:] = 3e-4 * np.random.default_rng(1).standard_normal(len(rest))
    assert problems(samples) == {"too_short": True}


def test_too_long_is_refused(make_word) -> None:
    samples = np.concatenate([make_word(before=0.5 if k == 0 else 0.0, after=0.1, seed=k) for k in range(5)])
    assert problems(samples) == {"too_long": True}


def test_a_noisy_recording_is_warned_of(make_word) -> None:
    quality = assess(make_word(noise=0.05))
    assert {problem.name: problem.fatal for problem in quality.verdict} == {"noisy": False}
    assert quality.usable
    speech = make_word(noise=0)[8000:16_800]
    assert quality.snr_db == pytest.approx(20 * np.log10(np.sqrt(np.mean(speech**2)) / 0.05), abs=1.5)


def test_a_faint_recording_is_warned_of(make_word) -> None:
    assert problems(10**-1.5 * make_word(noise=3e-4)) == {"quiet": False}


def test_a_recording_without_background_is_judged(make_word) -> None:
    quality = assess(make_word()[8000:16_800])
    assert quality.usable
    assert quality.snr_db is not None
    assert quality.snr_db > 10


def test_what_is_no_audio_is_refused() -> None:
    for bad in ([np.nan] * 1000, [[0.0], [0.0]], [3e4, -3e4]):
        with pytest.raises(AudioError):
            assess(bad)


def test_most_real_recordings_pass(shared_data) -> None:
    from audio.files import read_audio

    verdicts: list[Quality] = [assess(read_audio(path)) for path in sorted((shared_data / "speech_commands" / "happy").glob("*.opus"))[:60]]
    assert np.mean([quality.usable for quality in verdicts]) > 0.9
