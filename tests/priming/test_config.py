"""Settings of a run that make no sense together."""

from pathlib import Path
from typing import Any

import pytest

from priming.config import PrimeConfig, default_learner


@pytest.mark.parametrize("encoder", ["embedding", "mel"])
def test_a_named_cell_changes_nothing_else(encoder: str) -> None:
    usual, board = (default_learner(encoder, 8, 40.0, cell) for cell in (None, "board"))
    assert board.cell == "board" != usual.cell
    assert board == usual.model_copy(update={"cell": "board"})


@pytest.mark.parametrize("wrong", [{"cell": "izhikevich"}, {"cell": "lif", "learner": default_learner("embedding", 8, 40.0)}])
def test_cells_that_make_no_sense(tmp_path: Path, wrong: dict[str, Any]) -> None:
    options: dict[str, Any] = {"data": tmp_path, "out": tmp_path / "m.safetensors", "steps": 1}
    assert PrimeConfig(**options, cell="board").cell == "board"
    with pytest.raises(ValueError, match="cell"):
        PrimeConfig(**options, **wrong)


@pytest.mark.parametrize("changes", [{"band_warp": 0.1}, {"band_tempo": 0.1}, {"band_masks": 2}])
def test_bands_belong_to_the_encoder_that_has_them(tmp_path: Path, changes: dict[str, Any]) -> None:
    options: dict[str, Any] = {"data": tmp_path, "out": tmp_path / "m.safetensors", "steps": 1} | changes
    assert PrimeConfig(**options, encoder="mel").encoder == "mel"
    with pytest.raises(ValueError, match="add --encoder mel"):
        PrimeConfig(**options)


def test_no_more_can_come_before_a_clip_than_is_mirrored(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": tmp_path, "out": tmp_path / "m.safetensors", "steps": 1}
    assert PrimeConfig(**options, lead_ms=1760.0).lead_ms == PrimeConfig(**options).clip_ms
    with pytest.raises(ValueError, match="lead_ms"):
        PrimeConfig(**options, lead_ms=1761.0)
