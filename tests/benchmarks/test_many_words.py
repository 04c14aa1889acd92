"""What becomes of the utterances when many words listen: counted by hand on a small stream."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer

from app.stream_evaluation import Spikes
from priming.corpus import Clip
from priming.detection import Event
from priming.streams import Occurrence

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


many_words = benchmark("many_words")
false_accepts = benchmark("false_accepts")

SPEAKERS = {"lamp": "anna", "door": "ben"}  # who said what the words were learnt from
BACKGROUND = Spikes((), (), 1, (Occurrence("lamp", "carl", 50.0, 50.5, False),), 1800.0, 1800.0)


def said(word: str, speaker: str, start_s: float) -> Occurrence:
    return Occurrence(word, speaker, start_s, start_s + 0.5, True)


def test_each_utterance_is_recognised_taken_for_another_word_or_missed() -> None:
    truth = (
        said("lamp", "carl", 1.0),  # recognised
        said("door", "carl", 3.0),  # taken for lamp
        said("lamp", "dora", 5.0),  # missed
        said("door", "dora", 7.0),  # recognised, and taken for lamp as well
        said("lamp", "anna", 9.0),  # said by the one that it was learnt from: does not count
        said("chair", "carl", 11.0),  # not enrolled, taken for door
        said("table", "carl", 13.0),  # not enrolled, rightly passed over
        Occurrence("chair", "carl", 15.0, 15.5, False),  # in a sentence
    )
    events = [
        Event("lamp", 1.6, 4.0),
        Event("lamp", 3.6, 4.0),
        Event("lamp", 6.6, 4.0),  # too late for the one at 5 s
        Event("door", 7.7, 4.0),
        Event("lamp", 7.9, 4.0),
        Event("lamp", 9.7, 4.0),
        Event("door", 11.7, 4.0),
        Event("door", 15.6, 4.0),
    ]
    background = [Event("lamp", 50.7, 4.0), Event("lamp", 100.0, 4.0), Event("door", 50.7, 4.0)]
    found = many_words.outcome(background, events, truth, BACKGROUND, SPEAKERS)
    assert found == many_words.Outcome(recognised=2, confused=1, spoken=4, taken=1, unknown=2, accepts=2, hours=0.5)


def clip(word: str, speaker: str) -> Clip:
    return Clip(Path(), f"{word}/{speaker}.wav", "c", "en", word, "validation", speaker, "validation", 0.0, None, 1.0)


def test_words_that_one_person_says_are_not_drawn() -> None:
    clips = [clip(word, speaker) for word in ("lamp", "door", "chair") for speaker in ("anna", "ben")] + [clip("table", "anna")]
    for seed in range(5):
        episode = many_words.draw(clips, 3, np.random.default_rng(seed))
        assert set(episode.words) == {"lamp", "door", "chair"}
        assert [support[0].word for support in episode.support] == list(episode.words)
    with pytest.raises(typer.BadParameter, match="4 words are asked for, and 3"):
        many_words.draw(clips, 4, np.random.default_rng(0))


def test_the_interval_of_a_mean_over_enrolments() -> None:
    assert false_accepts.interval(np.full(20, 3), seed=0) == (3.0, 3.0)
    counts = np.random.default_rng(0).poisson(10, 50)
    low, high = false_accepts.interval(counts, seed=0)
    assert low < counts.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * counts.std() / np.sqrt(50), rel=0.15)
