"""The agreement table: the same episodes on every backend, and rows that cannot run are named."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import agreement
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hardware import BackendError
from hardware.torch_backend import TorchBackend
from priming.errors import ModelError
from priming.model import PrimedModel


@pytest.fixture(autouse=True)
def unprimed(make_model: Callable[[str], PrimedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> PrimedModel:
        if name != "mel":
            raise ModelError(f"no model '{name}'")
        return make_model(name)

    monkeypatch.setattr(agreement, "load_model", load)


def run(*arguments: object) -> SimpleNamespace:
    app = typer.Typer()
    app.command()(agreement.main)
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return SimpleNamespace(code=found.exit_code, told=found.stdout, error=found.stderr)


def test_backends_are_compared_on_the_same_episodes(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    only = [word for row in ("fixed", "fixed-float", "chip") for word in ("--only", row)]
    found = run("--data", corpus, "--model", "mel", "--ways", 4, "--episodes", 2, "--seed", 1, *only, "--json", out)
    assert found.code == 0, found.error
    assert "mel: 4-way 1-shot, validation words (isolated), 2 episodes, seed 1" in found.told
    model = json.loads(out.read_text())["models"]["mel"]
    assert list(model["rows"]) == ["torch", "fixed-float", "fixed"]
    reference, listening, learning = model["rows"].values()
    assert reference["agreement"] is reference["rate_correlation"] is None
    for row in (listening, learning):
        assert "no released binary has this cell" in row["title"]
        assert 0.7 < row["agreement"] <= 1
        assert row["episodes"] == 2
        assert abs(row["accuracy"] - reference["accuracy"]) < 0.2
    assert listening["rate_correlation"] == 1  # its words are learnt by the reference
    assert listening["firing_before_hz"] == reference["firing_before_hz"]
    assert 0.9 < learning["rate_correlation"] < 1
    assert all(row[f"firing_{when}_hz"] > 0 for row in model["rows"].values() for when in ("before", "after"))
    assert model["left_out"] == {"chip": "it is for models with the cell board"}
    assert "mel on chip in the loop, chip emulated: it is for models" in found.error


def test_the_reference_on_another_backend_agrees_with_itself(corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(agreement.ROWS, "twin", agreement.Row("twin", TorchBackend))
    out = tmp_path / "table.json"
    assert run("--data", corpus, "--model", "mel", "--ways", 3, "--episodes", 2, "--only", "twin", "--json", out).code == 0
    rows = json.loads(out.read_text())["models"]["mel"]["rows"]
    assert rows["twin"]["agreement"] == 1
    assert rows["twin"]["rate_correlation"] == pytest.approx(1)
    same = {name: value for name, value in rows["twin"].items() if name not in ("title", "agreement", "rate_correlation")}
    assert same == {name: rows["torch"][name] for name in same}


def test_a_backend_that_cannot_run_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise BackendError("install it first")

    class Deaf(TorchBackend):
        """A board that is not there when it is to hear something."""

        def learn(self, spikes: Any) -> Any:
            raise BackendError("connect a board")

    monkeypatch.setitem(agreement.ROWS, "absent", agreement.Row("absent", absent))
    monkeypatch.setitem(agreement.ROWS, "deaf", agreement.Row("deaf", Deaf))
    found = run("--data", corpus, "--model", "mel", "--ways", 3, "--episodes", 1, "--only", "absent", "--only", "deaf")
    assert found.code == 0
    assert "mel on absent: install it first" in found.error
    assert "mel on deaf: connect a board" in found.error
    assert "absent" not in found.told
    assert "deaf" not in found.told


def test_decisions_and_rates_are_those_of_the_runs(make_model: Callable[[str], PrimedModel]) -> None:
    def recorded(scores: list[list[float]], rates: list[float]) -> agreement.Run:
        made = agreement.Run("", make_model("mel"), TorchBackend())
        made.scores, made.labels = [np.array(scores)], [np.zeros(len(scores), np.int64)]
        made.rates = {"clip": np.array(rates)}
        return made

    reference = recorded([[1, 0], [1, 0], [0, 1], [1, 0]], [0.1] * 12 + [0.3] * 12)
    other = recorded([[1, 0], [0, 1], [0, 1], [2, 1]], [0.3] * 12 + [0.1] * 12)
    judged = agreement.judge(other, reference)
    assert judged.agreement == 0.75
    assert judged.rate_correlation == pytest.approx(-1)
    assert judged.firing_before_hz == pytest.approx(0.1 * 1000 / make_model("mel").config.learner.step_ms)
    assert judged.firing_after_hz is None
    assert agreement.judge(recorded([[1, 0]], [0.0] * 24), recorded([[1, 0]], [0.0] * 24)).rate_correlation is None


def test_shipped_models_that_are_missing_are_named_and_wanted_ones_are_an_error(corpus: Path) -> None:
    absent = run("--data", corpus, "--only", "torch")
    assert absent.code == 0
    assert "board: no model 'board'" in absent.error
    wanted = run("--data", corpus, "--model", "nobody")
    assert wanted.code == 2
    assert wanted.error.splitlines()[-1] == "no model 'nobody'"


def test_an_unknown_row_is_an_error(corpus: Path) -> None:
    found = run("--data", corpus, "--only", "loihi")
    assert found.code == 2
    assert "--only takes torch, fixed-float, fixed" in found.error
