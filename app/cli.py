"""The entry point: runs a verb and turns whatever goes wrong into one line on stderr and an exit status.

Statuses: 0 done, 2 the user can mend it, 130 interrupted (0 for `listen` and `serve`, which are ended that way), 141 the reader of our output left,
143 terminated. A traceback appears for defects of the program alone. Nothing heavy is imported here: an interrupt is answered from the first moment.
"""

import logging
import os
import sys
from collections.abc import Sequence
from types import FrameType

from app.portable import ignore_interrupts, on_terminate

# Errors that carry a message for the user. A class whose module was never imported cannot have been raised.
USER_ERRORS = (
    ("app.errors", "AppError"),
    ("audio.errors", "AudioError"),
    ("priming.errors", "DataError"),
    ("priming.errors", "ModelError"),
    ("hardware.backend", "BackendError"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after `app`; those of the process when None.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    interrupted = 0 if words[0] in ("listen", "serve") else 130
    try:
        on_terminate(_terminate)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a word that the terminal's encoding lacks is no error
        _log_to_stderr()
        from app.parser import run

        status = run(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return interrupted
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more can be written; keep the interpreter from trying at exit
        return 141
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        complain(f"{error.strerror or error}{place}")
        return 2
    except Exception as error:
        if _was_interrupted(error):
            return interrupted
        if not isinstance(error, _user_errors()):
            raise
        complain(str(error))
        return 2
    finally:
        if arguments is None:  # the process ends now; an interrupt while the interpreter takes itself apart would only print a traceback
            ignore_interrupts()


def complain(message: str) -> None:
    """Print one line for the user on stderr; characters that could steer a terminal are shown as escapes."""
    line = " ".join(message.split())
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(f"app: {safe}", file=sys.stderr, flush=True)


class _Lines(logging.Handler):
    """Prints log records in the form of `complain`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        complain(record.getMessage())


def _log_to_stderr() -> None:
    """Show what the program has to tell besides its results."""
    log = logging.getLogger("sayonce")
    log.handlers[:] = [_Lines()]
    log.setLevel(logging.INFO)


def _user_errors() -> tuple[type[Exception], ...]:
    """Collect the classes of USER_ERRORS that exist in this process."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in USER_ERRORS)
    return tuple(c for c in found if c is not None)


def _was_interrupted(error: BaseException | None) -> bool:
    """Tell whether an interrupt lies behind an error: extension modules turn one that meets their import into an ImportError."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Unwind on SIGTERM as on an interrupt: temporary files go, the terminal's cursor comes back."""
    raise SystemExit(128 + signum)
