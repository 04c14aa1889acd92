"""Stretches of continuous sound: of admitted recordings only, of one length, never twice, the same for the same seed."""

import numpy as np
import pytest

from priming.corpus import load
from priming.episodes import AFTER_S, BEFORE_S, hearing
from priming.gate import PrimingData
from priming.manifest import read_alignments
from priming.stretches import Stretches, said_in, stretch_clips
from priming.workspace import Workspace

LENGTH_S = 0.4


def test_stretches_lie_in_what_the_gate_let_through(toy_workspace: Workspace) -> None:
    data = toy_workspace.data
    clips = stretch_clips(data, 20, LENGTH_S)
    PrimingData(tuple(clips))  # passes the gate
    assert 10 < len(clips) <= 20
    assert len({clip.key for clip in clips}) == len(clips)
    whole = {clip.path: clip for clip in (*data.speech, *data.noise)}
    for clip in clips:
        assert (clip.word, clip.lead_s, clip.follow_s) == ("", BEFORE_S, AFTER_S)
        parent = whole[clip.path]
        assert clip.end_s is not None
        assert parent.start_s <= clip.start_s < clip.end_s <= parent.start_s + parent.duration_s + 1e-3
        assert clip.duration_s == pytest.approx(BEFORE_S + LENGTH_S)


def test_nothing_of_its_own_background_is_added(toy_workspace: Workspace) -> None:
    clip = stretch_clips(toy_workspace.data, 5, LENGTH_S)[0]
    samples = load(clip)
    assert np.array_equal(hearing(samples, 0, clip.lead_s, clip.follow_s), samples)


def test_the_seed_decides(toy_workspace: Workspace) -> None:
    keys = [[clip.key for clip in stretch_clips(toy_workspace.data, 10, LENGTH_S, seed)] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


def test_nothing_is_cut_from_recordings_that_are_too_short(toy_workspace: Workspace) -> None:
    assert stretch_clips(toy_workspace.data, 10, 1000.0) == []


def test_what_a_stretch_says_is_looked_up(toy_workspace: Workspace) -> None:
    clips = stretch_clips(toy_workspace.data, 20, LENGTH_S)
    spoken = dict(read_alignments(clips[0].root))
    for clip, said in zip(clips, said_in(clips), strict=True):
        assert clip.end_s is not None
        inside = [word.word for word in spoken.get(clip.path, []) if word.end_s > clip.start_s and word.start_s < clip.end_s]
        assert said.split() == inside
    assert any(said.strip() for said in said_in(clips))
    assert said_in([]) == []


def test_a_word_is_said_by_itself_in_another_or_as_several(toy_workspace: Workspace) -> None:
    stretches = Stretches(toy_workspace.features, [" so they went on ", " someone came ", " "])
    says = stretches.say(np.array([1, 0, 2, 0]), ["one", "went on", "they on"])
    assert says.tolist() == [[True, False, False], [False, True, False], [False] * 3, [False, True, False]]
