"""Tasks of several utterances a word, set against continuous sound: they are learnt from, and a run with them goes on bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from priming.config import PrimeConfig
from priming.run import open_loop
from priming.workspace import Workspace, open_workspace

Make = Callable[..., PrimeConfig]
SETTINGS = {"shots": 3, "background": 6, "steps": 24, "rate": 0.01, "eprop_rate": 0.005}


@pytest.fixture(scope="module")
def workspace(toy_config: Make, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_workspace(toy_config(tmp_path_factory.mktemp("unused") / "m.safetensors", **SETTINGS), lambda line: None)


def test_what_is_said_nowhere_is_a_word(workspace: Workspace) -> None:
    assert workspace.background is not None
    assert 6 < len(workspace.background.features.clips) <= 24
    assert {clip.word for clip in workspace.background.features.clips} == {""}


def test_a_folder_without_continuous_sound_goes_on_with_words_alone(toy_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priming.workspace.stretch_clips", lambda *arguments: [])
    told: list[str] = []
    config = toy_config(tmp_path / "m.safetensors", **SETTINGS)
    found = open_workspace(config, told.append)
    assert found.background is None
    assert any("words alone" in line for line in told)
    assert open_loop(config, found).advance().words == 6


def test_words_learn_to_stand_out_from_it(toy_config: Make, workspace: Workspace, tmp_path: Path) -> None:
    loop = open_loop(toy_config(tmp_path / "m.safetensors", **SETTINGS), workspace)

    def mean_loss() -> float:
        with torch.no_grad():
            return sum(loop._loss(10_000 + number)[1]["decision loss"] for number in range(8)) / 8  # type: ignore[attr-defined]

    before = mean_loss()
    for _ in range(11):  # of the first stage
        loop.advance()
    assert mean_loss() < before - 0.3


def test_a_run_goes_on_bit_for_bit(toy_config: Make, workspace: Workspace, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "m.safetensors", **SETTINGS | {"steps": 6})
    whole, first = open_loop(config, workspace), open_loop(config, workspace)
    for _ in range(6):
        whole.advance()
    for _ in range(4):
        first.advance()
    first.save(tmp_path / "checkpoint")
    second = open_loop(config, workspace)
    second.resume(tmp_path / "checkpoint")
    for _ in range(2):
        second.advance()
    assert all(torch.equal(tensor, second.weights[name]) for name, tensor in whole.weights.items())
