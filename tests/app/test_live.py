"""The live session on a network whose answers are known: a fake backend that scores by counting spikes of each word's channel."""

import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app import Listener
from app.engine import Engine
from app.errors import StoreError
from app.store import StoredWord, WordStore

STEP = 640  # samples of a step


class ToneEncoder:
    """Channel c spikes in steps that are louder than 0.1 and whose sign of the mean says c."""

    name, channels, step_ms = "tone", 2, 40.0

    class Stream:
        def __init__(self) -> None:
            self.held = np.zeros(0, np.float32)

        def push(self, samples: NDArray[np.float32]) -> NDArray[np.uint8]:
            self.held = np.concatenate([self.held, samples])
            count = len(self.held) // STEP
            steps, self.held = self.held[: count * STEP].reshape(count, STEP), self.held[count * STEP :]
            loud, mean = np.abs(steps).max(1) > 0.1, steps.mean(1)
            return np.stack([loud & (mean > 0), loud & (mean < 0)], 1).astype(np.uint8)

    def stream(self) -> "ToneEncoder.Stream":
        return self.Stream()


class CountingBackend:
    """Scores word w by a leaky count of spikes of channel w."""

    def __init__(self) -> None:
        self.words = 0

    def deploy(self, words: Sequence[object]) -> None:
        self.words = len(words)
        self.reset()

    def reset(self) -> None:
        self.count = np.zeros(self.words, np.float32)

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        for row in spikes:
            self.count = 0.8 * self.count + row[: self.words]
            rows.append(0.5 + 0.1 * self.count)  # the calibration of the fake words takes this back
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.words), np.float32)


def fake_engine(sha256: str) -> Any:
    return Engine("embedding", SimpleNamespace(sha256=sha256, name="embedding"), CountingBackend(), ToneEncoder())  # type: ignore[arg-type]


def stream() -> NDArray[np.float32]:
    """Six seconds: the first word at 1.0-1.5 s, the second at 3.0-3.6 s."""
    rng = np.random.default_rng(0)
    sound = (1e-3 * rng.standard_normal(6 * 16_000)).astype(np.float32)
    time = np.arange(len(sound)) / 16_000
    for sign, start, end in ((1, 1.0, 1.5), (-1, 3.0, 3.6)):
        span = (time >= start) & (time < end)
        sound[span] += sign * (0.3 * np.abs(np.sin(2 * np.pi * 120 * time[span]))).astype(np.float32)
    return sound


@pytest.fixture
def listener(new_word: Callable[..., StoredWord]) -> Listener:
    words = [new_word("lamp", threshold=2.5), new_word("radio", threshold=2.5)]
    return Listener(words, engine=fake_engine(words[0].info.model_sha256))


def test_words_are_found_where_they_are(listener: Listener) -> None:
    found = list(listener.listen([stream()]))
    assert [d.word for d in found] == ["lamp", "radio"]
    assert [d.end_s for d in found] == pytest.approx([1.5, 3.6], abs=0.1)
    assert [d.start_s for d in found] == pytest.approx([1.0, 3.0], abs=0.15)
    assert all(d.score >= d.threshold for d in found)


@pytest.mark.parametrize("seed", range(12))
def test_how_the_sound_is_cut_changes_nothing(listener: Listener, seed: int) -> None:
    sound, rng = stream(), np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(sound), rng.integers(1, 60)))
    assert list(listener.listen(np.split(sound, cuts))) == list(listener.listen([sound]))


def test_a_second_stream_begins_at_zero(listener: Listener) -> None:
    sound = stream()
    assert list(listener.listen([sound])) == list(listener.listen([sound[:50_000], sound[50_000:]]))
    assert listener.time_s == pytest.approx(6.0)


def test_level_and_scores_are_there_for_a_display(listener: Listener) -> None:
    listener.push(stream()[: 16_000 + 6_400])
    assert listener.scores.shape == (2,)
    assert listener.scores[0] > listener.scores[1]
    assert -40 < listener.level_dbfs < 0
    listener.push(np.zeros(0, np.float32))  # an empty block is no event
    assert listener.time_s == pytest.approx(1.4)


def test_words_of_another_model_are_passed_over(new_word: Callable[..., StoredWord], caplog: pytest.LogCaptureFixture) -> None:
    mine, other = new_word("lamp"), new_word("radio", sha256="1" * 64)
    with caplog.at_level(logging.WARNING, "sayonce"):
        listener = Listener([mine, other], engine=fake_engine(mine.info.model_sha256))
    assert [word.info.word for word in listener.words] == ["lamp"]
    assert "'radio'" in caplog.text
    with pytest.raises(StoreError, match="no word was enrolled under the model"):
        Listener([other], engine=fake_engine(mine.info.model_sha256))


def test_an_empty_store_is_refused_with_the_remedy() -> None:
    with pytest.raises(StoreError, match="app enroll WORD"):
        Listener(engine=fake_engine("0" * 64))


def test_a_store_is_read_from_its_folder(new_word: Callable[..., StoredWord], tmp_path: Any) -> None:
    WordStore(tmp_path).put(new_word("lamp"))
    listener = Listener(tmp_path, engine=fake_engine("0" * 64))
    assert [word.info.word for word in listener.words] == ["lamp"]
