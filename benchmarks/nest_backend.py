"""What the backend `nest` costs, and how far it is from `torch`.

    python benchmarks/nest_backend.py [--model embedding-alif] [--words 3] [--pieces 40]

Utterances and sound are pieces of the model's own background bank, so no recordings are needed. Each backend learns the words, hears pieces of
6.4 s at a time, as calibration does, and then the first of them in blocks of two steps, as `app listen` does. Printed are processor seconds of this
process, which count what the machine's other work does not take away, and the largest difference of a score.
"""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import typer

from hardware import open_backend
from priming.model import load_model

UTTERANCE, PIECE, BLOCK = 50, 160, 2  # steps
BLOCKS = 40


def used(work: Callable[[Any], Any], inputs: Sequence[Any]) -> tuple[float, list[Any]]:
    """Return the processor seconds that work takes on all inputs, and what it makes of them."""
    before = time.process_time()
    found = [work(given) for given in inputs]
    return time.process_time() - before, found


def main(
    model: str = "embedding-alif",
    words: Annotated[int, typer.Option(min=1, max=50)] = 3,
    pieces: Annotated[int, typer.Option(min=1, max=200)] = 40,
) -> None:
    """Measure."""
    loaded = load_model(model)
    bank, step_ms = loaded.background, loaded.config.learner.step_ms
    uttered = [bank[first : first + UTTERANCE] for first in range(0, words * UTTERANCE, UTTERANCE)]
    clips = [bank[first : first + PIECE] for first in range(0, pieces * PIECE, PIECE)]
    scores: dict[str, tuple[Any, Any]] = {}
    for name in ("torch", "nest"):
        backend = open_backend(name)
        backend.load(loaded.config.learner, loaded.weights)
        backend.learn(uttered[0][:5])  # imports
        learning, shots = used(backend.learn, uttered)
        backend.deploy([[shot] for shot in shots])
        backend.process(clips[0][:BLOCK])  # builds
        hearing, whole = used(backend.score, [clips])
        blocks = np.split(clips[0][: BLOCKS * BLOCK], BLOCKS)
        streaming, running = used(backend.process, blocks)
        scores[name] = whole[0], np.concatenate(running)
        print(
            f"{name}: {learning / words:.2f} s to learn {UTTERANCE} steps, {1000 * hearing / (pieces * PIECE):.2f} ms a step in pieces of {PIECE}, "
            f"{1000 * streaming / BLOCKS:.0f} ms a block of {BLOCK * step_ms:.0f} ms of sound; {words} words"
        )
    for what, mine, theirs in zip(("pieces", "blocks"), scores["torch"], scores["nest"], strict=True):
        print(f"largest difference of a score, {what}: {np.abs(mine - theirs).max():.1e} (scores span {np.ptp(mine):.2f})")
    print(f"best word of a piece: the same in {(scores['torch'][0].argmax(1) == scores['nest'][0].argmax(1)).sum()} of {pieces}")


if __name__ == "__main__":
    typer.run(main)
