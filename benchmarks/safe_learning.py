"""What enrolments do to the network and to false accepts: the figures that the bounds of safe learning rest on.

    python benchmarks/safe_learning.py --data DIR [--model embedding] [--utterances 64] [--json]

Enrolls utterances of validation words, half of them said in isolation and half cut from sentences, each as a word of its own. Prints by how much the
weights change, what the changed networks do on background (`app.safe_range`), how many words the checks of `app enroll` would refuse, how often a
word answers to an utterance of another word, and how many false accepts words have on the half of the background bank that they were not calibrated
on, over the number that their threshold aims at, with a bootstrap interval over words.
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
from audio.errors import AudioError
from hardware import Shot
from priming.calibration import Calibration, Tail, fit_tail, pieces, stretch_s, stretches
from priming.corpus import load, role_clips

RATES = (1.0, 3.0, 10.0)  # false accepts an hour that are aimed at
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
            )
            found.append(StoredWord(info=info, shots=(engine.learn(utterance.speech),)))
            if len(found) >= wanted:
                break
    return found


def score(engine: Engine, clips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Score clips [C, T, I] for the deployed words: [C, W]."""
    groups = track(range(0, len(clips), AT_ONCE), description="background", transient=True)
    return np.concatenate([engine.backend.score(list(clips[first : first + AT_ONCE])) for first in groups]).astype(np.float64)


def thresholds(in_pieces: NDArray[np.float64], in_stretches: NDArray[np.float64], seconds: float, per_hour: float) -> NDArray[np.float64]:
    """Place raw thresholds [W] as `priming.calibration` does."""
    low, high = np.quantile(in_pieces, (0.5, 0.9), axis=0)
    scale = np.maximum(high - low, 1e-3)
    scaled = (in_stretches - low) / scale
    found: NDArray[np.float64] = low + scale * [fit_tail(scaled[:, w], seconds).threshold(per_hour) for w in range(len(low))]
    return found


def held_out(in_pieces: NDArray[np.float64], in_stretches: NDArray[np.float64], seconds: float, per_hour: float) -> dict[str, Any]:
    """Calibrate on either half of the bank and count false accepts on the other."""
    accepts, hours = np.zeros(in_stretches.shape[1]), 0.0
    for half in (0, 1):
        limit = thresholds(in_pieces[half::2], in_stretches[half::2], seconds, per_hour)
        accepts += (in_stretches[1 - half :: 2] >= limit).sum(0)
        hours += len(in_stretches[1 - half :: 2]) * seconds / 3600
    rng, over = np.random.default_rng(0), accepts / (per_hour * hours)
    drawn = [float(over[rng.integers(0, len(over), len(over))].mean()) for _ in range(1000)]
    return {"aimed": per_hour, "measured_over_aimed": float(over.mean()), "interval": np.quantile(drawn, (0.025, 0.975)).round(2).tolist()}


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
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    engine = open_engine(model, "torch")
    words, bounds, seconds = learn(engine, data, utterances, seed), SafeRange(engine.model), stretch_s(engine.model)
    regimes = [bounds.regime(word) for word in words]
    engine.deploy(words)
    in_pieces, in_stretches = score(engine, pieces(engine.model)), score(engine, stretches(engine.model))
    shots: list[Shot] = [word.shots[0] for word in words]
    answers = engine.backend.score([shot.inputs for shot in shots])  # [utterances, words]
    limit = thresholds(in_pieces, in_stretches, seconds, 1.0)
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
        "held_out": [held_out(in_pieces, in_stretches, seconds, rate) for rate in RATES],
    }
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    typer.run(main)
