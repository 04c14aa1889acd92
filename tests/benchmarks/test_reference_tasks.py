"""The reference tasks ask what they say, their learner computes the gradient of their loss, and reduced versions are learnt."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hardware.backend import BackendError
from reference_tasks import cues, functions, outer_loop, teacher, waveform
from reference_tasks.executor import Name, Recorded, TorchExecutor, alif
from reference_tasks.fixed import FixedExecutor
from reference_tasks.learner import Feedback, Learner, leaky
from reference_tasks.report import Report, kept, publish, read, save
from snn import eprop


def test_a_leak_forwards_is_the_adjoint_of_a_leak_backwards() -> None:
    rng = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 30, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close((leaky(left, 0.8) * right).sum(), (left * leaky(right, 0.8, backwards=True)).sum())
    assert leaky(torch.tensor([1.0, 0.0, 1.0]), 0.5).tolist() == [1.0, 0.5, 1.25]


class ByTraces(TorchExecutor):
    """The same neurons, learning online: one explicit trace a synapse."""

    def gradients(self, x: Tensor, recorded: Recorded, signal: Tensor) -> tuple[Tensor, Tensor]:
        neurons = signal.shape[-1]
        rules = [eprop.OnlineEprop((x.shape[1], neurons, inputs), self._params, x.dtype) for inputs in (x.shape[-1], neurons)]
        before = torch.zeros_like(recorded.z[0])
        for x_t, z_t, psi_t, signal_t in zip(x, recorded.z, recorded.psi, signal, strict=True):
            rules[0].step(x_t, psi_t, signal_t)
            rules[1].step(before, psi_t, signal_t)
            before = z_t
        return rules[0].gradient.sum(0), rules[1].gradient.sum(0)


def test_another_executor_learns_the_same() -> None:
    rng = torch.Generator().manual_seed(3)
    x, target = (torch.rand(40, 2, 6, generator=rng) < 0.3).float(), torch.randn(40, 2, 2, generator=rng)
    params = alif(8, 4, 20.0, 200.0, 0.1, 0.6)
    grads = []
    for executor in (TorchExecutor(params), ByTraces(params)):
        learner = Learner(executor, (6, 8, 2), 20.0, None, 0, Feedback.RANDOM)
        trial = learner.run(x)
        learner.differentiate(trial, trial.y - target, 0.01 * torch.arange(8.0))
        grads.append([weights.grad for weights in learner.weights])
    for mine, theirs in zip(*grads, strict=True):
        assert mine is not None
        assert mine.abs().max() > 1e-3
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_readout_is_that_of_the_loss() -> None:
    task = waveform.draw(0, steps=60)
    learner = Learner(waveform.executor(), (waveform.INPUTS, waveform.NEURONS, 1), waveform.TAU_MS, None, 0, Feedback.SYMMETRIC)
    trial = learner.run(task.x)
    learner.differentiate(trial, trial.y - task.target, torch.zeros(waveform.NEURONS))
    weights = learner.w_out.clone().requires_grad_()
    kappa = float(torch.exp(torch.tensor(-1.0 / waveform.TAU_MS, dtype=torch.float64)))
    readout = torch.zeros(1, 1)
    loss = torch.zeros(())
    for z, target in zip(trial.recorded.z, task.target, strict=True):
        readout = kappa * readout + (1 - kappa) * z @ weights.T
        loss = loss + 0.5 * (readout - target).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(learner.w_out.grad, weights.grad, rtol=1e-4, atol=1e-6)


def test_the_waveform_starts_at_zero_and_stays_the_same() -> None:
    task, again = waveform.draw(1), waveform.draw(1)
    assert torch.equal(task.x, again.x)
    assert task.target[0].item() == 0
    assert task.target.abs().max().item() == pytest.approx(1.0)
    assert task.x.mean().item() == pytest.approx(waveform.INPUT_RATE, abs=0.003)


@pytest.mark.parametrize(("name", "feedback"), [(Name.TORCH, Feedback.RANDOM), (Name.TORCH, Feedback.SYMMETRIC), (Name.FIXED, Feedback.RANDOM)])
def test_a_short_waveform_is_learnt_a_little(name: Name, feedback: Feedback, tmp_path: Path) -> None:
    run = waveform.learn(waveform.draw(0, steps=200), waveform.executor(name), 30, 0, feedback, rate=2e-3)
    assert len(run.errors) == 31
    assert run.errors[-1] < 0.75 * run.errors[0]
    waveform.draw_figure({(name, 0): run, (name, 1): run}, tmp_path / "figure.png")
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 120_000


def test_fixed_point_fires_like_torch_and_sums_the_same_gradient() -> None:
    rng = torch.Generator().manual_seed(2)
    x = (torch.rand(80, 3, 12, generator=rng) < 0.2).float()
    w_in, w_rec = (torch.randn(10, inputs, generator=rng).mul(64).round().div(256) for inputs in (12, 10))  # multiples of 2^-8: exact in 16 bits
    w_rec.fill_diagonal_(0.0)
    params = alif(10, 5, 20.0, 500.0, 0.05, 0.6)
    torch_executor, fixed_executor = TorchExecutor(params), FixedExecutor(params)
    recorded = fixed_executor.run(x, w_in, w_rec)
    expected = torch_executor.run(x, w_in, w_rec)
    assert expected.z.mean() > 0.02
    assert torch.equal(recorded.z, expected.z)
    torch.testing.assert_close(recorded.psi, expected.psi, rtol=0, atol=2e-3)
    signal = 0.01 * torch.randn(recorded.z.shape, generator=rng)
    for mine, theirs in zip(fixed_executor.gradients(x, recorded, signal), torch_executor.gradients(x, recorded, signal), strict=True):
        assert theirs.abs().max() > 1e-2
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


def test_trials_side_by_side_in_fixed_point_do_not_meet() -> None:
    rng = torch.Generator().manual_seed(4)
    x = (torch.rand(50, 4, 6, generator=rng) < 0.3).float()
    w_in, w_rec = torch.randn(7, 6, generator=rng), torch.randn(7, 7, generator=rng).fill_diagonal_(0.0)
    executor = FixedExecutor(alif(7, 3, 20.0, 200.0, 0.1, 0.6))
    together = executor.run(x, w_in, w_rec)
    for number in range(4):
        assert torch.equal(executor.run(x[:, number : number + 1], w_in, w_rec).z, together.z[:, number : number + 1])


def test_learning_signals_beyond_the_range_of_fixed_point_are_refused() -> None:
    executor = FixedExecutor(alif(4, 2, 20.0, 200.0, 0.1, 0.6))
    x, signal = torch.ones(40, 1, 3), torch.full((40, 1, 4), 60.0)
    recorded = executor.run(x, torch.full((4, 3), 0.05), torch.zeros(4, 4))
    with pytest.raises(BackendError, match="range"):
        executor.gradients(x, recorded, signal)


def test_cues_come_on_the_side_that_is_asked_for() -> None:
    trials = cues.draw(7, 200, torch.Generator().manual_seed(0))
    assert trials.x.shape == (7 * 150 + 1200, 200, 40)
    counts = trials.x[: 7 * 150].sum(0).unflatten(1, (4, cues.GROUP)).sum(2)  # [B, group]
    assert ((counts[:, 1] > counts[:, 0]) == trials.side.bool()).float().mean() > 0.95
    assert 0.3 < trials.side.float().mean() < 0.7
    assert not trials.x[: -cues.PROMPT, :, 20:30].any()
    assert trials.x[-cues.PROMPT :, :, 20:30].mean().item() == pytest.approx(cues.CUE_RATE, rel=0.1)
    assert trials.x[..., 30:].mean().item() == pytest.approx(cues.NOISE_RATE, rel=0.1)


def test_there_is_a_learning_signal_during_the_prompt_alone() -> None:
    trials = cues.draw(1, 4, torch.Generator().manual_seed(0), delay=50)
    learner = Learner(cues.executor(), (cues.INPUTS, cues.NEURONS, 2), cues.TAU_MS, 1.0, 0, Feedback.SYMMETRIC)
    trial = learner.run(trials.x)
    delta = cues.error_signal(trial, trials.side)
    assert not delta[: -cues.PROMPT].any()
    logits = trial.y.detach().clone().requires_grad_()
    sides = trials.side.expand(cues.PROMPT, -1).reshape(-1)
    torch.nn.functional.cross_entropy(logits[-cues.PROMPT :].reshape(-1, 2), sides).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(delta, logits.grad)


@pytest.mark.parametrize("name", [Name.TORCH, Name.FIXED], ids=["torch", "fixed"])
def test_one_cue_is_remembered_after_a_short_delay(name: Name, tmp_path: Path) -> None:
    seen: list[cues.Check] = []
    run = cues.learn(cues.executor(name), 0, 1.0, curriculum=(1,), iterations=40, batch=24, delay=100, watch=seen.append, judged=128)
    assert [tuple(point) for point in seen] == run.checks
    assert min(point.error for point in seen) < 0.25  # chance is 0.5
    assert run.final < 0.25
    cues.draw_figure({(name, 0): run}, tmp_path / "figure.png")
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 120_000


def test_a_finished_network_is_not_run_again(tmp_path: Path) -> None:
    def make() -> waveform.Run:
        return waveform.learn(waveform.draw(0, steps=50), waveform.executor(), 2, 0)

    first = kept(waveform.Run, tmp_path / "run", make)
    again = kept(waveform.Run, tmp_path / "run", lambda: pytest.fail("run again"))
    assert again.errors == first.errors
    assert torch.equal(again.after, first.after)
    assert kept(waveform.Run, None, make).errors == first.errors


def test_the_best_linear_approximation_is_exact_for_a_plane() -> None:
    episode = functions.draw(4, torch.Generator().manual_seed(0), points=20)
    plane = episode._replace(answers=0.3 * episode.points[..., 0] - 0.2 * episode.points[..., 1] + 0.1)
    assert functions.linear_errors(plane).max() < 1e-10
    assert functions.linear_errors(episode).mean() > 1e-3
    assert ((episode.answers >= 0) & (episode.answers <= 1)).all()


def test_the_teachers_answer_is_heard_once_the_networks_was_read() -> None:
    episode = functions.draw(1, torch.Generator().manual_seed(0), points=400)
    spikes = episode.x.unflatten(0, (400, functions.HOLD))[:, :, 0, 2 * functions.TUNED :]  # [P, HOLD, TUNED]
    assert not spikes[:, : functions.READ + 1].any()
    heard = spikes[:, functions.READ + 1 :].sum(1)
    value = (heard * torch.linspace(0, 1, functions.TUNED)).sum(1) / heard.sum(1).clamp_min(1)
    assert torch.corrcoef(torch.stack([value, episode.answers[:, 0]]))[0, 1] > 0.8


def test_the_outer_loop_improves_on_new_teachers(tmp_path: Path) -> None:
    seen: list[outer_loop.Check] = []
    run = outer_loop.OuterLoop(0, (outer_loop.Cycle(60, 5e-3, 0.01),), batch=8).run(1.0, seen.append, judged=64)
    assert run
    untrained = outer_loop.check(outer_loop.Learner(0), 0, torch.Generator().manual_seed(5), 64)[0]
    assert outer_loop.Check(*run.checks[-1]).error < 0.8 * untrained.error
    teacher.draw_figure({0: run, 1: run}, tmp_path / "figure.png")
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 120_000


def test_an_outer_loop_that_stopped_goes_on_to_the_bit(tmp_path: Path) -> None:
    straight, stopped, resumed = (
        outer_loop.OuterLoop(3, (outer_loop.Cycle(2, 5e-3, 0.01), outer_loop.Cycle(4, 3e-3, 0.0)), batch=2) for _ in range(3)
    )
    for _ in range(6):
        straight.step()
    for _ in range(3):
        stopped.step()
    save(stopped.state(), tmp_path / "state")
    resumed.load(read(tmp_path / "state"))
    for _ in range(3):
        resumed.step()
    for name, weights in straight.learner.weights.items():
        assert torch.equal(weights, resumed.learner.weights[name])
        assert not torch.equal(weights, stopped.learner.weights[name])
    with pytest.raises(ValueError, match="another folder"):
        outer_loop.OuterLoop(3, (outer_loop.Cycle(2, 5e-3, 0.01),), batch=2).load(read(tmp_path / "state"))


def test_a_report_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish("Title", [Report("seed 0", {"error": 0.25}, True), Report("seed 1", {"error": 0.5}, False)], {"task": "t"}, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["runs"][1] == {"name": "seed 1", "figures": {"error": 0.5}, "success": False}
    printed = capsys.readouterr().out
    assert "yes" in printed
    assert "0.25" in printed
