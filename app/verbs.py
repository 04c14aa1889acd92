"""The verbs of the command line and their options.

Only signatures and help live here. What a verb does stands in `app.commands`, imported when it runs: `--help` must answer at once.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

Call = Callable[[], None]

INTERRUPTED = 130  # what the parser returns where it does not raise

HELP = "Say it once: a spiking network learns a spoken command from one utterance and then listens for it."
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "context_settings": {"help_option_names": ["-h", "--help"]}}

cli = typer.Typer(help=HELP, **PLAIN)
words = typer.Typer(help="List, show, rename and remove enrolled words.", invoke_without_command=True, **PLAIN)
cli.add_typer(words, name="words")

Word = Annotated[str, typer.Argument(metavar="WORD", help="The word; several in quotes.", show_default=False)]
Words = Annotated[str | None, typer.Option("--words", metavar="DIR", help="Word store [default: SAYONCE_HOME, else the user's data folder].")]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME|FILE", help="Primed model: embedding, mel or a file.")]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="Where the network runs.")]
Device = Annotated[str | None, typer.Option("--device", metavar="ID", help="Microphone: number or name, as `app devices` shows.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Data = Annotated[str, typer.Option("--data", metavar="DIR", help="Folder of recordings.", show_default=False)]


@cli.command()
def prime(
    data: Data,
    out: Annotated[str, typer.Option("--out", metavar="MODEL", help="File to write the primed model to.", show_default=False)],
    encoder: Annotated[str, typer.Option("--encoder", metavar="embedding|mel", help="What turns sound into spikes.")] = "embedding",
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", help="Stop after this time.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="Stop after this many outer steps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside MODEL.")] = False,
    device: Annotated[str, typer.Option("--device", metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of every random draw.")] = 0,
) -> Call:
    """Prime a network so that it learns words from one utterance."""
    return _deferred("prime", data=data, out=out, encoder=encoder, minutes=minutes, steps=steps, resume=resume, device=device, seed=seed)


@cli.command()
def enroll(
    word: Word,
    files: Annotated[list[str] | None, typer.Option("--from", metavar="FILE", help="Recording of the word; repeat for more shots.")] = None,
    model: Model = None,
    words: Words = None,
    backend: Backend = "torch",
    device: Device = None,
    replace: Annotated[bool, typer.Option("--replace", help="Forget earlier shots of the word.")] = False,
    as_json: Json = False,
) -> Call:
    """Learn a word from one utterance."""
    return _deferred(
        "enroll", word=word, files=files or [], model=model, words=words, backend=backend, device=device, replace=replace, as_json=as_json
    )


@cli.command()
def listen(
    source: Annotated[str | None, typer.Option("--from", metavar="FILE|-", help="Recording, or - for raw PCM [default: the microphone].")] = None,
    words: Words = None,
    model: Model = None,
    backend: Backend = "torch",
    device: Device = None,
    rate: Annotated[int | None, typer.Option("--rate", metavar="HZ", help="Of raw PCM [default: 16000].")] = None,
    channels: Annotated[int | None, typer.Option("--channels", metavar="N", help="Of raw PCM [default: 1].")] = None,
    sample_format: Annotated[str | None, typer.Option("--format", metavar="F", help="u8, s16le, s24le, s32le or f32le [default: s16le].")] = None,
    as_json: Json = False,
) -> Call:
    """Listen for the enrolled words."""
    pcm = {"rate": rate, "channels": channels, "sample_format": sample_format}
    return _deferred("listen", source=source, words=words, model=model, backend=backend, device=device, pcm=pcm, as_json=as_json)


@cli.command()
def evaluate(
    data: Data,
    role: Annotated[str, typer.Option("--role", metavar="test|validation", help="Words and speakers to test on.")] = "test",
    subset: Annotated[
        str, typer.Option("--set", metavar="isolated|connected", help="Of validation words: said alone, or cut from sentences.")
    ] = "isolated",
    ways: Annotated[int, typer.Option("--ways", metavar="N", help="Words enrolled in an episode.")] = 5,
    shots: Annotated[int, typer.Option("--shots", metavar="N", help="Utterances of each word.")] = 1,
    episodes: Annotated[int, typer.Option("--episodes", metavar="N", help="Episodes to draw.")] = 600,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the draws.")] = 0,
    snr: Annotated[float | None, typer.Option("--snr", metavar="DB", help="Add background noise at this signal-to-noise ratio.")] = None,
    model: Model = None,
    backend: Backend = "torch",
    as_json: Json = False,
) -> Call:
    """Measure one-shot learning on unseen words and speakers."""
    options: dict[str, Any] = {"role": role, "subset": subset, "ways": ways, "shots": shots, "episodes": episodes, "seed": seed, "snr": snr}
    return _deferred("evaluate", data=data, model=model, backend=backend, as_json=as_json, **options)


@words.callback()
def words_default(context: typer.Context) -> Call | None:
    """List the words when no verb is given."""
    if context.invoked_subcommand is None:
        return _deferred("words", "list_words", words=None, as_json=False)
    return None


@words.command("list")
def words_list(words: Words = None, as_json: Json = False) -> Call:
    """List the enrolled words."""
    return _deferred("words", "list_words", words=words, as_json=as_json)


@words.command("show")
def words_show(word: Word, words: Words = None, as_json: Json = False) -> Call:
    """Show what is stored about a word."""
    return _deferred("words", "show", word=word, words=words, as_json=as_json)


@words.command("rename")
def words_rename(
    word: Word, new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)], words: Words = None
) -> Call:
    """Give a word another name."""
    return _deferred("words", "rename", word=word, new=new, words=words)


@words.command("remove")
def words_remove(
    names: Annotated[list[str], typer.Argument(metavar="WORD...", help="Words to forget.", show_default=False)], words: Words = None
) -> Call:
    """Forget words."""
    return _deferred("words", "remove", names=names, words=words)


@cli.command()
def devices(as_json: Json = False) -> Call:
    """List the microphones."""
    return _deferred("devices", as_json=as_json)


@cli.command()
def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for the figure.")] = "demo",
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help="Real recordings instead of the synthetic voices.")] = None,
    model: Model = None,
    backend: Backend = "torch",
) -> Call:
    """Enroll "connect" from one voice, find it said by others."""
    return _deferred("demo", out=out, data=data, model=model, backend=backend)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version

        print(f"sayonce {version('sayonce')}")
        raise typer.Exit


@cli.callback()
def common(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Options of `app` itself."""


def _deferred(command: str, function: str = "run", **options: Any) -> Call:
    """Return the call of a verb, to be made outside the parser, which would answer interrupts and closed pipes in its own way."""

    def call() -> None:
        if command in ("enroll", "listen", "demo"):
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # a step of a small network is over before a second thread has woken up
        getattr(importlib.import_module(f"app.commands.{command}"), function)(**options)

    return call


def _help(arguments: Sequence[str]) -> str:
    """Format the help of the verb that the arguments name.

    The parser would first build validators for every option, which takes longer than everything else together.
    """
    command: Any = typer.main.get_command(cli)
    context = command.context_class(command, info_name="app", **command.context_settings)
    for argument in arguments:
        if argument in getattr(command, "commands", {}):
            command = command.commands[argument]
            context = command.context_class(command, info_name=argument, parent=context, **command.context_settings)
    return str(command.get_help(context))


def run(arguments: Sequence[str]) -> int:
    """Parse the arguments and run the verb.

    Args:
        arguments: words after `app`.

    Raises:
        KeyboardInterrupt: the user interrupted; versions of the parser differ in how they tell it.

    Returns:
        The exit status; 2 after a usage error, which is told in one line on stderr.
    """
    from app.cli import complain

    if not {"-h", "--help"}.isdisjoint(arguments):
        print(_help(arguments))
        return 0
    try:
        chosen = cli(args=list(arguments), prog_name="app", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # the one thing that usage errors of all versions of the parser share
            raise
        context = getattr(error, "ctx", None)
        complain(f"{error.format_message()} See {context.command_path if context else 'app'} --help.")
        return 2
    if chosen == INTERRUPTED:
        raise KeyboardInterrupt
    if callable(chosen):  # else the parser did what was asked for, such as showing the version
        chosen()
    return 0
