"""Speed perturbation: length and pitch follow the factor, 1 changes nothing."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from audio.speed import Speeds, change_speed

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A sine of float32 samples."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("factor", [0.5, 0.86, 1.16, 2.0])
def test_length_and_pitch_follow(factor: float) -> None:
    changed = change_speed(tone(440.0), factor)
    assert changed.dtype == np.float32
    assert len(changed) == pytest.approx(RATE / factor, abs=2)
    spectrum = np.abs(np.fft.rfft(changed))
    assert np.argmax(spectrum) * RATE / len(changed) == pytest.approx(440.0 * factor, abs=2.0)


def test_speeds_of_a_configuration_are_read_and_checked() -> None:
    found = TypeAdapter(Speeds)
    assert found.validate_python("1, 0.86,1.16") == found.validate_python([1.0, 0.86, 1.16]) == (1.0, 0.86, 1.16)
    for wrong in ((), (0.9,), (0.9, 1.0), (1.0, 3.0), (1.0, 0.9, 0.9), (1.0, float("nan")), "fast"):
        with pytest.raises(ValidationError):
            found.validate_python(wrong)


def test_one_is_the_recording_itself() -> None:
    samples = tone(440.0)
    assert change_speed(samples, 1.0) is samples
