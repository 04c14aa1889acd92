"""What differs between operating systems, in one place: signals, and the lock of the word store.

Windows has no SIGUSR1 (there the key pauses) and lets a program handle SIGTERM without ever sending it; asyncio takes no handlers there. A thread
other than the main one may set no handler anywhere. Locks are those of the package filelock: `flock` on POSIX, `msvcrt.locking` on Windows; both
end with the program that held them.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from app.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

PAUSE_SIGNAL = "SIGUSR1"


def on_terminate(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call a function when the process is asked to end; nothing outside the main thread."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, handler)


def on_terminate_in_loop(call: Callable[[], object]) -> None:
    """Call a function in the running event loop when the process is asked to end; where loops take no handlers, that of `on_terminate` stays."""
    import asyncio

    with contextlib.suppress(NotImplementedError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, call)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C from now on; nothing outside the main thread."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def on_pause_signal(call: Callable[[], object]) -> Iterator[None]:
    """Call a function on the signal that pauses, where there is one, while the context lasts."""
    number = getattr(signal, PAUSE_SIGNAL, None)
    if number is None:
        yield
        return
    try:
        before: Any = signal.signal(number, lambda *_: call())
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def lock(path: "Path", seconds: float) -> Iterator[None]:
    """Hold a file's lock against other programs.

    Args:
        path: of the lock file, whose folder exists.
        seconds: to wait for another program.

    Raises:
        StoreError: another program held it for so long.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=seconds):
            yield
    except Timeout:
        raise StoreError(f"another program has held {path.parent} for {seconds:.0f} s; end it and try again") from None
