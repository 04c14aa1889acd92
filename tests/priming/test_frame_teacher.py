"""A network primed on the same recordings teaches what a listener could have heard by then, and leaves its mark in the model that comes out."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import load_file

from priming.analog import AnalogConfig, AnalogEncoder, log_mel_constants, values
from priming.config import PrimeConfig
from priming.errors import DataError, ModelError
from priming.features import Features
from priming.frame_teacher import FRAMES, LATE_FRAMES, SOFTNESS, FrameTeacher
from priming.loop import StepReport
from priming.model import load_model
from priming.outer_loop import OuterLoop
from priming.prototypical import PrimedProtonet, Protonet, default_config, load_protonet, save_protonet
from priming.run import prime
from priming.workspace import Workspace, encode_family, open_workspace
from snn.initialise import DECODER_GAIN

MakeConfig = Callable[..., PrimeConfig]
STEPS = 12
WIDTH = 84  # directions of the teacher's vectors


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = default_config("log-mel", 1040.0).model_copy(update={"provenance": {"words": 7}})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Protonet(config).state_dict()
    path = tmp_path_factory.mktemp("teacher") / "net.safetensors"
    save_protonet(path, config, state, log_mel_constants())
    return path


@pytest.fixture(scope="module")
def make(toy_config: MakeConfig, network: Path) -> MakeConfig:
    learner = toy_config(Path("m")).learner
    assert learner is not None

    def config(out: Path, **changes: Any) -> PrimeConfig:
        wide = learner.model_copy(update={"projection": WIDTH})
        defaults: dict[str, Any] = {
            "learner": wide,
            "steps": STEPS,
            "distil_share": 0.5,
            "readout_share": 0.8,
            "distil_clips": 16,
            "teacher": network,
        }
        return toy_config(out, **(defaults | changes))

    return config


@pytest.fixture(scope="module")
def workspace(make: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_workspace(make(tmp_path_factory.mktemp("unused") / "m.safetensors"), lambda line: None)


@pytest.fixture(scope="module")
def encoded(make: MakeConfig, workspace: Workspace) -> Features:
    encoder = AnalogEncoder(AnalogConfig(kind="log-mel"), log_mel_constants())
    return encode_family(make(Path("m")), workspace.data, encoder, lambda line: None)[0]


@torch.no_grad()
def means(primed: PrimedProtonet, encoded: Features, clip: int, copy: int) -> NDArray[np.float64]:
    """Average earlier frames of a clip one by one: [V, D]."""
    heard = torch.from_numpy(values(encoded.take(np.array([clip]), np.array([copy])), "log-mel"))
    frames = primed.network.eval().frames(heard)[0].numpy().astype(np.float64)
    frames /= np.linalg.norm(frames, axis=1).mean()
    found = np.zeros_like(frames)
    for k in range(LATE_FRAMES, len(frames)):
        found[k] = np.mean([frames[k - j] for j in range(LATE_FRAMES, LATE_FRAMES + FRAMES) if k >= j], axis=0)
    return found


def test_a_vector_holds_what_was_heard_before_it(workspace: Workspace, encoded: Features, network: Path) -> None:
    teacher, primed = workspace.teacher, load_protonet(network)
    assert isinstance(teacher, FrameTeacher)
    clips, copies = np.array([0, 3, 4, 9, 11]), np.array([0, 1, 0, 1, 1])
    said = teacher.values(clips, copies).numpy()
    assert said.shape == (13, 5, WIDTH)  # 1040 ms, a vector every 80 ms
    fitted = np.concatenate([means(primed, encoded, clip, 0)[LATE_FRAMES:] for clip in range(0, len(encoded.clips), 13)])
    precision = np.linalg.inv(np.cov(fitted.T) + SOFTNESS * np.cov(fitted.T).trace() / WIDTH * np.eye(WIDTH))
    scale = DECODER_GAIN / np.sqrt(WIDTH)
    centred = np.stack([means(primed, encoded, clip, copy) for clip, copy in zip(clips, copies, strict=True)], 1) - fitted.mean(0)
    # The rotation drops out of products (of half-precision vectors): <v, v'> = scale^2 (x - m)' (C + s I)^-1 (x' - m).
    expected = scale**2 * np.einsum("vnd,de,vme->vnm", centred, precision, centred)
    np.testing.assert_allclose(np.einsum("vnd,vmd->vnm", said, said), expected, atol=0.02 * np.abs(expected).max())


def test_vectors_are_of_the_size_at_which_the_readout_starts(workspace: Workspace) -> None:
    assert workspace.teacher is not None
    clips = np.arange(0, len(workspace.features.clips), 13)
    said = workspace.teacher.values(clips, np.zeros(len(clips), np.int64))[LATE_FRAMES:]
    assert 0.2 * DECODER_GAIN < float(said.square().sum(-1).mean().sqrt()) < DECODER_GAIN
    assert float(said.mean((0, 1)).abs().max()) < 0.01


def test_the_student_learns_to_say_it(make: MakeConfig, workspace: Workspace, tmp_path: Path) -> None:
    config = make(tmp_path / "m.safetensors", steps=60, readout_share=0.9, distil_share=0.9)
    assert config.learner is not None
    loop = OuterLoop(config, config.learner, workspace)
    cosines = [loop.advance().figures["distillation cosine"] for _ in range(40)]
    assert np.mean(cosines[-5:]) > np.mean(cosines[:5]) + 0.1


def test_an_interrupted_run_goes_on_bit_for_bit_and_names_its_teacher(make: MakeConfig, network: Path, tmp_path: Path) -> None:
    whole = prime(make(tmp_path / "whole.safetensors"))

    def interrupt(report: StepReport) -> None:
        if report.step == 4:
            raise KeyboardInterrupt

    config = make(tmp_path / "m.safetensors", prefetch=True)
    with pytest.raises(KeyboardInterrupt):
        prime(config, watch=interrupt)
    prime(config, resume=True)
    expected, found = load_file(whole), load_file(config.out)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    provenance = load_model(str(whole)).config.provenance
    assert provenance["teacher"] == {"sha256": hashlib.sha256(network.read_bytes()).hexdigest(), "provenance": {"words": 7}}
    assert str(network.parent) not in str(provenance)


def test_a_teacher_that_does_not_suit_is_refused(workspace: Workspace, encoded: Features, network: Path) -> None:
    primed, student = load_protonet(network), workspace.features
    with pytest.raises(DataError, match="80 readout units"):
        FrameTeacher(primed, encoded, student, 80)
    with pytest.raises(DataError, match="not the student's"):
        FrameTeacher(primed, replace(encoded, clips=encoded.clips[1:]), student, WIDTH)
    for changes in ({"stride": 1}, {"features": AnalogConfig(kind="whitened")}):
        with pytest.raises(DataError, match="every 80 ms"):
            FrameTeacher(replace(primed, config=primed.config.model_copy(update=changes)), encoded, student, WIDTH)


def test_a_missing_teacher_is_told_before_anything_is_encoded(make: MakeConfig, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(ModelError, match="no prototypical network"):
        open_workspace(make(tmp_path / "m.safetensors", teacher=tmp_path / "nobody.safetensors"), told.append)
    assert not told


def test_a_teacher_that_knows_the_left_out_words_is_refused(make: MakeConfig, workspace: Workspace, network: Path, tmp_path: Path) -> None:
    words = sorted({clip.word for clip in workspace.features.clips})[:3]
    config = make(tmp_path / "m.safetensors", left_out=tuple(words))
    with pytest.raises(DataError, match=f"left_out names: {', '.join(words)}"):
        open_workspace(config, lambda line: None)
    primed = load_protonet(network)
    blind = primed.config.model_copy(update={"provenance": {"configuration": {"left_out": words}}})
    save_protonet(tmp_path / "blind.safetensors", blind, primed.network.state_dict(), primed.encoder.constants)
    assert open_workspace(config.model_copy(update={"teacher": tmp_path / "blind.safetensors"}), lambda line: None).teacher is not None


def test_a_teacher_without_distillation_is_refused(make: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="add --distil"):
        make(tmp_path / "m.safetensors", distil_share=0.0)
