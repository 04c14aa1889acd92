"""A day of listening in much less than a day: does memory stay flat, and is the same scene heard the same way at the end?

    python benchmarks/endurance.py [--model embedding] [--hours 24] [--sound-share 0.1] [--no-gate] [--data DIR] [--json]

Every simulated hour is the same scene: a lead of half a minute of silence, then stretches of voices at four levels, the rest silence of a room at
-60 dBFS. The voices are those of the demo, and ten of its words listen; with `--data`, ten minutes of the validation role's speech and noise are
added to the hour. What runs is the session of `app listen` with events, fed with larger blocks than a microphone's, which changes no bit of the
result (`tests/app/test_live.py`).

The table has a line for each hour: resident memory, detections and near misses, whether the hour's detections and their scores are those of the
first hour, whether every raw score after the lead is, bit for bit, and by how much the edges of detections differ, which come from the voice
detector. Ctrl-C ends early and reports what was done. Exits with 1 when detections or scores of an hour differ from the first, or memory grows by
more than 10 MB after the second hour.
"""

import dataclasses
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import listening
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.detector import Detection
from app.events import Event
from app.live import Listener
from app.near_misses import NearMiss
from app.session import Session, Source

HOUR = 3600 * listening.RATE  # samples, a whole number of the embedding's hops
BLOCK_S = 10
LEAD_S = 30  # of silence at the beginning of each hour, not compared: the first time everything begins there
GAINS = (1.0, 0.3, 0.1, 0.03)  # of the voices, in turn
WORDS = 10
DATA_MINUTES = 10
GROWTH_MB = 10.0


@dataclass(frozen=True)
class Hour:
    """What one simulated hour was like."""

    hour: int
    resident_mb: float
    detections: int
    near_misses: int
    same_detections: bool  # words and their scores, as in the first hour
    same_scores: bool  # all of them, at every step
    edges_s: float  # by which the edges of a detection differ from those in the first hour, at most
    minutes: float  # of wall time that it took


def scene(sound_share: float, data: Path | None) -> list[NDArray[np.float32]]:
    """Put an hour together, as pieces of which many are the same array."""
    quiet, voices = listening.room(60.0), listening.voices()
    loud = [gain * voices + listening.room(len(voices) / listening.RATE, seed) for seed, gain in enumerate(GAINS)]
    pieces, length = [quiet[: LEAD_S * listening.RATE]], LEAD_S * listening.RATE
    if data is not None:
        from priming.streams import background_scenes, role_background

        for part in background_scenes(role_background(data, "validation"), DATA_MINUTES / 60, None, seed=0):
            pieces.append(part.samples)
            length += len(part.samples)
    gap = round(len(voices) * (1 - sound_share) / sound_share)
    turn = 0
    while length < HOUR:
        silence = [quiet] * (gap // len(quiet)) + [quiet[: gap % len(quiet)]]
        for piece in (loud[turn % len(loud)], *silence):
            pieces.append(piece[: HOUR - length])
            length += len(pieces[-1])
        turn += 1
    return pieces


def blocks(pieces: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Cut pieces into blocks of ten seconds."""
    held: list[NDArray[np.float32]] = []
    size = BLOCK_S * listening.RATE
    for piece in pieces:
        for first in range(0, len(piece), size):
            held.append(piece[first : first + size])
            if sum(map(len, held)) >= size:
                joined = np.concatenate(held)
                yield joined[:size]
                held = [joined[size:]]
    if held and len(held[-1]):
        yield np.concatenate(held)


class Scores:
    """Stands between a listener and its backend and takes a digest of all raw scores."""

    def __init__(self, backend: Any) -> None:
        self._backend, self.digest, self.counted = backend, hashlib.sha256(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear, and note the scores."""
        scores: NDArray[np.float32] = self._backend.process(spikes)
        if self.counted:
            self.digest.update(scores.tobytes())
        return scores


def run(listener: Listener, pieces: list[NDArray[np.float32]], hours: int, tell: Callable[[Hour], object]) -> None:
    """Listen for hours of the same scene.

    Args:
        listener: with its words.
        pieces: of the scene.
        hours: how many times.
        tell: called with each hour as it ends.
    """
    scores = Scores(listener.engine.backend)
    listener.engine = dataclasses.replace(listener.engine, backend=scores)
    listener.reset()
    heard: list[Event] = []
    seconds = sum(map(len, pieces)) / listening.RATE

    def day() -> Iterator[NDArray[np.float32]]:
        first: tuple[list[tuple[str, float]], NDArray[np.float64], bytes] | None = None
        for number in range(hours):
            begin, scores.digest = time.monotonic(), hashlib.sha256()
            heard.clear()
            for place, block in enumerate(blocks(pieces)):
                scores.counted = place * BLOCK_S >= LEAD_S
                yield block
            compared_s = seconds * number + LEAD_S  # the session has told everything of an hour before it asks for more
            told = [event for event in heard if isinstance(event, Detection) and event.start_s >= compared_s]
            words, edges = [(d.word, d.score) for d in told], np.array([(d.start_s, d.end_s) for d in told]) - seconds * number
            first = first or (words, edges, scores.digest.digest())
            same = words == first[0], scores.digest.digest() == first[2]
            shifted = float(np.abs(edges - first[1]).max(initial=0)) if same[0] else math.nan
            minutes = (time.monotonic() - begin) / 60
            near_misses = sum(isinstance(event, NearMiss) for event in heard)
            tell(Hour(number, listening.resident_mb(), len(told), near_misses, *same, shifted, minutes))

    for event in Session(listener, Source(day(), live=False)).events():
        if isinstance(event, Detection | NearMiss):
            heard.append(event)


def drifted(found: list[Hour]) -> bool:
    """Say whether an hour differs from the first, or memory grows after the second."""
    grown = found[-1].resident_mb - found[min(1, len(found) - 1)].resident_mb
    return grown > GROWTH_MB or not all(hour.same_detections and hour.same_scores for hour in found)


def main(
    model: str = "embedding",
    hours: Annotated[int, typer.Option(min=1)] = 24,
    sound_share: Annotated[float, typer.Option(min=0.01, max=0.9, help="of the time in which somebody speaks")] = 0.1,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="let the networks hear silence too")] = False,
    data: Annotated[Path | None, typer.Option(help="folder with manifest.csv")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        listener = Listener(listening.store_words(model, WORDS, Path(folder)), model=model, gate=not no_gate)
    found: list[Hour] = []

    def tell(hour: Hour) -> None:
        found.append(hour)
        print(f"hour {hour.hour}: {hour.resident_mb:.1f} MB, {hour.detections} detections, {hour.minutes:.1f} min", file=sys.stderr, flush=True)

    run(listener, scene(sound_share, data), hours, tell)
    if not found:
        raise SystemExit("not one hour was heard to its end")
    if as_json:
        print(json.dumps([dataclasses.asdict(hour) for hour in found]))
    else:
        table = Table(title=f"{model}, {WORDS} words, {'without' if no_gate else 'with'} gate, {sound_share:.0%} voices", box=None)
        for name in (
            "hour",
            "resident MB",
            "detections",
            "near misses",
            "detections as in hour 0",
            "scores as in hour 0",
            "edges differ, s",
            "took, min",
        ):
            table.add_column(name, justify="right")
        for hour in found:
            same = ("yes" if value else "NO" for value in (hour.same_detections, hour.same_scores))
            table.add_row(
                str(hour.hour),
                f"{hour.resident_mb:.1f}",
                str(hour.detections),
                str(hour.near_misses),
                *same,
                f"{hour.edges_s:.3f}",
                f"{hour.minutes:.1f}",
            )
        Console(width=120).print(table)
    raise SystemExit(int(drifted(found)))


if __name__ == "__main__":
    typer.run(main)
