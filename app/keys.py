"""Keys pressed during a live session, read without waiting and without echo; the small part of the terminal that differs between systems."""

import os
import sys
from types import TracebackType
from typing import Any, Self


class Keys:
    """Reads single keys from the terminal that the program was started on; nothing where there is none.

    A context manager: the terminal is as before after it, also after an interrupt.
    """

    def __init__(self) -> None:
        self._saved: list[Any] | None = None
        self._active = False

    def __enter__(self) -> Self:
        """Let keys arrive one by one."""
        try:
            self._active = sys.stdin is not None and sys.stdin.isatty() and (os.name != "posix" or os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno()))
        except (OSError, ValueError):
            self._active = False  # in the background of a shell, reading keys would stop the program
        if self._active and os.name == "posix":
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin, termios.TCSADRAIN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the terminal back."""
        if self._saved is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)
            self._saved = None

    @property
    def active(self) -> bool:
        """Whether there is a terminal to read from."""
        return self._active

    def pressed(self) -> str:
        """Return the keys pressed since the last call, in order; empty when none was."""
        if not self._active:
            return ""
        if os.name != "posix":
            import msvcrt

            console: Any = msvcrt
            keys = ""
            while console.kbhit():
                keys += console.getwch()
            return keys
        import select

        if not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        data = os.read(sys.stdin.fileno(), 256)
        self._active = bool(data)  # an empty read is the end of the terminal
        return data.decode(errors="replace")
