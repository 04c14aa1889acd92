"""Commands run on detections, without a shell.

The command line is split into arguments once, before any word is put in; placeholders are then replaced inside single arguments. Whatever characters
a word's name has, it stays a part of one argument. Two things would undo that and are refused: a name at the start of an argument that begins with a
dash, which the command would read as an option, and a placeholder in text that the command would run as code, as in `sh -c 'echo {word}'`. The same
values stand in environment variables, which are safe there too. Commands run beside listening, a bounded number at a time.
"""

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import PurePath
from typing import IO, Any

from app.detector import Detection
from app.errors import AppError

log = logging.getLogger("sayonce")

FIELDS = ("word", "score", "threshold", "start_s", "end_s")
PLACEHOLDER = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
VARIABLE = "SAYONCE_"  # and the field's name in capitals: variables of the environment
AT_ONCE = 4  # commands that run at a time
PATIENCE_S = 2.0  # for running commands when listening ends
QUIET_S = 60.0  # between two complaints of a kind
INTERPRETERS = re.compile(
    r"(ba|da|a|z|k|c|tc|fi|pw)?sh|python[\d.]*|perl|ruby|node|php|lua|[gmn]?awk|powershell|cmd|su|ssh|eval|tclsh|osascript", re.I
)
CODE = re.compile(r"-\w*[ce]|-{1,2}(command|eval|execute)|/[ck]", re.I)  # options whose value is run
GLUED_CODE = re.compile(r"-\w*[ce]\W*\{word\}|-{1,2}(command|eval|execute)=", re.I)


def _check_code(arguments: list[str]) -> None:
    """Refuse a template that would have a word's name run as code: best effort, for it cannot know every program."""
    interpreters = [k for k, argument in enumerate(arguments) if INTERPRETERS.fullmatch(PurePath(argument).name.removesuffix(".exe"))]
    if not interpreters:
        return
    first = interpreters[0]
    program = PurePath(arguments[first]).name
    for k, argument in enumerate(arguments[first + 1 :], first + 1):
        runs = k == first + 1 or program in ("ssh", "eval") or CODE.fullmatch(arguments[k - 1]) or GLUED_CODE.match(argument)
        if runs and "{word}" in argument:
            raise AppError(f"--exec: {program} would run the word's name as code; use the variable {VARIABLE}WORD there instead of {{word}}")


def _standard_error() -> IO[Any] | int:
    """Return standard error if a program can write to it."""
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL
    return sys.stderr


class Action:
    """Runs a command for each detection.

    Args:
        command: a command line; {word}, {score}, {threshold}, {start_s} and {end_s} are replaced in its arguments.
        output: where the command's output goes: a file with a descriptor (standard error when None), or `subprocess.DEVNULL`.

    Attributes:
        dropped: detections for which nothing was run, because too many commands were running or the name was refused.

    Raises:
        AppError: an empty or unbalanced command line, no such program, or a placeholder where it would be run as code.
    """

    def __init__(self, command: str, output: IO[Any] | int | None = None) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise AppError(f"--exec: the command cannot be split into arguments ({error}); check its quotes") from None
        if not self._arguments:
            raise AppError("--exec: the command is empty")
        program = self._arguments[0]
        if PLACEHOLDER.search(program):
            raise AppError("--exec: the program itself cannot be a placeholder; name a program and give it the word as an argument")
        if shutil.which(program) is None:
            raise AppError(f"--exec: there is no program '{program}'; give its full path, or check its permissions")
        _check_code(self._arguments)
        self._output = output
        self._running: list[subprocess.Popen[bytes]] = []
        self._complained: dict[str, float] = {}
        self.dropped = 0

    def __call__(self, detection: Detection) -> None:
        """Start the command for a detection; returns at once."""
        self.reap()
        values = {"word": detection.word, **{field: f"{getattr(detection, field):.3f}" for field in FIELDS[1:]}}
        if detection.word.startswith("-") and any(argument.startswith("{word}") for argument in self._arguments):
            self._drop("name", f"not run for '{detection.word}': a name that begins with a dash would be taken for an option; rename the word")
            return
        if len(self._running) >= AT_ONCE:
            self._drop("many", f"not run for '{detection.word}': {AT_ONCE} commands are running still; make the command faster")
            return
        arguments = [PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in self._arguments]
        environment = {**os.environ, **{VARIABLE + field.upper(): value for field, value in values.items()}}
        output = _standard_error() if self._output is None else self._output
        try:
            child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,  # standard output is for detections alone
                stderr=output,
                env=environment,
                start_new_session=True,  # an interrupt that ends listening does not cut an action in half
            )
        except (OSError, ValueError) as error:
            self._drop("start", f"'{arguments[0]}' could not be started: {error}")
            return
        self._running.append(child)

    def reap(self) -> None:
        """Collect the commands that have ended; tell of failures."""
        for child in self._running:
            if child.poll():
                self._complain(f"status {child.args!r}", f"the command ended with status {child.returncode}: {shlex.join(map(str, child.args))}")  # type: ignore[arg-type]
        self._running = [child for child in self._running if child.returncode is None]

    def close(self) -> None:
        """Wait a moment for the commands that still run; those that take longer are left to themselves."""
        deadline = time.monotonic() + PATIENCE_S
        while self._running and time.monotonic() < deadline:
            time.sleep(0.02)
            self.reap()
        for child in self._running:
            log.warning("process %d of --exec runs on", child.pid)
            child.returncode = 0  # the interpreter would complain of a child that nobody waited for

    def _drop(self, kind: str, message: str) -> None:
        """Run nothing, and say so."""
        self.dropped += 1
        self._complain(kind, f"--exec: {message}")

    def _complain(self, kind: str, message: str) -> None:
        """Log a warning, once a minute for each kind."""
        now = time.monotonic()
        if now - self._complained.get(kind, -QUIET_S) >= QUIET_S:
            self._complained[kind] = now
            log.warning("%s", message)
