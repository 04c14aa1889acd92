"""Two runs side by side, finished or not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from priming.comparison import compare_runs, read_run
from priming.config import PrimeConfig
from priming.errors import ModelError
from priming.loop import Validation, best_of, stalled
from priming.metrics import summarise
from priming.outer_loop import OuterLoop
from priming.workspace import Workspace


def validation(step: int, merit: float, last_stage: bool = True) -> Validation:
    figures = {"isolated": {"auroc_pairs": merit + 0.05, "accuracy": 0.5}, "connected": {"auroc_pairs": merit - 0.05, "accuracy": 0.6}}
    return Validation(step, step / 10, last_stage, figures)


def test_a_run_that_stops_getting_better_has_stalled() -> None:
    history = [validation(1, 0.9, last_stage=False), validation(2, 0.6), validation(3, 0.7), validation(4, 0.65), validation(5, 0.7)]
    assert best_of([]) is None
    assert best_of(history[:1]) is None
    best = best_of(history)
    assert best is not None
    assert (best.step, best.merit) == (3, pytest.approx(0.7))  # the first of equals; the first stage does not count
    assert [stalled(history[:count], 2) for count in range(6)] == [False, False, False, False, False, True]
    assert stalled(history[:4], 1)
    assert not stalled(history, None)


def test_options_that_differ_and_figures_are_tabulated(
    toy_config: Callable[..., PrimeConfig], toy_workspace: Workspace, toy_model_file: Path, tmp_path: Path
) -> None:
    config = toy_config(tmp_path / "other.safetensors", steps=9, rate=0.5, theta="init")
    assert config.learner is not None
    loop = OuterLoop(config, config.asked(config.learner), toy_workspace)
    loop.advance()
    loop.step = 8  # in the last stage
    loop.validated({"isolated": summarise([[[1.0, 0.0], [0.0, 1.0]]], [[0, 0]]).figures()})
    loop.save(tmp_path / "other.run" / "checkpoint.safetensors")
    finished, going_on = read_run(str(toy_model_file)), read_run(str(config.out))
    options, figures = compare_runs(finished, going_on)
    told = {name: (first, second) for name, first, second in options}
    assert told["rate"] == ("0.03", "0.5")
    assert told["learner.theta"] == ("init+lsg", "init")
    assert "seed" not in told
    assert "learner.neurons" not in told
    rows = {name: (first, second) for name, first, second in figures}
    assert rows["state"] == ("finished", "not finished")
    assert rows["steps"] == ("80", "8")
    assert rows["isolated accuracy"][1] == "0.5"
    assert rows["isolated accuracy"][0] != "-"
    with pytest.raises(ModelError, match=r"nor is there a checkpoint .*nobody\.run"):
        read_run(str(tmp_path / "nobody"))
