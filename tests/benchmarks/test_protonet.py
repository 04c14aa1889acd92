"""Priming the prototypical network: it learns, it resumes where it was, and mistakes are told in one line."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import protonet
import pytest
import torch
from typer.testing import CliRunner

from priming.analog import AnalogEncoder, log_mel_constants
from priming.config import PrimeConfig
from priming.errors import ModelError
from priming.features import Features
from priming.prototypical import default_config, load_protonet
from priming.sampler import TaskSampler
from priming.workspace import collect, encode_family

STEPS = 24


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def config(corpus: Path, cache: Path) -> PrimeConfig:
    return PrimeConfig(data=corpus, out=cache / "net.safetensors", encoder="mel", steps=STEPS, cache=cache, clip_ms=1040.0, validation_episodes=10)


@pytest.fixture(scope="module")
def family(config: PrimeConfig) -> tuple[Features, TaskSampler]:
    encoder = AnalogEncoder(default_config("log-mel", config.clip_ms).features, log_mel_constants())
    return encode_family(config, collect(config), encoder, lambda line: None)


def new_run(config: PrimeConfig, family: tuple[Features, TaskSampler]) -> protonet.Run:
    return protonet.Run(config, default_config("log-mel", config.clip_ms), *family)


def test_priming_learns_the_family(config: PrimeConfig, family: tuple[Features, TaskSampler]) -> None:
    run = new_run(config, family)
    reports = np.array([run.advance() for _ in range(STEPS)])
    assert run.progress == 1
    assert reports[-6:, 0].mean() < 0.8 * reports[:6, 0].mean()
    assert reports[-6:, 1].mean() > reports[:6, 1].mean()


def test_a_resumed_run_is_the_uninterrupted_one(config: PrimeConfig, family: tuple[Features, TaskSampler], tmp_path: Path) -> None:
    whole, first, second = (new_run(config, family) for _ in range(3))
    for _ in range(4):
        whole.advance()
    for _ in range(2):
        first.advance()
    first.save(tmp_path / "checkpoint.safetensors")
    second.resume(tmp_path / "checkpoint.safetensors")
    for _ in range(2):
        second.advance()
    assert second.step == whole.step
    assert all(torch.equal(a, b) for a, b in zip(whole.network.state_dict().values(), second.network.state_dict().values(), strict=True))


def test_a_run_of_other_options_is_not_resumed(config: PrimeConfig, family: tuple[Features, TaskSampler], tmp_path: Path) -> None:
    new_run(config, family).save(tmp_path / "checkpoint.safetensors")
    with pytest.raises(ModelError, match="another configuration"):
        new_run(config.model_copy(update={"seed": 1}), family).resume(tmp_path / "checkpoint.safetensors")


def prime(*arguments: object) -> SimpleNamespace:
    found = CliRunner().invoke(protonet.cli, ["prime", *map(str, arguments)])
    return SimpleNamespace(code=found.exit_code, told=found.output, error=found.stderr, exception=found.exception)


def test_the_command_writes_a_network_that_the_comparison_reads(corpus: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "net.safetensors"
    found = prime("--data", corpus, "--out", out, "--steps", 2, "--cache", cache, "--left-out", "two,six")
    assert found.code == 0, found.told
    assert "validation" in found.told
    provenance = load_protonet(out).config.provenance
    assert provenance["steps"] == 2
    assert provenance["configuration"]["left_out"] == ["two", "six"]
    assert 0 <= provenance["validation"]["accuracy"] <= 1
    assert (tmp_path / "net.run" / "checkpoint.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--steps", 1, "--input", "words"), "--input takes mel or embedding"),
        ((), "either minutes or steps"),
        (("--steps", 1, "--input", "embedding", "--model", "nobody"), "no model 'nobody'"),
        (("--steps", 1, "--resume"), "no checkpoint"),
    ],
)
def test_a_mistake_is_told_in_one_line(corpus: Path, tmp_path: Path, cache: Path, arguments: tuple[object, ...], reason: str) -> None:
    found = prime("--data", corpus, "--out", tmp_path / "net.safetensors", "--cache", cache, *arguments)
    assert found.code == 2
    assert reason in found.error
    assert found.error.strip().count("\n") == 0
