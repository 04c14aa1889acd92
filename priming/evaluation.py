"""One-shot evaluation on a backend: what `app evaluate` runs.

Every word is learnt by the backend's own online e-prop from its own support alone, calibrated as `app enroll` calibrates it, and scored as `app
listen`
scores it. Nothing of the code that priming differentiates through is used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from hardware.backend import Backend, Shot
from priming.augmentation import mix_at_snr
from priming.calibration import calibrate_deployed
from priming.corpus import Clip, load, noise_clips, role_clips
from priming.episodes import Episode, draw_episodes, hearing
from priming.errors import DataError
from priming.metrics import Summary, summarise
from priming.model import PrimedModel

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


class _Ears:
    """Encodes clips once each, spikes packed; noisy queries are encoded anew every time."""

    def __init__(self, model: PrimedModel, noise: list[NDArray[np.float32]], snr_db: float | None) -> None:
        self._encoder = model.encoder()
        self._noise, self._snr_db = noise, snr_db
        self._heard: dict[str, NDArray[np.uint8]] = {}

    def clean(self, clip: Clip) -> NDArray[np.uint8]:
        if clip.key not in self._heard:
            self._heard[clip.key] = np.packbits(self._encoder.encode(hearing(load(clip))), axis=1)
        return np.unpackbits(self._heard[clip.key], axis=1, count=self._encoder.channels)

    def query(self, clip: Clip, rng: np.random.Generator) -> NDArray[np.uint8]:
        if self._snr_db is None:
            return self.clean(clip)
        heard = hearing(load(clip))
        noise = self._noise[int(rng.integers(len(self._noise)))]
        start = int(rng.integers(max(1, len(noise) - len(heard))))
        mixed = mix_at_snr(heard, noise[start : start + len(heard)], self._snr_db)
        return self._encoder.encode(mixed / np.float32(max(1.0, float(np.abs(mixed).max()))))


def episode_scores(
    model: PrimedModel, backend: Backend, supports: list[list[NDArray[np.uint8]]], queries: list[NDArray[np.uint8]]
) -> NDArray[np.float64]:
    """Learn the words of an episode and score its queries.

    Args:
        model: primed, loaded into the backend.
        backend: that learns and recognises.
        supports: spikes [T, I] of the utterances of each word.
        queries: spikes [T, I] of each query.

    Returns:
        [queries, words] normalised scores.
    """
    words: list[list[Shot]] = [[backend.learn(spikes) for spikes in shots] for shots in supports]
    backend.deploy(words)
    calibrations = calibrate_deployed(backend, model)
    raw = backend.score(queries).astype(np.float64)
    return (raw - [c.offset for c in calibrations]) / [c.scale for c in calibrations]


def evaluate(model: PrimedModel, backend: Backend, config: EvaluationConfig, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Run the protocol.

    Args:
        model: primed.
        backend: loaded with the model by this function.
        config: what to evaluate on.
        progress: called with episodes done and in all.

    Returns:
        The figures.

    Raises:
        DataError: unusable data folder, or more ways than words.
    """
    clips = role_clips(config.data, config.role, config.subset)
    noise: list[NDArray[np.float32]] = []
    if config.snr_db is not None:
        noise = [samples for clip in noise_clips(config.data, config.role) if len(samples := load(clip)) > 3 * SAMPLE_RATE and samples.std() > 1e-4]
        if not noise:
            raise DataError(f"{config.data} has no noise of the {config.role} part of 3 s or more for --snr")
    backend.load(model.config.learner, model.weights)
    ears = _Ears(model, noise, config.snr_db)
    episodes: Iterable[Episode] = draw_episodes(clips, config.ways, config.shots, config.episodes, config.seed)
    scores, labels = [], []
    for number, episode in enumerate(episodes):
        rng = np.random.default_rng([config.seed, NOISE_SEED, number])
        supports = [[ears.clean(clip) for clip in shots] for shots in episode.support]
        queries = [ears.query(clip, rng) for clip, _ in episode.queries]
        scores.append(episode_scores(model, backend, supports, queries))
        labels.append(np.array([label for _, label in episode.queries]))
        if progress:
            progress(number + 1, config.episodes)
    return summarise(scores, labels)
