"""What `app evaluate --stream` runs: random enrolments, the role's background and utterances, and the curve between them.

False accepts are counted while every word of every enrolment hears all of the background; misses while it hears utterances of all words, one after
another. Nothing but the thresholds differs between the points of a curve.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.engine import Engine
from app.live import Listener
from app.store import StoredWord
from app.stream_evaluation import Enrolment, Spikes, decide, encode, enrol, listen_scores, steps_delivered

if TYPE_CHECKING:
    from priming.detection import Counts, Curve
    from priming.episodes import Episode
    from priming.streams import Scene

AT_ONCE = 200  # words whose networks hear a stream together
RATES = np.geomspace(60.0, 0.02, 48)  # about which false accepts per hour and word the operating points lie
TIMED_S = 30.0  # of sound that is listened to for the real-time factor
BLOCK_S = 0.08  # of that sound: the block of a live session

Progress = Callable[[str, float, float], None]  # what is going on, how much is done, of how much


@dataclass(frozen=True)
class StreamConfig:
    """What to evaluate on."""

    data: Path
    role: str = "test"
    hours: float | None = None  # of background; all of the role's, once, when None
    enrolments: int = 20
    words: int = 10  # of an enrolment
    shots: int = 1
    snr_db: float | None = None  # of utterances over noise; half of the scenes at 10 to 30 dB when None
    utterances: int = 40  # of each word, among which misses are counted
    seed: int = 0


@dataclass(frozen=True)
class StreamResult:
    """What came out.

    Attributes:
        common: operating points with one threshold for all words.
        own: operating points around each word's own threshold; the settings are shifts, 0 is as shipped.
        shipped: index of shift 0 in `own`.
        stream_hours: length of both streams together.
        unfit: enrolment utterances that `app enroll` would have refused; they were learnt from whole.
        real_time_factor: seconds of computing for a second of sound, listening for the words of one enrolment.
        seconds: how long what took.
    """

    common: "Curve"
    own: "Curve"
    shipped: int
    stream_hours: float
    unfit: int
    real_time_factor: float
    seconds: dict[str, float]


def operating_points(scores: NDArray[np.float32], step_s: float) -> NDArray[np.float64]:
    """Choose settings that lie evenly over the rates of false accepts.

    Args:
        scores: [T, W] of background.
        step_s: length of a step.

    Returns:
        [K] ascending thresholds; nothing passes the last.
    """
    second = max(1, round(1 / step_s))
    whole = max(1, len(scores) // second)
    peaks = scores[: whole * second].reshape(whole, -1, scores.shape[1]).max(axis=1)
    levels = np.quantile(peaks.astype(np.float64), np.clip(1 - RATES / 3600, 0, 1))
    top = float(scores.max())
    return np.unique(np.append(levels, np.nextafter(np.float32(top), np.float32(np.inf))))


def real_time_factor(engine: Engine, words: Sequence[StoredWord], scenes: "Iterable[Scene]") -> float:
    """Measure the computing time of a live session for a second of sound."""
    from audio.constants import SAMPLE_RATE

    listener = Listener(words, engine=engine)
    block, heard, took = round(BLOCK_S * SAMPLE_RATE), 0.0, 0.0
    for scene in scenes:
        for first in range(0, len(scene.samples), block):
            start = time.perf_counter()
            listener.push(scene.samples[first : first + block])
            took += time.perf_counter() - start
        heard += len(scene.samples) / SAMPLE_RATE
        if heard >= TIMED_S:
            break
    return took / heard


def evaluate_stream(engine: Engine, config: StreamConfig, progress: Progress | None = None) -> StreamResult:
    """Run the evaluation.

    Args:
        engine: model and backend.
        config: what to evaluate on.
        progress: called with what is going on, how much of it is done, and how much there is.

    Raises:
        DataError: an unusable data folder, an unknown role, or more words than the role has.
    """
    from priming.corpus import role_clips
    from priming.detection import Curve
    from priming.episodes import draw_episodes
    from priming.streams import background_scenes, draw_utterances, role_background, utterance_scenes

    tell = progress or (lambda what, done, total: None)
    clock = _Clock()
    clips, material = role_clips(config.data, config.role), role_background(config.data, config.role)
    episodes = list(draw_episodes(clips, config.words, config.shots, config.enrolments, config.seed))
    wanted = {word for episode in episodes for word in episode.words}
    said = draw_utterances([clip for clip in clips if clip.word in wanted], config.utterances, config.seed)
    with clock.measure("encoding"):
        played = 3600 * (material.hours if config.hours is None else config.hours)
        scenes = background_scenes(material, config.hours, config.snr_db, config.seed)
        background = encode(engine.model, scenes, lambda heard_s: tell("encoding", min(heard_s, played), played))
        utterances = encode(engine.model, utterance_scenes(said, material, config.snr_db, config.seed))
    with clock.measure("enrolling"):
        enrolments, unfit = _enrol_all(engine, episodes, tell)
    with clock.measure("listening"):
        everybody = [word for enrolment in enrolments for word in enrolment.words]
        heard, spoken = _listen_all(engine, everybody, (background, utterances), tell)
    with clock.measure("deciding"):
        own = np.array([word.info.calibration.threshold for word in everybody])
        common = operating_points(heard, engine.step_s)
        shifts = np.unique(np.append(operating_points(heard - own.astype(np.float32), engine.step_s), 0.0))
        delivered = steps_delivered(engine.encoder)
        counts: list[list[Counts]] = [[], []]
        first = 0
        for number, enrolment in enumerate(enrolments, 1):
            columns = slice(first, first := first + len(enrolment.words))
            streams = ((background, heard[:, columns]), (utterances, spoken[:, columns]))
            for kept, points in zip(counts, (common[:, None] + 0 * own[columns], shifts[:, None] + own[columns]), strict=True):
                kept.append(_decide_all(enrolment, points, streams, engine.step_s, delivered))
            tell("deciding", number, len(enrolments))
    hours = background.background_s / 3600
    return StreamResult(
        common=Curve(common, counts[0], hours, config.seed),
        own=Curve(shifts, counts[1], hours, config.seed),
        shipped=int(np.searchsorted(shifts, 0.0)),
        stream_hours=(background.seconds + utterances.seconds) / 3600,
        unfit=unfit,
        real_time_factor=real_time_factor(engine, enrolments[0].words, utterance_scenes(said, material, config.snr_db, config.seed)),
        seconds=clock.seconds,
    )


@dataclass
class _Clock:
    """Adds up how long what takes."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 1)


def _enrol_all(engine: Engine, episodes: "Sequence[Episode]", tell: Progress) -> tuple[list[Enrolment], int]:
    """Enrol every episode's words; count the utterances that `app enroll` would have refused."""
    enrolments, unfit = [], 0
    for number, episode in enumerate(episodes, 1):
        enrolment, refused = enrol(engine, episode)
        enrolments.append(enrolment)
        unfit += refused
        tell("enrolling", number, len(episodes))
    return enrolments, unfit


def _listen_all(engine: Engine, words: Sequence[StoredWord], streams: Sequence[Spikes], tell: Progress) -> list[NDArray[np.float32]]:
    """Score every stream for every word, as many words together as the memory likes: float32 [T, W] for each stream."""
    scores = [np.empty((stream.steps, len(words)), np.float32) for stream in streams]
    total, done = float(sum(array.size for array in scores)), 0.0
    for first in range(0, len(words), AT_ONCE):
        group = words[first : first + AT_ONCE]
        for array, stream in zip(scores, streams, strict=True):

            def watch(heard: float, before: float = done) -> None:
                tell("listening", before + heard, total)

            array[:, first : first + AT_ONCE] = listen_scores(engine, group, stream, watch)
            done += stream.steps * len(group)
    return scores


def _decide_all(
    enrolment: Enrolment,
    points: NDArray[np.float64],
    streams: tuple[tuple[Spikes, NDArray[np.float32]], tuple[Spikes, NDArray[np.float32]]],
    step_s: float,
    delivered: int,
) -> "Counts":
    """Count one enrolment's detections in the background and among the utterances, at thresholds [K, W]."""
    from priming.detection import Heard, count

    (background, heard), (utterances, spoken) = streams
    found = [Heard(*(decide(enrolment.words, row, scores, step_s, delivered) for scores in (heard, spoken))) for row in points.tolist()]
    truth = [said._replace(counted=said.counted and said.speaker not in enrolment.speakers) for said in utterances.truth]
    return count([word.info.word for word in enrolment.words], found, background.truth, truth)
