"""A made-up corpus in which everything that priming does can be shown in seconds.

Words are two or three syllables, each a voice with one formant or a band of noise; speakers differ in pitch, tempo, level and how long a vocal tract
they have. Every role, split and kind of recording of a real data folder is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.constants import SAMPLE_RATE
from audio.files import write_wav
from priming import objective
from priming.config import PrimeConfig
from priming.finish import save_primed
from priming.loop import Loop, StepReport
from priming.model import PrimedModel, load_model
from priming.outer_loop import OuterLoop
from priming.run import open_loop
from priming.sampler import Task
from priming.workspace import Workspace, open_workspace
from snn import features as population
from snn import schemes
from snn.config import LearnerConfig

FORMANTS = (450.0, 1000.0, 1900.0, 3300.0)  # Hz, of the voiced syllables
BANDS = ((2500.0, 4000.0), (4500.0, 7000.0))  # Hz, of the noisy ones
SPEAKERS = {"train": 7, "validation": 7, "test": 7}
WORDS = {"prime": 12, "validation": 6, "test": 6}
READERS = 4  # speakers who also read a sentence
HEADER = "path,corpus,language,word,word_role,speaker,speaker_split,duration_s"
NEURONS, GENERATOR = 24, 8
STEPS = 80  # of the longer run


def _band(length: int, low: float, high: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """White noise of unit level between two frequencies."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    sound: NDArray[np.float64] = np.fft.irfft(spectrum, length)
    sound /= sound.std()
    return sound


def _syllable(kind: int, pitch: float, tract: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    length = round(seconds * SAMPLE_RATE)
    if kind >= len(FORMANTS):
        low, high = BANDS[kind - len(FORMANTS)]
        sound = _band(length, low * tract, min(high * tract, 7600.0), rng)
    else:
        time = np.arange(length) / SAMPLE_RATE
        harmonics = np.arange(1, int(7000 / pitch))
        weight = np.exp(-0.5 * (np.log(harmonics * pitch / (FORMANTS[kind] * tract)) / 0.2) ** 2)
        sound = weight @ np.sin(2 * np.pi * pitch * harmonics[:, None] * time + rng.uniform(0, 6, (len(harmonics), 1)))
        sound /= sound.std()
    return sound * np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 0.5


def speak(word: tuple[int, ...], speaker: int, take: int) -> NDArray[np.float32]:
    """Say a word: float32 [n] at 16 kHz; the voice is the speaker's, the details are the take's."""
    voice = np.random.default_rng([1, speaker])
    pitch, tract = voice.uniform(90, 250), voice.uniform(0.85, 1.18)
    tempo, level = voice.uniform(0.8, 1.25), voice.uniform(0.02, 0.15)
    rng = np.random.default_rng([2, speaker, take, *word])
    pieces = [_syllable(kind, pitch * rng.uniform(0.95, 1.05), tract, rng.uniform(0.1, 0.16) / tempo, rng) for kind in word]
    said = np.concatenate([np.zeros(rng.integers(300, 1600)), *pieces, np.zeros(600)])
    spoken: NDArray[np.float32] = (level * said / np.abs(said).max() + 1e-3 * rng.standard_normal(len(said))).astype(np.float32)
    return spoken


def syllables() -> dict[str, list[tuple[int, ...]]]:
    """The words of each role, all different."""
    rng = np.random.default_rng(7)
    kinds = len(FORMANTS) + len(BANDS)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < sum(WORDS.values()):
        drawn[tuple(int(kind) for kind in rng.choice(kinds, rng.integers(2, 4), replace=False))] = None
    words = iter(drawn)
    return {role: [next(words) for _ in range(count)] for role, count in WORDS.items()}


def write_corpus(folder: Path) -> Path:
    """Write recordings and their manifest: every role is said by the speakers of its split, test words by validation speakers too."""
    lines = [HEADER]
    people = {split: [f"{split}{n}" for n in range(count)] for split, count in SPEAKERS.items()}
    numbers = {name: number for number, name in enumerate(name for names in people.values() for name in names)}

    def add(path: str, labels: str, samples: NDArray[np.float32], said_by: str = ",train") -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / path, samples)
        lines.append(f"{path},{labels},{said_by},{len(samples) / SAMPLE_RATE}")

    said = [("prime", "train"), ("validation", "validation"), ("test", "test"), ("test", "validation")]
    for role, split in said:
        for index, word in enumerate(syllables()[role]):
            for speaker in people[split]:
                name = f"{role}{index}"
                labels = f"speech_commands,en,{name},{role}"
                add(f"{name}/{speaker}_nohash_0.wav", labels, speak(word, numbers[speaker], 0), f"{speaker},{split}")
    aligned = ["path,word,word_role,start_s,end_s,score"]
    for speaker in people["train"][:READERS]:
        spoken = [speak(syllables()["prime"][index], numbers[speaker], 1) for index in range(4)]
        edges = np.cumsum([0, *(len(one) for one in spoken)]) / SAMPLE_RATE
        add(f"reading/{speaker}.wav", "librispeech,en,,prime", np.concatenate(spoken), f"{speaker},train")
        aligned += [f"reading/{speaker}.wav,prime{index},prime,{edges[index]},{edges[index + 1]},-0.5" for index in range(4)]
    (folder / "alignments.csv").write_text("\n".join(aligned) + "\n")
    rng = np.random.default_rng(3)
    for split in SPEAKERS:
        for number in range(2):
            hum = 0.02 * _band(round(3.4 * SAMPLE_RATE), 50.0, 600.0 + 2000 * number, rng)
            add(f"noise/{split}{number}.wav", "background_noise,,,noise", hum.astype(np.float32), f",{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 12 words for priming, 6 for validation and 6 for test, by 7 speakers of each split, and noise."""
    return write_corpus(tmp_path_factory.mktemp("toy"))


MakeConfig = Callable[..., PrimeConfig]


@pytest.fixture(scope="session")
def toy_config(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeConfig:
    """Configurations of short runs on the made-up corpus, which share what is encoded."""
    cache = tmp_path_factory.mktemp("cache")

    def make(out: Path, **changes: Any) -> PrimeConfig:
        settings: dict[str, Any] = {
            "data": toy_corpus,
            "out": out,
            "encoder": "mel",
            "steps": 8,
            "cache": cache,
            "clip_ms": 1040.0,
            "readout_share": 0.5,
            "readout_ways": 6,
            "eprop_ways": 4,
            "shots": 1,
            "background": 0,
            "background_clips": 24,
            "validations": 0,
            "validation_episodes": 10,
            "learner": LearnerConfig(
                inputs=320,
                step_ms=20.0,
                features=(NEURONS,),
                neurons=12,
                lsg_neurons=GENERATOR,
                projection=80,
                readout_tau_ms=100.0,
                delays_ms=(0.0, 160.0, 320.0),
            ),
        }
        return PrimeConfig(**(settings | changes))

    return make


@pytest.fixture(scope="session")
def toy_workspace(toy_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """What every short run reads."""
    return open_workspace(toy_config(tmp_path_factory.mktemp("unused") / "m.safetensors"), lambda line: None)


def copy_of(loop: OuterLoop) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in loop.weights.items()}


@dataclass(frozen=True)
class ToyRun:
    """A run that was long enough to have learnt something, and what it went through."""

    config: PrimeConfig
    loop: OuterLoop
    reports: list[StepReport]
    snapshots: list[dict[str, Tensor]]  # weights at the start, where the second stage begins, and at the end
    path: Path


@pytest.fixture(scope="session")
def toy_run(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Prime a model, step by step."""
    config = toy_config(tmp_path_factory.mktemp("run") / "toy.safetensors", steps=STEPS, rate=0.03, eprop_rate=0.01, learning_rate=0.02)
    assert config.learner is not None
    loop = OuterLoop(config, config.learner, toy_workspace)
    reports, snapshots = [], [copy_of(loop)]
    for step in range(STEPS):
        reports.append(loop.advance())
        if step + 1 in (STEPS // 2, STEPS):
            snapshots.append(copy_of(loop))
    return ToyRun(config, loop, reports, snapshots, save_primed(config, loop, toy_workspace, lambda line: None))


@pytest.fixture(scope="session")
def toy_model(toy_run: ToyRun) -> PrimedModel:
    """What the run wrote."""
    return load_model(toy_run.path)


@pytest.fixture(scope="session")
def toy_model_file(toy_run: ToyRun) -> Path:
    """The file that the run wrote."""
    return toy_run.path


class Patterns:
    """A family of words that are patterns of spikes: in each third of an utterance other channels are busy. No word is drawn twice.

    It stands in for encoded clips and for the sampler that draws from them.

    Args:
        busy: spikes a step of a busy channel.
        quiet: of all others.
    """

    CHANNELS, STEPS, THIRD, BUSY = 30, 15, 5, 5

    def __init__(self, busy: float, quiet: float) -> None:
        self._busy, self._quiet = busy, quiet
        self._said: NDArray[np.uint8] = np.zeros((0, self.STEPS, self.CHANNELS), np.uint8)
        self.rate = quiet + (busy - quiet) * self.BUSY / self.CHANNELS

    def _word(self, rng: np.random.Generator) -> NDArray[np.float64]:
        rates = np.full((3, self.CHANNELS), self._quiet)
        for third in rates:
            third[rng.choice(self.CHANNELS, self.BUSY, replace=False)] = self._busy
        return np.repeat(rates, self.THIRD, axis=0)

    def draw(self, step: int, ways: int, queries: int, unknown: int, most_shots: int = 1) -> Task:
        rng = np.random.default_rng([5, step])
        words = [self._word(rng) for _ in range(ways + unknown)]
        said = [*range(ways), *(word for word in range(ways) for _ in range(queries)), *range(ways, ways + unknown)]
        self._said = np.stack([rng.random(words[word].shape) < words[word] for word in said]).astype(np.uint8)
        labels = np.array([word if word < ways else -1 for word in said[ways:]])
        none = np.zeros(len(said), np.int64)
        return Task(np.arange(ways)[:, None], np.arange(ways, len(said)), labels, none[:ways, None], none[ways:])

    def take(self, clips: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.uint8]:
        taken: NDArray[np.uint8] = self._said[clips]
        return taken

    take_support = take

    def lateness(self, clips: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.zeros(len(clips), np.int64)


@pytest.fixture(scope="session")
def pattern_loop() -> Callable[..., Loop]:
    """Runs on words that are patterns of spikes, in a network whose readout decodes six of thirty channels at the start."""

    def make(steps: int, *, busy: float = 0.5, quiet: float = 0.08, neurons: int = 12, cell: str = "alif", **changes: Any) -> Loop:
        size = {"features": (16,), "neurons": neurons, "lsg_neurons": 8, "projection": 30}
        network = LearnerConfig(inputs=Patterns.CHANNELS, step_ms=40.0, readout_tau_ms=120.0, delays_ms=(0.0,), cell=cell, **size)
        fast = {
            "shots": 1,
            "background": 0,
            "rate": 0.02,
            "eprop_rate": 0.01,
            "learning_rate": 0.02,
            "readout_share": 0.5,
            "input_dropout": 0.0,
            "validations": 0,
        }
        config = PrimeConfig(**{"data": ".", "out": "m", "learner": network, "steps": steps, "readout_ways": 5, "eprop_ways": 5} | fast | changes)
        family = Patterns(busy, quiet)
        rate, decoder = torch.full((Patterns.CHANNELS,), family.rate), np.eye(6, Patterns.CHANNELS, dtype=np.float32)
        encoder = SimpleNamespace(decoder=lambda: decoder)
        workspace = SimpleNamespace(
            sampler=family, features=family, encoder=encoder, input_rate=lambda: rate, validation={}, teacher=None, background=None
        )
        return open_loop(config, workspace)

    return make


@pytest.fixture(scope="session")
def judge() -> Callable[..., tuple[float, float]]:
    """Mean loss of the decision and accuracy of a run's weights, or of others, on words that priming did not draw."""

    def judged(loop: Loop, weights: dict[str, Tensor] | None = None, tasks: int = 12) -> tuple[float, float]:
        own, found = loop.weights | (weights or {}), []
        with torch.no_grad():
            for step in range(10**6, 10**6 + tasks):
                task = loop.workspace.sampler.draw(step, 5, 3, 2)
                spikes = loop.workspace.features.take(np.concatenate([task.support.ravel(), task.queries]), np.zeros(0, np.int64))
                heard, _ = population.hear(loop.learner, own, torch.from_numpy(spikes.astype(np.float32)).transpose(0, 1))
                learnt, _ = schemes.learn(loop.learner, own, heard[:, :5])
                scores = schemes.respond(loop.learner, own, learnt, heard[:, 5:])[0].amax(0).T
                labels = torch.from_numpy(task.labels)
                found.append((float(objective.decision_loss(scores, labels, own)), objective.accuracy(scores, labels)))
        loss, correct = np.mean(found, axis=0).tolist()
        return loss, correct

    return judged
