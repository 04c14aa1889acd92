"""The bank heard once for all words gives what hearing it for every word gives, to the last bit, whatever is found on the disk."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audio.encoder import MelEncoderConfig
from hardware import Shot
from hardware.heard import HearsOnce
from hardware.torch_backend import TorchBackend
from priming.bank import Bank
from priming.calibration import calibrate, stretch_maxima
from priming.errors import CalibrationError
from priming.model import ModelConfig, PrimedModel
from snn.config import LearnerConfig
from snn.initialise import initial_weights


@pytest.fixture(scope="module")
def model() -> PrimedModel:
    """A small network that was never primed, with a bank of two minutes and what does not fill a stretch."""
    learner = LearnerConfig(inputs=24, step_ms=40.0, features=(16,), neurons=8, lsg_neurons=8, projection=12)
    background = (np.random.default_rng(0).random((3_250, 24)) < 0.2).astype(np.uint8)
    weights = initial_weights(learner, torch.full((24,), 0.2), seed=0)
    config = ModelConfig(name="small", encoder=MelEncoderConfig(), learner=learner, provenance={})
    return PrimedModel(config, weights, {}, background, "0" * 64)


@pytest.fixture(scope="module")
def backend(model: PrimedModel) -> TorchBackend:
    backend = TorchBackend()
    backend.load(model.config.learner, model.weights)
    return backend


@pytest.fixture(scope="module")
def words(model: PrimedModel, backend: TorchBackend) -> list[list[Shot]]:
    shots = [backend.learn(model.background[first : first + 45]) for first in (300, 1_500, 2_500)]
    return [shots[:1], shots[1:]]


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_every_word_is_calibrated_as_without_the_bank(
    model: PrimedModel, backend: TorchBackend, words: list[list[Shot]], weight: float, tmp_path: Path
) -> None:
    assert isinstance(backend, HearsOnce)
    if weight:
        spoken = np.random.default_rng(1).random(len(model.background)).astype(np.float32)
        config = model.config.model_copy(update={"running_speech": weight})
        plain, model = model, dataclasses.replace(model, config=config, running_speech=spoken)
        lower = stretch_maxima(backend, model, words[0]) - stretch_maxima(backend, plain, words[0])
        assert (-weight <= lower).all()
        assert (lower < 0).all()
    expected = [calibrate(backend, model, shots) for shots in words]
    assert expected[0] != expected[1]
    for _ in ("computed", "kept by an earlier program"):
        bank = Bank(model, tmp_path)
        assert [calibrate(backend, model, shots, bank=bank) for shots in words] == expected
        for shots in words:
            np.testing.assert_array_equal(stretch_maxima(backend, model, shots, bank), stretch_maxima(backend, model, shots))
    assert only_file(tmp_path).stat().st_size < 2_500_000


def test_what_was_kept_spares_the_feature_population(
    model: PrimedModel, backend: TorchBackend, words: list[list[Shot]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = calibrate(backend, model, words[0], bank=Bank(model, tmp_path))
    hear, known = TorchBackend.hear, []

    def watched(self: TorchBackend, clips: Any, features: Any = None) -> Any:
        known.append(features is not None)
        return hear(self, clips, features)

    monkeypatch.setattr(TorchBackend, "hear", watched)
    bank = Bank(model, tmp_path)
    assert calibrate(backend, model, words[0], bank=bank) == expected
    assert known
    assert all(known)
    calls = len(known)
    calibrate(backend, model, words[1], bank=bank)
    assert len(known) == calls  # in memory now
    other = dataclasses.replace(model, sha256="f" * 64)
    Bank(other, tmp_path).prepare(backend)
    assert not any(known[calls:])  # another model's file is not this one's
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "folder"])
def test_a_damaged_file_is_computed_again(model: PrimedModel, backend: TorchBackend, words: list[list[Shot]], tmp_path: Path, damage: str) -> None:
    expected = calibrate(backend, model, words[0], bank=Bank(model, tmp_path))
    path = only_file(tmp_path)
    content = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        path.write_bytes({"cut": content[:-100], "flipped": bytes(flipped), "empty": b"", "foreign": b"hello" * 100}[damage])
    assert calibrate(backend, model, words[0], bank=Bank(model, tmp_path)) == expected
    assert damage == "folder" or path.read_bytes() == content  # mended


def test_a_folder_that_takes_nothing_is_no_error(model: PrimedModel, backend: TorchBackend, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    Bank(model, in_the_way).prepare(backend)
    Bank(model).prepare(backend)
    assert in_the_way.read_text() == "no folder"


def test_the_last_word_is_not_heard_twice(
    model: PrimedModel, backend: TorchBackend, words: list[list[Shot]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank(model)
    first = bank.maxima(backend, words[0])
    monkeypatch.setattr(TorchBackend, "score_heard", lambda *_: pytest.fail("heard again"))
    assert bank.maxima(backend, list(words[0])) is first


def test_a_network_that_answers_with_no_number_is_refused(model: PrimedModel, backend: TorchBackend, words: list[list[Shot]]) -> None:
    shot = words[0][0]
    broken = [shot._replace(readout=np.full_like(shot.readout, np.nan))]
    with pytest.raises(CalibrationError, match="record the word again"):
        calibrate(backend, model, broken, bank=Bank(model))
