"""Does the gate for silent rooms change what is recognised? The same stream heard with and without it.

    python benchmarks/gate_agreement.py [--model embedding] [--data DIR] [--utterances 200] [--json]

Without data: the demo's voices at four levels among silence of a room at -60 dBFS, its ten words listening. With data: utterances of the validation
role at levels within 40 dB, in silence, behind noise, sentences and each other (`priming.streams.utterance_scenes`), with three seconds of their
own scene's level of silence between them; ten words of the role listen, learnt from other speakers. A detection of one run and one of the other are
the same when their words are and their ends differ by less than 0.1 s; of these, the largest difference of scores is told.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import listening
import numpy as np
import typer
from numpy.typing import NDArray

from app.detector import Detection
from app.engine import Engine, open_engine
from app.live import Listener
from app.store import StoredWord

WORDS = 10
SILENCE_S = 5.0
CLOSE_S = 0.1
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


def compare(without: Sequence[Detection], through: Sequence[Detection]) -> dict[str, float]:
    """Match two runs over one stream."""
    left, differences = list(through), []
    for detection in without:
        for other in left:
            if other.word == detection.word and abs(other.end_s - detection.end_s) < CLOSE_S:
                differences.append(abs(other.score - detection.score))
                left.remove(other)
                break
    found = {"without": len(without), "through": len(through), "same": len(differences)}
    return {**found, "mean_difference": float(np.mean(differences or [0])), "largest_difference": float(np.max(differences or [0]))}


def main(
    model: str = "embedding",
    data: Annotated[Path | None, typer.Option(help="folder with manifest.csv")] = None,
    utterances: Annotated[int, typer.Option(min=1)] = 200,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    engine = open_engine(model, "torch")
    words, stream = demo(engine) if data is None else validation(engine, data, utterances)
    runs, asleep = [], 0
    for gate in (False, True):
        listener = Listener(words, model=model, gate=gate)
        detections: list[Detection] = []
        for first in range(0, len(stream), BLOCK if not gate else BLOCK // 100):
            detections += listener.push(stream[first : first + (BLOCK if not gate else BLOCK // 100)])
            asleep += gate and listener.asleep
        runs.append([*detections, *listener.flush()])
    found = compare(*runs) | {"minutes": len(stream) / listening.RATE / 60, "asleep": asleep * BLOCK / 100 / len(stream)}
    if as_json:
        print(json.dumps(found))
        return
    counts = (f"{found[name]:.0f}" for name in ("without", "through", "same"))
    print("{}, {:.0f} minutes: {} detections without the gate, {} through it, {} the same".format(model, found["minutes"], *counts))
    print(f"scores of these differ by {found['mean_difference']:.3f} in the mean, {found['largest_difference']:.3f} at most")
    print(f"the gate was closed for {found['asleep']:.0%} of the time")


if __name__ == "__main__":
    typer.run(main)
