"""How fast the networks run and learn, side by side with what else there is, in one run on the same shapes.

    python benchmarks/speed.py [--only layer] [--steps 44] [--batch 1] [--batch 16] [--repeats 9] [--threads 1] [--json FILE]

Six comparisons: a recurrent layer forward and backward (Norse, snnTorch), the same on a GPU (fused kernels, loops of operations), a long stream (runs
in segments), the e-prop update with its outer gradient (explicit traces a synapse), a network that runs and learns (NEST), a step of the outer loop
(plain loops under autograd, bfloat16, prefetching). A library or GPU that is not there is left out. Times are medians of processor seconds, on a GPU
and for prefetching of the clock; contestants take turns, and a ratio is the median over turns. docs/speed.md says what was measured.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from priming.atomic import write_atomically
from speed import gpu, loop, nest_rule, recurrent, rule, stream
from speed.measure import Row

PARTS = ("layer", "gpu", "stream", "update", "nest", "priming")


def show(rows: list[Row], threads: int) -> None:
    """Print the table."""
    table = Table(title=f"{threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}", box=None, padding=(0, 2))
    for column in ("comparison", "", "ms", "times ours", "peak MB", ""):
        table.add_column(column, justify="right" if column in ("ms", "times ours", "peak MB") else "left", no_wrap=True)
    group = ""
    for row in rows:
        peak = "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.2f}"
        table.add_row(row.group if row.group != group else "", row.name, f"{1e3 * row.seconds:.2f}", f"{row.times_ours:.2f}", peak, row.note)
        group = row.group
    Console(width=190).print(table)


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"{', '.join(PARTS)}; repeat for several [default: all]")] = None,
    steps: Annotated[int, typer.Option(min=1, help="of the layer")] = 44,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="sequences of the layer; repeatable [default: 1 8 32 64 128]")] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 9,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Measure."""
    if unknown := set(only or []) - set(PARTS):
        raise typer.BadParameter(f"--only takes {', '.join(PARTS)}; not {', '.join(sorted(unknown))}")
    torch.set_num_threads(threads)
    parts: dict[str, Callable[[], list[Row]]] = {
        "layer": lambda: recurrent.measure(steps, batch or [1, 8, 32, 64, 128], repeats),
        "gpu": lambda: gpu.measure(steps, batch or [1, 8, 32, 64, 128], repeats),
        "stream": lambda: stream.measure(repeats),
        "update": lambda: rule.measure(repeats),
        "nest": lambda: nest_rule.measure(repeats),
        "priming": lambda: loop.measure(repeats),
    }
    rows = [row for name in PARTS if not only or name in only for row in parts[name]()]
    show(rows, threads)
    if out is not None:
        run = {"threads": threads, "repeats": repeats, "torch": torch.__version__}
        write_atomically(out, (json.dumps({"run": run, "rows": [asdict(row) for row in rows]}, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
