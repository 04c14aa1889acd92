"""`app map`, and enrolling on a board that is not there."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hardware.spinnaker.virtual
from hardware import BackendError

Cli = Callable[..., tuple[int, str, str]]
VOICE = Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "enroll.flac"


@pytest.fixture(scope="module")
def board_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the board's cell."""
    import torch

    from priming.model import load_model, save_model
    from snn.initialise import initial_weights

    model = load_model(tiny_model)
    learner = model.config.learner.model_copy(update={"cell": "board"})
    weights = initial_weights(learner, torch.from_numpy(model.background.mean(0)).float(), seed=0)
    path = tmp_path_factory.mktemp("models") / "tiny-board.safetensors"
    save_model(
        path,
        model.config.model_copy(update={"name": "tiny-board", "learner": learner}),
        weights,
        model.encoder_constants,
        model.background,
        model.running_speech,
    )
    return path


def test_the_count_is_printed_and_is_json(cli: Cli, board_model: Path) -> None:
    status, out, err = cli("map", "--model", board_model, "--board", "spin3", "--words", "2", "--analytic")
    assert (status, err) == (0, "")
    assert "tiny-board, 2 words, on a spin3" in out
    assert "A step lasts 40 ms; the board keeps up." in out
    told = json.loads(cli("map", "--model", board_model, "--board", "spin3", "--words", "2", "--analytic", "--json")[1])
    assert (told["cores"], told["cores_available"], told["words"], told["spynnaker"], told["limits"]) == (4, 63, 2, None, [])
    assert told["spikes_per_s"]["inputs"] > 0
    assert 0 < told["load"]["features"]["busiest"] < 1


def test_a_network_that_does_not_fit_says_which_limit_it_breaks(cli: Cli, board_model: Path) -> None:
    status, out, err = cli("map", "--model", board_model, "--board", "spin3", "--words", "90", "--json")
    assert status == 2
    assert json.loads(out)["limits"] == ["cores: 92 of 63"]
    assert err.splitlines() == ["app: tiny-board with 90 words does not run on a spin3: cores: 92 of 63"]


def test_a_model_with_another_cell_is_a_hypothetical_one(cli: Cli, tiny_model: Path) -> None:
    status, out, err = cli("map", "--model", tiny_model, "--json")
    assert status == 2
    assert json.loads(out)["cores"] == 12
    assert "no released binary of SpiNNaker has 'alif'" in err


def test_spynnaker_s_own_figures_stand_beside_ours(cli: Cli, board_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def figures(*arguments: Any) -> dict[str, int]:
        asked.append(arguments[2:])
        return {"cores": 4, "chips": 1, "sdram_bytes": 123_456}

    monkeypatch.setattr(hardware.spinnaker.virtual, "virtual_figures", figures)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: True if name in ("spynnaker", "pyNN") else found(name, *rest))
    status, out, _ = cli("map", "--model", board_model, "--words", "2")
    assert status == 0
    assert asked == [("spin5", 2)]
    assert "123,456" in out
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    status, out, err = cli("map", "--model", board_model, "--words", "2")
    assert status == 0
    assert "pip install 'sayonce[spinnaker]'" in err


@pytest.mark.parametrize(("arguments", "message"), [(["--words", "0"], "--words 1"), (["--board", "spin9"], "spin3, spin5")])
def test_wrong_arguments(cli: Cli, board_model: Path, arguments: list[str], message: str) -> None:
    status, out, err = cli("map", "--model", board_model, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_enrolling_without_a_board_ends_in_one_sentence(
    cli: Cli, board_model: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("appdirs")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: True if name in ("spynnaker", "pyNN") else found(name, *rest))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.delenv(name, raising=False)
    for model, message in ((board_model, "no SpiNNaker board is configured: write "), (tiny_model, "the cell of this model is 'alif'")):
        status, out, err = cli("enroll", "connect", "--from", VOICE, "--model", model, "--backend", "spinnaker")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err
    assert issubclass(BackendError, ValueError)
