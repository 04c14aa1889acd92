"""Tasks of the outer loop: who says what in them, and that a draw depends on seed and step alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priming.corpus import isolated_clips
from priming.errors import DataError
from priming.features import Features
from priming.gate import PrimingData
from priming.sampler import UNKNOWN, Task, TaskSampler
from priming.workspace import Workspace

COPIES = 2


@pytest.fixture(scope="module")
def data(toy_workspace: Workspace) -> PrimingData:
    return toy_workspace.data


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
    words = [clips[i].word for i in task.support]
    assert len(set(words)) == len(words) == min(ways, 11)
    for label, word in enumerate(words):
        said_by = [clips[i].speaker for i in task.queries[task.labels == label]]
        assert {clips[i].word for i in task.queries[task.labels == label]} == {word}
        assert len(set(said_by)) == len(said_by) == min(queries, 6)
        assert clips[task.support[label]].speaker not in said_by
    strangers = [clips[i].word for i in task.queries[task.labels == UNKNOWN]]
    assert len(strangers) == min(unknown, 12 - len(words))
    assert not set(strangers) & set(words)
    assert len(set(strangers)) == len(strangers)
    assert len(task.labels) == len(task.queries) == len(task.query_copies)
    copies = np.concatenate([task.support_copies, task.query_copies])
    assert len(task.support_copies) == len(task.support)
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
    assert {data.words[i].word for task in drawn for i in task.support} == {f"prime{n}" for n in range(12)}
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
