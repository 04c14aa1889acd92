"""A folder without a manifest gets one that priming accepts, the same every time, with words and speakers held back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audio.files import write_wav
from priming.corpus import isolated_clips, role_clips
from priming.errors import DataError
from priming.gate import PrimingData
from priming.labelling import HELD_BACK, counts, label_folder, manifest_bytes
from priming.manifest import read_manifest

WORDS = ["Licht", "Musik", "lauter", "leiser", "weiter", "zurück", "Fenster", "Tür", "Küche", "Garten"]
SPEAKERS = [f"s{number}" for number in range(12)]
MakeFolder = Callable[..., Path]


@pytest.fixture
def recordings(tmp_path: Path) -> MakeFolder:
    """Writes recordings to paths that a function of word, speaker and number gives."""

    def make(path: Callable[[str, str, int], str], words: list[str] = WORDS, speakers: list[str] = SPEAKERS) -> Path:
        for number, (word, speaker) in enumerate((word, speaker) for word in words for speaker in speakers):
            file = tmp_path / "said" / path(word, speaker, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_wav(file, np.full(1600 + 16 * (number % 5), 0.01, np.float32))
        return tmp_path / "said"

    return make


def usual(word: str, speaker: str, number: int) -> str:
    return f"{word}/{speaker}_{number}.wav"


def test_words_and_speakers_are_held_back(recordings: MakeFolder) -> None:
    found = label_folder(recordings(usual), language="de")
    assert found.skipped == []
    assert len(found.rows) == len(WORDS) * len(SPEAKERS)
    roles = {row.word: row.word_role for row in found.rows}
    splits = {row.speaker: row.speaker_split for row in found.rows}
    assert sorted(roles.values()) == sorted(["prime"] * 4 + ["test"] * 3 + ["validation"] * 3)
    assert sorted(splits.values()) == sorted(["train"] * 6 + ["test"] * 3 + ["validation"] * 3)
    assert set(roles) == {word.lower() for word in WORDS}
    assert counts(found.rows) == {"prime": (4, 6, 24), "validation": (3, 9, 27), "test": (3, 3, 9)}
    assert {row.language for row in found.rows} == {"de"}
    assert {row.duration_s for row in found.rows} == {0.1, 0.101, 0.102, 0.103, 0.104}


def test_what_is_written_is_what_priming_and_evaluation_read(recordings: MakeFolder) -> None:
    folder = recordings(usual)
    found = label_folder(folder)
    (folder / "manifest.csv").write_bytes(manifest_bytes(found.rows))
    assert read_manifest(folder) == found.rows
    primed = isolated_clips(folder)
    assert len(PrimingData(tuple(primed)).words) == counts(found.rows)["prime"][2]
    for role in ("validation", "test"):
        held = role_clips(folder, role)
        assert len(held) == counts(found.rows)[role][2]
        assert {clip.word for clip in held}.isdisjoint(clip.word for clip in primed)


def test_the_division_depends_on_names_and_seed_alone(recordings: MakeFolder) -> None:
    folder = recordings(usual)
    first = label_folder(folder)
    assert label_folder(folder) == first
    assert label_folder(folder, seed=1) != first
    recordings(usual, words=[*WORDS, "Dach"])
    roles, later = ({row.word: row.word_role for row in found.rows} for found in (first, label_folder(folder)))
    assert sum(roles[word] != later[word] for word in roles) <= 2


def test_many_words_are_divided_in_proportion(recordings: MakeFolder) -> None:
    found = label_folder(recordings(usual, words=[f"wort{number}" for number in range(48)], speakers=SPEAKERS[:9]))
    held = {role: sum(1 for each in {(row.word, row.word_role) for row in found.rows} if each[1] == role) for role in ("validation", "test")}
    assert held == {"validation": 48 // HELD_BACK, "test": 48 // HELD_BACK}


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        ("{speaker}/*/{word}", lambda word, speaker, number: f"{speaker}/take {number}/{word}.wav"),
        ("{word}_{speaker}", lambda word, speaker, number: f"{word}_{speaker}.wav"),
        ("clips/{word}/de.{speaker}.*", lambda word, speaker, number: f"clips/{word}/de.{speaker}.{number}.wav"),
    ],
)
def test_other_layouts_are_read(recordings: MakeFolder, layout: str, path: Callable[[str, str, int], str]) -> None:
    found = label_folder(recordings(path), layout)
    assert found.skipped == []
    assert {row.word for row in found.rows} == {word.lower() for word in WORDS}
    assert {row.speaker for row in found.rows} == set(SPEAKERS)


def test_what_cannot_be_used_is_left_out_with_a_reason(recordings: MakeFolder) -> None:
    folder = recordings(usual)
    (folder / "Licht" / "s0_broken.wav").write_bytes(b"RIFF")
    (folder / "Licht" / "notes.txt").write_text("not audio")
    write_wav(folder / "alone.wav", np.zeros(100, np.float32))
    write_wav(folder / "Licht" / "s0_empty.wav", np.zeros(0, np.float32))
    (folder / "_background_noise_").mkdir()
    write_wav(folder / "_background_noise_" / "rain.wav", np.full(1600, 0.1, np.float32))
    found = label_folder(folder)
    assert dict(found.skipped) == {
        "Licht/s0_broken.wav": "it is no recording that can be read",
        "Licht/s0_empty.wav": "it is empty",
        "alone.wav": "its path is not of the layout {word}/{speaker}_*",
    }
    (noise,) = (row for row in found.rows if row.word_role == "noise")
    assert (noise.path, noise.word, noise.speaker, noise.speaker_split) == ("_background_noise_/rain.wav", "", "", "train")


def test_mistakes_are_told(recordings: MakeFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        label_folder(tmp_path / "none")
    for layout in ("{word}", "{speaker}_{speaker}/{word}", ""):
        with pytest.raises(DataError, match="must hold"):
            label_folder(tmp_path, layout)
    with pytest.raises(DataError, match="0 words are too few"):
        label_folder(tmp_path)
    with pytest.raises(DataError, match="4 speakers are too few"):
        label_folder(recordings(usual, speakers=SPEAKERS[:4]))
