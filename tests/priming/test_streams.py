"""Streams: reproducible, made of one role alone, at many levels, and with the truth where it is."""

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from audio.constants import SAMPLE_RATE
from audio.files import read_audio, write_wav
from audio.voice import level_dbfs, speech_segments
from priming.corpus import load, role_clips
from priming.errors import DataError
from priming.streams import (
    PEAK,
    RoleBackground,
    Scene,
    background_scenes,
    draw_utterances,
    role_background,
    utterance_scenes,
)

TONE_HZ = 3000.0


@pytest.fixture(scope="module")
def corpus(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up corpus with sentences of the test speakers, one of whose words is to be known: half a second of a tone, from 1.0 to 1.5 s."""
    folder = tmp_path_factory.mktemp("streams") / "corpus"
    shutil.copytree(toy_corpus, folder)
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.where((time >= 1.0) & (time < 1.5), 0.2 * np.sin(2 * np.pi * TONE_HZ * time), 0.0)
    rng = np.random.default_rng(0)
    manifest, alignments = [], []
    for name, split in (("known", "test"), ("unknown", "test"), ("elsewhere", "validation")):
        write_wav(folder / "reading" / f"{name}.wav", (tone + 2e-3 * rng.standard_normal(len(tone))).astype(np.float32))
        manifest.append(f"reading/{name}.wav,librispeech_speech,en,,speech,reader,{split},3.0")
        if name != "unknown":
            alignments.append(f"reading/{name}.wav,test0,test,1.0,1.5,-0.5")
    for file, lines in (("manifest.csv", manifest), ("alignments.csv", alignments)):
        with (folder / file).open("a") as handle:
            handle.write("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def background(corpus: Path) -> RoleBackground:
    return role_background(corpus, "test")


def scenes_equal(first: list[Scene], second: list[Scene]) -> bool:
    return len(first) == len(second) and all(a.truth == b.truth and np.array_equal(a.samples, b.samples) for a, b in zip(first, second, strict=True))


def power_at(samples: np.ndarray, hz: float) -> float:  # type: ignore[type-arg]
    time = np.arange(len(samples)) / SAMPLE_RATE
    return float(np.abs(samples @ np.exp(-2j * np.pi * hz * time)) / max(1, len(samples)))


def test_the_background_is_all_of_the_role_and_nothing_else(background: RoleBackground) -> None:
    assert [clip.path for clip, _ in background.speech] == ["reading/known.wav"]  # what "unknown" says, nobody knows
    assert sorted(clip.path for clip in background.noise) == ["noise/test0.wav", "noise/test1.wav"]
    assert background.hours == pytest.approx((3.0 + 2 * 3.4) / 3600)
    scenes = list(background_scenes(background, None, None, 0))
    assert sum(scene.background_s for scene in scenes) == pytest.approx(9.8, abs=0.01)
    assert len(scenes) == 3


def test_other_roles_have_no_streams(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'prime'"):
        role_background(corpus, "prime")
    write_wav(tmp_path / "a.wav", np.full(1600, 0.1, np.float32))
    (tmp_path / "manifest.csv").write_text(
        "path,corpus,language,word,word_role,speaker,speaker_split,duration_s\na.wav,speech_commands,en,yes,test,x,test,0.1\n"
    )
    with pytest.raises(DataError, match="false accepts cannot be counted"):
        role_background(tmp_path, "test")


@pytest.mark.parametrize("snr_db", [None, 5.0])
def test_the_same_seed_gives_the_same_stream(corpus: Path, background: RoleBackground, snr_db: float | None) -> None:
    clips = draw_utterances(role_clips(corpus, "test"), 2, 0)

    def both(seed: int) -> list[Scene]:
        return [*background_scenes(background, 0.01, snr_db, seed), *utterance_scenes(clips, background, snr_db, seed)]

    assert scenes_equal(both(3), both(3))
    assert not scenes_equal(both(3), both(4))


def test_a_stream_is_as_long_as_asked_and_begins_again_at_other_levels(background: RoleBackground) -> None:
    scenes = list(background_scenes(background, 60 / 3600, None, 1))
    assert 60 <= sum(scene.background_s for scene in scenes) < 60 + 3.5
    assert len({round(level_dbfs(scene.samples), 1) for scene in scenes}) > len(scenes) / 2
    longer = list(islice(background_scenes(background, 5.0, None, 1), len(scenes)))
    assert scenes_equal(scenes, longer)  # made one at a time, whatever comes after


def test_a_known_word_of_a_sentence_is_where_the_truth_says(background: RoleBackground) -> None:
    found = 0
    for scene in background_scenes(background, 40 / 3600, None, 2):
        for said in scene.truth:
            found += 1
            assert (said.word, said.counted) == ("test0", False)
            first, last = round(said.start_s * SAMPLE_RATE), round(said.end_s * SAMPLE_RATE)
            inside, outside = scene.samples[first:last], np.concatenate([scene.samples[:first], scene.samples[last:]])
            assert power_at(inside, TONE_HZ) > 20 * power_at(outside, TONE_HZ)
    assert found >= 3


def test_every_utterance_is_said_once_where_the_truth_says(corpus: Path, background: RoleBackground) -> None:
    clips = draw_utterances(role_clips(corpus, "test"), 4, 5)
    scenes = list(utterance_scenes(clips, background, 60.0, 5))
    counted = [said for scene in scenes for said in scene.truth if said.counted]
    assert sorted((said.word, said.speaker) for said in counted) == sorted((clip.word, clip.speaker) for clip in clips)
    clip_of = {(clip.word, clip.speaker): load(clip) for clip in clips}
    for scene in scenes:
        said = next(one for one in scene.truth if one.counted)
        recorded = clip_of[said.word, said.speaker]
        voiced = speech_segments(recorded)
        assert said.end_s - said.start_s == pytest.approx(voiced[-1][1] - voiced[0][0])
        first = round((said.start_s - voiced[0][0]) * SAMPLE_RATE)
        heard = scene.samples[first : first + len(recorded)]
        assert np.corrcoef(heard, recorded)[0, 1] > 0.99
        assert len(scene.samples) - first - len(recorded) >= 0.29 * SAMPLE_RATE


def test_levels_span_forty_decibels_and_nothing_clips(corpus: Path, background: RoleBackground) -> None:
    clips = draw_utterances(role_clips(corpus, "test"), 7, 6)
    levels = []
    for scene in utterance_scenes(clips, background, None, 6):
        assert np.abs(scene.samples).max() <= PEAK + 1e-6
        said = next(one for one in scene.truth if one.counted)
        levels.append(level_dbfs(scene.samples[round(said.start_s * SAMPLE_RATE) : round(said.end_s * SAMPLE_RATE)]))
    assert max(levels) - min(levels) > 25
    assert min(levels) > -55


def test_gaps_are_no_digital_silence(corpus: Path, background: RoleBackground) -> None:
    clips = draw_utterances(role_clips(corpus, "test"), 1, 7)
    for scene in [*background_scenes(background, None, None, 7), *utterance_scenes(clips, background, None, 7)]:
        quiet = np.abs(scene.samples) < 1e-9
        assert np.diff(np.flatnonzero(np.append(True, ~quiet))).max() < 160


def test_noise_lies_as_far_below_the_utterance_as_asked(corpus: Path, background: RoleBackground) -> None:
    clips = draw_utterances(role_clips(corpus, "test"), 2, 8)
    loud, quiet = (list(utterance_scenes(clips, background, snr, 8)) for snr in (0.0, 40.0))
    added = [level_dbfs(a.samples - b.samples) - level_dbfs(b.samples) for a, b in zip(loud, quiet, strict=True)]
    assert np.median(added) > -12
    assert all(a.truth == b.truth for a, b in zip(loud, quiet, strict=True))


def test_everybody_speaks_before_anybody_speaks_twice(corpus: Path) -> None:
    clips = [clip for clip in role_clips(corpus, "test") for _ in range(2)]
    drawn = draw_utterances(clips, 7, 0)
    assert len({(clip.word, clip.speaker) for clip in drawn}) == len(drawn) == 6 * 7


def test_streams_of_the_recordings(shared_data: Path) -> None:
    material = role_background(shared_data, "validation")
    rows = [clip for clip, _ in material.speech]
    assert {clip.speaker_split for clip in (*rows, *material.noise)} == {"validation"}
    assert {clip.corpus for clip in rows} == {"librispeech", "sentences"}
    assert 2.0 < material.hours < 2.5
    clips = draw_utterances(role_clips(shared_data, "validation"), 2, 0)
    assert {clip.word_role for clip in clips} == {"validation"}
    for scene in islice(utterance_scenes(clips, material, None, 0), 8):
        said = next(one for one in scene.truth if one.counted)
        assert 0.05 < said.end_s - said.start_s < 2.5
        assert said.end_s < len(scene.samples) / SAMPLE_RATE
    for clip, words in material.speech[:20]:
        assert all(word.start_s < clip.duration_s for word in words)
    assert len(read_audio(rows[0].file)) > 0
