"""What the verbs share: options of one meaning wherever they appear, and how a verb is called."""

import importlib
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

Call = Callable[[], None]

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "context_settings": {"help_option_names": ["-h", "--help"]}}

Word = Annotated[str, typer.Argument(metavar="WORD", help="The word; several in quotes.", show_default=False)]
Words = Annotated[str | None, typer.Option("--words", metavar="DIR", help="Word store [default: SAYONCE_HOME, else the user's data folder].")]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME|FILE", help="Primed model: embedding, mel, mel-distilled, board or a file.")]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="Where the network runs: torch, fixed, nest or spinnaker.")]
Device = Annotated[str | None, typer.Option("--device", metavar="ID", help="Microphone: number or name, as `app devices` shows.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
PerHour = Annotated[float | None, typer.Option("--false-accepts-per-hour", metavar="F", help="What the threshold aims at [default: 1].")]
Threshold = Annotated[float | None, typer.Option("--threshold", metavar="T", help="Set the threshold by hand.")]
Data = Annotated[str, typer.Option("--data", metavar="DIR", help="Folder of recordings.", show_default=False)]


ON_NETWORK = ("set_acceptance", "import_words", "upgrade_words")  # of `app words`: the verbs that run a network


def deferred(command: str, function: str = "run", **options: Any) -> Call:
    """Return the call of a verb, to be made outside the parser, which would answer interrupts and closed pipes in its own way."""

    def call() -> None:
        if command in ("enroll", "listen", "serve", "demo", "doctor", "evaluate_stream") or function in ON_NETWORK:
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # a step of a small network is over before a second thread has woken up
        getattr(importlib.import_module(f"app.commands.{command}"), function)(**options)

    return call
