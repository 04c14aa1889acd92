"""The live session on a network whose answers are known: a fake backend that scores by counting spikes of each word's channel."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app import Listener
from app.errors import StoreError
from app.store import StoredWord, WordStore


@pytest.fixture
def listener(new_word: Callable[..., StoredWord], tone_engine: Any) -> Listener:
    words = [new_word("lamp", threshold=4.5), new_word("radio", threshold=4.7)]
    return Listener(words, engine=tone_engine(words[0].info.model_sha256))


def test_words_are_found_where_they_are(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    found = list(listener.listen([tone_stream]))
    assert [d.word for d in found] == ["lamp", "radio"]
    assert [d.end_s for d in found] == pytest.approx([1.5, 3.6], abs=0.1)
    assert [d.start_s for d in found] == pytest.approx([1.0, 3.0], abs=0.15)
    assert all(d.score >= d.threshold for d in found)


@pytest.mark.parametrize("seed", range(12))
def test_how_the_sound_is_cut_changes_nothing(listener: Listener, tone_stream: NDArray[np.float32], seed: int) -> None:
    sound, rng = tone_stream, np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(sound), rng.integers(1, 60)))
    assert list(listener.listen(np.split(sound, cuts))) == list(listener.listen([sound]))


def test_a_second_stream_begins_at_zero(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    sound = tone_stream
    assert list(listener.listen([sound])) == list(listener.listen([sound[:50_000], sound[50_000:]]))
    assert listener.time_s == pytest.approx(6.0)


def test_level_and_scores_are_there_for_a_display(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    listener.push(tone_stream[: 16_000 + 6_400])
    assert listener.scores.shape == (2,)
    assert listener.scores[0] > listener.scores[1]
    assert -40 < listener.level_dbfs < 0
    listener.push(np.zeros(0, np.float32))  # an empty block is no event
    assert listener.time_s == pytest.approx(1.4)


def test_words_of_another_model_are_passed_over(new_word: Callable[..., StoredWord], tone_engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    mine, other = new_word("lamp"), new_word("radio", sha256="1" * 64)
    with caplog.at_level(logging.WARNING, "sayonce"):
        listener = Listener([mine, other], engine=tone_engine(mine.info.model_sha256))
    assert [word.info.word for word in listener.words] == ["lamp"]
    assert "'radio'" in caplog.text
    with pytest.raises(StoreError, match="no word was enrolled under the model"):
        Listener([other], engine=tone_engine(mine.info.model_sha256))


def test_an_empty_store_is_refused_with_the_remedy(tone_engine: Any) -> None:
    with pytest.raises(StoreError, match="app enroll WORD"):
        Listener(engine=tone_engine("0" * 64))


def test_a_store_is_read_from_its_folder(new_word: Callable[..., StoredWord], tone_engine: Any, tmp_path: Any) -> None:
    WordStore(tmp_path).put(new_word("lamp"))
    listener = Listener(tmp_path, engine=tone_engine("0" * 64))
    assert [word.info.word for word in listener.words] == ["lamp"]


def test_callbacks_hear_of_words_and_near_misses(new_word: Callable[..., StoredWord], tone_engine: Any, tone_stream: NDArray[np.float32]) -> None:
    words = [new_word("lamp", threshold=4.5), new_word("radio", threshold=5.2)]  # the radio's score reaches 4.8
    heard: list[Any] = []
    listener = Listener(words, engine=tone_engine(words[0].info.model_sha256), on_detection=heard.append, on_near_miss=heard.append)
    told = list(listener.listen(np.array_split(tone_stream, 40)))
    assert [d.word for d in told] == ["lamp"]
    assert [type(event).__name__ for event in heard] == ["Detection", "NearMiss"]
    assert heard[0] == told[0]
    assert heard[1].word == "radio"
    assert heard[1].time_s == pytest.approx(3.6, abs=0.1)
    assert heard[1].threshold * 0.75 <= heard[1].score < heard[1].threshold == 5.2


def test_time_goes_on_over_what_is_skipped(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    found = listener.push(tone_stream[: 16_000 * 2])
    found += listener.skip(10.0)
    found += listener.push(tone_stream[16_000 * 2 :]) + listener.flush()
    assert [d.word for d in found] == ["lamp", "radio"]
    assert [d.end_s for d in found] == pytest.approx([1.5, 13.6], abs=0.1)
    assert listener.time_s == pytest.approx(16.0)


def test_a_word_that_is_being_said_is_told_before_a_gap(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    assert listener.push(tone_stream[: round(16_000 * 1.44)]) == []
    assert [d.word for d in listener.skip(1.0)] == ["lamp"]
    assert listener.flush() == []


def test_words_can_be_replaced_while_listening(listener: Listener, tone_stream: NDArray[np.float32], new_word: Callable[..., StoredWord]) -> None:
    found = listener.push(tone_stream[: 16_000 * 2])
    found += listener.replace([new_word("sofa", threshold=4.5), new_word("door", threshold=4.7), new_word("other", sha256="1" * 64)])
    found += listener.push(tone_stream[16_000 * 2 :])
    assert [d.word for d in found] == ["lamp", "door"]
    assert found[1].end_s == pytest.approx(3.6, abs=0.1)
    with pytest.raises(StoreError, match="any more"):
        listener.replace([new_word("other", sha256="1" * 64)])
    assert [word.info.word for word in listener.words] == ["sofa", "door"]


def test_forks_hear_different_streams_at_the_same_time(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    streams = [tone_stream, -tone_stream, np.roll(tone_stream, 8_000), np.zeros_like(tone_stream)]
    alone = [list(listener.listen([sound])) for sound in streams]
    assert alone[0] != alone[1] != alone[2]
    forks, together = [listener.fork() for _ in streams], [[] for _ in streams]  # type: ignore[var-annotated]
    for pieces in zip(*(np.array_split(sound, 50) for sound in streams), strict=True):
        for fork, piece, told in zip(forks, pieces, together, strict=True):
            told += fork.push(piece)
    assert [told + fork.flush() for told, fork in zip(together, forks, strict=True)] == alone


def gated(new_word: Callable[..., StoredWord], tone_engine: Any) -> Listener:
    return Listener([new_word("lamp", threshold=4.5), new_word("radio", threshold=4.7)], engine=tone_engine("0" * 64), gate=True)


@pytest.fixture
def long_stream(tone_stream: NDArray[np.float32]) -> NDArray[np.float32]:
    """The made-up words three times, with twelve seconds of silence before each."""
    silence = (1e-3 * np.random.default_rng(1).standard_normal(12 * 16_000)).astype(np.float32)
    return np.concatenate([silence, tone_stream, silence, 0.2 * tone_stream + 0.8 * silence[: len(tone_stream)], silence, tone_stream])


def test_a_gate_spares_the_networks_silence_and_words_stay_where_they_are(
    listener: Listener, new_word: Callable[..., StoredWord], tone_engine: Any, long_stream: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    through = gated(new_word, tone_engine)
    process, steps = through.engine.backend.process, [0]

    def counted(spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        steps[0] += len(spikes)
        return process(spikes)

    monkeypatch.setattr(through.engine.backend, "process", counted)
    found = list(through.listen(np.array_split(long_stream, 300)))
    expected = list(listener.listen([long_stream]))
    assert [d.word for d in found] == [d.word for d in expected]
    assert len(found) >= 4
    for one, other in zip(found, expected, strict=True):
        assert one.start_s == pytest.approx(other.start_s, abs=0.05)
        assert one.end_s == pytest.approx(other.end_s, abs=0.05)
        assert one.score == pytest.approx(other.score, abs=1e-3)
    assert steps[0] * 0.04 < 0.7 * len(long_stream) / 16_000
    assert through.time_s == pytest.approx(len(long_stream) / 16_000)


@pytest.mark.parametrize("seed", range(5))
def test_with_a_gate_too_how_the_sound_is_cut_changes_nothing(
    new_word: Callable[..., StoredWord], tone_engine: Any, long_stream: NDArray[np.float32], seed: int
) -> None:
    listener, rng = gated(new_word, tone_engine), np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(long_stream), rng.integers(1, 60)))
    assert list(listener.listen(np.split(long_stream, cuts))) == list(listener.listen([long_stream]))


def test_a_closed_gate_shows_no_score_and_a_skip_begins_anew(
    new_word: Callable[..., StoredWord], tone_engine: Any, long_stream: NDArray[np.float32], tone_stream: NDArray[np.float32]
) -> None:
    listener = gated(new_word, tone_engine)
    assert not listener.asleep
    listener.push(long_stream[: 10 * 16_000])
    assert listener.asleep
    assert (listener.scores == -np.inf).all()
    listener.skip(100.0)
    assert not listener.asleep  # what the background is now, nobody knows yet
    found = listener.push(np.concatenate([long_stream[: 10 * 16_000], tone_stream]))
    assert [d.end_s for d in found] == pytest.approx([121.5, 123.6], abs=0.1)
    assert not listener.fork().asleep
