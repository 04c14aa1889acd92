"""`app prime`: the outer loop, with its progress on stderr."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from app import terminal
from app.errors import AppError

if TYPE_CHECKING:
    from priming.loop import StepReport

log = logging.getLogger("sayonce")

DEFAULT_MINUTES = 30.0  # when no budget is given
SMOOTHING = 0.98  # of the figures that are shown
LINE_S = 30.0  # between lines where there is no terminal


class _Watch:
    """Shows every step: loss, accuracy, tasks a second, time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=1.0, figures="preparing")
        self._loss = self._accuracy = 0.0
        self._weight = 0.0  # of the steps so far in the smoothed figures
        self._words = 0
        self._started = self._printed = time.monotonic()

    def step(self, report: "StepReport") -> None:
        """Show one outer step."""
        self._loss += (1 - SMOOTHING) * (report.loss - self._loss)
        self._accuracy += (1 - SMOOTHING) * (report.accuracy - self._accuracy)
        self._weight += (1 - SMOOTHING) * (1 - self._weight)
        self._words += report.words
        now = time.monotonic()
        rate = self._words / max(now - self._started, 1e-6)
        left = report.elapsed_s * (1 - report.progress) / max(report.progress, 1e-6)
        loss, accuracy = self._loss / self._weight, self._accuracy / self._weight
        figures = f"step {report.step}, loss {loss:.3f}, accuracy {accuracy:.3f}, {rate:.0f} tasks/s, {_duration(left)} left"
        self._progress.update(self._task, completed=report.progress, figures=figures)
        if not terminal.err.is_terminal and now - self._printed > LINE_S:
            self._printed = now
            log.info("%.0f %%, %s", 100 * report.progress, figures)


def run(
    data: str,
    out: str,
    encoder: str,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    device: str,
    seed: int,
    sources: str | None,
    cell: str | None,
    distil: float,
    asked: dict[str, Any],
    settings: list[str],
) -> None:
    """Prime a model, showing progress; an interrupted run leaves a checkpoint. Options that are None are left to the configuration's defaults."""
    from pydantic import ValidationError

    if minutes is not None and steps is not None:
        raise AppError("--minutes and --steps exclude each other; give one of them")
    if not Path(data).is_dir():
        raise AppError(f"{data} is not a folder; --data names the recordings")
    if Path(out).is_dir():
        raise AppError(f"{out} is a folder; --out names the file of the model")
    if steps is None and minutes is None:
        minutes = DEFAULT_MINUTES

    from priming.config import PrimeConfig
    from priming.distributed import leading
    from priming.run import prime

    own = dict(_setting(each) for each in settings)
    try:
        options: dict[str, Any] = {"distil_share": distil} if distil else {}
        options |= {"data": data, "out": out, "encoder": encoder, "minutes": minutes, "steps": steps, "device": device, "seed": seed, "cell": cell}
        given = {name: value for name, value in {**asked, "sources": sources}.items() if value is not None}
        config = PrimeConfig.model_validate(options | given | own)
    except ValidationError as error:
        first = error.errors()[0]
        name, told = str(first["loc"][0]) if first["loc"] else "", first["msg"].removeprefix("Value error, ")
        option = f"--set {name}={own[name]}" if name in own else f"--{name} {first['input']}"
        raise AppError(f"{option}: {told}" if name else told) from None

    columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.fields[figures]}"))
    try:
        with Progress(*columns, console=terminal.err, transient=True, disable=not (terminal.err.is_terminal and leading())) as progress:
            written = prime(config, resume=resume, watch=_Watch(progress).step, announce=lambda line: log.info("%s", line))
    except KeyboardInterrupt:
        log.info("interrupted; the same command with --resume goes on from the last checkpoint")
        raise
    if written is not None:
        print(written)


def _setting(given: str) -> tuple[str, str]:
    """Divide NAME=VALUE."""
    name, equals, value = given.partition("=")
    if not equals:
        raise AppError(f"--set {given}: write it as NAME=VALUE")
    return name, value


def compare(first: str, second: str) -> None:
    """Show in which options two runs differ, and their figures on validation words."""
    from rich.table import Table

    from priming.comparison import compare_runs, read_run

    runs = read_run(first), read_run(second)
    for title, rows in zip(("options that differ", "figures"), compare_runs(*runs), strict=True):
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
        for column in ("", runs[0].name, runs[1].name):
            table.add_column(column, justify="right" if column and title == "figures" else "left")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        terminal.out.print(table)


def _duration(seconds: float) -> str:
    """Format a span of time."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
