"""A word at the very end of a recording is told, by the shipped model: half a second of background is heard after it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app import Listener, enroll
from app.demo_material import Said, load

AFTER_S = 0.02  # kept after the word


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    store = tmp_path_factory.mktemp("words")
    material = load(None)
    enroll(material.word, material.enrolled, words=store)
    return Listener(store)


def spoken() -> list[tuple[Said, NDArray[np.float32]]]:
    """The stream up to the end of each utterance of the word, from two seconds before it."""
    material = load(None)
    return [
        (said, material.stream[round(max(0.0, said.start_s - 2.0) * 16_000) : round((said.end_s + AFTER_S) * 16_000)])
        for said in material.truth
        if said.word == material.word
    ]


def test_the_last_word_of_a_recording_is_told(listener: Listener) -> None:
    heard, at_once = 0, 0
    for said, sound in spoken():
        found = list(listener.listen(np.array_split(sound, 7)))
        assert listener.time_s == pytest.approx(len(sound) / 16_000)
        assert [d for d in found] == list(listener.listen([sound]))
        heard += len(found)
        assert all(said.end_s - said.start_s > 0 and d.start_s < len(sound) / 16_000 for d in found)
        listener.reset()
        at_once += len(listener.push(sound) + listener.flush())
    assert heard == len(spoken())
    assert at_once < heard  # else the background afterwards would be for nothing


def test_an_empty_recording_ends_without_a_word(listener: Listener) -> None:
    assert list(listener.listen([])) == []
    assert list(listener.listen([np.zeros(0, np.float32)])) == []


def test_sound_goes_on_after_a_recording_has_ended(listener: Listener, tmp_path: Path) -> None:
    """Only `listen` and a stream's end add background; a gap of the microphone does not."""
    for said, sound in spoken():
        listener.reset()
        through_gap = listener.push(sound) + listener.skip(3.0)
        assert listener.time_s == pytest.approx(len(sound) / 16_000 + 3.0)
        listener.reset()
        assert len(through_gap) == len(listener.push(sound) + listener.flush()), said
