"""Clips and labels of a small folder written here, and of the project's recordings where they are."""

from pathlib import Path

import numpy as np
import pytest

from audio.files import write_wav
from priming import clip as clip_module
from priming import corpus, manifest
from priming.errors import DataError

MANIFEST = "path,corpus,language,word,word_role,speaker,speaker_split,duration_s\n"
ALIGNMENTS = "path,word,word_role,start_s,end_s,score\n"


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16000))).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two isolated words, noise, and one sentence: cat(0.1-0.5) that(0.5-0.9) chapter(0.9-1.4) ... connected(3.0-3.5)."""
    (tmp_path / "manifest.csv").write_text(
        MANIFEST
        + "w/cat.wav,speech_commands,en,cat,prime,anna,train,1.0\n"
        + "w/yes.wav,speech_commands,en,yes,test,bert,test,1.0\n"
        + "w/three.wav,speech_commands,en,three,prime,anna,train,1.0\n"
        + "w/hum.wav,background_noise,,,noise,,train,1.0\n"
        + "w/talk.wav,librispeech,en,,prime,carl,train,4.0\n"
    )
    (tmp_path / "alignments.csv").write_text(
        ALIGNMENTS
        + "w/talk.wav,cat,prime,0.1,0.5,-0.5\n"
        + "w/talk.wav,that,validation,0.5,0.9,-0.5\n"
        + "w/talk.wav,chapter,prime,0.9,1.4,-0.5\n"
        + "w/talk.wav,three,validation,2.0,2.5,-0.5\n"
        + "w/talk.wav,connected,prime,3.0,3.5,-0.5\n"
        + "w/talk.wav,doubtful,prime,3.5,3.9,-2.5\n"
    )
    (tmp_path / "w").mkdir()
    for name, seconds in {"cat": 1, "yes": 1, "three": 1, "hum": 1, "talk": 4}.items():
        write_wav(tmp_path / "w" / f"{name}.wav", sound(seconds))
    return tmp_path


def test_a_cut_keeps_its_margin_but_never_reaches_into_a_held_back_neighbour(folder: Path) -> None:
    cuts = {clip.word: clip for clip in corpus.aligned_clips(folder, speakers=1)}
    assert set(cuts) == {"cat", "chapter"}  # not the validation words, the demonstration's word or the doubtful one
    assert (cuts["cat"].start_s, cuts["cat"].end_s) == pytest.approx((0.08, 0.5))
    assert (cuts["chapter"].start_s, cuts["chapter"].end_s) == pytest.approx((0.9, 1.42))


def test_words_that_another_source_holds_back_are_not_offered_for_priming(folder: Path) -> None:
    assert [clip.word for clip in corpus.isolated_clips(folder)] == ["cat"]
    assert manifest.held_back_words(manifest.read_manifest(folder), manifest.read_alignments(folder)) == {"yes", "that", "three", "connected"}


def test_background_keeps_away_from_held_back_words(folder: Path) -> None:
    edges = [(clip.start_s, clip.end_s) for clip in corpus.background_clips(folder, shortest_s=0.4)]
    assert np.allclose(edges, [(0.0, 0.45), (0.95, 1.95), (2.55, 2.95), (3.55, 4.0)])


def test_one_word_needs_enough_speakers(folder: Path) -> None:
    assert corpus.aligned_clips(folder, speakers=2) == []


def test_caps_choose_the_same_cuts_for_the_same_seed(folder: Path) -> None:
    extra = "".join(f"w/talk.wav,again,prime,{1.4 + i / 100},{1.7 + i / 100},-0.5\n" for i in range(9))
    with (folder / "alignments.csv").open("a") as file:
        file.write(extra)
    chosen = [corpus.aligned_clips(folder, speakers=1, most_per_word=3, seed=seed) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert sum(clip.word == "again" for clip in chosen[0]) == 3
    assert sum(clip.word == "again" for clip in corpus.aligned_clips(folder, speakers=1, most_per_speaker=2)) == 2


def test_a_cut_is_its_part_of_the_recording_with_faded_ends(folder: Path) -> None:
    clip = next(clip for clip in corpus.aligned_clips(folder, speakers=1) if clip.word == "cat")
    samples, recording = corpus.load(clip), clip_module.read_audio(clip.file)
    part = recording[1280:8000]
    assert len(samples) == len(part) == round(clip.duration_s * 16000)
    assert np.array_equal(samples[160:-160], part[160:-160])
    assert abs(samples[0]) < 0.01 * 0.8
    assert np.all(np.abs(samples) <= np.abs(part))


def test_many_clips_are_read_as_one_by_one_and_each_recording_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = corpus.aligned_clips(folder, speakers=1)[::-1] + corpus.isolated_clips(folder)
    single = {clip: corpus.load(clip) for clip in clips}
    opened: list[Path] = []
    read = clip_module.read_audio
    monkeypatch.setattr(clip_module, "read_audio", lambda path: (opened.append(path), read(path))[1])
    together = list(corpus.load_many(clips))
    assert len(together) == len(clips)
    assert all(np.array_equal(samples, single[clip]) for clip, samples in together)
    assert len(opened) == len(set(opened)) == 2


def test_a_cut_beyond_the_end_of_its_recording_is_an_error(folder: Path) -> None:
    write_wav(folder / "w" / "talk.wav", sound(0.5))
    clip = next(clip for clip in corpus.aligned_clips(folder, speakers=1) if clip.word == "chapter")
    with pytest.raises(DataError, match="do not belong together"):
        corpus.load(clip)


def test_an_unknown_role_or_an_empty_one_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match="choose test"):
        corpus.role_clips(folder, "prime")
    with pytest.raises(DataError, match="choose test"):
        corpus.role_clips(folder, "test", "connected")
    with pytest.raises(DataError, match="no isolated clips"):
        corpus.role_clips(folder, "validation")


def test_the_plain_layout_gets_roles_from_words_and_splits_from_speakers(tmp_path: Path) -> None:
    for name in ("cat/0165e0e8_nohash_0", "yes/0165e0e8_nohash_1", "happy/0165e0e8_nohash_0", "umbrella/0165e0e8_nohash_0", "cat/readme"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / f"{name}.wav", sound(0.8))
    (tmp_path / "_background_noise_").mkdir()
    for name in ("running_tap", "white_noise"):
        write_wav(tmp_path / "_background_noise_" / f"{name}.wav", sound(2))
    rows = {row.path: row for row in manifest.read_manifest(tmp_path)}
    assert {path: row.word_role for path, row in rows.items() if row.word} == {
        "cat/0165e0e8_nohash_0.wav": "prime",
        "happy/0165e0e8_nohash_0.wav": "validation",
        "umbrella/0165e0e8_nohash_0.wav": "unlisted",
        "yes/0165e0e8_nohash_1.wav": "test",
    }
    assert rows["cat/0165e0e8_nohash_0.wav"].duration_s == pytest.approx(0.8)
    assert [row.speaker_split for row in rows.values() if row.word_role == "noise"] == ["train", "test"]
    assert [clip.word for clip in corpus.isolated_clips(tmp_path)] == ["cat"]
    assert len(corpus.noise_clips(tmp_path)) == 1
    assert corpus.aligned_clips(tmp_path) == corpus.background_clips(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,word\na,b\n", "lacks the column 'corpus'"),
        (MANIFEST + "a,b,c\n", "line 2: 3 fields instead of 8"),
        (MANIFEST + "a,b,c,d,primed,f,train,1\n", "word_role 'primed'"),
        (MANIFEST + "a,b,c,d,prime,f,train,nan\n", "'nan' is not a number"),
        (MANIFEST, "no recordings"),
        ("\udcff", "cannot read"),
    ],
)
def test_a_damaged_manifest_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        manifest.read_manifest(tmp_path)


def test_a_recording_is_listed_once(folder: Path) -> None:
    with (folder / "manifest.csv").open("a") as file:
        file.write("w/cat.wav,speech_commands,en,cat,test,anna,train,1.0\n")
    with pytest.raises(DataError, match="more than once"):
        manifest.read_manifest(folder)


def test_words_of_a_recording_stand_together(folder: Path) -> None:
    with (folder / "alignments.csv").open("a") as file:
        file.write("w/cat.wav,cat,prime,0.1,0.5,-1\nw/talk.wav,that,validation,3.6,3.9,-1\n")
    with pytest.raises(DataError, match="stand together"):
        corpus.aligned_clips(folder)


def test_alignments_out_of_order_are_an_error(folder: Path) -> None:
    (folder / "alignments.csv").write_text(ALIGNMENTS + "w/talk.wav,cat,prime,0.5,0.1,-1\n")
    with pytest.raises(DataError, match="not in order"):
        corpus.aligned_clips(folder)


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
def test_a_folder_without_recordings_is_an_error(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "data"
    if make:
        folder.mkdir()
    with pytest.raises(DataError, match="folder"):
        manifest.read_manifest(folder)


def test_the_projects_recordings_hold_the_sets_that_their_readme_counts(shared_data: Path) -> None:
    connected = corpus.role_clips(shared_data, "validation", "connected")
    assert (len(connected), len({clip.word for clip in connected}), len({clip.speaker for clip in connected})) == (834, 99, 12)
    isolated = corpus.role_clips(shared_data, "validation")
    assert {clip.word for clip in isolated} == manifest.VALIDATION_WORDS
    assert all(clip.speaker_split != "test" for clip in isolated)
    test = corpus.role_clips(shared_data, "test")
    assert {clip.word for clip in test} == manifest.TEST_WORDS
    assert {clip.speaker_split for clip in test} == {"test"}


def test_the_hash_rule_gives_the_splits_of_the_projects_recordings(shared_data: Path) -> None:
    rows = [row for row in manifest.read_manifest(shared_data) if row.corpus == "speech_commands"]
    assert all(manifest.split_of_speaker(row.speaker) == row.speaker_split for row in rows)


def test_the_roles_of_words_equal_those_of_the_projects_recordings(shared_data: Path) -> None:
    rows = [row for row in manifest.read_manifest(shared_data) if row.corpus == "speech_commands"]
    sets = {"prime": manifest.PRIME_WORDS, "validation": manifest.VALIDATION_WORDS, "test": manifest.TEST_WORDS}
    assert all(row.word in sets[row.word_role] for row in rows)
