"""How a reference task tells what came out: a table on the terminal, JSON, lines of a figure; and how finished networks are kept."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import safetensors
import safetensors.torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from priming.atomic import write_atomically

# Of who runs the neurons, two shades for the seeds; told apart with colour-blind eyes too (Okabe and Ito 2008).
COLOURS = {"torch": ("#0072B2", "#56B4E9"), "fixed": ("#D55E00", "#E69F00")}
DASHES = ("-", "--", ":", "-.")  # of a seed


@dataclass(frozen=True)
class Report:
    """One run of a task."""

    name: str
    figures: Mapping[str, float]
    success: bool  # by the task's criterion


def publish(title: str, rows: list[Report], settings: Mapping[str, object], path: Path | None) -> None:
    """Print the table, and write it.

    Args:
        title: of the table.
        rows: one a run, all with the same figures.
        settings: of the runs.
        path: JSON file; none when None.
    """
    table = Table(title=f"{title} ({', '.join(f'{name} {value}' for name, value in settings.items())})", box=None, padding=(0, 2))
    names = list(rows[0].figures)
    for column in ("run", *names, "criterion met"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for row in rows:
        table.add_row(row.name, *(f"{row.figures[name]:.4g}" for name in names), "yes" if row.success else "no")
    Console(width=150).print(table)
    if path is not None:
        write_atomically(path, (json.dumps({"settings": settings, "runs": [asdict(row) for row in rows]}, indent=1) + "\n").encode())


def line(name: str, seed: int) -> dict[str, str]:
    """Return how a run is drawn: colour and dashes."""
    return {"color": COLOURS[name][seed % 2], "linestyle": DASHES[seed % len(DASHES)]}


class Fields(Protocol):
    """A NamedTuple of tensors, numbers and lists of them."""

    def _asdict(self) -> dict[str, Any]:
        """Return the fields by name."""


R = TypeVar("R", bound=Fields)


def save(values: Mapping[str, Any], path: Path) -> None:
    """Write tensors, and numbers, lists and dictionaries of them as JSON in the header; `read` gives tuples back as lists."""
    tensors: dict[str, Tensor] = {}

    def written(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors[str(len(tensors))] = value.clone().contiguous()
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(value, Mapping):
            return {"items": [[key, written(each)] for key, each in value.items()]}  # keys may be numbers
        return [written(each) for each in value] if isinstance(value, list | tuple) else value

    header = {"values": json.dumps(written(values))}
    write_atomically(path, safetensors.torch.save(tensors, header))


def read(path: Path) -> dict[str, Any]:
    """Read what `save` wrote."""
    with safetensors.safe_open(path, "pt") as file:

        def given(value: Any) -> Any:
            if isinstance(value, dict):
                return file.get_tensor(value["tensor"]) if "tensor" in value else {key: given(each) for key, each in value["items"]}
            return [given(each) for each in value] if isinstance(value, list) else value

        return dict(given(json.loads(file.metadata()["values"])))


def kept(kind: Callable[..., R], path: Path | None, make: Callable[[], R]) -> R:
    """Return a finished run from its file, or make it and keep it.

    Args:
        kind: its class.
        path: its file, whose name tells the settings; None keeps nothing.
        make: makes the run.
    """
    if path is not None and path.exists():
        return kind(**read(path))
    run = make()
    if path is not None:
        save(run._asdict(), path)
    return run
