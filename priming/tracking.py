"""TensorBoard logs of a run."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from priming.metrics import Summary

if TYPE_CHECKING:
    from priming.loop import StepReport


class Tracker:
    """Writes scalars of steps and validations.

    Args:
        folder: of the event files; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    def step(self, report: "StepReport") -> None:
        """Log one outer step."""
        scalars = report.figures | {"loss": report.loss, "accuracy": report.accuracy}
        for name, value in scalars.items():
            self._writer.add_scalar(f"priming/{name}", value, report.step)

    def validation(self, step: int, subset: str, summary: Summary) -> None:
        """Log figures on validation words."""
        for name, value in summary.figures().items():
            if value is not None:
                self._writer.add_scalar(f"validation {subset}/{name}", value, step)
