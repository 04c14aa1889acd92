"""A word is learnt anew from its own spikes under a model with the same encoder; where that cannot be, it stays and the reason is told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from app.store import WordStore
from priming.model import load_model, save_model

Cli = Callable[..., tuple[int, str, str]]
RECORDING = Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "enroll.flac"


@pytest.fixture(scope="session")
def later_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other weights behind the same encoder."""
    model = load_model(tiny_model)
    weights = {**model.weights, "w_in": model.weights["w_in"] * 1.01}
    path = tmp_path_factory.mktemp("models") / "later.safetensors"
    save_model(path, model.config, weights, model.encoder_constants, model.background, model.running_speech)
    return path


@pytest.fixture(scope="session")
def other_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model behind an encoder with other constants."""
    model = load_model(tiny_model)
    constants = {**model.encoder_constants, "mean": model.encoder_constants["mean"] + np.float32(0.1)}
    path = tmp_path_factory.mktemp("models") / "other.safetensors"
    save_model(path, model.config, model.weights, constants, model.background, model.running_speech)
    return path


def test_a_word_is_learnt_anew_from_its_own_spikes(cli: Cli, tmp_path: Path, tiny_model: Path, later_model: Path) -> None:
    fresh_store = tmp_path / "fresh"
    options = ["enroll", "connect", "--from", RECORDING, "--false-accepts-per-hour", "7"]
    assert cli(*options, "--model", later_model, "--words", fresh_store)[0] == 0
    assert cli(*options, "--model", tiny_model)[0] == 0
    before = WordStore().require("connect")
    assert "app words upgrade" in cli("listen", "--from", RECORDING, "--model", later_model)[2]
    status, out, err = cli("words", "upgrade", "--model", later_model)
    assert (status, out) == (0, "")
    assert "'connect' was learnt anew under the model tiny" in err
    after, fresh = WordStore().require("connect"), WordStore(fresh_store).require("connect")
    assert after.info.model_sha256 == fresh.info.model_sha256 != before.info.model_sha256
    assert (after.info.created, after.info.shots) == (before.info.created, before.info.shots)
    assert after.info.calibration == fresh.info.calibration  # as if it had been said to the new model
    assert all(np.array_equal(a, b) for a, b in zip(after.shots[0], fresh.shots[0], strict=True))
    assert cli("words", "upgrade", "--model", later_model) == (0, "", "")  # nothing is left to do


@pytest.mark.parametrize("why", ["encoder", "forgotten", "model"])
def test_what_cannot_be_learnt_anew_stays_and_is_told(cli: Cli, tiny_model: Path, later_model: Path, other_encoder: Path, why: str) -> None:
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model, *(["--forget-utterance"] if why == "forgotten" else []))[0] == 0
    before = WordStore().contents("connect")
    model = {"encoder": other_encoder, "forgotten": later_model, "model": Path("none.safetensors")}[why]
    status, out, err = cli("words", "upgrade", "connect", "--model", model)
    assert (status, out, err.count("\n")) == (2, "", 2)
    assert {"encoder": "heard by another encoder", "forgotten": "were not kept", "model": "no model"}[why] in err
    assert "1 of 1 words were not upgraded" in err
    assert WordStore().contents("connect") == before
    if why != "model":
        assert 'app enroll "connect" --replace --model' in err


def test_word_files_are_small(cli: Cli, tiny_model: Path) -> None:
    for number in range(3):
        status, _, err = cli("enroll", "connect", *(["--from", RECORDING] * 9), "--model", tiny_model, "--false-accepts-per-hour", "20")
        path = next(WordStore().directory.glob("connect-*"))
        assert path.stat().st_size <= 300_000
        if status == 2:
            assert number > 0
            assert "has at most 300" in err
            break
    assert set(load_file(path)) >= {"shots.0.inputs", "shots.2.factor"}


def test_an_upgraded_word_goes_on_with_the_speeds_that_it_was_heard_at(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    """A word of a model that heard one speed, moved to one that hears three: what is added to it is heard at one as well."""
    model, faster = load_model(tiny_model), tmp_path / "faster.safetensors"
    config = model.config.model_copy(update={"speeds": (1.0, 0.86, 1.16)})
    save_model(faster, config, model.weights, model.encoder_constants, model.background, model.running_speech)
    rate = ("--false-accepts-per-hour", "20")
    for word, first in (("connect", tiny_model), ("apart", faster)):
        assert cli("enroll", word, "--from", RECORDING, "--model", first, *rate)[0] == 0
        assert cli("words", "upgrade", word, "--model", faster)[0] == 0
        assert cli("enroll", word, "--from", RECORDING, *rate)[0] == 0
        found = WordStore().require(word)
        assert len(found.utterances) == len(found.said) == len(found.info.shots) == len(found.info.calibration.own) == 2
        assert found.info.speeds == ((1.0,) if first is tiny_model else (1.0, 0.86, 1.16))
        assert len(found.shots) == 2 * len(found.info.speeds)
        assert cli("words", "remove", word)[0] == 0
