"""Many words at once: false accepts, confusions and misses of a whole system with 1, 10 and 100 enrolled words.

    python benchmarks/many_words.py --data DIR [--counts 1,10,100] [--hours 0.5] [--utterances 5] [--json]

Validation words, said alone or cut from sentences, are enrolled from one utterance each with the threshold of `app enroll`, and listen together, as
`app listen` does, to background and to utterances of every validation word by other people than the one that a word was learnt from. An utterance
of an enrolled word is recognised (the word is told within half a second of its end), taken for another word, or missed; one of a word that was not
enrolled is rightly passed over or taken for a word.
"""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from app.engine import Engine, open_engine
from app.store import StoredWord
from app.stream_evaluation import Spikes, decide, encode, enrol, listen_scores, steps_delivered
from priming.corpus import Clip, role_clips
from priming.detection import WITHIN_S, Event, match
from priming.episodes import Episode
from priming.streams import Occurrence, background_scenes, draw_utterances, role_background, utterance_scenes

WORD_ENROLMENTS = 40  # words in all that are enrolled for each count, so that one word and ten words are measured as surely as a hundred
MOST_ENROLMENTS = 20


class Outcome(NamedTuple):
    """What became of the utterances and the background of one enrolment."""

    recognised: int
    confused: int  # taken for another word
    spoken: int  # utterances of enrolled words, by others than the word's own speaker
    taken: int  # utterances of other words that were taken for an enrolled one
    unknown: int
    accepts: int  # false accepts in the background
    hours: float  # of it


def outcome(background: list[Event], said: list[Event], truth: tuple[Occurrence, ...], heard: Spikes, speakers: dict[str, str]) -> Outcome:
    """Count one enrolment's detections.

    Args:
        background: detections in the background.
        said: detections among the utterances.
        truth: what was said there.
        heard: the background.
        speakers: who said what each enrolled word was learnt from.
    """
    matching = match(said, truth)
    in_time = matching.latency_s <= WITHIN_S + 1e-9  # False where there is no latency
    wrong_at = np.array([event.told_s for event in matching.wrong])
    recognised = confused = spoken = taken = unknown = 0
    for occurrence, told in zip(truth, in_time.tolist(), strict=True):
        if not occurrence.counted or speakers.get(occurrence.word) == occurrence.speaker:
            continue
        wrong = bool(((wrong_at >= occurrence.start_s) & (wrong_at <= occurrence.end_s + WITHIN_S)).any())
        if occurrence.word in speakers:
            spoken, recognised, confused = spoken + 1, recognised + told, confused + (wrong and not told)
        else:
            unknown, taken = unknown + 1, taken + wrong
    return Outcome(recognised, confused, spoken, taken, unknown, len(match(background, heard.truth).wrong), heard.background_s / 3600)


def draw(clips: list[Clip], count: int, rng: np.random.Generator) -> Episode:
    """Draw words that several people say, and an utterance of each."""
    said: dict[str, list[Clip]] = {}
    for clip in clips:
        said.setdefault(clip.word, []).append(clip)
    known = sorted(word for word, of_word in said.items() if len({clip.speaker for clip in of_word}) > 1)
    if count > len(known):
        raise typer.BadParameter(f"{count} words are asked for, and {len(known)} are said by several people")
    words = [known[int(i)] for i in rng.permutation(len(known))[:count]]
    return Episode(tuple(words), tuple((said[word][int(rng.integers(len(said[word])))],) for word in words), ())


def run(engine: Engine, words: tuple[StoredWord, ...], streams: tuple[Spikes, Spikes], speakers: dict[str, str]) -> Outcome:
    """Let words listen together to the background and to the utterances."""
    thresholds = [word.info.calibration.threshold for word in words]
    delivered = steps_delivered(engine.encoder)
    events = [decide(words, thresholds, listen_scores(engine, words, stream), engine.step_s, delivered) for stream in streams]
    return outcome(events[0], events[1], streams[1].truth, streams[0], speakers)


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    model: str = "embedding",
    counts: Annotated[str, typer.Option(help="of enrolled words")] = "1,10,100",
    hours: Annotated[float, typer.Option(min=0.01, help="of background")] = 0.5,
    utterances: Annotated[int, typer.Option(min=1, help="of each word")] = 5,
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    engine, material = open_engine(model, "torch"), role_background(data, "validation")
    clips = [*role_clips(data, "validation", "isolated"), *role_clips(data, "validation", "connected")]
    said = draw_utterances(clips, utterances, seed)
    streams = (
        encode(engine.model, background_scenes(material, hours, None, seed)),
        encode(engine.model, utterance_scenes(said, material, None, seed)),
    )
    rows = []
    for count in (int(text) for text in counts.split(",")):
        found = []
        for number in range(max(1, min(MOST_ENROLMENTS, WORD_ENROLMENTS // count))):
            episode = draw(clips, count, np.random.default_rng([seed, count, number]))
            enrolment, _ = enrol(engine, episode)
            speakers = {word: shots[0].speaker for word, shots in zip(episode.words, episode.support, strict=True)}
            found.append(run(engine, enrolment.words, streams, speakers))
        total = Outcome(*(sum(values) for values in zip(*found, strict=True)))
        rows.append(
            {
                "words": count,
                "enrolments": len(found),
                "false_accepts_per_hour": total.accepts / total.hours,
                "false_accepts_per_hour_and_word": total.accepts / total.hours / count,
                "recognised": total.recognised / max(1, total.spoken),
                "confused": total.confused / max(1, total.spoken),
                "missed": 1 - (total.recognised + total.confused) / max(1, total.spoken),
                "unknown_accepted": total.taken / max(1, total.unknown),
                "spoken": total.spoken,
                "unknown": total.unknown,
            }
        )
    if as_json:
        print(json.dumps({"model": engine.model.name, "hours": hours, "seed": seed, "counts": rows}))
        return
    table = Table(title=f"{engine.model.name}: validation words, {hours:g} h of background", box=None, padding=(0, 2))
    for column in ("words", "enrolments", "false accepts/h", "per word", "recognised", "taken for another", "missed", "other words accepted"):
        table.add_column(column, justify="right")
    for row in rows:
        shares = [f"{row[name]:.1%}" for name in ("recognised", "confused", "missed", "unknown_accepted")]
        rates = f"{row['false_accepts_per_hour']:.1f}", f"{row['false_accepts_per_hour_and_word']:.2f}"
        table.add_row(str(row["words"]), str(row["enrolments"]), *rates, *shares)
    Console(width=130).print(table)


if __name__ == "__main__":
    typer.run(main)
