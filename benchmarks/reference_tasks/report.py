"""How a reference task tells what came out: a table on the terminal, and JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from priming.atomic import write_atomically


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
