"""Do the short cuts of listening change what is recognised? The same stream heard by the torch emulator, by numpy, and by numpy behind the gate.

    python benchmarks/listening_agreement.py [--model embedding] [--data DIR] [--utterances 200] [--json]

Without data: the demo's voices at four levels among silence of a room at -60 dBFS, its words listening. With data: utterances of the validation
role at levels within 40 dB, in silence, behind noise, sentences and each other (`priming.streams.utterance_scenes`), with five seconds of a silent
room between them; ten words of the role listen, learnt from other speakers. A detection of one run and one of the torch emulator's without a gate
are the same when their words are and they overlap; of these, the difference of scores is told.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import listening
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.detector import Detection
from app.engine import Engine, open_engine
from app.live import Listener
from app.store import StoredWord

WORDS = 10
SILENCE_S = 5.0
BLOCK = 10 * listening.RATE


def demo(engine: Engine) -> tuple[list[StoredWord], NDArray[np.float32]]:
    """Words and a stream of the demo's voices."""
    parts = []
    for seed, gain in enumerate((1.0, 0.3, 0.1, 0.03)):
        for word in listening.utterances().values():
            parts += [listening.room(SILENCE_S, seed), gain * word + listening.room(len(word) / listening.RATE, seed + 1)]
    return listening.words(engine, WORDS), np.concatenate(parts)


def validation(engine: Engine, data: Path, count: int) -> tuple[list[StoredWord], NDArray[np.float32]]:
    """Words and a stream of the validation role."""
    from app.stream_evaluation import enrol
    from priming.corpus import role_clips
    from priming.episodes import draw_episodes
    from priming.streams import draw_utterances, role_background, utterance_scenes

    clips = role_clips(data, "validation", "isolated")
    enrolment, _ = enrol(engine, next(iter(draw_episodes(clips, WORDS, 1, 1, seed=0))))
    names = {word.info.word for word in enrolment.words}
    others = [clip for clip in clips if clip.word in names and clip.speaker not in enrolment.speakers]
    said = draw_utterances(others, -(-count // len(names)), seed=0)[:count]
    parts = []
    for number, part in enumerate(utterance_scenes(said, role_background(data, "validation"), None, seed=0)):
        parts += [listening.room(SILENCE_S, number), part.samples]
    return list(enrolment.words), np.concatenate(parts)


def compare(reference: Sequence[Detection], detections: Sequence[Detection]) -> dict[str, float]:
    """Match what was recognised in two runs over one stream."""
    left, differences = list(detections), []
    for detection in reference:
        for other in left:
            if other.word == detection.word and other.start_s < detection.end_s and detection.start_s < other.end_s:
                differences.append(abs(other.score - detection.score))
                left.remove(other)
                break
    found = {"reference": len(reference), "detections": len(detections), "same": len(differences)}
    return {**found, "mean_difference": float(np.mean(differences or [0])), "largest_difference": float(np.max(differences or [0]))}


def heard(listener: Listener, stream: NDArray[np.float32], block: int) -> tuple[list[Detection], float]:
    """Hear a stream; return what was recognised, and for which share of the time the gate was closed."""
    detections: list[Detection] = []
    asleep = 0
    for first in range(0, len(stream), block):
        detections += listener.push(stream[first : first + block])
        asleep += listener.asleep
    return [*detections, *listener.flush()], asleep * block / len(stream)


def main(
    model: str = "embedding",
    data: Annotated[Path | None, typer.Option(help="folder with manifest.csv")] = None,
    utterances: Annotated[int, typer.Option(min=1)] = 200,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    engine = open_engine(model, "torch")
    words, stream = demo(engine) if data is None else validation(engine, data, utterances)
    reference, _ = heard(Listener(words, engine=engine), stream, BLOCK)
    found: dict[str, dict[str, float]] = {}
    for name, gate in (("numpy", False), ("numpy, gate", True)):
        detections, asleep = heard(Listener(words, model=model, gate=gate), stream, BLOCK if not gate else BLOCK // 100)
        found[name] = compare(reference, detections) | {"asleep": asleep}
    if as_json:
        print(json.dumps({"model": model, "minutes": len(stream) / listening.RATE / 60, **found}))
        return
    title = f"{model}, {len(stream) / listening.RATE / 60:.0f} minutes; torch without gate recognises {len(reference)} times"
    table = Table(title=title, box=None)
    for column in ("", "detections", "the same", "scores differ, mean", "at most", "asleep"):
        table.add_column(column, justify="right")
    for name, row in found.items():
        shown = (f"{row['detections']:.0f}", f"{row['same']:.0f}", f"{row['mean_difference']:.3f}", f"{row['largest_difference']:.3f}")
        table.add_row(name, *shown, f"{row['asleep']:.0%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
