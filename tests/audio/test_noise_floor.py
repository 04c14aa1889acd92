"""The background of a recording, continued."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.noise_floor import noise_floor, quietest_stretch, surround
from audio.voice import level_dbfs, speech_segments


def coloured(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose power falls with frequency, at -50 dBFS."""
    white = np.random.default_rng(seed).standard_normal(round(16_000 * seconds))
    sound = np.convolve(white, np.exp(-np.arange(100) / 10), mode="same")
    return np.asarray(10**-2.5 * sound / np.std(sound), np.float32)


def test_the_quietest_stretch_lies_outside_the_word(make_word) -> None:
    samples = make_word(noise=1e-3)
    assert len(quietest_stretch(samples)) == 2560
    assert level_dbfs(quietest_stretch(samples)) == pytest.approx(-60, abs=1)
    assert len(quietest_stretch(samples[:100])) == 100


def test_the_background_keeps_level_and_spectrum() -> None:
    room = coloured(2.0)
    floor = noise_floor(room, 32_000)
    assert level_dbfs(floor) == pytest.approx(level_dbfs(room), abs=1.5)

    def slope(sound: np.ndarray) -> float:
        power = np.mean(np.abs(np.fft.rfft(sound.reshape(-1, 320))) ** 2, axis=0)
        return float(10 * np.log10(power[5:20].mean() / power[100:150].mean()))

    assert slope(floor) == pytest.approx(slope(room), abs=3)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(0, 6000), before=st.integers(0, 20_000), after=st.integers(0, 9000), seed=st.integers(0, 9))
def test_the_recording_itself_stays_as_it_is(length: int, before: int, after: int, seed: int) -> None:
    samples = coloured(0.5, seed)[:length]
    surrounded = surround(samples, before, after, seed)
    assert surrounded.dtype == np.float32
    np.testing.assert_array_equal(surrounded[before : before + length], samples)
    np.testing.assert_array_equal(surrounded, surround(samples, before, after, seed))
    assert len(surrounded) == before + length + after


def test_there_is_no_digital_silence() -> None:
    assert level_dbfs(noise_floor(np.zeros(8000, np.float32), 8000)) == pytest.approx(-80, abs=1)
    assert level_dbfs(noise_floor(np.zeros(0, np.float32), 8000)) == pytest.approx(-80, abs=1)


def test_the_background_holds_no_speech(make_word) -> None:
    assert len(speech_segments(surround(make_word(noise=1e-3), 32_000, 32_000))) == 1
