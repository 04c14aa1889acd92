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
words = typer.Typer(help="List, show, set, rename, remove, export, import and upgrade enrolled words.", invoke_without_command=True, **PLAIN)
cli.add_typer(words, name="words")

Word = Annotated[str, typer.Argument(metavar="WORD", help="The word; several in quotes.", show_default=False)]
Words = Annotated[str | None, typer.Option("--words", metavar="DIR", help="Word store [default: SAYONCE_HOME, else the user's data folder].")]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME|FILE", help="Primed model: embedding, mel, mel-distilled, board or a file.")]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="Where the network runs: torch, fixed, nest or spinnaker.")]
Device = Annotated[str | None, typer.Option("--device", metavar="ID", help="Microphone: number or name, as `app devices` shows.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
PerHour = Annotated[float | None, typer.Option("--false-accepts-per-hour", metavar="F", help="What the threshold aims at [default: 1].")]
Threshold = Annotated[float | None, typer.Option("--threshold", metavar="T", help="Set the threshold by hand.")]
Data = Annotated[str, typer.Option("--data", metavar="DIR", help="Folder of recordings.", show_default=False)]


@cli.command()
def prime(
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help="Folder of recordings; needed.", show_default=False)] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="MODEL", help="File to write the primed model to; needed.", show_default=False)] = None,
    encoder: Annotated[str, typer.Option("--encoder", metavar="embedding|mel", help="What turns sound into spikes.")] = "embedding",
    cell: Annotated[str | None, typer.Option("--cell", metavar="lif|alif|adlif|board", help="Of the neurons; board is SpiNNaker's.")] = None,
    distil: Annotated[float, typer.Option("--distil", metavar="SHARE", help="Share of the budget in which mel first imitates the embedding.")] = 0.0,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", help="Stop after this time.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="Stop after this many outer steps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside MODEL.")] = False,
    device: Annotated[str, typer.Option("--device", metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of every random draw.")] = 0,
    sources: Annotated[
        str | None,
        typer.Option("--sources", metavar="NAMES", help="Of words: commands, aligned, context, pairs, splices, synthetic; a weight as in pairs=0.5."),
    ] = None,
    theta: Annotated[str | None, typer.Option("--theta", metavar="rates|weights|init|init+lsg", help="What is primed [default: init+lsg].")] = None,
    broadcast: Annotated[
        str | None, typer.Option("--broadcast", metavar="symmetric|random|learned", help="Of the readout error; rates and init [default: symmetric].")
    ] = None,
    inner: Annotated[
        str | None, typer.Option("--inner", metavar="eprop|bptt", help="What changes the weights of a word; init [default: eprop].")
    ] = None,
    rates: Annotated[str | None, typer.Option("--rates", metavar="projection|synapse", help="What has its own rate [default: projection].")] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="NAME|FILE", help="A primed model to go on from.")] = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", metavar="bptt|es", help="Of the outer loop [default: bptt].")] = None,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="On which es lets candidates learn [default: torch].")] = None,
    evolve: Annotated[
        list[str] | None, typer.Option("--evolve", metavar="NAME", help="How tensors that es moves begin; repeat [default: all].")
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", metavar="N", help="Stop after N validations without a better one; keep the best.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of PrimeConfig; repeat.")] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="MODEL MODEL", help="Prime nothing: show how two runs differ, and their figures.")
    ] = None,
) -> Call:
    """Prime a network so that it learns words from one utterance."""
    if compare is not None:
        return _deferred("prime", "compare", first=compare[0], second=compare[1])
    if data is None or out is None:
        raise typer.BadParameter("--data and --out are needed.")
    asked: dict[str, Any] = {
        "theta": theta,
        "broadcast": broadcast,
        "inner": inner,
        "rates": rates,
        "start": start,
        "optimizer": optimizer,
        "backend": backend,
    }
    asked |= {"evolve": evolve or None, "patience": patience}
    budget: dict[str, Any] = {"distil": distil, "minutes": minutes, "steps": steps, "resume": resume, "asked": asked, "settings": settings or []}
    return _deferred("prime", data=data, out=out, encoder=encoder, cell=cell, device=device, seed=seed, sources=sources, **budget)


@cli.command()
def enroll(
    word: Word,
    files: Annotated[list[str] | None, typer.Option("--from", metavar="FILE", help="Recording of the word; repeat for more shots.")] = None,
    model: Model = None,
    words: Words = None,
    backend: Backend = "torch",
    device: Device = None,
    replace: Annotated[bool, typer.Option("--replace", help="Forget earlier shots of the word.")] = False,
    per_hour: PerHour = None,
    threshold: Threshold = None,
    forget_utterance: Annotated[bool, typer.Option("--forget-utterance", help="Keep what was learnt without the spikes that were heard.")] = False,
    as_json: Json = False,
) -> Call:
    """Learn a word from one utterance."""
    acceptance: dict[str, Any] = {"per_hour": per_hour, "threshold": threshold}
    options: dict[str, Any] = {"replace": replace, "forget_utterance": forget_utterance, "as_json": as_json, **acceptance}
    return _deferred("enroll", word=word, files=files or [], model=model, words=words, backend=backend, device=device, **options)


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
    near_misses: Annotated[bool, typer.Option("--near-misses", help="Tell also which words were almost recognised.")] = False,
    execute: Annotated[
        str | None, typer.Option("--exec", metavar="COMMAND", help="Run at each detection, without a shell: 'notify-send {word} {score}'.")
    ] = None,
    recordings: Annotated[
        str | None, typer.Option("--record-detections", metavar="DIR", help="Keep the sound around detections, which is not kept otherwise.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="JSON of near misses, changes of state and a heartbeat too.")] = False,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Let the networks hear silence too.")] = False,
    as_json: Json = False,
) -> Call:
    """Listen for the enrolled words; SIGUSR1 or space pauses and resumes."""
    pcm = {"rate": rate, "channels": channels, "sample_format": sample_format}
    options: dict[str, Any] = {"near_misses": near_misses, "execute": execute, "recordings": recordings, "events": events, "as_json": as_json}
    options["gate"] = not no_gate
    return _deferred("listen", source=source, words=words, model=model, backend=backend, device=device, pcm=pcm, **options)


@cli.command()
def serve(
    uri: Annotated[str, typer.Option("--uri", metavar="URI", help="tcp://HOST:PORT or unix:///PATH.")] = "tcp://127.0.0.1:10400",
    words: Words = None,
    model: Model = None,
    backend: Backend = "torch",
) -> Call:
    """Serve the enrolled words as wake words over the Wyoming protocol."""
    return _deferred("serve", uri=uri, words=words, model=model, backend=backend)


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
    stream: Annotated[bool, typer.Option("--stream", help="Listen to hours of continuous sound instead of single clips.")] = False,
    hours: Annotated[float | None, typer.Option("--hours", metavar="H", help="Of background in the stream [default: all there is].")] = None,
    enrolments: Annotated[int | None, typer.Option("--enrolments", metavar="N", help="Sets of words for the stream [default: 20].")] = None,
    words_each: Annotated[int | None, typer.Option("--words-per-enrolment", metavar="N", help="Of each set [default: 10].")] = None,
    figure: Annotated[str | None, typer.Option("--figure", metavar="FILE.png", help="Draw misses against false accepts of the stream.")] = None,
    model: Model = None,
    backend: Backend = "torch",
    as_json: Json = False,
) -> Call:
    """Measure one-shot learning on unseen words and speakers."""
    if stream:
        of_stream: dict[str, Any] = {
            "hours": hours,
            "enrolments": 20 if enrolments is None else enrolments,
            "words": 10 if words_each is None else words_each,
        }
        common: dict[str, Any] = {"role": role, "shots": shots, "seed": seed, "snr": snr, "model": model, "backend": backend, "as_json": as_json}
        return _deferred("evaluate_stream", data=data, figure=figure, **of_stream, **common)
    given = {"--hours": hours, "--enrolments": enrolments, "--words-per-enrolment": words_each, "--figure": figure}
    for option in (option for option, value in given.items() if value is not None):
        raise typer.BadParameter(f"{option} describes a stream; add --stream.")
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


@words.command("set")
def words_set(word: Word, words: Words = None, per_hour: PerHour = None, threshold: Threshold = None) -> Call:
    """Set when a word is accepted."""
    return _deferred("words", "set_acceptance", word=word, words=words, per_hour=per_hour, threshold=threshold)


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


@words.command("export")
def words_export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Bundle to write.", show_default=False)],
    names: Annotated[list[str] | None, typer.Argument(metavar="WORD...", help="Words to put into it [default: all].", show_default=False)] = None,
    words: Words = None,
) -> Call:
    """Write words into one file, for another machine."""
    return _deferred("words", "export_words", file=file, names=names or [], words=words)


@words.command("import")
def words_import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Bundle that `app words export` wrote.", show_default=False)],
    words: Words = None,
    model: Annotated[str | None, typer.Option("--model", metavar="FILE", help="Model of your own that words were enrolled under.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace words of the same name.")] = False,
    backend: Backend = "torch",
) -> Call:
    """Take over the words of a bundle, all of them or none."""
    return _deferred("words", "import_words", file=file, words=words, model=model, replace=replace, backend=backend)


@words.command("upgrade")
def words_upgrade(
    names: Annotated[list[str] | None, typer.Argument(metavar="WORD...", help="Words to learn anew [default: all].", show_default=False)] = None,
    words: Words = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME|FILE", help="Model to use [default: each word's own, as it is now].")] = None,
    backend: Backend = "torch",
) -> Call:
    """Learn words anew under another model, from the utterances that were kept."""
    return _deferred("words", "upgrade_words", names=names or [], words=words, model=model, backend=backend)


@cli.command()
def devices(
    levels: Annotated[bool, typer.Option("--levels", help="Measure each one's level for a second: say something.")] = False, as_json: Json = False
) -> Call:
    """List the microphones."""
    return _deferred("devices", levels=levels, as_json=as_json)


@cli.command("map")
def map_model(
    model: Model = None,
    board: Annotated[str, typer.Option("--board", metavar="spin3|spin5", help="Kind of SpiNNaker board.")] = "spin5",
    count: Annotated[int, typer.Option("--words", metavar="N", help="Words enrolled.")] = 10,
    analytic: Annotated[bool, typer.Option("--analytic", help="Count only; do not ask sPyNNaker where it is installed.")] = False,
    as_json: Json = False,
) -> Call:
    """Count what a model takes of a SpiNNaker board."""
    return _deferred("map", model=model, board=board, words=count, analytic=analytic, as_json=as_json)


@cli.command()
def doctor(words: Words = None, model: Model = None, as_json: Json = False) -> Call:
    """Check this installation and this machine."""
    return _deferred("doctor", words=words, model=model, as_json=as_json)


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
        if command in ("enroll", "listen", "serve", "demo", "doctor", "evaluate_stream") or function in ("import_words", "upgrade_words"):
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
