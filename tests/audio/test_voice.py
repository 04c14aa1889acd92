"""Where speech is found, and where not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.errors import AudioError
from audio.voice import RecorderState, UtteranceRecorder, VoiceDetector, level_dbfs, speech_segments


def hum(pitch: float, seconds: float = 4.0) -> np.ndarray:
    time = np.arange(round(16_000 * seconds)) / 16_000
    harmonics = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 9))
    return np.asarray(0.1 * harmonics + 1e-3 * np.random.default_rng(0).standard_normal(len(time)), np.float32)


def test_a_level_is_in_decibels_of_full_scale() -> None:
    assert level_dbfs(np.ones(100, np.float32)) == pytest.approx(0.0, abs=1e-6)
    assert level_dbfs(np.full(100, 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-4)
    assert level_dbfs(np.zeros(100, np.float32)) == level_dbfs(np.zeros(0, np.float32)) == -120.0


@pytest.mark.parametrize("gain_db", [-20, 0, 5])
def test_the_edges_of_a_word_are_found(make_word, gain_db: float) -> None:
    (start, end), *more = speech_segments(10 ** (gain_db / 20) * make_word())
    assert not more
    assert start == pytest.approx(0.5, abs=0.06)
    assert end == pytest.approx(1.05, abs=0.08)


def test_a_stream_finds_the_same_word(make_word) -> None:
    voiced = np.flatnonzero(VoiceDetector().push(make_word())) * 0.02
    assert voiced[0] == pytest.approx(0.5, abs=0.12)  # it takes three frames to be sure
    assert voiced[-1] == pytest.approx(1.05 + 0.2, abs=0.12)  # and lasts 200 ms beyond


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=30))
def test_flags_do_not_depend_on_the_blocks(make_word, sizes: list[int]) -> None:
    samples = make_word()
    detector = VoiceDetector()
    flags = [flag for part in np.split(samples, np.cumsum(sizes)) for flag in detector.push(part)]
    assert flags == VoiceDetector().push(samples)


@pytest.mark.parametrize("pitch", [50, 100, 120, 220, 440])
def test_a_hum_is_no_speech(pitch: float) -> None:
    assert not any(VoiceDetector().push(hum(pitch)))
    assert speech_segments(hum(pitch)) == []


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.05])
def test_noise_is_no_speech(level: float) -> None:
    noise = np.asarray(level * np.random.default_rng(0).standard_normal(48_000), np.float32)
    assert not any(VoiceDetector().push(noise))
    assert speech_segments(noise) == []


def test_nothing_has_no_speech() -> None:
    assert speech_segments([]) == []
    assert speech_segments(np.zeros(100)) == []
    assert VoiceDetector().push([]) == []


def test_what_is_no_audio_is_refused() -> None:
    for hear in (VoiceDetector().push, speech_segments, UtteranceRecorder().push):
        with pytest.raises(AudioError):
            hear([float("nan")] * 400)


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 5000), before=st.floats(0.1, 2.0))
def test_the_recorder_cuts_the_word_out(make_word, size: int, before: float) -> None:
    samples = make_word(before=before, after=2.0)
    recorder, utterance = UtteranceRecorder(), None
    assert recorder.state is RecorderState.WAITING
    for start in range(0, len(samples), size):
        utterance = recorder.push(samples[start : start + size])
        if utterance is not None:
            break
    assert utterance is not None
    assert recorder.state is RecorderState.DONE
    assert recorder.heard_s < before + 0.55 + 0.5 + 0.15 + size / 16_000
    (start_s, end_s), *more = speech_segments(utterance)
    assert not more
    assert 0.05 < start_s < 0.5  # some background stays in front
    assert end_s - start_s == pytest.approx(0.55, abs=0.12)
    assert len(utterance) / 16_000 - end_s == pytest.approx(0.5, abs=0.1)


def test_the_recorder_waits_and_ends_in_time(make_word) -> None:
    quiet = UtteranceRecorder()
    assert quiet.push(make_word()[:8000]) is None
    assert quiet.state is RecorderState.WAITING
    assert quiet.flush() is None
    assert quiet.level_dbfs < -60
    long = UtteranceRecorder(max_s=1.0)
    utterance = long.push(np.concatenate([make_word(before=0.5 if k == 0 else 0.0, after=0.1) for k in range(6)]))
    assert utterance is not None
    assert len(utterance) == 16_000


def test_the_end_of_the_stream_ends_the_utterance(make_word) -> None:
    recorder = UtteranceRecorder()
    assert recorder.push(make_word(after=0.1)) is None
    assert recorder.state is RecorderState.RECORDING
    utterance = recorder.flush()
    assert utterance is not None
    assert len(utterance) / 16_000 == pytest.approx(0.3 + 0.55 + 0.1, abs=0.15)


def test_real_words_are_found_where_they_are(shared_data) -> None:
    from audio.files import read_audio

    found = [speech_segments(read_audio(path)) for path in sorted((shared_data / "speech_commands" / "happy").glob("*.opus"))[:40]]
    assert np.mean([bool(segments) for segments in found]) > 0.9
    assert np.median([segments[-1][1] - segments[0][0] for segments in found if segments]) == pytest.approx(0.5, abs=0.2)
