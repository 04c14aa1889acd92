"""The utterances of `app demo` are what their list says: size, format, edges, words and voices."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parents[2] / "app" / "demo_voices"
TRUTH = json.loads((FOLDER / "truth.json").read_text(encoding="utf-8"))


def read(name: str) -> NDArray[np.float32]:
    samples, rate = soundfile.read(FOLDER / name, dtype="float32")
    assert rate == 16_000
    assert samples.ndim == 1
    assert 0.01 < np.abs(samples).max() < 0.999
    return samples


def level_dbfs(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.flac")) < 600_000


@pytest.mark.parametrize("name", ["enroll.flac", "stream.flac"])
def test_no_stretch_is_digital_silence(name: str) -> None:
    samples = read(name)
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    assert np.all(frames.std(axis=1) > 10 ** (-70 / 20))


def test_speech_lies_between_the_edges_and_room_noise_outside() -> None:
    samples = read("stream.flac")
    previous = 0.0
    for spoken in [*TRUTH, {"start_s": len(samples) / 16_000, "end_s": None}]:
        assert spoken["start_s"] - previous >= 0.6
        pause = samples[round(previous * 16_000) : round(spoken["start_s"] * 16_000)]
        assert level_dbfs(pause) == pytest.approx(-58.0, abs=1.0)
        if spoken["end_s"] is not None:
            assert level_dbfs(samples[round(spoken["start_s"] * 16_000) : round(spoken["end_s"] * 16_000)]) > -30.0
            previous = spoken["end_s"]


def test_each_voice_says_the_word_at_most_once_and_no_other_word_begins_like_it() -> None:
    speakers = [spoken["voice"] for spoken in TRUTH if spoken["word"] == "connect"]
    assert len(speakers) == len(set(speakers)) >= 4
    others = [spoken["word"] for spoken in TRUTH if spoken["word"] != "connect"]
    assert len(others) >= 10
    assert not any(word.startswith("conn") for word in others)
