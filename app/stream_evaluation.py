"""A long stream heard as `app listen` hears it, by many enrolments and at many thresholds, without hearing it again and again.

The stream is encoded once, and its spikes go to the networks of every enrolment with state carried over, as a live session sends them. The scores are
kept, so that the detector of the live session can decide at one operating point after another. A test shows that all this gives the same bits as
pushing the sound through `app.live.Listener`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.detector import Detector, Rule
from app.engine import Engine, normalise
from app.enrolment import describe, judge
from app.store import ShotInfo, StoredWord, now

if TYPE_CHECKING:
    from audio.encoder import SpikeEncoder
    from priming.corpus import Clip
    from priming.detection import Event
    from priming.episodes import Episode
    from priming.model import PrimedModel
    from priming.streams import Occurrence, Scene


@dataclass(frozen=True)
class Spikes:
    """A stream as the networks receive it, with the truth about it."""

    packed: tuple[NDArray[np.uint8], ...]  # one array [T, channels / 8] a scene
    less: tuple[NDArray[np.float32], ...]  # one array [T] a scene: what running speech takes off raw scores
    channels: int
    truth: "tuple[Occurrence, ...]"
    seconds: float
    background_s: float  # of which recorded background

    @property
    def steps(self) -> int:
        """Length in network steps."""
        return sum(len(block) for block in self.packed)

    def blocks(self) -> Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """Yield uint8 [T, channels] of 0 and 1, and [T] what is taken off raw scores."""
        return ((np.unpackbits(block, axis=1, count=self.channels), less) for block, less in zip(self.packed, self.less, strict=True))


class Enrolment(NamedTuple):
    """Words that listen together."""

    words: tuple[StoredWord, ...]
    speakers: frozenset[str]  # who said what they were learnt from


def encode(model: "PrimedModel", scenes: "Iterable[Scene]", heard: Callable[[float], None] | None = None) -> Spikes:
    """Encode a stream as one, scene by scene.

    Args:
        model: whose encoder hears.
        scenes: of the stream.
        heard: called with the seconds encoded so far.
    """
    from audio.constants import SAMPLE_RATE

    encoder, running = model.encoder(), model.listens_for_running_speech()
    stream, samples, background_s = encoder.stream(), 0, 0.0
    packed, less = list[NDArray[np.uint8]](), list[NDArray[np.float32]]()
    truth: list[Occurrence] = []
    for scene in scenes:
        packed.append(np.packbits(stream.push(scene.samples), axis=1))
        steps = len(packed[-1])
        less.append(np.zeros(steps, np.float32) if running is None else running.push(scene.samples, steps))
        start_s = samples / SAMPLE_RATE
        truth += [said._replace(start_s=said.start_s + start_s, end_s=said.end_s + start_s) for said in scene.truth]
        samples, background_s = samples + len(scene.samples), background_s + scene.background_s
        if heard:
            heard(samples / SAMPLE_RATE)
    return Spikes(tuple(packed), tuple(less), encoder.channels, tuple(truth), samples / SAMPLE_RATE, background_s)


def enrol(engine: Engine, episode: "Episode") -> tuple[Enrolment, int]:
    """Enrol the words of an episode as `app enroll` would.

    Returns:
        The enrolment, and how many utterances were unfit: too faint, clipped and the like. They are learnt from as they are: a stream evaluation that
        chose its utterances would not be comparable with the one-shot protocol.
    """
    stored, unfit = [], 0
    for word, clips in zip(episode.words, episode.support, strict=True):
        shots = []
        for clip in clips:
            speech, about, fit = _utterance(clip)
            shots.append((engine.learn(speech), about))
            unfit += not fit
        stored.append(describe(engine, word, shots, created=now()))
    return Enrolment(tuple(stored), frozenset(clip.speaker for clips in episode.support for clip in clips)), unfit


def _utterance(clip: "Clip") -> tuple[NDArray[np.float32], ShotInfo, bool]:
    """Cut a clip as an enrolment does, or take it whole where it would be refused."""
    from audio.constants import SAMPLE_RATE
    from audio.errors import AudioError
    from audio.voice import level_dbfs
    from priming.corpus import load
    from priming.episodes import BEFORE_S

    samples = load(clip)
    try:
        utterance = judge(samples, clip.key)
    except AudioError as error:
        length = len(samples) / SAMPLE_RATE
        about = ShotInfo(
            source=clip.key,
            heard_at=now(),
            duration_s=length,
            end_s=BEFORE_S + length,
            level_dbfs=level_dbfs(samples),
            snr_db=0.0,
            remarks=(str(error),),
        )
        return samples, about, False
    return utterance.speech, utterance.about, True


def listen_scores(engine: Engine, words: Sequence[StoredWord], spikes: Spikes, heard: Callable[[float], None] | None = None) -> NDArray[np.float32]:
    """Score a stream as a live session scores it.

    Args:
        engine: that the words were enrolled on.
        words: whose networks hear the stream, from rest.
        spikes: of the stream.
        heard: called with the steps heard so far, times words.

    Returns:
        float32 [T, W] normalised scores after each step.
    """
    engine.deploy(words)
    engine.backend.reset()
    scores = np.empty((spikes.steps, len(words)), np.float32)
    at = 0
    for block, less in spikes.blocks():
        scores[at : at + len(block)] = normalise(engine.backend.process(block) - less[:, None], words)
        at += len(block)
        if heard:
            heard(at * len(words))
    return scores


def decide(words: Sequence[StoredWord], thresholds: Sequence[float], scores: NDArray[np.float32], step_s: float, delivered: int) -> "list[Event]":
    """Run the detector of the live session over scores.

    Args:
        words: W of them.
        thresholds: [W] in normalised score.
        scores: [T, W].
        step_s: length of a network step.
        delivered: steps that the encoder delivers together; a word is told when the last of them is there.

    Returns:
        Detections with the time when they were told.
    """
    from priming.detection import Event

    infos = [word.info for word in words]
    detector = Detector([Rule(i.word, threshold, i.duration_s, i.lag_s) for i, threshold in zip(infos, thresholds, strict=True)], step_s)
    below: NDArray[np.bool_] = np.logical_and.reduce(scores < np.array(thresholds), axis=1)
    quiet = below & np.append(True, below[:-1])  # a detection is told in a step over the threshold, or in the first below it
    events: list[Event] = []
    at = 0
    for k in np.flatnonzero(~quiet).tolist():
        detector.push(scores[at:k], ())
        told_s = -(-(k + 1) // delivered) * delivered * step_s
        events += [Event(found.word, told_s, found.score) for found in detector.push(scores[k : k + 1], ())]
        at = k + 1
    detector.push(scores[at:], ())
    return events + [Event(found.word, len(scores) * step_s, found.score) for found in detector.flush()]


def steps_delivered(encoder: "SpikeEncoder") -> int:
    """How many steps an encoder delivers together, found by feeding it 10 ms at a time."""
    stream, block = encoder.stream(), np.zeros(160, np.float32)
    for _ in range(200):
        steps = len(stream.push(block))
        if steps:
            return steps
    return 1
