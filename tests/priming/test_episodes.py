"""The protocol of one-shot tests."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.noise_floor import surround
from audio.speed import change_speed
from priming.corpus import Clip, role_clips
from priming.episodes import Episode, draw_episodes, hearing, hearing_support
from priming.errors import DataError


def clip(word: str, speaker: str, number: int = 0) -> Clip:
    return Clip(Path(), f"{word}/{speaker}_nohash_{number}.wav", "c", "en", word, "test", speaker, "test", 0.0, None, 1.0)


def check(episode: Episode, ways: int, shots: int, unknown: int) -> None:
    """What the protocol promises of every episode."""
    assert len(episode.words) == len(set(episode.words)) == len(episode.support) == ways
    for word, supports in zip(episode.words, episode.support, strict=True):
        assert len(supports) == len(set(supports)) == shots
        assert {support.word for support in supports} == {word}
    support_speakers = {support.speaker for supports in episode.support for support in supports}
    assert support_speakers.isdisjoint(query.speaker for query, _ in episode.queries)
    for label, word in enumerate(episode.words):
        queries = [query for query, answer in episode.queries if answer == label]
        assert len({query.speaker for query in queries}) == len(queries) == 3
        assert {query.word for query in queries} == {word}
    others = [query.word for query, answer in episode.queries if answer == -1]
    assert len(others) == len(set(others)) == unknown
    assert set(others).isdisjoint(episode.words)


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.lists(st.integers(0, 3), min_size=8, max_size=14), min_size=2, max_size=8),
    ways=st.integers(1, 5),
    shots=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_every_episode_keeps_the_protocol(said: list[list[int]], ways: int, shots: int, seed: int) -> None:
    clips = [clip(f"w{w}", f"s{s}", n) for w, counts in enumerate(said) for s, count in enumerate(counts) for n in range(count)]
    try:
        drawn = list(draw_episodes(clips, ways, shots, 5, seed))
    except DataError:
        return
    for episode in drawn:
        check(episode, ways, shots, min(5, len({c.word for c in clips}) - ways))


def test_one_speaker_gives_all_shots_where_one_can() -> None:
    clips = [clip(word, f"s{s}", n) for word in "abc" for s in range(9) for n in range(2)]
    for episode in draw_episodes(clips, 2, 2, 20):
        assert all(len({support.speaker for support in supports}) == 1 for supports in episode.support)
    for episode in draw_episodes(clips, 2, 3, 20):
        assert all(len({support.speaker for support in supports}) == 2 for supports in episode.support)


def test_draws_depend_on_the_seed_and_not_on_the_order_of_clips() -> None:
    clips = [clip(word, f"s{s}") for word in "abcdef" for s in range(12)]
    first = list(draw_episodes(clips, 3, 1, 30, 7))
    assert first == list(draw_episodes(clips[::-1], 3, 1, 30, 7))
    assert first[:10] == list(draw_episodes(clips, 3, 1, 10, 7))
    assert first != list(draw_episodes(clips, 3, 1, 30, 8))


def test_words_and_speakers_are_drawn_evenly() -> None:
    clips = [clip(word, f"s{s}", n) for word in "abcdef" for s in range(10) for n in range(1 + 5 * (s == 0))]
    drawn = list(draw_episodes(clips, 3, 1, 2000))
    words = Counter(itertools.chain.from_iterable(episode.words for episode in drawn))
    speakers = Counter(supports[0].speaker for episode in drawn for supports in episode.support)
    assert all(abs(count / 1000 - 1) < 0.1 for count in words.values())
    assert all(abs(count / 600 - 1) < 0.2 for count in speakers.values())  # s0 has six clips a word and is not drawn more often


def test_no_unknown_queries_when_all_words_are_enrolled() -> None:
    clips = [clip(word, f"s{s}") for word in "ab" for s in range(8)]
    for episode in draw_episodes(clips, 2, 1, 5):
        check(episode, 2, 1, 0)


@pytest.mark.parametrize(("ways", "shots", "episodes"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (3, 1, 1), (2, 99, 1)])
def test_impossible_numbers_are_refused_before_the_first_draw(ways: int, shots: int, episodes: int) -> None:
    clips = [clip(word, f"s{s}") for word in "ab" for s in range(8)]
    with pytest.raises(DataError):
        draw_episodes(clips, ways, shots, episodes)


def test_too_few_speakers_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priming.episodes.ATTEMPTS", 50)
    clips = [clip("a", f"s{s}") for s in range(4)] + [clip("b", f"s{s}") for s in (0, 1, 2, 3)]
    monkeypatch.setattr("priming.episodes._Pool.support_speakers", lambda _self, word, _shots, _rng: [word])
    with pytest.raises(DataError, match="too few speakers"):
        next(draw_episodes(clips, 2))


def test_hearing_adds_the_clips_own_background() -> None:
    samples = (0.01 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    heard = hearing(samples)
    assert np.array_equal(heard, surround(samples, 13680, 8000))
    assert np.array_equal(heard[13680:29680], samples)
    assert not np.array_equal(heard, hearing(samples, seed=1))


def test_what_is_learnt_from_is_slowed_down_and_ends_sooner() -> None:
    samples = (0.01 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    assert np.array_equal(hearing_support(samples), surround(samples, 13680, 6400))
    assert np.array_equal(hearing_support(samples, 0.8), surround(change_speed(samples, 0.8), 13680, 6400))


@pytest.mark.parametrize(("role", "subset"), [("test", "isolated"), ("validation", "isolated"), ("validation", "connected")])
@pytest.mark.parametrize("shots", [1, 5])
def test_the_projects_recordings_give_the_episodes_of_the_protocol(shared_data: Path, role: str, subset: str, shots: int) -> None:
    for episode in draw_episodes(role_clips(shared_data, role, subset), 5, shots, 40):
        check(episode, 5, shots, 5)
        if role == "test" and shots == 5:
            assert all(3 <= len({support.speaker for support in supports}) <= 5 for supports in episode.support)
