"""Priming learns, goes on after an interruption as if there had been none, and never spoils its checkpoint."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from priming import finish, objective, run, validation, workspace
from priming.checkpoint import load_checkpoint
from priming.config import PrimeConfig
from priming.corpus import role_clips
from priming.errors import DataError, ModelError
from priming.loop import StepReport
from priming.metrics import Summary
from priming.model import PrimedModel, load_model
from priming.outer_loop import OuterLoop
from priming.run import prime
from priming.validation import validate
from priming.workspace import Workspace, open_workspace

STEPS = 10
MakeConfig = Callable[..., PrimeConfig]

KILLED = """
import sys
from pathlib import Path
from priming.config import PrimeConfig
from priming.run import prime
if __name__ == "__main__":
    config = PrimeConfig.model_validate_json(sys.argv[1])
    prime(config, resume=config.out.with_suffix(".run").exists(), watch=lambda report: print(report.step, flush=True))
"""


@pytest.fixture(scope="module")
def reference(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """The tensors of a model that was primed without interruption, and what was announced meanwhile."""
    lines: list[str] = []
    path = prime(toy_config(tmp_path_factory.mktemp("reference") / "m.safetensors", steps=STEPS, validations=1), announce=lines.append)
    return load_file(path), lines


def assert_same(path: Path, tensors: dict[str, Any]) -> None:
    found = load_file(path)
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_run_says_what_it_does_and_leaves_logs(reference: tuple[dict[str, Any], list[str]]) -> None:
    lines = "\n".join(reference[1])
    for part in ("family: 100 clips of 12 words by 7 speakers, 2 recordings of noise", f"step {STEPS}, isolated validation words", "wrote "):
        assert part in lines
    assert "no validation on connected words" in lines
    written = Path(reference[1][-1].removeprefix("wrote "))
    model = load_model(written)
    assert (model.name, model.config.provenance["steps"], model.config.provenance["words"]) == ("m", STEPS, 12)
    assert 0 <= model.config.provenance["validation"]["isolated"]["accuracy"] <= 1
    assert list((written.with_suffix(".run") / "tensorboard").glob("events*"))


@pytest.mark.parametrize("seed", [1, 2])
def test_an_interrupted_run_goes_on_bit_for_bit(
    toy_config: MakeConfig, reference: tuple[dict[str, Any], list[str]], tmp_path: Path, seed: int
) -> None:
    config = toy_config(tmp_path / "m.safetensors", steps=STEPS)
    stop = int(np.random.default_rng(seed).integers(1, STEPS))

    def interrupt(report: StepReport) -> None:
        if report.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prime(config, watch=interrupt)
    assert not config.out.exists()
    seen: list[int] = []
    assert prime(config, resume=True, watch=lambda report: seen.append(report.step)) == config.out
    assert seen == list(range(stop + 1, STEPS + 1))
    assert_same(config.out, reference[0])


def test_a_run_that_was_killed_twice_goes_on_bit_for_bit(toy_config: MakeConfig, reference: tuple[dict[str, Any], list[str]], tmp_path: Path) -> None:
    config = toy_config(tmp_path / "m.safetensors", steps=STEPS, checkpoint_s=1e-9)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    rng = np.random.default_rng(0)
    root = str(Path(__file__).resolve().parents[2])
    for least in (2, 6):
        command = [sys.executable, str(script), config.model_dump_json()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}) as process:
            assert process.stdout
            for line in process.stdout:
                if int(line) >= least:
                    break
            time.sleep(rng.uniform(0, 0.1))  # in the middle of a step, or of writing
            process.kill()
            process.wait(30)
        assert process.returncode == -signal.SIGKILL
        assert not config.out.exists()
        assert least - 1 <= load_checkpoint(tmp_path / "m.run" / "checkpoint.safetensors").step < STEPS
    prime(config, resume=True)
    assert_same(config.out, reference[0])


def test_an_interruption_within_the_update_does_not_reach_the_checkpoint(
    toy_config: MakeConfig, reference: tuple[dict[str, Any], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "m.safetensors", steps=STEPS, checkpoint_s=1e-9)
    update, calls = torch.optim.Adam.step, 0

    def interrupted(self: torch.optim.Adam, *arguments: Any) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)  # some of the weights have changed already
            raise KeyboardInterrupt
        return update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prime(config)
    assert load_checkpoint(tmp_path / "m.run" / "checkpoint.safetensors").step == 3
    prime(config, resume=True)
    assert_same(config.out, reference[0])


def test_a_checkpoint_is_resumed_with_its_own_configuration_only(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "m.safetensors")
    path = tmp_path / "m.run" / "checkpoint.safetensors"
    with pytest.raises(ModelError, match="start without --resume"):
        prime(config, resume=True)
    assert config.learner is not None
    OuterLoop(config, config.learner, toy_workspace).save(path)
    before = path.read_bytes()
    smaller = config.learner.model_copy(update={"lsg_neurons": 4})
    for change in ({"steps": 9}, {"seed": 1}, {"rate": 0.1}, {"learner": smaller}):
        other = config.model_copy(update=change)
        assert other.learner is not None
        with pytest.raises(ModelError, match="another configuration") as caught:
            OuterLoop(other, other.learner, toy_workspace).resume(path)
        assert "\n" not in str(caught.value)
    moved = config.model_copy(update={"data": tmp_path, "out": tmp_path / "n.safetensors", "validations": 3, "checkpoint_s": 5.0})
    OuterLoop(moved, config.learner, toy_workspace).resume(path)
    path.write_bytes(before[:-3])
    with pytest.raises(ModelError, match="no checkpoint that can be resumed"):
        prime(config, resume=True)
    assert path.read_bytes() == before[:-3]  # what is left of it is not overwritten


def test_a_checkpoint_of_another_version_is_refused(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "m.safetensors")
    assert config.learner is not None
    older, newer = (OuterLoop(config, config.learner, toy_workspace) for _ in range(2))
    del older.weights["lsg.gate"]
    older.save(tmp_path / "checkpoint")
    with pytest.raises(ModelError, match="another version"):
        newer.resume(tmp_path / "checkpoint")


def test_another_seed_gives_other_weights(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        config = toy_config(tmp_path / "m.safetensors", seed=seed)
        assert config.learner is not None
        loop = OuterLoop(config, config.learner, toy_workspace)
        loop.advance()
        found.append(loop.learner_weights())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not any(torch.equal(found[0][name], found[2][name]) for name in ("w_in", "w_rec", "lsg.w_in", "lsg.out"))


def moved(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in first.items() if not torch.equal(tensor, second[name])}


def test_each_stage_moves_what_it_makes_plastic(toy_run: Any) -> None:
    start, middle, end = toy_run.snapshots
    assert [report.figures["stage"] for report in toy_run.reports] == [0.0] * (len(toy_run.reports) // 2) + [1.0] * (len(toy_run.reports) // 2)
    assert [report.words for report in toy_run.reports[:: len(toy_run.reports) - 1]] == [6, 4]
    unmoved = set(start) - moved(start, middle)
    # Nothing but e-prop uses the learning network and its generator.
    assert unmoved >= {"w_in", "w_rec", "log_rate_in", "log_rate_rec", "lsg.w_in", "lsg.gate", "lsg.out", "readout.learning"}
    assert moved(start, middle) >= {"feature.w_in", "feature.w_rec", "center", "lsg.profile", "readout.project", "readout.salience", "readout.gain"}
    assert moved(middle, end) == set(start)
    assert toy_run.loop.learner_weights().keys() == {name for name in start if not name.startswith("objective.")}


def loss_and_accuracy(loop: OuterLoop, weights: dict[str, Tensor], eprop_stage: bool) -> tuple[float, float]:
    """Mean over tasks that were not primed on."""
    kept = {name: tensor.detach().clone() for name, tensor in loop.weights.items()}
    try:
        for name, tensor in weights.items():
            loop.weights[name].data.copy_(tensor)
        found = []
        with torch.no_grad():
            for step in range(10_000, 10_012):
                task = loop.workspace.sampler.draw(step, 6, 3, 2)
                _, scores, labels, figures = loop._task_loss(task, step, eprop_stage, torch.Generator().manual_seed(step))
                found.append((figures["decision loss"], objective.accuracy(scores, labels)))
        loss, accuracy = np.mean(found, axis=0)
        return float(loss), float(accuracy)
    finally:
        for name, tensor in kept.items():
            loop.weights[name].data.copy_(tensor)


def test_the_readout_stage_learns(toy_run: Any, toy_model: PrimedModel) -> None:
    start, middle, end = toy_run.snapshots
    before, readout, after = (loss_and_accuracy(toy_run.loop, *asked) for asked in ((start, False), (middle, False), (end, True)))
    assert readout[0] < before[0] - 0.5
    assert before[1] + 0.1 < readout[1]
    assert after[1] > 0.7  # chance: one in six; the second stage keeps what the first learnt
    ((subset, summary),) = validate(toy_run.loop.learner_weights(), toy_run.loop.learner, toy_run.loop.workspace, toy_run.config)
    assert subset == "isolated"
    assert summary.accuracy > 0.5  # chance: one in five
    assert toy_model.config.provenance["validation"]["isolated"]["accuracy"] == summary.accuracy


def test_the_eprop_stage_learns(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    rates = {"rate": 0.03, "eprop_rate": 0.01, "learning_rate": 0.02}
    config = toy_config(tmp_path / "m.safetensors", steps=20, readout_share=0.0, **rates)
    assert config.learner is not None
    loop = OuterLoop(config, config.learner, toy_workspace)
    start = {name: tensor.detach().clone() for name, tensor in loop.weights.items()}
    for _ in range(20):
        assert loop.advance().figures["stage"] == 1.0
    before, after = loss_and_accuracy(loop, start, True), loss_and_accuracy(loop, dict(loop.weights), True)
    assert after[0] < before[0] - 0.3
    assert after[1] > before[1] + 0.1


@pytest.mark.parametrize("gradient_only", [False, True], ids=["loss", "gradient"])
def test_numbers_that_are_none_stop_the_run_and_leave_a_good_checkpoint(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradient_only: bool
) -> None:
    real, calls = objective.decision_loss, 0

    def broken(scores: Tensor, labels: Tensor, scalars: dict[str, Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        loss = real(scores, labels, scalars)
        if calls < 4:
            return loss
        return loss + (0 * scores).sum().sqrt() if gradient_only else loss * float("nan")

    monkeypatch.setattr(objective, "decision_loss", broken)
    config = toy_config(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="not a number at step 3") as caught:
        prime(config)
    assert "\n" not in str(caught.value)
    assert not config.out.exists()
    state = load_checkpoint(tmp_path / "m.run" / "checkpoint.safetensors")
    assert state.step == 3
    assert all(torch.isfinite(tensor).all() for tensor in (*state.weights.values(), *state.optimizer.values()))


def test_a_missing_gpu_is_told_before_anything_is_read(toy_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(run, "open_workspace", lambda *_: pytest.fail("the data were read"))
    with pytest.raises(DataError, match="no CUDA device"):
        prime(toy_config(tmp_path / "m.safetensors", device="cuda"))


def test_a_run_needs_one_budget(toy_config: MakeConfig, tmp_path: Path) -> None:
    for budget in ({"steps": None}, {"minutes": 1.0}, {"steps": 0}, {"steps": None, "minutes": float("nan")}, {"seed": 2**40}):
        with pytest.raises(ValueError, match=r"validation error"):
            toy_config(tmp_path / "m.safetensors", **budget)


def test_minutes_are_a_budget_too(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "m.safetensors", steps=None, minutes=1.0)
    assert config.learner is not None
    loop = OuterLoop(config, config.learner, toy_workspace)
    first = loop.advance()
    assert 0 < first.progress == first.elapsed_s / 60 < 1
    loop.elapsed_s = 61.0
    assert loop.progress == 1.0


def test_words_that_cannot_make_an_episode_are_left_out_at_the_start(
    toy_config: MakeConfig, toy_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"validation0", "validation1"}
    thinned = [clip for clip in role_clips(toy_corpus, "validation") if clip.speaker[-1] in "01" or clip.word not in few]
    monkeypatch.setattr(workspace, "role_clips", lambda *_: thinned)
    lines: list[str] = []
    found = open_workspace(toy_config(tmp_path / "m.safetensors"), lines.append)
    assert found.validation == {}
    assert any("no validation on isolated words: 5 ways are asked for, but only 4 words" in line for line in lines)


def merits(monkeypatch: pytest.MonkeyPatch, found: list[float]) -> None:
    """Let validations find these AUROCs one after the other, and then none better."""
    waiting = list(found)

    def validate(*_: object) -> list[tuple[str, Summary]]:
        return [("isolated", Summary(0.5, 0.1, waiting.pop(0) if waiting else 0.0, 0.5, 0.5, 0.5, 2, (0.5, 0.5)))]

    monkeypatch.setattr(validation, "validate", validate)
    monkeypatch.setattr(finish, "validate", validate)


def test_a_run_that_gets_no_better_ends_and_keeps_the_best(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stage begins at step 5; validations of the first do not count, and step 7 is the best of the second."""
    settings: dict[str, Any] = {"steps": STEPS, "validations": STEPS, "patience": 2}
    config, lines, seen = toy_config(tmp_path / "m.safetensors", **settings), [], []
    found = [0.9, 0.9, 0.9, 0.9, 0.9, 0.6, 0.8, 0.7, 0.75]
    merits(monkeypatch, found)
    prime(config, watch=lambda report: seen.append(report.step), announce=lines.append)
    assert seen == list(range(1, 10))
    assert "the weights of step 7 were the best on validation words, of 9 steps" in lines
    best = load_checkpoint(tmp_path / "m.run" / "best.safetensors")
    assert best.step == 7
    model = load_model(config.out)
    assert all(torch.equal(model.weights[name], best.weights[name]) for name in model.weights)
    assert [each["step"] for each in model.config.provenance["history"]] == list(range(1, 10))

    interrupted = toy_config(tmp_path / "n.safetensors", **settings)

    def interrupt(report: StepReport) -> None:
        if report.step == 8:
            raise KeyboardInterrupt

    merits(monkeypatch, found)
    with pytest.raises(KeyboardInterrupt):
        prime(interrupted, watch=interrupt)
    merits(monkeypatch, found[7:])  # the interrupted step was saved; its validation is made up for
    prime(interrupted, resume=True)
    again = load_model(interrupted.out)
    assert all(torch.equal(model.weights[name], again.weights[name]) for name in model.weights)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_told_with_what_to_lower(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = OuterLoop._task_loss

    def starved(self: OuterLoop, task: Any, number: int, eprop_stage: bool, generator: torch.Generator) -> Any:
        if eprop_stage:
            raise error
        return real(self, task, number, eprop_stage, generator)

    monkeypatch.setattr(OuterLoop, "_task_loss", starved)
    with pytest.raises(ModelError, match=r"memory does not suffice at step 4 for tasks of 4 words .* --set eprop_ways=2") as caught:
        prime(toy_config(tmp_path / "m.safetensors"))
    assert "\n" not in str(caught.value)
    assert load_checkpoint(tmp_path / "m.run" / "checkpoint.safetensors").step == 4


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(OuterLoop, "_task_loss", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        prime(toy_config(tmp_path / "m.safetensors"))
