"""Misses against false accepts per hour for each threshold, on validation words and validation speech: what `THRESHOLDS` was chosen with.

    python benchmarks/thresholds.py --data DIR [--model embedding] [--hours 1] [--enrolments 3]

Every validation word that was said in isolation is enrolled from one utterance, several times. Misses: clips of the word by other speakers. False
accepts: windows of 3 s of validation speech and noise in which the word's score passes the threshold, per hour and enrolled word; a window whose
alignment holds the word does not count.
"""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from audio.constants import SAMPLE_RATE
from audio.files import read_audio
from hardware import Shot, open_backend
from priming.calibration import calibrate_deployed
from priming.corpus import Clip, load, role_clips
from priming.episodes import hearing
from priming.manifest import read_alignments, read_manifest
from priming.model import load_model

WINDOW_S = 3.0
LEAD_S = 0.9  # heard before a window, so that the network is not at rest when it begins
QUERIES = 12  # of each word
BATCH = 100  # windows that are scored together


def windows(data: Path, hours: float, rng: np.random.Generator) -> list[tuple[NDArray[np.float32], frozenset[str]]]:
    """Cut validation speech and noise into windows, each with the words that it holds."""
    words = {path: said for path, said in read_alignments(data)}
    rows = [row for row in read_manifest(data) if row.speaker_split == "validation" and not row.word and row.duration_s > WINDOW_S + LEAD_S]
    found: list[tuple[NDArray[np.float32], frozenset[str]]] = []
    for index in rng.permutation(len(rows)).tolist():
        samples = read_audio(data / rows[index].path)
        for start in np.arange(0.0, len(samples) / SAMPLE_RATE - WINDOW_S - LEAD_S, WINDOW_S):
            end = start + LEAD_S + WINDOW_S
            held = frozenset(word.word for word in words.get(rows[index].path, []) if word.start_s < end and word.end_s > start)
            found.append((samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)], held))
        if len(found) * WINDOW_S >= hours * 3600:
            break
    return found


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    model: str = "embedding",
    hours: Annotated[float, typer.Option(min=0.01)] = 1.0,
    enrolments: Annotated[int, typer.Option(min=1)] = 3,
    seed: int = 0,
) -> None:
    """Measure."""
    rng = np.random.default_rng(seed)
    primed, backend = load_model(model), open_backend("torch")
    backend.load(primed.config.learner, primed.weights)
    encoder = primed.encoder()
    by_word: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in role_clips(data, "validation"):
        by_word[clip.word].append(clip)
    names: list[str] = []
    shots: list[list[Shot]] = []
    queries: list[tuple[int, NDArray[np.uint8]]] = []
    for word, clips in sorted(by_word.items()):
        for _ in range(enrolments):
            taught, *others = [clips[i] for i in rng.permutation(len(clips))]
            asked = [clip for clip in others if clip.speaker != taught.speaker][:QUERIES]
            queries += [(len(names), encoder.encode(hearing(load(clip)))) for clip in asked]
            names.append(word)
            shots.append([backend.learn(encoder.encode(hearing(load(taught))))])
    backend.deploy(shots)
    calibrations = calibrate_deployed(backend, primed)
    offset, scale = (np.array([getattr(c, key) for c in calibrations]) for key in ("offset", "scale"))
    said = (backend.score([spikes for _, spikes in queries]) - offset) / scale
    hits = np.array([row[word] for row, (word, _) in zip(said, queries, strict=True)])
    heard = windows(data, hours, rng)
    negatives = []
    for first in range(0, len(heard), BATCH):
        part = heard[first : first + BATCH]
        scores = (backend.score([encoder.encode(samples) for samples, _ in part]) - offset) / scale
        free = np.array([[name not in held for name in names] for _, held in part])
        negatives.append(np.where(free, scores, -np.inf))
    background = np.concatenate(negatives)
    word_hours = len(background) * WINDOW_S / 3600 * len(names)
    title = f"{primed.name}: {len(names)} enrolments of {len(by_word)} words, {len(hits)} queries, {word_hours:.0f} word-hours"
    table = Table(title=title, box=None, padding=(0, 2))
    for column in ("threshold", "missed", "false accepts per hour and word", "median word", "worst word"):
        table.add_column(column, justify="right")
    for threshold in np.arange(1.0, 5.01, 0.25):
        each = (background > threshold).sum(0) / (len(background) * WINDOW_S / 3600)
        table.add_row(f"{threshold:.2f}", f"{(hits <= threshold).mean():.1%}", f"{each.mean():.2f}", f"{np.median(each):.2f}", f"{each.max():.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
