"""What enrolments do to the network and to false accepts: the figures that the bounds of safe learning rest on.

    python benchmarks/safe_learning.py --data DIR [--model embedding] [--utterances 64] [--background] [--json]

Enrolls utterances of validation words, half of them said in isolation and half cut from sentences, each as a word of its own. Prints by how much the
weights change, what the changed networks do on background (`app.safe_range`), how many words the checks of `app enroll` would refuse, and how often a
word answers to an utterance of another word. Then how many false accepts words have on the part of the background bank that they were not calibrated
on, over the number that their threshold aims at: one half of it, and a tenth of it. With `--background` also on all speech and noise of the role
validation, at many levels (a word that is really said there is no false accept), and how many utterances by other speakers words miss at
these thresholds. Intervals are bootstraps over words.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from app.engine import Engine, open_engine
from app.enrolment import judge
from app.safe_range import SafeRange, SafetyError
from app.safety import most_accepts
from app.store import StoredWord, WordInfo, now
from app.stream_evaluation import encode
from audio.errors import AudioError
from hardware import Shot
from priming.calibration import LARGEST, STRETCH_MS, Calibration, pieces, stretch_s, stretches, taken_off
from priming.corpus import load, role_clips
from priming.detection import LATE_S
from priming.episodes import hearing
from priming.streams import background_scenes, role_background
from priming.tail import Tail, fit_tail

RATES = (0.5, 1.0, 5.0, 10.0)  # false accepts an hour that are aimed at
PARTS = (2, 10)  # of the bank, of which one is held out
OTHERS = 6  # utterances of a word by other speakers, at most
PERCENTILES = (0, 50, 95, 100)
SETS = ("isolated", "connected")
AT_ONCE = 40  # clips that are scored together
NO_CALIBRATION = Calibration(
    offset=0.0, scale=1.0, threshold=1.0, tail=Tail(level=0.0, per_hour=1.0, spread=1.0, shape=-0.1, highest=0.0, minutes=1.0), own=(1.0,)
)  # the range of a network does not depend on it


def learn(engine: Engine, data: Path, count: int, seed: int) -> list[StoredWord]:
    """Learn words from single utterances, as `app enroll` does."""
    found: list[StoredWord] = []
    for subset in SETS:
        clips = role_clips(data, "validation", subset)
        rng, wanted = np.random.default_rng(seed), len(found) + count // len(SETS)
        for number in track(rng.permutation(len(clips)).tolist(), description=subset, transient=True):
            try:
                utterance = judge(load(clips[number]), clips[number].key)
            except AudioError:
                continue
            info = WordInfo(
                word=clips[number].word,
                model=engine.reference,
                model_sha256=engine.model.sha256,
                created=now(),
                calibration=NO_CALIBRATION,
                lag_s=0.0,
                shots=(utterance.about,),
                speeds=engine.model.config.speeds,
            )
            found.append(StoredWord(info=info, shots=engine.learn(utterance.speech)))
            if len(found) >= wanted:
                break
    return found


def score(engine: Engine, clips: NDArray[np.uint8], less: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """Score clips [C, T, I], less [C, T] for running speech, for the deployed words: [C, W]."""
    groups = track(range(0, len(clips), AT_ONCE), description="background", transient=True)
    parts = (slice(first, first + AT_ONCE) for first in groups)
    found = [engine.backend.score(list(clips[part]), None if less is None else list(less[part])) for part in parts]
    return np.concatenate(found).astype(np.float64)


def thresholds(in_pieces: NDArray[np.float64], in_stretches: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Place raw thresholds [rates, W] as `priming.calibration` does."""
    low, high = np.quantile(in_pieces, (0.5, 0.9), axis=0)
    scale = np.maximum(high - low, 1e-3)
    scaled, end = (in_stretches - low) / scale, (LARGEST - low) / scale
    tails = [fit_tail(scaled[:, w], seconds, float(end[w])) for w in range(len(low))]
    found: NDArray[np.float64] = low + scale * np.array([[tail.threshold(rate) for tail in tails] for rate in RATES])
    return found


def over_aimed(accepts: NDArray[np.int64], hours: NDArray[np.float64] | float) -> list[dict[str, Any]]:
    """Compare false accepts [rates, W] in so many hours with the rates aimed at."""
    found = []
    for rate, over in zip(RATES, accepts / hours / np.array(RATES)[:, None], strict=True):
        rng = np.random.default_rng(0)
        drawn = [float(over[rng.integers(0, len(over), len(over))].mean()) for _ in range(1000)]
        found.append({"aimed": rate, "measured_over_aimed": float(over.mean()), "interval": np.quantile(drawn, (0.025, 0.975)).round(2).tolist()})
    return found


def held_out(in_pieces: NDArray[np.float64], in_stretches: NDArray[np.float64], seconds: float, parts: int) -> list[dict[str, Any]]:
    """Calibrate on all parts of the bank but one and count false accepts on that one, for each in turn."""
    accepts = np.zeros((len(RATES), in_stretches.shape[1]), np.int64)
    piece, stretch = (np.arange(len(heard)) % parts for heard in (in_pieces, in_stretches))
    for part in range(parts):
        limits = thresholds(in_pieces[piece != part], in_stretches[stretch != part], seconds)
        accepts += (in_stretches[stretch == part] >= limits[:, None]).sum(1)
    return over_aimed(accepts, len(in_stretches) * seconds / 3600)


def in_background(engine: Engine, words: list[StoredWord], data: Path, limits: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Count false accepts in the background of the role validation, cut into stretches as long as those of the bank."""
    heard = encode(engine.model, background_scenes(role_background(data, "validation"), None, None, 0))
    spikes, less = (np.concatenate(parts) for parts in zip(*heard.blocks(), strict=True))
    steps = round(STRETCH_MS / 1000 / engine.step_s)
    clips = spikes[: len(spikes) // steps * steps].reshape(-1, steps, spikes.shape[1])
    scores, starts = score(engine, clips, less[: len(clips) * steps].reshape(-1, steps)), np.arange(len(clips)) * STRETCH_MS / 1000
    names, free = np.array([word.info.word for word in words]), np.ones(scores.shape, bool)
    for said in heard.truth:
        around = (starts + STRETCH_MS / 1000 > said.start_s) & (starts < said.end_s + LATE_S)
        free[np.ix_(around, names == said.word)] = False
    accepts = np.stack([((scores >= limit) & free).sum(0) for limit in limits])
    return over_aimed(accepts, free.sum(0) * STRETCH_MS / 3.6e6)


def misses(engine: Engine, words: list[StoredWord], data: Path, limits: NDArray[np.float64]) -> list[float]:
    """Return the share of utterances by other speakers that words miss, for each rate."""
    clips = {clip.key: clip for subset in SETS for clip in role_clips(data, "validation", subset)}
    rng, missed = np.random.default_rng(0), []
    for w, word in enumerate(track(words, description="utterances", transient=True)):
        speaker = clips[word.info.shots[0].source].speaker
        said = [clip for clip in clips.values() if clip.word == word.info.word and clip.speaker != speaker]
        engine.deploy([word])
        for k in rng.permutation(len(said))[:OTHERS].tolist():
            missed.append(engine.backend.score([engine.encoder.encode(hearing(load(said[k])))])[0, 0] < limits[:, w])
    return [float(share) for share in np.mean(missed, axis=0)]


def refusals(words: list[StoredWord], bounds: SafeRange) -> int:
    """Count the words whose networks leave the safe range."""
    count = 0
    for word in words:
        try:
            bounds.check(word)
        except SafetyError:
            count += 1
    return count


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    model: str = "embedding",
    utterances: Annotated[int, typer.Option(min=4)] = 64,
    background: Annotated[bool, typer.Option("--background", help="count false accepts in the role's speech and noise too")] = False,
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    engine = open_engine(model, "torch")
    words, bounds, seconds = learn(engine, data, utterances, seed), SafeRange(engine.model), stretch_s(engine.model)
    regimes = [bounds.regime(word) for word in words]
    engine.deploy(words)
    in_pieces, in_stretches = score(engine, pieces(engine.model)), score(engine, stretches(engine.model), taken_off(engine.model))
    shots: list[Shot] = [word.said[0] for word in words]
    answers = engine.backend.score([shot.inputs for shot in shots])  # [utterances, words]
    limits = thresholds(in_pieces, in_stretches, seconds)
    limit = limits[RATES.index(1.0)]
    other = np.array([[a.info.word != b.info.word for b in words] for a in words])
    most = most_accepts(len(in_stretches) * seconds / 3600)
    result: dict[str, Any] = {
        "words": len(words),
        "primed": vars(bounds.primed),
        "percentiles": PERCENTILES,
        **{
            name: np.percentile([getattr(regime, name) for regime in regimes], PERCENTILES).round(3).tolist()
            for name in ("change_in", "change_rec", "fullness", "rate", "most")
        },
        "out_of_range": refusals(words, bounds),
        "more_accepts_than_fit": int(((in_stretches >= limit).sum(0) > most).sum()),
        "answers_to_another_word": float((answers >= limit)[other].mean()),
        "pairs": int(other.sum()),
        **{f"held_out_one_of_{parts}": held_out(in_pieces, in_stretches, seconds, parts) for parts in PARTS},
    }
    if background:
        result["background"] = in_background(engine, words, data, limits)
        result["missed"] = misses(engine, words, data, limits)
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    typer.run(main)
