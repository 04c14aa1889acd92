"""Two priming runs side by side: in which options they differ, and what they reached on validation words.

A run is named by its model, finished or not: the model's header says all that is needed, and so does the checkpoint of a run that is still going on.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priming import checkpoint
from priming.errors import ModelError
from priming.loop import Validation, best_of
from priming.model import load_model

FIGURES = ("accuracy", "accuracy_ci95", "auroc_pairs", "auroc_open_set", "frr_at_far_5", "frr_at_far_1")


@dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
        options: of the run and of its learner, by dotted name.
        figures: steps, minutes and what validation gave.
    """

    name: str
    options: dict[str, Any]
    figures: dict[str, float | int | str | None]


def read_run(name: str) -> Run:
    """Read a run.

    Args:
        name: a model's name or file, or the file that a run is going to write.

    Raises:
        ModelError: there is neither a model nor a checkpoint.
    """
    saved = Path(name).with_suffix(".run") / "checkpoint.safetensors"
    if saved.is_file() and not Path(name).is_file():
        state = checkpoint.load_checkpoint(saved)
        best = best_of([Validation(**each) for each in state.history])
        done: dict[str, Any] = {"state": "not finished", "steps": state.step, "minutes": round(state.elapsed_s / 60, 1)}
        return Run(Path(name).stem, _flat(json.loads(state.configuration)), done | _figures({} if best is None else best.figures))
    try:
        config = load_model(name).config
    except ModelError as error:
        if Path(name).exists():
            raise
        raise ModelError(f"{error}; nor is there a checkpoint {saved}") from error
    said = config.provenance
    options = _flat({**said.get("configuration", {}), "learner": config.learner.model_dump(mode="json")})
    done = {"state": "finished", "steps": said.get("steps"), "minutes": said.get("outer_loop_minutes")}
    return Run(config.name, options, done | _figures(said.get("validation", {})))


def compare_runs(first: Run, second: Run) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Tabulate two runs.

    Args:
        first: one run.
        second: the other.

    Returns:
        Rows of the options that differ and rows of all figures: name, first, second.
    """
    names = sorted(first.options.keys() | second.options.keys())
    options = [(name, _shown(first.options.get(name)), _shown(second.options.get(name))) for name in names]
    figures = [(name, _shown(first.figures.get(name)), _shown(second.figures.get(name))) for name in {**first.figures, **second.figures}]
    return [row for row in options if row[1] != row[2]], figures


def _figures(validation: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{subset} {name}": each.get(name) for subset, each in validation.items() for name in FIGURES}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the names of nested options by dots."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


def _shown(value: Any) -> str:
    """Format an option or a figure; absent ones, as those of an older version, are a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
