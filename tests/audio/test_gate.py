"""The gate lets everything through that could be a word, from a second before it, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio.gate import FLOOR_DBFS, HOLD, PRE_ROLL, Gate, Passage
from audio.voice import FRAME, MEMORY, VoiceDetector

RATE = 16_000


def noise(seconds: float, dbfs: float, seed: int = 0) -> NDArray[np.float32]:
    return (10 ** (dbfs / 20) * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def room(dbfs: float = -60.0) -> NDArray[np.float32]:
    """Silence, 0.3 s of something loud at 8 s, silence."""
    sound = noise(14, dbfs)
    sound[8 * RATE : 8 * RATE + 4800] += noise(0.3, -20, seed=1)
    return sound


def through(sound: NDArray[np.float32], cuts: list[int] | None = None) -> list[Passage]:
    """What passes, pieces of one passage put together."""
    gate, joined = Gate(), list[Passage]()
    for block in np.split(sound, sorted(cuts or [])):
        for passage in gate.push(block):
            last = joined[-1] if joined else None
            if last is None or passage.opens:
                joined.append(passage)
            else:
                assert not last.closes
                assert passage.start == last.start + len(last.samples)
                joined[-1] = Passage(np.concatenate([last.samples, passage.samples]), last.start, last.opens, passage.closes)
    return joined


def test_a_sound_passes_with_the_second_before_it_and_two_after_it() -> None:
    sound = room()
    first, second = through(sound)
    assert (first.start, first.opens, first.closes) == (0, False, True)
    assert len(first.samples) == MEMORY * FRAME  # nobody knows yet what the background is
    assert (second.start, second.opens, second.closes) == (8 * RATE - PRE_ROLL * FRAME, True, True)
    assert len(second.samples) == (PRE_ROLL + 15 + HOLD - 1) * FRAME
    for passage in (first, second):
        np.testing.assert_array_equal(passage.samples, sound[passage.start : passage.start + len(passage.samples)])


@given(st.lists(st.integers(0, 14 * RATE), max_size=30))
def test_how_the_stream_is_cut_changes_nothing(cuts: list[int]) -> None:
    for whole, cut in zip(through(room()), through(room(), cuts), strict=True):
        np.testing.assert_array_equal(whole.samples, cut.samples)
        assert whole[1:] == cut[1:]


def test_what_is_voice_passes_in_a_room_of_any_level(stream_of_words: NDArray[np.float32]) -> None:
    for gain in (1.0, 0.1, 0.01):
        sound = np.concatenate([noise(6, -70), gain * stream_of_words])
        heard = np.zeros(len(sound) // FRAME, bool)
        for passage in through(sound):
            heard[passage.start // FRAME : (passage.start + len(passage.samples)) // FRAME] = True
        detector = VoiceDetector()
        detector.push(sound)
        voiced = np.flatnonzero(detector.raw)
        assert len(voiced) > 50
        assert heard[voiced].all()
        assert heard[np.maximum(0, voiced - PRE_ROLL // 2)].all()


@pytest.fixture(scope="module")
def stream_of_words() -> NDArray[np.float32]:
    from pathlib import Path

    from audio.files import read_audio

    return read_audio(Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "stream.flac")


def test_a_noise_that_stays_becomes_the_background() -> None:
    sound = np.concatenate([noise(6, -60), noise(10, -30, seed=1)])
    passages = through(sound)
    assert passages[1].start == 6 * RATE - PRE_ROLL * FRAME
    assert passages[1].closes
    assert passages[1].start + len(passages[1].samples) < 13 * RATE


def test_what_is_fainter_than_any_microphone_hears_is_silence() -> None:
    sound = noise(12, FLOOR_DBFS - 30)
    sound[8 * RATE : 9 * RATE] += noise(1, FLOOR_DBFS - 5, seed=1)
    assert len(through(sound)) == 1


def test_the_end_of_a_stream_passes_an_open_gate_whole() -> None:
    gate = Gate()
    passed = sum(len(passage.samples) for passage in gate.push(noise(1.005, -30)))
    assert passed + len(gate.flush()) == round(1.005 * RATE)
    closed = Gate()
    closed.push(noise(10, -60))
    closed.push(np.zeros(7, np.float32))
    assert not closed.is_open
    assert len(closed.flush()) == 0
