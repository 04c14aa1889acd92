"""Do thresholds keep the rate of false accepts that they aim at? Measured over aimed, on background that neither priming nor the bank has heard.

    python benchmarks/false_accepts.py --data DIR [--role validation] [--hours 1] [--enrolments 20] [--words 10] [--shots 1] [--json]

Words are enrolled as `app enroll` does, each with the threshold that aims at a rate; all words of an enrolment then listen together to the role's
speech and noise, at levels and in noise of every kind, as `app listen` does. A word that is really said there is no false accept. The interval is a
bootstrap over enrolments. The target: within a factor of two at every rate.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.engine import open_engine
from app.stream_evaluation import decide, encode, enrol, listen_scores, steps_delivered
from priming.corpus import role_clips
from priming.detection import match
from priming.episodes import draw_episodes
from priming.streams import background_scenes, role_background

RATES = (0.5, 1.0, 2.0, 5.0)  # per hour and word
AT_ONCE = 50  # words whose networks hear the background together
RESAMPLES = 2000
FACTOR = 2.0  # by which the measured rate may differ


def interval(counts: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Bootstrap a mean over enrolments: 95 % interval of the mean of [E]."""
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    low, high = np.quantile(counts[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    role: Annotated[str, typer.Option(help="validation or test")] = "validation",
    subset: Annotated[str, typer.Option("--set", help="of validation words: isolated or connected")] = "isolated",
    model: str = "embedding",
    hours: Annotated[float | None, typer.Option(help="of background; all of it when not given")] = None,
    enrolments: Annotated[int, typer.Option(min=2)] = 20,
    words: Annotated[int, typer.Option(min=1)] = 10,
    shots: Annotated[int, typer.Option(min=1)] = 1,
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    engine, material = open_engine(model, "torch"), role_background(data, role)
    spikes = encode(engine.model, background_scenes(material, hours, None, seed))
    episodes = draw_episodes(role_clips(data, role, subset), words, shots, enrolments, seed)
    sessions = [enrol(engine, episode)[0].words for episode in episodes]
    everybody = [word for session in sessions for word in session]
    scores = np.concatenate(
        [listen_scores(engine, everybody[first : first + AT_ONCE], spikes) for first in range(0, len(everybody), AT_ONCE)], axis=1
    )
    heard_h, delivered = spikes.background_s / 3600, steps_delivered(engine.encoder)
    rows = []
    for rate in RATES:
        accepts = np.zeros((len(sessions), words), np.int64)
        for e, session in enumerate(sessions):
            thresholds = [word.info.calibration.tail.threshold(rate) for word in session]
            events = decide(session, thresholds, scores[:, e * words : (e + 1) * words], engine.step_s, delivered)
            names = [word.info.word for word in session]
            for event in match(events, spikes.truth).wrong:
                accepts[e, names.index(event.word)] += 1
        per_word = accepts / heard_h
        low, high = interval(accepts.sum(1), seed)
        rows.append(
            {
                "aimed": rate,
                "measured": float(per_word.mean()),
                "ratio": float(per_word.mean() / rate),
                "interval": [low / words / heard_h / rate, high / words / heard_h / rate],
                "joint": float(per_word.sum(1).mean()),
                "median_word": float(np.median(per_word)),
                "worst_word": float(per_word.max()),
                "words_beyond_factor": float((per_word > FACTOR * rate).mean()),
            }
        )
    about = {"model": engine.model.name, "role": role, "set": subset, "enrolments": enrolments, "words": words, "shots": shots, "hours": heard_h}
    if as_json:
        print(json.dumps({**about, "rates": rows}))
        return
    title = f"{engine.model.name}, {role} words: {enrolments} enrolments of {words} words from {shots} utterance{'s' * (shots > 1)}, {heard_h:.2f} h"
    table = Table(title=title, box=None, padding=(0, 2))
    for column in ("aimed at", "measured", "measured/aimed", "95 %", f"joint, {words} words", "median word", "worst word", "words over twice"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = [row["aimed"], row["measured"], row["ratio"], row["interval"], row["joint"], row["median_word"], row["worst_word"]]
        shown = [f"{f[0]:.2f}-{f[1]:.2f}" if isinstance(f, list) else f"{f:.2f}" for f in figures]
        table.add_row(*shown, f"{row['words_beyond_factor']:.0%}")
    Console(width=140).print(table)


if __name__ == "__main__":
    typer.run(main)
