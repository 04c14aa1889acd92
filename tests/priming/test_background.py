"""The background bank: stretches of every reader and of noise, of admitted recordings only, the same for the same seed, in a megabyte."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.running_speech import evidence
from priming import background
from priming.background import Background, build_background, cached_background
from priming.calibration import STRETCH_MS
from priming.corpus import Clip, load
from priming.episodes import BEFORE_S
from priming.gate import PrimingData
from priming.packing import pack_spikes
from priming.workspace import Workspace

STEPS = 320  # 6.4 s in steps of 20 ms
STRETCHES = 10


class Recorder:
    """An encoder that keeps what it hears."""

    name, channels, step_ms = "recorder", 8, 20.0

    def __init__(self) -> None:
        self.heard: list[NDArray[np.float32]] = []

    def stream(self) -> "Recorder":
        return self

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.uint8]:
        return self.encode(samples)

    def encode(self, samples: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.heard.append(samples)
        return np.full((len(samples) // 320, self.channels), len(self.heard) % 2, np.uint8)


@pytest.fixture(scope="module")
def made(toy_workspace: Workspace) -> Background:
    return build_background(toy_workspace.encoder, toy_workspace.data, seed=4, stretches=STRETCHES)


@pytest.fixture(scope="module")
def bank(made: Background) -> NDArray[np.uint8]:
    return made.spikes


def test_stretches_of_equal_length_none_of_them_empty(bank: NDArray[np.uint8]) -> None:
    assert bank.shape == (STRETCHES * STEPS, 320)
    assert set(np.unique(bank)) == {0, 1}
    assert bank.reshape(STRETCHES, STEPS, 320).any(axis=(1, 2)).all()


def test_where_somebody_reads_there_is_running_speech(made: Background, toy_workspace: Workspace) -> None:
    spoken = made.running_speech.reshape(STRETCHES, STEPS)
    assert ((spoken >= 0) & (spoken <= 1 + 1e-6)).all()
    length = round((BEFORE_S + STRETCH_MS / 1000) * SAMPLE_RATE)
    recorder = Recorder()
    build_background(recorder, toy_workspace.data, seed=4, stretches=1)
    assert len(recorder.heard[0]) == length
    assert np.array_equal(spoken[0], evidence(recorder.heard[0], length // 320, 20.0)[-STEPS:])


def test_every_reader_has_a_turn_and_a_fifth_is_noise_alone(toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    data, encoder, order = toy_workspace.data, Recorder(), []

    def watched(clip: Clip) -> NDArray[np.float32]:
        order.append(clip.speaker)
        return load(clip)

    monkeypatch.setattr(background, "load", watched)
    build_background(encoder, data, seed=0, stretches=STRETCHES)
    readers = {clip.speaker for clip in data.speech}
    assert len(readers) == 4
    assert len(encoder.heard) == STRETCHES
    turns = [speaker for k, speaker in enumerate(order) if k == 0 or speaker != order[k - 1]]
    assert set(turns[:4]) == set(turns[4:8]) == readers
    assert len(turns) == 8  # and two of the ten stretches are noise


def test_levels_differ_within_full_scale(toy_workspace: Workspace) -> None:
    encoder = Recorder()
    build_background(encoder, toy_workspace.data, seed=0, stretches=20)
    peaks = np.array([np.abs(samples).max() for samples in encoder.heard])
    assert peaks.max() <= 1.0 + 1e-6
    assert peaks.max() > 5 * peaks.min() > 0


def test_the_seed_decides_alone_and_nothing_else_is_read(bank: NDArray[np.uint8], toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[Clip] = set()

    def watched(clip: Clip) -> NDArray[np.float32]:
        read.add(clip)
        return load(clip)

    monkeypatch.setattr(background, "load", watched)
    assert np.array_equal(build_background(toy_workspace.encoder, toy_workspace.data, seed=4, stretches=STRETCHES).spikes, bank)
    assert read <= set(toy_workspace.data.clips)
    assert not np.array_equal(build_background(toy_workspace.encoder, toy_workspace.data, seed=5, stretches=STRETCHES).spikes, bank)


def test_what_does_not_fit_is_left_out_in_whole_stretches(bank: NDArray[np.uint8], toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_BYTES", len(pack_spikes(bank)) // 2)
    kept, spoken = build_background(toy_workspace.encoder, toy_workspace.data, seed=4, stretches=STRETCHES)
    assert 0 < len(kept) < len(bank)
    assert len(kept) % STEPS == 0
    assert len(pack_spikes(kept)) <= background.MAX_BYTES
    assert np.array_equal(kept, bank[: len(kept)])
    assert len(spoken) == len(kept)


def test_the_bank_is_as_long_as_what_there_is_to_hear(toy_workspace: Workspace) -> None:
    data = toy_workspace.data
    seconds = sum(clip.duration_s for clip in (*data.speech, *data.noise))
    bank = build_background(Recorder(), data).spikes
    assert seconds / 7.3 <= len(bank) / STEPS < seconds / 7.2 + 1


def test_what_a_folder_lacks_is_made_up_for(toy_workspace: Workspace) -> None:
    data = toy_workspace.data
    for clips in (data.speech, data.noise, data.words):
        assert build_background(Recorder(), dataclasses.replace(data, clips=tuple(clips)), stretches=2).spikes.shape == (2 * STEPS, 8)


def test_words_are_heard_one_after_the_other_where_nothing_is_read(toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_changed", lambda samples, *_: samples)
    words, recorder = toy_workspace.data.words, Recorder()
    build_background(recorder, PrimingData(tuple(words)), stretches=1)
    first = load(next(clip for clip in words if np.array_equal(load(clip)[:100], recorder.heard[0][:100])))
    rest = recorder.heard[0][len(first) :]
    assert any(np.array_equal(load(clip)[:100], rest[:100]) for clip in words)


def test_what_an_earlier_run_encoded_is_read(toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, encoder = PrimingData(tuple(toy_workspace.data.noise)), toy_workspace.encoder
    first = cached_background(encoder, data, 4, tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(first, build_background(encoder, data, 4), strict=True))
    with monkeypatch.context() as patch:
        patch.setattr(background, "build_background", lambda *_: pytest.fail("it was encoded again"))
        assert all(np.array_equal(a, b) for a, b in zip(cached_background(encoder, data, 4, tmp_path), first, strict=True))
    assert not np.array_equal(cached_background(encoder, data, 5, tmp_path).spikes, first.spikes)
