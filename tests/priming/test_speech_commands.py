"""torchaudio's listing of Speech Commands with this project's reading of audio."""

from pathlib import Path

import numpy as np
import pytest

from audio.files import read_audio, write_wav
from priming.corpus import isolated_clips
from priming.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    for number, name in enumerate(["cat/0165e0e8_nohash_0", "cat/0165e0e8_nohash_1", "yes/0165e0e8_nohash_0"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / f"{name}.wav", (0.1 * np.random.default_rng(number).standard_normal(8000)).astype(np.float32))
    return tmp_path


def test_items_are_read_without_torchaudios_decoder(root: Path) -> None:
    from priming.speech_commands import SpeechCommands

    corpus = SpeechCommands(root)
    assert len(corpus) == 3
    samples, rate, word, speaker, number = corpus[1]
    assert (tuple(samples.shape), rate, word, speaker, number) == ((1, 8000), 16000, "cat", "0165e0e8", 1)
    assert np.array_equal(samples[0].numpy(), read_audio(corpus.folder / "cat" / "0165e0e8_nohash_1.wav"))


def test_the_unpacked_folder_is_a_data_folder(root: Path) -> None:
    from priming.speech_commands import SpeechCommands

    assert [clip.word for clip in isolated_clips(SpeechCommands(root).folder)] == ["cat", "cat"]


def test_a_corpus_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    from priming.speech_commands import SpeechCommands

    with pytest.raises(DataError, match="no Speech Commands corpus"):
        SpeechCommands(tmp_path / "nowhere")
