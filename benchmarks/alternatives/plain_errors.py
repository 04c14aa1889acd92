"""A user's mistake told in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from audio.errors import AudioError
from hardware.backend import BackendError
from priming.errors import DataError, ModelError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print what is wrong and what to do on stderr and exit with 2, without a traceback."""
    try:
        yield
    except (AudioError, BackendError, DataError, ModelError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
