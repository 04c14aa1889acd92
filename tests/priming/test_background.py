"""The background bank: pieces of equal length, of admitted recordings only, the same for the same seed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from priming import background
from priming.background import NOISES, STRETCHES, WORDS, build_background
from priming.corpus import Clip, load
from priming.episodes import hearing
from priming.features import last_steps
from priming.workspace import Workspace

STEPS = 80  # 1.6 s in steps of 20 ms


@pytest.fixture(scope="module")
def bank(toy_workspace: Workspace) -> NDArray[np.uint8]:
    return build_background(toy_workspace.encoder, toy_workspace.data, seed=4)


def test_a_piece_for_each_word_stretch_and_noise(bank: NDArray[np.uint8], toy_workspace: Workspace) -> None:
    data = toy_workspace.data
    pieces = min(WORDS, 12) + min(STRETCHES, len(data.speech)) + min(NOISES, len(data.noise))
    assert (len(data.speech), len(data.noise)) == (4, 2)
    assert bank.shape == (pieces * STEPS, 320)
    assert set(np.unique(bank)) == {0, 1}
    assert bank.reshape(pieces, STEPS, 320).any(axis=(1, 2)).all()


def test_its_words_are_heard_as_a_command_is(bank: NDArray[np.uint8], toy_workspace: Workspace) -> None:
    data, encoder = toy_workspace.data, toy_workspace.encoder
    said = {last_steps(encoder.encode(hearing(load(clip))), STEPS).tobytes(): clip.word for clip in data.words if clip.corpus == "speech_commands"}
    cuts = {last_steps(encoder.encode(hearing(load(clip))), STEPS).tobytes(): clip.word for clip in data.words if clip.corpus == "librispeech"}
    pieces = [piece.tobytes() for piece in bank.reshape(-1, STEPS, 320)[:12]]
    assert {(said | cuts)[piece] for piece in pieces} == {f"prime{n}" for n in range(12)}


def test_the_seed_decides_alone_and_nothing_else_is_read(bank: NDArray[np.uint8], toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[Clip] = set()

    def watched(clip: Clip) -> NDArray[np.float32]:
        read.add(clip)
        return load(clip)

    monkeypatch.setattr(background, "load", watched)
    assert np.array_equal(build_background(toy_workspace.encoder, toy_workspace.data, seed=4), bank)
    assert read <= set(toy_workspace.data.clips)
    assert not np.array_equal(build_background(toy_workspace.encoder, toy_workspace.data, seed=5), bank)
