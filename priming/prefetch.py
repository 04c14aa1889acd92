"""The next task is drawn and its spikes are unpacked by a thread of their own while a step computes.

What a task holds depends on the seed and its number alone, so one that was drawn ahead is the one that would be drawn now: it is used if it was drawn
by the same function with the same arguments, and drawn anew otherwise, as where a stage of the run begins. The thread draws and unpacks with NumPy
alone; what depends on PyTorch's threads or devices stays where it was. An error that it meets is raised where the task is asked for; Ctrl-C reaches
the main thread, and leaves at most one task that was drawn for nothing.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from priming.features import Features
from priming.sampler import Task

Clips = tuple[NDArray[np.int64], NDArray[np.int64]]  # [n] clips and the copy of each


Part = tuple[Features, NDArray[np.int64], NDArray[np.int64]]  # clips of which the spikes are needed, and where they are encoded


class _Ahead(NamedTuple):
    """What was drawn, and the spikes of it."""

    drawn: Any
    spikes: list[tuple[Part, NDArray[np.uint8]]]  # [n, T, I] each


class Prefetcher:
    """Draws one task ahead.

    Args:
        parts: tells of a number and what was drawn under it which spikes are needed.
        following: tells after a number which one is drawn next; None to draw nothing ahead.
    """

    def __init__(self, parts: Callable[[int, Any], list[Part]], following: Callable[[int], int] | None) -> None:
        self._parts, self._following = parts, following
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._key: tuple[Any, ...] | None = None  # of what is being drawn ahead
        self._future: Future[_Ahead] | None = None
        self._now: _Ahead | None = None

    def draw(self, function: Callable[..., Any], number: int, *arguments: Any) -> Any:
        """Return function(number, *arguments), drawn ahead if it was foreseen, and let what follows be drawn meanwhile.

        Args:
            function: draws a task, or clips with their copies; of its arguments alone.
            number: of the task.
            arguments: further ones, which are expected to stay as they are.

        Returns:
            What the function returns.

        Raises:
            Exception: what the function raises, or the reading of spikes.
        """
        key = (function, number, *arguments)
        future, self._future = self._future, None
        self._now = future.result() if future is not None and key == self._key else None
        drawn = self._now.drawn if self._now is not None else function(number, *arguments)
        if self._following is not None:
            self._key = (function, self._following(number), *arguments)
            self._future = self._thread.submit(self._prepare, *self._key)
        return drawn

    def take(self, features: Features, clips: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return what `features.take` returns, unpacked ahead if the task that was drawn last needs it."""
        for part, spikes in self._now.spikes if self._now is not None else ():
            if part[0] is features and np.array_equal(part[1], clips) and np.array_equal(part[2], copies):
                return spikes
        return features.take(clips, copies)

    def _prepare(self, function: Callable[..., Any], number: int, *arguments: Any) -> _Ahead:
        drawn = function(number, *arguments)
        return _Ahead(drawn, [(part, part[0].take(*part[1:])) for part in self._parts(number, drawn)])


def clips_of(task: Task) -> Clips:
    """List the clips of a task, and the copy of each, in the order in which a step hears them: support, then queries."""
    return np.concatenate([task.support.ravel(), task.queries]), np.concatenate([task.support_copies.ravel(), task.query_copies])
