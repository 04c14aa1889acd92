"""Tasks of the outer loop: who says what in them, and that a draw depends on seed and step alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priming.clip import Clip
from priming.corpus import aligned_clips, isolated_clips
from priming.errors import DataError
from priming.features import Features
from priming.gate import PrimingData
from priming.sampler import UNKNOWN, Task, TaskSampler

COPIES = 2


@pytest.fixture(scope="module")
def data(toy_corpus: Path) -> PrimingData:
    return PrimingData((*isolated_clips(toy_corpus), *aligned_clips(toy_corpus)))


def sampler(data: PrimingData, seed: int = 0, share: float = 0.3) -> TaskSampler:
    return TaskSampler(Features(data.words, [], 320), data, COPIES, seed, share)


def same(first: Task, second: Task) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(dataclasses.astuple(first), dataclasses.astuple(second), strict=True))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(2, 14), st.integers(1, 8), st.integers(0, 6), st.floats(0, 1))
def test_a_word_is_learnt_from_one_speaker_and_asked_of_others(
    data: PrimingData, seed: int, step: int, ways: int, queries: int, unknown: int, share: float
) -> None:
    clips = data.words
    task = sampler(data, seed, share).draw(step, ways, queries, unknown)
    words = [clips[i].word for i in task.support[:, 0]]
    assert len(set(words)) == len(words) == min(ways, 11)
    teachers = {clips[i].speaker for i in task.support.ravel()}
    assert not teachers & {clips[i].speaker for i in task.queries}
    for label, word in enumerate(words):
        said_by = [clips[i].speaker for i in task.queries[task.labels == label]]
        assert {clips[i].word for i in task.queries[task.labels == label]} == {word}
        assert len(set(said_by)) == len(said_by) == min(queries, 6)
    strangers = [clips[i].word for i in task.queries[task.labels == UNKNOWN]]
    assert len(strangers) == min(unknown, 12 - len(words))
    assert not set(strangers) & set(words)
    assert len(set(strangers)) == len(strangers)
    assert len(task.labels) == len(task.queries) == len(task.query_copies)
    copies = np.concatenate([task.support_copies.ravel(), task.query_copies])
    assert task.support_copies.shape == task.support.shape == (len(task.support), 1)
    assert ((copies >= 0) & (copies <= COPIES)).all()


def test_a_draw_depends_on_seed_and_step_alone(data: PrimingData) -> None:
    first, second = sampler(data), sampler(data)
    for step in (9, 2, 5):  # the history of the other one
        first.draw(step, 5, 2, 2)
    assert same(first.draw(4, 5, 2, 2), second.draw(4, 5, 2, 2))
    assert not same(first.draw(4, 5, 2, 2), first.draw(5, 5, 2, 2))
    assert not same(first.draw(4, 5, 2, 2), sampler(data, seed=1).draw(4, 5, 2, 2))


def test_every_word_and_every_copy_comes_up(data: PrimingData) -> None:
    drawn = [sampler(data).draw(step, 6, 2, 2) for step in range(60)]
    assert {data.words[i].word for task in drawn for i in task.support.ravel()} == {f"prime{n}" for n in range(12)}
    assert {int(copy) for task in drawn for copy in task.query_copies} == {0, 1, 2}
    assert {data.words[i].corpus for task in drawn for i in task.queries} == {"speech_commands", "librispeech"}


@pytest.mark.parametrize("role", ["validation", "test"])
def test_clips_that_the_gate_has_not_admitted_are_refused(data: PrimingData, toy_corpus: Path, role: str) -> None:
    held_back = isolated_clips(toy_corpus, role, role)[:1]
    with pytest.raises(DataError, match="the gate has not admitted"):
        TaskSampler(Features([*data.words, *held_back], [], 320), data, COPIES, 0, 0.3)


def test_a_family_of_too_few_words_is_refused(toy_corpus: Path) -> None:
    alone = PrimingData(tuple(clip for clip in isolated_clips(toy_corpus) if clip.speaker == "train0" or clip.word in {"prime0", "prime1"}))
    with pytest.raises(DataError, match="only 2 words") as caught:
        sampler(alone)
    assert "\n" not in str(caught.value)


def made_up(root: Path, said: dict[str, str], **changes: object) -> list[Clip]:
    """A clip of each word by each of some speakers, as if the gate had let it through."""
    return [
        dataclasses.replace(Clip(root, f"{word}/{name}.wav", "librispeech", "en", word, "prime", name, "train", 0.0, 0.5, 0.5), **changes)  # type: ignore[arg-type]
        for word, names in said.items()
        for name in names
    ]


def drawing(clips: list[Clip], monkeypatch: pytest.MonkeyPatch, **options: object) -> TaskSampler:
    monkeypatch.setattr("priming.gate.admit", list)
    return TaskSampler(Features(clips, [], 320), PrimingData(tuple(clips)), 0, 1, 0.0, **options)  # type: ignore[arg-type]


def test_words_that_share_their_few_speakers_still_have_somebody_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = made_up(tmp_path, {"bed": "ab", "cat": "abc", "dog": "bc", "six": "ad", "two": "acd"})
    for step in range(100):
        task = drawing(clips, monkeypatch).draw(step, 4, 3, 1)
        teachers = {clips[i].speaker for i in task.support.ravel()}
        assert not teachers & {clips[i].speaker for i in task.queries}
        assert {label for label in task.labels.tolist() if label >= 0} == set(range(len(task.support)))
        assert len(task.support) >= 2


def test_hard_tasks_are_of_words_that_sound_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = ["cat", "bat", "cab", "cap", "mat", "rat"], ["garden", "silver", "kitchen", "president", "beautiful", "yellow", "seventeen"]
    clips = made_up(tmp_path, {word: "abcdef" for word in near + far})
    hard, mixed = (drawing(clips, monkeypatch, hard_share=share) for share in (1.0, 0.0))

    def alike(tasks: TaskSampler) -> float:
        drawn = [[clips[i].word for i in tasks.draw(step, 3, 1, 1).support[:, 0]] for step in range(100)]
        return float(np.mean([len(set(words) & set(near)) == 3 for words in drawn if words[0] in near]))

    assert alike(hard) > 0.9 > 0.5 > alike(mixed)


def test_words_that_are_left_out_are_neither_learnt_nor_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = made_up(tmp_path, dict.fromkeys(["bed", "cat", "dog", "six", "two"], "abcdef"))
    tasks = drawing(clips, monkeypatch, left_out=("dog", "two"))
    assert tasks.words == 3
    drawn = [tasks.draw(step, 2, 3, 1) for step in range(50)]
    assert {clips[i].word for task in drawn for i in (*task.support[:, 0], *task.queries)} == {"bed", "cat", "six"}


def test_words_that_sound_the_same_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = made_up(tmp_path, dict.fromkeys(["sea", "see", "the", "of the", "in the", "bed"], "abcdef"))
    tasks = drawing(clips, monkeypatch, hard_share=0.5)
    for step in range(100):
        task = tasks.draw(step, 3, 2, 1)
        words = {clips[i].word for i in (*task.support[:, 0], *task.queries)}
        assert not {"sea", "see"} <= words
        assert not ("the" in words and words & {"of the", "in the"})


def test_sources_are_drawn_by_their_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = made_up(tmp_path, dict.fromkeys(["bed", "cat", "city", "kitchen"], "abcd"))
    context = [dataclasses.replace(clip, end_s=1.0, lead_s=0.5) for clip in cuts]
    pairs = made_up(tmp_path, dict.fromkeys(["red hat", "big garden", "old river", "my dinner"], "abcd"))
    clips = [*cuts, *context, *pairs]

    def shares(weights: dict[str, float]) -> tuple[float, float]:
        tasks = drawing(clips, monkeypatch, weights=weights)
        drawn = [tasks.draw(step, 2, 3, 1) for step in range(200)]
        support = [clips[i].source for task in drawn for i in task.support[:, 0]]
        queries = [clips[i].source for task in drawn for i in task.queries]
        assert "context" not in support  # a word is taught by itself
        return np.mean([one == "pairs" for one in support]).item(), queries.count("context") / (queries.count("context") + queries.count("aligned"))

    assert shares({}) == pytest.approx((0.5, 0.5), abs=0.06)
    assert shares({"pairs": 0.2, "context": 3.0}) == pytest.approx((0.1, 0.75), abs=0.07)


def test_several_utterances_of_a_word_are_said_by_one_or_by_several_and_askers_are_others(data: PrimingData) -> None:
    tasks = sampler(data)
    clips, shots, voices = data.words, set(), set()
    for step in range(200):
        task = tasks.draw(step, 3, 2, 2, most_shots=4)
        shots.add(task.support.shape[1])
        assert task.support_copies.shape == task.support.shape
        teachers = [{clips[i].speaker for i in own} for own in task.support]
        voices |= {(task.support.shape[1], len(own)) for own in teachers}
        assert all(len({clips[i].word for i in own}) == 1 for own in task.support)
        asked = {clips[i].speaker for i in task.queries}
        assert not asked & set.union(*teachers)
        assert all((task.labels == label).sum() == 2 for label in range(len(task.support)))  # nobody who is needed to ask teaches
    assert shots == {1, 2, 3, 4}
    assert {(4, 1), (4, 4)} <= voices


def test_one_utterance_a_word_draws_what_it_always_drew(data: PrimingData) -> None:
    """A run of several utterances differs from one of one utterance by these alone: the words and who teaches them first stay."""
    tasks = sampler(data)
    for step in range(20):
        words = [[data.words[i].word for i in tasks.draw(step, 4, 2, 2, most_shots).support[:, 0]] for most_shots in (1, 3)]
        assert words[0] == words[1]
