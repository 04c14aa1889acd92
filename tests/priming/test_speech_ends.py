"""How long clips go on after their speech is found once, by the detector of an enrolment."""

from pathlib import Path

import numpy as np
import pytest

from audio.utterance import MARGIN_S
from audio.voice import speech_segments
from priming import speech_ends
from priming.clip import Clip, load
from priming.corpus import isolated_clips
from priming.speech_ends import rest_after_speech


@pytest.fixture(scope="module")
def clips(toy_corpus: Path) -> list[Clip]:
    return isolated_clips(toy_corpus)[::13]


def test_every_clip_is_found_where_it_lies(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_ends, "PART", 4)
    found = rest_after_speech(clips, tmp_path, workers=2)
    assert found == pytest.approx([clip.duration_s - speech_segments(load(clip))[-1][1] for clip in clips], abs=1e-6)
    assert np.array_equal(rest_after_speech(clips[::-1], tmp_path, workers=1), found[::-1])


def test_what_was_found_is_read(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rest_after_speech(clips, tmp_path, workers=1)
    monkeypatch.setattr(speech_ends, "_find", None)
    assert np.array_equal(rest_after_speech(clips, tmp_path), found)


def test_words_in_sentences_and_clips_without_speech_have_their_own_rule(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    within = dataclasses.replace(clips[0], lead_s=0.1, follow_s=0.2)
    monkeypatch.setattr(speech_ends.voice, "speech_segments", lambda _samples: [])
    assert speech_ends._find([within, clips[1]]) == {within.key: 0.0, clips[1].key: MARGIN_S}
