"""One-shot evaluation on a backend: what `app evaluate` runs.

Every word is learnt by the backend's own online e-prop from its own support alone, which is cut around its speech and calibrated as by `app enroll`,
and scored as `app listen` scores it. Nothing of the code that priming differentiates through is used.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.utterance import cut_utterance
from hardware.backend import Backend, Less, Shot
from hardware.heard import Heard
from priming.augmentation import mix_at_snr
from priming.calibration import Scale, hear_pieces, scale_deployed
from priming.corpus import Clip, load, noise_clips, role_clips
from priming.episodes import AFTER_S, SUPPORT_AFTER_S, Episode, draw_episodes, hearing, hearing_support
from priming.errors import DataError
from priming.metrics import Summary, summarise
from priming.model import PrimedModel

LONG_NOISE = 3 * SAMPLE_RATE  # shorter recordings of noise hold one click, not a room
NOISE_SEED = 1_000_003  # keeps the draw of noise apart from the draw of episodes


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate on."""

    data: Path
    role: str = "test"
    subset: str = "isolated"
    ways: int = 5
    shots: int = 1
    episodes: int = 600
    seed: int = 0
    snr_db: float | None = None  # queries are heard in noise at this ratio; supports are not


@dataclass(frozen=True, eq=False)
class Utterance:
    """A clip as it sounds in an episode."""

    clip: Clip
    key: str  # names the sound: alike for the same sound without noise, different for every query in noise
    noisy: NDArray[np.float32] | None = None  # the sound where noise was mixed in
    taught: bool = False  # whether a word is learnt from it: it is then cut around its speech, as an enrolment does
    speed: float = 1.0  # `audio.speed`; of what a word is learnt from

    def samples(self) -> NDArray[np.float32]:
        """Return float32 [n] at 16 kHz: the clip in its own background, or in the noise of the evaluation."""
        if self.noisy is not None:
            return self.noisy
        samples = load(self.clip)
        return hearing_support(cut_utterance(samples), self.speed) if self.taught else hearing(samples)

    @property
    def after_s(self) -> float:
        """Background behind the clip, in seconds."""
        return SUPPORT_AFTER_S if self.taught else AFTER_S

    def at_speeds(self, speeds: Sequence[float]) -> "list[Utterance]":
        """Return the utterance at every speed that a word is learnt from; 1 is the utterance itself."""
        return [self if speed == 1.0 else replace(self, key=f"{self.key}, speed {speed:g}", speed=speed) for speed in speeds]


@dataclass(frozen=True)
class SoundingEpisode:
    """An episode as it sounds."""

    episode: Episode
    supports: list[list[Utterance]]  # of each word
    queries: list[Utterance]
    labels: NDArray[np.int64]  # [queries] index of the word, -1 where it is not enrolled


@dataclass(frozen=True)
class HeardEpisode:
    """An episode as the network receives it."""

    episode: Episode
    supports: list[list[NDArray[np.uint8]]]  # spikes [T, I] of the utterances of each word, each at every speed of the model
    queries: list[NDArray[np.uint8]]  # spikes [T, I]
    less: list[NDArray[np.float32]]  # of each query [T], what running speech takes off its running scores
    labels: NDArray[np.int64]  # [queries] index of the word, -1 where it is not enrolled


class _Ears:
    """Encodes clips once each, spikes packed; noisy queries are encoded anew every time."""

    def __init__(self, model: PrimedModel) -> None:
        self._model, self._encoder = model, model.encoder()
        self._heard: dict[str, NDArray[np.uint8]] = {}
        self._less: dict[str, NDArray[np.float32]] = {}

    def __call__(self, utterance: Utterance) -> NDArray[np.uint8]:
        if utterance.noisy is not None:
            return self._encoder.encode(utterance.noisy)
        if utterance.key not in self._heard:
            self._heard[utterance.key] = np.packbits(self._encoder.encode(utterance.samples()), axis=1)
        return np.unpackbits(self._heard[utterance.key], axis=1, count=self._encoder.channels)

    def less(self, utterance: Utterance, steps: int) -> NDArray[np.float32]:
        """Return what running speech takes off the running scores of a query of so many steps: [T]."""
        if utterance.key not in self._less:
            stream = self._model.listens_for_running_speech()
            self._less[utterance.key] = np.zeros(steps, np.float32) if stream is None else stream.push(utterance.samples(), steps)
        return self._less[utterance.key]


def _in_noise(clip: Clip, noise: list[NDArray[np.float32]], snr_db: float, rng: np.random.Generator) -> NDArray[np.float32]:
    heard = hearing(load(clip))
    room = noise[int(rng.integers(len(noise)))]
    start = int(rng.integers(max(1, len(room) - len(heard))))
    mixed = mix_at_snr(heard, room[start : start + len(heard)], snr_db)
    return mixed / np.float32(max(1.0, float(np.abs(mixed).max())))


class EnrolledWord(NamedTuple):
    """A word of an episode, as the word store would keep it."""

    shots: Sequence[Shot]
    calibration: Scale


def enrol(model: PrimedModel, backend: Backend, shots: Sequence[Shot], heard: Sequence[Heard] | None) -> EnrolledWord:
    """Find how the scores of a word are read, as enrolment does; its threshold, which takes longer, is not needed for episodes."""
    backend.deploy([shots])
    return EnrolledWord(shots, scale_deployed(backend, model, heard)[0])


def episode_scores(backend: Backend, words: Sequence[EnrolledWord], queries: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float64]:
    """Score the queries of an episode as listening would.

    Args:
        backend: with the primed model loaded.
        words: enrolled words.
        queries: spikes [T, I] of each query.
        less: of each [T], what running speech takes off its running scores.

    Returns:
        [queries, words] normalised scores.
    """
    backend.deploy([word.shots for word in words])
    raw = backend.score(queries, less).astype(np.float64)
    return (raw - [word.calibration.offset for word in words]) / [word.calibration.scale for word in words]


def sounding_episodes(config: EvaluationConfig) -> Iterator[SoundingEpisode]:
    """Draw the protocol's episodes.

    Args:
        config: what to evaluate on.

    Yields:
        Episodes as sound.

    Raises:
        DataError: unusable data folder, or more ways than words.
    """
    clips = role_clips(config.data, config.role, config.subset)
    noise: list[NDArray[np.float32]] = []
    if config.snr_db is not None:
        noise = [samples for clip in noise_clips(config.data, config.role) if len(samples := load(clip)) > LONG_NOISE and samples.std() > 1e-4]
        if not noise:
            raise DataError(f"{config.data} has no noise of the {config.role} part of 3 s or more for --snr")
    for number, episode in enumerate(draw_episodes(clips, config.ways, config.shots, config.episodes, config.seed)):
        rng = np.random.default_rng([config.seed, NOISE_SEED, number])
        queries = []
        for place, (clip, _) in enumerate(episode.queries):
            if config.snr_db is None:
                queries.append(Utterance(clip, clip.key))
            else:
                queries.append(Utterance(clip, f"{clip.key}, query {place} of episode {number}", _in_noise(clip, noise, config.snr_db, rng)))
        supports = [[Utterance(clip, f"{clip.key}, taught", taught=True) for clip in shots] for shots in episode.support]
        yield SoundingEpisode(episode, supports, queries, np.array([label for _, label in episode.queries]))


def heard_episodes(model: PrimedModel, config: EvaluationConfig) -> Iterator[HeardEpisode]:
    """Draw the protocol's episodes and let the model's encoder hear them.

    Args:
        model: whose encoder hears.
        config: what to evaluate on.

    Yields:
        Episodes as spikes.

    Raises:
        DataError: unusable data folder, or more ways than words.
    """
    ears, speeds = _Ears(model), model.config.speeds
    for sounding in sounding_episodes(config):
        supports = [[ears(heard) for utterance in shots for heard in utterance.at_speeds(speeds)] for shots in sounding.supports]
        queries = [ears(utterance) for utterance in sounding.queries]
        less = [ears.less(utterance, len(query)) for utterance, query in zip(sounding.queries, queries, strict=True)]
        yield HeardEpisode(sounding.episode, supports, queries, less, sounding.labels)


def evaluate(model: PrimedModel, backend: Backend, config: EvaluationConfig, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Run the protocol.

    Args:
        model: primed.
        backend: the model is loaded into it here.
        config: what to evaluate on.
        progress: called with episodes done and in all.

    Returns:
        The figures.

    Raises:
        DataError: unusable data folder, or more ways than words.
    """
    backend.load(model.config.learner, model.weights)
    background = hear_pieces(backend, model)
    scores, labels = [], []
    enrolled: dict[tuple[str, ...], EnrolledWord] = {}  # by support clips: several episodes draw the same
    for number, heard in enumerate(heard_episodes(model, config), start=1):
        words = []
        for clips, supports in zip(heard.episode.support, heard.supports, strict=True):
            key = tuple(clip.key for clip in clips)
            if key not in enrolled:
                enrolled[key] = enrol(model, backend, [backend.learn(spikes) for spikes in supports], background)
            words.append(enrolled[key])
        scores.append(episode_scores(backend, words, heard.queries, heard.less))
        labels.append(heard.labels)
        if progress:
            progress(number, config.episodes)
    return summarise(scores, labels)
