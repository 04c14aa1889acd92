"""Evidence of running speech: the formula from probabilities, the probabilities of Silero's own module, and streams cut anywhere."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio.files import read_audio
from audio.running_speech import RunningSpeech, evidence
from audio.speech_probability import WINDOW, SpeechProbability

VOICES = Path(__file__).parents[2] / "app" / "demo_voices"


@pytest.fixture(scope="module")
def sound() -> NDArray[np.float32]:
    """Six seconds of voices that say single words, with pauses."""
    return read_audio(VOICES / "stream.flac")[:96_123]


def test_probabilities_are_those_of_the_package(sound: NDArray[np.float32]) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("silero_vad").load_silero_vad(onnx=True)
    windows = sound[: len(sound) // WINDOW * WINDOW].reshape(-1, WINDOW)
    with torch.no_grad():
        expected = [float(reference(torch.from_numpy(window.copy()), 16_000)) for window in windows]
    found = SpeechProbability().push(sound)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert found.max() > 0.9
    assert found.min() < 0.1


@pytest.mark.parametrize("step_ms", [20.0, 40.0])
def test_the_evidence_is_that_of_its_equation(sound: NDArray[np.float32], step_ms: float) -> None:
    steps = round(len(sound) / 16 / step_ms) - 1
    probability = SpeechProbability().push(sound)
    held = [probability[end // WINDOW - 1] if end >= WINDOW else 0.0 for end in (round(16 * step_ms * k) for k in range(1, steps + 1))]

    def mean(k: int, least_ms: float, most_ms: float) -> float:
        span = range(k - round(most_ms / step_ms) + 1, k - round(least_ms / step_ms) + 1)
        return float(np.mean([held[i] if i >= 0 else 0.0 for i in span]))

    expected = [(mean(k, 0, 120) + mean(k, 800, 1200)) / 2 for k in range(steps)]
    found = evidence(sound, steps, step_ms)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 96_123), max_size=30), together=st.sampled_from([1, 2, 5]))
def test_how_a_stream_is_cut_changes_no_bit(sound: NDArray[np.float32], cuts: list[int], together: int) -> None:
    stream, parts, done = RunningSpeech(40.0), [], 0
    edges = [0, *sorted(cuts), len(sound)]
    for first, last in pairwise(edges):
        due = last // (640 * together) * together  # an encoder may deliver several steps together
        parts.append(stream.push(sound[first:last], due - done))
        done = due
    assert np.array_equal(np.concatenate(parts), evidence(sound, done, 40.0))


def test_sound_that_an_interruption_left_out_does_not_end_the_stream(sound: NDArray[np.float32]) -> None:
    stream = RunningSpeech(40.0)
    stream.push(sound[:12_800], 20)
    lost = stream.push(sound[:0], 4)
    assert np.isfinite(lost).all()
    found = stream.push(sound[12_800 : 12_800 + 25_600], 36)
    assert len(found) == 36
    assert np.isfinite(found).all()


def test_a_word_by_itself_has_less_than_a_sentence(sound: NDArray[np.float32]) -> None:
    voice = np.concatenate([sound[k : k + 8_000] for k in range(0, 96_000, 8_000) if SpeechProbability().push(sound[k : k + 8_000]).mean() > 0.5])
    sentence = np.tile(voice, 4)[: 3 * 16_000]
    quiet = np.zeros(16_000, np.float32)
    alone = np.concatenate([quiet, voice[:8_000], quiet])
    assert evidence(sentence, 75, 40.0)[40:].mean() > 0.7
    assert evidence(alone, 62, 40.0)[40:50].mean() < 0.4  # while a score would peak
