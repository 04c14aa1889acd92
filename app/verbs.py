"""The verbs of the command line; those of `app words` stand in `app.word_verbs`.

Only signatures and help live here. What a verb does stands in `app.commands`, imported when it runs: `--help` must answer at once.
"""

from typing import Annotated, Any

import typer

from app.options import PLAIN, Backend, Call, Data, Device, Json, Model, PerHour, Threshold, Word, Words, deferred
from app.word_verbs import words

HELP = "Say it once: a spiking network learns a spoken command from one utterance and then listens for it."

cli = typer.Typer(help=HELP, **PLAIN)
cli.add_typer(words, name="words")


@cli.command()
def prime(
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help="Folder of recordings; needed.", show_default=False)] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="MODEL", help="File to write the primed model to; needed.", show_default=False)] = None,
    encoder: Annotated[str, typer.Option("--encoder", metavar="embedding|mel", help="What turns sound into spikes.")] = "embedding",
    cell: Annotated[str | None, typer.Option("--cell", metavar="lif|alif|adlif|board", help="Of the neurons; board is SpiNNaker's.")] = None,
    distil: Annotated[float, typer.Option("--distil", metavar="SHARE", help="Share of the budget in which mel first imitates a teacher.")] = 0.0,
    teacher: Annotated[
        str | None, typer.Option("--teacher", metavar="FILE", help="Of --distil: a network of benchmarks/protonet.py [default: the embedding].")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", help="Stop after this time.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="Stop after this many outer steps; 0 finishes --start anew.")] = None,
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
        return deferred("prime", "compare", first=compare[0], second=compare[1])
    if data is None or out is None:
        raise typer.BadParameter("--data and --out are needed.")
    asked: dict[str, Any] = {
        "theta": theta,
        "broadcast": broadcast,
        "inner": inner,
        "rates": rates,
        "start": start,
        "teacher": teacher,
        "optimizer": optimizer,
        "backend": backend,
    }
    asked |= {"evolve": evolve or None, "patience": patience}
    budget: dict[str, Any] = {"distil": distil, "minutes": minutes, "steps": steps, "resume": resume, "asked": asked, "settings": settings or []}
    return deferred("prime", data=data, out=out, encoder=encoder, cell=cell, device=device, seed=seed, sources=sources, **budget)


@cli.command()
def manifest(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of recordings.", show_default=False)],
    layout: Annotated[
        str | None, typer.Option("--layout", metavar="PATTERN", help="Of the paths below DIR, without suffix [default: {word}/{speaker}_*].")
    ] = None,
    language: Annotated[str, typer.Option("--language", metavar="CODE", help="ISO 639-1, for the record.")] = "",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of what is held back.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a manifest that is there.")] = False,
) -> Call:
    """Label a folder of recordings for priming.

    Words and speakers are divided into those to prime on, to validate on, and to test on.
    """
    return deferred("manifest", folder=folder, layout=layout, language=language, seed=seed, replace=replace)


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
    return deferred("enroll", word=word, files=files or [], model=model, words=words, backend=backend, device=device, **options)


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
    return deferred("listen", source=source, words=words, model=model, backend=backend, device=device, pcm=pcm, **options)


@cli.command()
def serve(
    uri: Annotated[str, typer.Option("--uri", metavar="URI", help="tcp://HOST:PORT or unix:///PATH.")] = "tcp://127.0.0.1:10400",
    words: Words = None,
    model: Model = None,
    backend: Backend = "torch",
) -> Call:
    """Serve the enrolled words as wake words over the Wyoming protocol."""
    return deferred("serve", uri=uri, words=words, model=model, backend=backend)


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
        return deferred("evaluate_stream", data=data, figure=figure, **of_stream, **common)
    given = {"--hours": hours, "--enrolments": enrolments, "--words-per-enrolment": words_each, "--figure": figure}
    for option in (option for option, value in given.items() if value is not None):
        raise typer.BadParameter(f"{option} describes a stream; add --stream.")
    options: dict[str, Any] = {"role": role, "subset": subset, "ways": ways, "shots": shots, "episodes": episodes, "seed": seed, "snr": snr}
    return deferred("evaluate", data=data, model=model, backend=backend, as_json=as_json, **options)


@cli.command()
def devices(
    levels: Annotated[bool, typer.Option("--levels", help="Measure each one's level for a second: say something.")] = False, as_json: Json = False
) -> Call:
    """List the microphones."""
    return deferred("devices", levels=levels, as_json=as_json)


@cli.command("map")
def map_model(
    model: Model = None,
    board: Annotated[str, typer.Option("--board", metavar="spin3|spin5", help="Kind of SpiNNaker board.")] = "spin5",
    count: Annotated[int, typer.Option("--words", metavar="N", help="Words enrolled.")] = 10,
    analytic: Annotated[bool, typer.Option("--analytic", help="Count only; do not ask sPyNNaker where it is installed.")] = False,
    as_json: Json = False,
) -> Call:
    """Count what a model takes of a SpiNNaker board."""
    return deferred("map", model=model, board=board, words=count, analytic=analytic, as_json=as_json)


@cli.command()
def doctor(words: Words = None, model: Model = None, as_json: Json = False) -> Call:
    """Check this installation and this machine."""
    return deferred("doctor", words=words, model=model, as_json=as_json)


@cli.command()
def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for the figure.")] = "demo",
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help="Real recordings instead of the synthetic voices.")] = None,
    model: Model = None,
    backend: Backend = "torch",
) -> Call:
    """Enroll "connect" from one voice, find it said by others."""
    return deferred("demo", out=out, data=data, model=model, backend=backend)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version

        print(f"sayonce {version('sayonce')}")
        raise typer.Exit


@cli.callback()
def common(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Options of `app` itself."""
