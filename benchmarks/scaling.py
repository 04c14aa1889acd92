"""How priming scales over processes: tasks a second and the time of a sum, for the same steps on one, two and more ranks.

    python benchmarks/scaling.py [--ranks 1 --ranks 2] [--tasks 4] [--steps 6] [--json FILE]

Each number of ranks is a run of torchrun on this machine, one thread a rank, over the made-up cache of `speed.loop`: networks and tasks of the
shipped size. `sum` is one all-reduce of the gradient when all ranks are ready for it; what a step takes beyond its share of the tasks and the sum is
waiting for the slowest. Kernels are the operations that a task asks of PyTorch, forward and backward: times what starting one costs, the least time
on a GPU. `fused` counts the sweeps of ALIF neurons as the kernels that `snn.cells.alif_fused` makes of them. docs/scaling.md says what was measured
and what follows from it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode

from priming.atomic import write_atomically
from priming.distributed import Ranks, joined_ranks
from snn.cells import alif_run
from snn.cells.alif_sweeps import EAGER, Sweeps
from speed.loop import open_loop

STAGES = {"readout": False, "e-prop": True}
SUMS = 50


class Kernels(TorchDispatchMode):
    """Counts the operations that reach a device, forward and backward: those that only look at memory in another way start nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation and do it."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@contextmanager
def fused(kernels: Kernels) -> Iterator[None]:
    """Count a sweep of ALIF neurons as two kernels: itself, and a copy of the weights or a state of zeros."""

    def as_two(sweep: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            before = kernels.count
            result = sweep(*arguments)
            kernels.count = before + 2
            return result

        return run

    with patch.object(alif_run, "sweeps_for", lambda current: Sweeps(as_two(EAGER.forward), as_two(EAGER.backward))):
        yield


def work(tasks: int, steps: int, ranks: Ranks) -> dict[str, dict[str, float]]:
    """Measure both stages as one rank of a run."""
    found = {}
    for stage, eprop in STAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            loop = open_loop(Path(folder), eprop, tasks=tasks, ranks=ranks)
            loop.advance()
            taken = []
            for _ in range(steps):
                started = time.perf_counter()
                loop.advance()
                taken.append(time.perf_counter() - started)
            gradient = torch.cat([tensor.grad.reshape(-1) for tensor in loop.weights.values() if tensor.grad is not None])
            sums = []
            for _ in range(SUMS):
                ranks.of_leader(0.0)  # all are here
                started = time.perf_counter()
                ranks.add([gradient])
                sums.append(time.perf_counter() - started)
            found[stage] = {"step_s": statistics.median(taken), "sum_s": statistics.median(sums), "bytes": 4.0 * gradient.numel()}
            if ranks.size == 1:
                alone = open_loop(Path(tempfile.mkdtemp(dir=folder)), eprop)
                alone.advance()
                with Kernels() as kernels:
                    alone.advance()
                found[stage]["kernels"] = float(kernels.count)
                with Kernels() as kernels, fused(kernels):
                    alone.advance()
                found[stage]["fused"] = float(kernels.count)
    return found


def launch(ranks: int, tasks: int, steps: int) -> dict[str, dict[str, float]]:
    """Start the ranks of one run and return what their leader measured."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        own = [__file__, "--tasks", str(tasks), "--steps", str(steps), "--json", file.name]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *own]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return dict(json.loads(Path(file.name).read_text()))


def show(found: dict[int, dict[str, dict[str, float]]], tasks: int) -> None:
    """Print the table."""
    table = Table(title=f"{tasks} tasks a step, one thread a rank, {os.cpu_count()} cores", box=None, padding=(0, 2))
    for column in ("stage", "ranks", "s a step", "tasks/s", "times one rank", "sum, ms", "MB a sum", "kernels a task", "fused"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in STAGES:
        for ranks, stages in found.items():
            row = stages[stage]
            first = found[min(found)][stage]
            gain = first["step_s"] / row["step_s"]
            figures = (
                f"{row['step_s']:.3f}",
                f"{tasks / row['step_s']:.2f}",
                f"{gain:.2f}",
                f"{1e3 * row['sum_s']:.2f}",
                f"{row['bytes'] / 1e6:.2f}",
            )
            table.add_row(stage, str(ranks), *figures, *(f"{row[name]:.0f}" if name in row else "" for name in ("kernels", "fused")))
    Console(width=140).print(table)


def main(
    ranks: Annotated[list[int] | None, typer.Option(min=1, help="processes; repeatable [default: 1 2]")] = None,
    tasks: Annotated[int, typer.Option(min=1, help="of a step")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="that are timed, in each stage")] = 6,
    out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Measure; as one rank when torchrun started this process."""
    with joined_ranks("cpu") as own:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            measured: Any = work(tasks, steps, own)
            if not own.leads:
                return
        else:
            if max(ranks or [1]) > tasks:
                raise typer.BadParameter(f"{max(ranks or [1])} ranks cannot share {tasks} tasks")
            found = {count: launch(count, tasks, steps) for count in sorted(set(ranks or [1, 2]))}
            show(found, tasks)
            measured = {str(count): stages for count, stages in found.items()}
    if out is not None:
        write_atomically(out, (json.dumps(measured, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
