"""A recording is cut so that its speech ends at the same time before the end, however the recording was made."""

import numpy as np
import pytest

from audio.errors import AudioError
from audio.noise_floor import surround
from audio.utterance import MARGIN_S, cut_around, cut_utterance
from audio.voice import speech_segments

RATE = 16_000


def test_a_cut_keeps_a_margin_around_the_speech() -> None:
    samples = np.arange(RATE, dtype=np.float32)
    assert np.array_equal(cut_around(samples, 0.3, 0.6), samples[round(0.15 * RATE) : round(0.75 * RATE)])
    assert np.array_equal(cut_around(samples, 0.05, 0.6), samples[: round(0.75 * RATE)])


def test_a_recording_that_ends_with_its_speech_goes_on_in_its_own_background(make_word) -> None:
    samples = make_word()
    cut = cut_around(samples, 0.2, len(samples) / RATE - 0.05)
    assert np.array_equal(cut, surround(samples[round(0.05 * RATE) :], 0, round(0.1 * RATE)))


@pytest.mark.parametrize("after", [0, 1_000, 4_800, 16_000])
def test_speech_ends_a_margin_before_the_end(make_word, after: int) -> None:
    word = make_word()
    (_, end_s), *_ = speech_segments(word)
    recording = surround(word[: round(end_s * RATE)], 8_000, after)
    found = speech_segments(recording)[-1][1]
    assert found == pytest.approx(0.5 + end_s, abs=0.04)
    cut = cut_utterance(recording)
    begin = max(0, round((speech_segments(recording)[0][0] - MARGIN_S) * RATE))
    assert len(cut) == round((found + MARGIN_S) * RATE) - begin


def test_a_recording_without_speech_is_left_whole() -> None:
    for samples in (np.zeros(RATE, np.float32), np.zeros(0, np.float32)):
        assert np.array_equal(cut_utterance(samples), samples)
    with pytest.raises(AudioError):
        cut_utterance(np.full(RATE, np.nan, np.float32))
