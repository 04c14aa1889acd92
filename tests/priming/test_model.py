"""A model file comes back as it was written; anything else is refused with one line, and writing never costs the old file."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from audio.encoder import MelEncoderConfig
from priming import model as module
from priming.atomic import write_atomically
from priming.errors import ModelError
from priming.model import ModelConfig, built_in_models, load_model, save_model
from priming.packing import pack_spikes
from priming.tail import Tail
from snn.config import LearnerConfig
from snn.initialise import initial_weights

ENCODER = MelEncoderConfig(bands=8)
INPUTS = 64  # eight channels a band
LEARNER = LearnerConfig(inputs=INPUTS, step_ms=20.0, features=(5, 3), neurons=4, lsg_neurons=2, projection=6, delays_ms=(0.0, 100.0))
CONFIG = ModelConfig(name="toy", encoder=ENCODER, learner=LEARNER, provenance={"seed": 3, "words": ["één", "два"], "figures": {"accuracy": 0.5}})


def parts(seed: int = 0, steps: int = 5) -> tuple[dict[str, torch.Tensor], dict[str, NDArray[np.float32]], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    shapes = {"filters": (257, 8), "ceiling": (8,), "levels": (6, 8), "rise": (8,)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    background = (rng.random((steps, INPUTS)) < 0.3).astype(np.uint8)
    return initial_weights(LEARNER, torch.full((INPUTS,), 0.2), seed), constants, background


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "toy.safetensors"
    save_model(path, CONFIG, *parts())
    return path


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 90), provenance=st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3))
def test_a_model_is_read_as_it_was_written(tmp_path: Path, seed: int, steps: int, provenance: dict[str, Any]) -> None:
    weights, constants, background = parts(seed, steps)
    config = CONFIG.model_copy(update={"provenance": provenance})
    path = tmp_path / "deep" / "m.safetensors"
    save_model(path, config, weights, constants, background)
    found = load_model(path)
    assert (found.config, found.name) == (config, "toy")
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in weights.items())
    assert found.encoder_constants.keys() == constants.keys()
    assert all(np.array_equal(found.encoder_constants[name], array) for name, array in constants.items())
    assert np.array_equal(found.background, background)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.encoder().name, found.encoder().channels) == ("mel", INPUTS)


def test_running_speech_is_kept_in_255_steps_and_must_be_of_the_bank(tmp_path: Path) -> None:
    weights, constants, background = parts(steps=90)
    spoken = np.random.default_rng(0).random(90).astype(np.float32)
    config, path = CONFIG.model_copy(update={"running_speech": 0.05}), tmp_path / "m.safetensors"
    save_model(path, config, weights, constants, background, spoken)
    found = load_model(path)
    assert found.running_speech is not None
    np.testing.assert_allclose(found.running_speech, spoken, atol=0.5 / 255 + 1e-6)
    assert found.listens_for_running_speech() is not None
    save_model(path, CONFIG, weights, constants, background)
    plain = load_model(path)
    assert (plain.running_speech, plain.listens_for_running_speech()) == (None, None)
    for foreign in (None, spoken[:-1]):
        save_model(path, config, weights, constants, background, foreign)
        with pytest.raises(ModelError, match="does not hold the background bank"):
            load_model(path)


def test_tails_are_kept_and_an_older_file_has_none_of_several_utterances(written: Path) -> None:
    one, several = (Tail(level=level, per_hour=60.0, spread=0.5, shape=-0.1, stretches=36.0, highest=3.1, minutes=40.0) for level in (0.8, 1.1))
    save_model(written, CONFIG.model_copy(update={"tail": one, "tail_several": several}), *parts())
    assert (load_model(written).config.tail, load_model(written).config.tail_several) == (one, several)
    older = CONFIG.model_copy(update={"tail": one}).model_dump_json(exclude={"tail_several"})
    assert "tail_several" not in older
    written.write_bytes(save(load(written.read_bytes()), metadata={"sayonce": older}))
    assert (load_model(written).config.tail, load_model(written).config.tail_several) == (one, None)


@pytest.mark.parametrize("name", built_in_models())
def test_a_shipped_model_fits_a_board(name: str) -> None:
    learner = load_model(name).config.learner
    assert learner.neurons <= 512  # that learn a word
    assert sum(learner.features) + learner.neurons + learner.lsg_neurons + learner.projection <= 1024  # all, readout units among them


def test_built_in_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUILT_IN", tmp_path)
    for name in ("mel", "embedding"):
        save_model(tmp_path / f"{name}.safetensors", CONFIG.model_copy(update={"name": name}), *parts())
    (tmp_path / "mel.md").touch()
    assert built_in_models() == ["embedding", "mel"]
    assert (load_model("mel").name, load_model().name) == ("mel", "embedding")
    assert load_model("embedding-alif").sha256 == load_model("embedding").sha256
    with pytest.raises(ModelError, match=r"no model 'nonesuch'.* embedding, mel"):
        load_model("nonesuch")


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path)
    told = str(caught.value)
    assert str(path) in told
    assert "\n" not in told
    return told


def with_header(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


FOREIGN = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 64,
        b"RIFF is no model at all",
        with_header(b"null"),
        with_header(b"[]"),
        with_header(b'{"__metadata__": null}'),
        with_header(FOREIGN) + b"\x00\x00",
        with_header(FOREIGN[:-1] + b', "__metadata__": {"sayonce": "{}"}}') + b"\x00\x00",
        save({"layer": np.ones(3, np.float32)}),
        save({"layer": np.ones(3, np.float32)}, metadata={"format": "pt"}),
        save({}, metadata={"sayonce": "{}"}),
        save({"layer": np.ones(3, np.float32)}, metadata={"sayonce": "no JSON"}),
        save({"layer": np.ones(3, np.float32)}, metadata={"sayonce": CONFIG.model_dump_json().replace('"format":1', '"format":2')}),
        save({"layer": np.ones(3, np.float32)}, metadata={"sayonce": CONFIG.model_dump_json()}),
    ],
)
def test_files_of_other_programs_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(written: Path, share: float) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: round(share * len(content))])
    refusal(written)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path)
    refusal(tmp_path / "none.safetensors")


Tensors = dict[str, NDArray[Any]]


def nan(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] = np.nan


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t.pop("background"),
        lambda t: t.pop("weight.w_in"),
        lambda t: t.pop("weight.lsg.out"),
        lambda t: t.pop("encoder.levels"),
        lambda t: nan(t, "weight.w_rec"),
        lambda t: nan(t, "encoder.ceiling"),
        lambda t: t.update({"weight.w_in": t["weight.w_in"].T.copy()}),
        lambda t: t.update({"weight.bias": t["weight.bias"].astype(np.float64)}),
        lambda t: t.update({"encoder.filters": t["encoder.filters"][:-1].copy()}),
        lambda t: t.update({"background": t["background"][:-1].copy()}),
        lambda t: t.update({"background": t["background"][:0].copy()}),
        lambda t: t.update({"background": pack_spikes(np.zeros((5, INPUTS + 1), np.uint8))}),
        lambda t: t.update({"background": pack_spikes(np.zeros((0, INPUTS), np.uint8))}),
        lambda t: t.update({"background": t["background"].astype(np.float32)}),
    ],
)
def test_a_file_whose_tensors_are_not_what_it_says_is_refused(written: Path, damage: Callable[[Tensors], object]) -> None:
    tensors: Tensors = load(written.read_bytes())
    damage(tensors)
    written.write_bytes(save(tensors, metadata={"sayonce": CONFIG.model_dump_json()}))
    refusal(written)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": 63},
        {"step_ms": 40.0},
        {"features": (8,)},
        {"features": (5, 4)},
        {"neurons": 5},
        {"projection": 7},
        {"cell": "adlif"},
        {"lsg_neurons": 3},
    ],
)
def test_a_configuration_that_does_not_fit_its_tensors_is_refused(written: Path, change: dict[str, Any]) -> None:
    config = CONFIG.model_copy(update={"learner": LEARNER.model_copy(update=change)})
    written.write_bytes(save(load(written.read_bytes()), metadata={"sayonce": config.model_dump_json()}))
    refusal(written)


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    path = tmp_path / "kept"
    write_atomically(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            write_atomically(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("kept", b"old")]
    write_atomically(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("kept", b"new")]
