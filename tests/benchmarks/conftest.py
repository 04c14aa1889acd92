"""What the tests of the benchmarks share: the modules beside the scripts, spoken words that can be told apart, and the made-up corpus."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audio.encoder import build_encoder, fit_embedding_encoder, fit_mel_encoder
from priming.corpus import Clip
from priming.episodes import hearing
from priming.evaluation import Utterance
from priming.model import ModelConfig, PrimedModel
from snn.config import LearnerConfig
from snn.initialise import initial_weights

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))  # where Python finds them when a script is run


def module_at(path: Path) -> ModuleType:
    """Import a file that is in no package, such as what other tests share."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """How the tests of priming make recordings."""
    return module_at(ROOT / "tests" / "priming" / "conftest.py")


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """Engines and words that the tests of the app listen with."""
    return module_at(ROOT / "tests" / "app" / "conftest.py")


@pytest.fixture(scope="session")
def corpus(made_up: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of made-up recordings."""
    folder: Path = made_up.write_corpus(tmp_path_factory.mktemp("benchmarks"))
    return folder


def in_a_room(spoken: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put a fifth of a second of faint noise on both sides: what `hearing` continues must be background, not the word itself."""
    room = (1e-3 * np.random.default_rng(len(spoken)).standard_normal((2, 3_200))).astype(np.float32)
    return np.concatenate([room[0], spoken, room[1]])


MakeModel = Callable[[str], PrimedModel]


@pytest.fixture(scope="session")
def make_model(made_up: ModuleType) -> MakeModel:
    """Models that were never primed, whose encoder is fitted to made-up words; by the kind of their encoder."""
    words = [hearing(in_a_room(made_up.speak(word, speaker, 0))) for word in made_up.syllables()["prime"] for speaker in range(3)]

    @functools.cache
    def make(kind: str) -> PrimedModel:
        config, constants = (fit_mel_encoder if kind == "mel" else fit_embedding_encoder)(words)
        encoder = build_encoder(config, constants)
        spikes = np.concatenate([encoder.encode(word) for word in words])
        learner = LearnerConfig(inputs=encoder.channels, step_ms=encoder.step_ms, features=(24,), neurons=12, lsg_neurons=8)
        rate = torch.from_numpy(spikes.mean(0)).to(torch.float32)
        weights = initial_weights(learner, rate, seed=0, decoder=torch.from_numpy(encoder.decoder()))
        return PrimedModel(ModelConfig(name=kind, encoder=config, learner=learner, provenance={}), weights, constants, spikes, "0" * 64)

    return make


VOICE = 3
Say = Callable[[tuple[int, ...], int], Utterance]


@pytest.fixture(scope="session")
def say(made_up: ModuleType) -> Say:
    """Utterances of a word, given by its syllables and the number of the take, by one voice."""

    def utterance(word: tuple[int, ...], take: int) -> Utterance:
        spoken: NDArray[np.float32] = hearing(in_a_room(made_up.speak(word, VOICE, take)))
        clip = Clip(Path(), "", "", "en", "word", "validation", "", "validation", 0.0, None, len(spoken) / 16_000)
        return Utterance(clip, f"{word}, take {take}", spoken)

    return utterance
