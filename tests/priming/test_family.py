"""The sources of words: what each gives for a small folder of sentences, that it is what it says, and that sources do not disturb each other."""

import collections
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from audio.files import read_audio, write_wav
from priming import synthetic
from priming.clip import Clip, load, load_many
from priming.config import PrimeConfig
from priming.context import context_clips
from priming.corpus import aligned_clips, isolated_clips
from priming.episodes import hearing
from priming.errors import DataError
from priming.family import encoded_together, family_clips
from priming.gate import PrimingData
from priming.homophones import VOWELS, pronunciations
from priming.joining import OVERLAP_S
from priming.pairs import pair_clips
from priming.splices import cut_place, splice_clips, spliced_phones

RATE = 16_000
SENTENCE = ["better", "city", "happy", "garden", "butter", "kitchen", "of", "course", "stop", "the", "first", "paper", "on", "silver", "table"]
HELD = {"happy": "validation", "stop": "test", "on": "test"}
WORD_S = 0.4
READERS = 6


def voice(seconds: float, pitch: float, seed: int) -> NDArray[np.float32]:
    """Something with a level and edges of its own for every word."""
    time = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    sound = np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / seconds) + 0.002 * rng.standard_normal(len(time))
    return (0.2 * sound).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six readers say one sentence, each word 0.4 s long; two of them say isolated words too."""
    root = tmp_path_factory.mktemp("sentences")
    rows, lines = ["path,corpus,language,word,word_role,speaker,speaker_split,duration_s"], ["path,word,word_role,start_s,end_s,score"]
    for reader in range(READERS):
        sounds = [voice(WORD_S, 150 + 20 * place + 3 * reader, reader) for place in range(len(SENTENCE))]
        write_wav(root / f"r{reader}.wav", np.concatenate(sounds) * (1 + reader) / READERS)
        rows.append(f"r{reader}.wav,librispeech,en,,prime,reader{reader},train,{len(SENTENCE) * WORD_S}")
        lines += [
            f"r{reader}.wav,{word},{HELD.get(word, 'prime')},{place * WORD_S:.3f},{(place + 1) * WORD_S:.3f},-1"
            for place, word in enumerate(SENTENCE)
        ]
    for word, speaker in itertools.product(("river", "dinner"), range(READERS)):
        quiet = 0.001 * np.random.default_rng(speaker).standard_normal(RATE).astype(np.float32)
        quiet[6000:12000] += voice(6000 / RATE, 180, speaker)
        write_wav(root / f"{word}{speaker}.wav", quiet)
        rows.append(f"{word}{speaker}.wav,speechocean762,en,{word},prime,person{speaker},train,1.0")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    (root / "alignments.csv").write_text("\n".join(lines) + "\n")
    return root


def edges(word: str) -> tuple[float, float]:
    return SENTENCE.index(word) * WORD_S, (SENTENCE.index(word) + 1) * WORD_S


def test_context_reaches_back_and_forward_but_never_near_a_held_back_word(folder: Path) -> None:
    words = aligned_clips(folder)
    clips = {(clip.word, clip.speaker): clip for clip in context_clips(folder, words, follow_share=1.0)}
    assert PrimingData(tuple(clips.values())).words
    for (word, _), clip in clips.items():
        assert clip.end_s is not None
        for held in HELD:
            start_s, end_s = edges(held)
            assert clip.end_s <= start_s + 1e-9 or clip.start_s >= end_s - 1e-9
        assert clip.start_s + clip.lead_s == pytest.approx(edges(word)[0] - 0.02, abs=0.021)
        assert clip.duration_s == pytest.approx(clip.end_s - clip.start_s)
        assert clip.source == "context"
    garden, butter, kitchen, table = (clips[word, "reader0"] for word in ("garden", "butter", "kitchen", "table"))
    assert ("better", "reader0") not in clips  # at the sentence's start and before a held-back word but one
    assert (garden.lead_s, garden.follow_s) == pytest.approx((0, 0.5))  # right behind a held-back word
    assert (butter.lead_s, butter.follow_s) == pytest.approx((0.33, 0.5))  # 50 ms behind it
    assert (kitchen.lead_s, kitchen.follow_s) == pytest.approx((0.73, 0.5))
    assert (table.lead_s, table.follow_s) == pytest.approx((0.33, 0), abs=1e-6)


def test_background_follows_where_the_sentence_is_not_wanted(folder: Path) -> None:
    assert all(clip.follow_s == 0 for clip in context_clips(folder, aligned_clips(folder), follow_share=0.0))
    half = [clip.follow_s > 0 for clip in context_clips(folder, aligned_clips(folder), follow_share=0.5)]
    assert 0 < sum(half) < len(half)


def test_a_word_in_its_sentence_is_heard_where_a_word_alone_is_heard(folder: Path) -> None:
    word = next(clip for clip in aligned_clips(folder) if clip.word == "kitchen")
    wide = context_clips(folder, [word], follow_share=1.0)[0]
    alone, within = hearing(load(word)), hearing(load(wide), 0, wide.lead_s, wide.follow_s)
    assert len(alone) == len(within)
    start, end = round(0.855 * RATE), round((0.855 + word.duration_s) * RATE)
    inner = slice(start + 200, end - 200)
    assert np.array_equal(alone[inner], within[inner])
    assert not np.array_equal(alone[: start - 200], within[: start - 200])


def test_pairs_are_neighbours_that_hold_nothing(folder: Path) -> None:
    clips = pair_clips(folder)
    names = {clip.word for clip in clips}
    assert {"of course", "the first", "first paper", "silver table", "better city"} <= names
    assert not any(set(name.split()) & set(HELD) for name in names)
    assert len(PrimingData(tuple(clips)).words) == len(names) * READERS
    assert pair_clips(folder, speakers=READERS + 1) == []
    assert {clip.word for clip in pair_clips(folder, most_words=2)} <= names
    assert len({clip.word for clip in pair_clips(folder, most_words=2)}) == 2
    assert {clip.source for clip in clips} == {"pairs"}
    course = next(clip for clip in clips if clip.word == "kitchen of")
    assert (course.start_s, course.end_s) == pytest.approx((edges("kitchen")[0] - 0.02, edges("of")[1] + 0.02))


@pytest.fixture(scope="module")
def splices(folder: Path) -> list[Clip]:
    return splice_clips(folder, [*isolated_clips(folder), *aligned_clips(folder)], words=12, most_speakers=5)


def test_splices_are_two_words_of_one_speaker(folder: Path, splices: list[Clip]) -> None:
    assert PrimingData(tuple(splices)).words
    said_by = collections.Counter(clip.word for clip in splices)
    assert len(said_by) == 12
    assert set(said_by.values()) == {5}
    for clip in splices:
        first, second = clip.parts
        assert clip.word == f"{first.word}|{second.word}"
        assert first.speaker == second.speaker == clip.speaker
        assert first.word != second.word
        assert len(load(clip)) == pytest.approx(clip.duration_s * RATE, abs=2)
        assert clip.source == "splices"
        for part in clip.parts:
            assert part.duration_s < 0.8 * (1.0 if part.corpus == "speechocean762" else WORD_S + 0.04)
    sounds = [spliced_phones(word) for word in said_by]
    assert len(set(sounds)) == len(sounds)
    assert all(len(phones) >= 3 and set(phones) & VOWELS for phones in sounds)
    assert not set(sounds) & {phones for word in SENTENCE for phones in pronunciations(word)}
    assert len({clip.key for clip in splices}) == len(splices)


def test_splices_read_together_are_those_read_alone(splices: list[Clip]) -> None:
    alone = {clip: load(clip) for clip in splices}
    together = list(load_many(splices[::-1]))
    assert len(together) == len(splices)
    assert all(np.array_equal(samples, alone[clip]) for clip, samples in together)
    first, _ = splices[0].parts
    begin, recording = alone[splices[0]], read_audio(first.file)
    start = round(first.start_s * RATE)
    kept = round((first.duration_s - OVERLAP_S) * RATE)
    assert np.array_equal(begin[160 : kept - 1], recording[start + 160 : start + kept - 1])


def test_a_cut_lies_beside_a_vowel_near_the_middle() -> None:
    assert cut_place(("B", "EH", "T", "ER")) == (2, pytest.approx(0.5))
    assert cut_place(("S", "T", "R", "IH", "NG", "TH", "S")) is not None
    assert cut_place(("AA",)) is None
    assert cut_place(("S", "S", "S", "S", "S", "S", "S", "AA")) is None
    assert spliced_phones("better|city") == ("B", "EH", "T", "IY")


def fake_voices(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Put a made-up synthesiser in place of the programs; it remembers what it was asked to say."""
    asked: list[tuple[str, str]] = []

    def speak(word: str, speaker: synthetic.Voice) -> NDArray[np.float32]:
        asked.append((word, speaker.name))
        return synthetic.trimmed(voice(0.05 * len(word), 100 + len(speaker.name), len(asked)))

    monkeypatch.setattr(synthetic, "speak", speak)
    monkeypatch.setattr(synthetic, "_version", lambda program: f"{program} 1")
    return asked


def test_synthetic_words_are_said_once_and_then_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_voices(monkeypatch)
    clips = synthetic.synthetic_clips(folder, tmp_path, words=4, voices=3)
    assert len(asked) == len(clips) == 12
    assert len({clip.speaker for clip in clips}) == 3
    assert not {word for word, _ in asked} & {*HELD, "first"}
    assert PrimingData(tuple(clips)).words
    again = synthetic.synthetic_clips(folder, tmp_path, words=4, voices=3)
    assert again == clips
    assert len(asked) == 12
    for clip in clips:
        samples = load(clip)
        assert len(samples) == pytest.approx(clip.duration_s * RATE, abs=1)
        assert len(samples) == pytest.approx((0.05 * len(clip.word) + 0.2) * RATE, abs=800)
        assert 0.02 < np.abs(samples).max() <= 0.95
        assert np.sqrt(np.mean(samples[200:2000] ** 2)) == pytest.approx(10 ** (-58 / 20), rel=0.3)  # the room before it
        assert clip.source == "synthetic"
    assert not {clip.key for clip in synthetic.synthetic_clips(folder, tmp_path, words=3, voices=3)} & {clip.key for clip in clips}


def test_what_is_synthesised_sounds_like_nothing_held_back_and_never_alike(folder: Path) -> None:
    words = synthetic.choose_words(folder, 100)
    assert set(words) == {"better", "city", "garden", "butter", "kitchen", "of", "course", "the", "first", "paper", "silver", "table"}
    voices = synthetic.choose_voices(32)
    assert len({voice.name for voice in voices}) == len({voice.arguments for voice in voices}) == 32
    assert {voice.program for voice in voices} == set(synthetic.PROGRAMS)
    assert voices[:8] == synthetic.choose_voices(8)


def test_a_missing_synthesiser_is_told_in_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic.shutil, "which", lambda program: None)
    with pytest.raises(DataError, match=r"espeak-ng is missing: install .*apt install espeak-ng flite") as caught:
        synthetic.synthetic_clips(folder, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_real_programs_speak() -> None:
    if any(synthetic.shutil.which(program) is None for program in synthetic.PROGRAMS):
        assert os.environ.get("CI") != "true", "CI installs espeak-ng and flite"
        pytest.skip("espeak-ng or flite is not installed")
    for speaker in synthetic.choose_voices(4):
        said = synthetic.speak("garden", speaker)
        assert 0.2 < len(said) / RATE < 1.5
        assert np.sqrt(np.mean(said**2)) == pytest.approx(1.0, rel=0.05)
        assert synthetic._version(speaker.program)


def test_each_source_can_be_left_out_and_is_cached_by_itself(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_voices(monkeypatch)

    def collect(sources: str) -> list[Clip]:
        settings = {"splice_words": 5, "synthetic_words": 3, "synthetic_voices": 2}
        config = PrimeConfig(data=folder, out=tmp_path / "m", steps=1, sources=sources, **settings)  # type: ignore[arg-type]
        return family_clips(config, tmp_path, lambda line: None)

    everything = "commands,aligned,context,pairs,splices,synthetic"
    clips = collect(everything)
    assert {clip.source for clip in clips} == set(everything.split(","))
    assert len({clip.key for clip in clips}) == len(clips)
    groups = encoded_together(clips)
    assert [sorted({clip.source for clip in group}) for group in groups] == [
        ["aligned", "commands"],
        ["context"],
        ["pairs"],
        ["splices"],
        ["synthetic"],
    ]
    assert groups[0] == collect("commands,aligned") == [*isolated_clips(folder), *aligned_clips(folder)]
    for source in everything.split(","):
        assert collect(source) == [clip for clip in clips if clip.source == source]
        assert PrimingData(tuple(collect(source))).words


def test_sources_are_named_with_their_weights(folder: Path) -> None:
    def sources(given: object) -> dict[str, float]:
        return dict(PrimeConfig(data=folder, out=folder / "m", steps=1, sources=given).sources)  # type: ignore[arg-type]

    assert sources("commands, aligned,pairs=0.5") == {"commands": 1.0, "aligned": 1.0, "pairs": 0.5}
    assert sources({"splices": 2}) == {"splices": 2.0}
    for wrong in ("voices", "", "pairs=0", "pairs=-1", "pairs=x", "pairs=inf", "commands,,pairs", {}):
        with pytest.raises(ValidationError):
            sources(wrong)
