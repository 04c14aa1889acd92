"""The network learns to say what the speech embedding says, from the same clips and no others, and a run goes on bit for bit from that stage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file

from audio.speech_embedding import DIMENSIONS, EmbeddingStream
from priming.config import PrimeConfig
from priming.corpus import load
from priming.distillation import EmbeddingTeacher, distillation_loss, draw_clips
from priming.episodes import hearing
from priming.errors import DataError
from priming.loop import StepReport
from priming.outer_loop import OuterLoop
from priming.run import prime
from priming.workspace import Workspace, _fit, open_workspace
from snn.config import LearnerConfig
from snn.initialise import DECODER_GAIN

MakeConfig = Callable[..., PrimeConfig]
STEPS = 12


@pytest.fixture(scope="module")
def make(toy_config: MakeConfig) -> MakeConfig:
    learner = toy_config(Path("m")).learner
    assert learner is not None

    def config(out: Path, **changes: Any) -> PrimeConfig:
        wide = learner.model_copy(update={"projection": DIMENSIONS})
        defaults: dict[str, Any] = {"learner": wide, "steps": STEPS, "distil_share": 0.5, "readout_share": 0.8, "distil_clips": 16}
        return toy_config(out, **(defaults | changes))

    return config


@pytest.fixture(scope="module")
def workspace(make: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_workspace(make(tmp_path_factory.mktemp("unused") / "m.safetensors"), lambda line: None)


def teacher_of(workspace: Workspace) -> EmbeddingTeacher:
    assert isinstance(workspace.teacher, EmbeddingTeacher)
    return workspace.teacher


def learner_of(config: PrimeConfig) -> LearnerConfig:
    assert config.learner is not None
    return config.learner


def test_the_teacher_says_what_the_embedding_says_at_the_end_of_the_clip(workspace: Workspace, make: MakeConfig, tmp_path: Path) -> None:
    teacher = teacher_of(workspace)
    clips = np.arange(20)
    said = teacher.values(clips, np.zeros(20, np.int64))
    encoder: Any = _fit(make(tmp_path / "m").model_copy(update={"encoder": "embedding"}), workspace.data)
    cosines = []
    for row, index in enumerate(clips):
        clip = workspace.features.clips[index]
        heard = hearing(load(clip), 0, clip.lead_s, clip.follow_s)
        vectors = (EmbeddingStream().push(heard) - encoder.constants["mean"]) @ encoder.constants["transform"] / encoder.constants["scale"]
        count = min(6, len(vectors))
        cosines.append(torch.cosine_similarity(said[-count:, row], torch.from_numpy(vectors[-count:]), dim=-1).mean())
    assert float(torch.stack(cosines).mean()) > 0.85  # a code of three thresholds, decoded
    assert 0.3 * DECODER_GAIN < float(said.square().sum(-1).mean().sqrt()) < 3 * DECODER_GAIN


def test_a_student_that_says_it_exactly_has_no_error(make: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = learner_of(make(tmp_path / "m"))
    loop_weights = {"center": torch.zeros(4), "readout.project": torch.eye(4)}
    heard = torch.randn(20, 3, 4, generator=torch.Generator().manual_seed(0))
    from snn import features, readout

    activity = type("Activity", (), {"z": torch.full((20, 3, 5), 0.12)})
    monkeypatch.setattr(features, "hear", lambda config, weights, x: (heard, activity))
    said = readout.low_pass(heard, network.readout_kappa)[3::4]  # vectors of 80 ms on steps of 20 ms
    loss, figures = distillation_loss(network, loop_weights, heard, said, target_rate=0.12)
    assert float(loss) == pytest.approx(0.0, abs=1e-5)
    assert figures["distillation cosine"] == pytest.approx(1.0, abs=1e-5)
    late = distillation_loss(network, loop_weights, heard, said.roll(1, 0), target_rate=0.12)[1]
    assert late["distillation error"] > 0.5


def test_it_learns(make: MakeConfig, workspace: Workspace, tmp_path: Path) -> None:
    config = make(tmp_path / "m.safetensors", steps=60, distil_share=0.7, readout_share=0.9, distil_rate=0.02)
    loop = OuterLoop(config, learner_of(config), workspace)
    reports = [loop.advance() for _ in range(42)]
    assert all(report.words == 0 and report.figures["stage"] == -1 for report in reports)
    cosines = [report.figures["distillation cosine"] for report in reports]
    assert np.mean(cosines[-5:]) > np.mean(cosines[:5]) + 0.2
    following = loop.advance()
    assert following.words == config.readout_ways
    assert following.figures["stage"] == 0
    assert following.figures["distillation cosine"] > np.mean(cosines[:5]) + 0.2  # the teacher goes on
    alone = OuterLoop(config.model_copy(update={"distil_weight": 0.0}), learner_of(config), workspace)
    alone.step = loop.step
    assert "distillation cosine" not in alone.advance().figures


def test_bands_change_whenever_clips_are_drawn_and_tempo_only_without_a_teacher(make: MakeConfig, workspace: Workspace, tmp_path: Path) -> None:
    def losses(taught: bool, **changes: float) -> list[float]:
        config = make(tmp_path / "m.safetensors", distil_share=0.5 if taught else 0.0, **changes)
        loop = OuterLoop(config, learner_of(config), workspace if taught else replace(workspace, teacher=None))
        return [loop.advance().loss for _ in range(8)]

    for taught in (True, False):
        plain = losses(taught)
        for changes in ({"band_warp": 0.2}, {"band_masks": 2}):
            changed = losses(taught, **changes)
            assert changed == losses(taught, **changes)
            assert all(mine != other for mine, other in zip(changed, plain, strict=True))
        assert (losses(taught, band_tempo=0.2) == plain) == taught


@pytest.mark.parametrize("prefetch", [False, True])
def test_an_interrupted_run_goes_on_bit_for_bit(make: MakeConfig, tmp_path: Path, prefetch: bool) -> None:
    changes = {"band_warp": 0.1, "band_masks": 1}
    whole = prime(make(tmp_path / "whole.safetensors", **changes))

    def interrupt(report: StepReport) -> None:
        if report.step == 4:
            raise KeyboardInterrupt

    config = make(tmp_path / "m.safetensors", prefetch=prefetch, **changes)
    with pytest.raises(KeyboardInterrupt):
        prime(config, watch=interrupt)
    prime(config, resume=True)
    expected, found = load_file(whole), load_file(config.out)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_clips_are_drawn_by_seed_and_step_from_both_kinds_of_speech(workspace: Workspace) -> None:
    first = draw_clips(workspace.features, 30, 1, seed=3, step=5)
    for ours, again in zip(first, draw_clips(workspace.features, 30, 1, seed=3, step=5), strict=True):
        assert np.array_equal(ours, again)
    assert not np.array_equal(first[0], draw_clips(workspace.features, 30, 1, seed=3, step=6)[0])
    sources = [workspace.features.clips[index].source for index in first[0]]
    assert sources.count("commands") == 15
    assert set(first[1].tolist()) == {0, 1}


def test_other_clips_and_too_few_units_are_refused(workspace: Workspace) -> None:
    teacher, student = teacher_of(workspace), workspace.features
    encoder: Any = type("Encoder", (), {"decoder": lambda self: np.zeros((DIMENSIONS, 576), np.float32), "step_ms": 40.0})()
    with pytest.raises(DataError, match="not the student's"):
        EmbeddingTeacher.of(replace(teacher.features, clips=teacher.features.clips[1:]), encoder, student, DIMENSIONS)
    with pytest.raises(DataError, match="80 readout units"):
        EmbeddingTeacher.of(teacher.features, encoder, student, 80)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"encoder": "embedding", "learner": None}, "for the encoder mel"), ({"distil_share": 0.9, "readout_share": 0.8}, "before W_in and W_rec")],
)
def test_what_makes_no_sense_is_refused(make: MakeConfig, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(tmp_path / "m.safetensors", **changes)


def test_the_recipe_after_distillation_is_gentler() -> None:
    plain = PrimeConfig(data=Path("d"), out=Path("o"), encoder="mel", steps=1)
    distilled = PrimeConfig(data=Path("d"), out=Path("o"), encoder="mel", steps=1, distil_share=0.7)
    assert distilled.rate < plain.rate
    assert PrimeConfig(data=Path("d"), out=Path("o"), encoder="mel", steps=1, distil_share=0.7, rate=0.1).rate == 0.1
