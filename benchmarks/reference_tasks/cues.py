r"""Temporal credit assignment: left and right cues, a delay of a second, and the question on which side there were more.

    python -m benchmarks.reference_tasks.cues [--minutes 12] [--seeds 2] [--out FIGURE]

The task of Bellec et al. 2020 (Fig. 3a, Methods "Evidence accumulation"; their tutorial, and NEST's
`eprop_supervised_classification_evidence-accumulation_bsshslm_2020`), with their parameters: cues of 100 ms every 150 ms, each on one side with
probability 0.3 or 0.7, 1050 ms of waiting, a prompt of 150 ms during which alone there is a learning signal. 40 inputs in four groups (left, right,
prompt, noise), 50 LIF and 50 ALIF neurons whose thresholds remember for 2 s, Adam at 5e-3, batches of 32 (theirs 64, NEST's 32), spikes kept near
10 Hz. The number of cues grows 1, 3, 5, 7: the next number comes when the error on 512 new trials is below 0.08, and the task is learnt when that
holds for seven cues. The neurons have no refractory period here (theirs have 5 ms).

The loss is the cross-entropy of the softmax of the two readouts, averaged over the prompt; an answer is the larger mean readout.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

from .executor import Executor, TorchExecutor, alif
from .learner import Feedback, Learner, Trial
from .report import Report, publish

GROUP = 10  # inputs of each of the four groups
INPUTS, NEURONS, ADAPTIVE = 4 * GROUP, 100, 50
CUE, GAP, DELAY, PROMPT = 100, 50, 1050, 150  # steps of 1 ms
CUE_RATE, NOISE_RATE = 0.04, 0.01  # spikes a step
TAU_MS, TAU_ADAPTATION_MS, THRESHOLD = 20.0, 2000.0, 0.6
BETA = 1.7 * (1 - math.exp(-1 / TAU_ADAPTATION_MS)) / (1 - math.exp(-1 / TAU_MS))
TARGET_RATE, RATE_WEIGHT = 0.01, 1.0
RATE, BATCH = 5e-3, 32
CURRICULUM = (1, 3, 5, 7)
CHECK_EVERY, CHECKED = 10, 512  # iterations, trials
SUCCESS = 0.08


class Trials(NamedTuple):
    """A batch of trials."""

    x: Tensor  # [T, B, I] spikes
    side: Tensor  # [B] 0 or 1: where most cues were


class Check(NamedTuple):
    """The error on new trials."""

    iteration: int
    cues: int
    error: float


class Run(NamedTuple):
    """How a network learnt."""

    checks: list[Check]
    trials: Trials  # of an example
    example: Trial
    learnt: int | None  # iteration at which seven cues were learnt


def draw(cues: int, batch: int, rng: torch.Generator, delay: int = DELAY) -> Trials:
    """Draw trials with an odd number of cues."""
    likely = torch.where(torch.rand(batch, generator=rng) < 0.5, 0.3, 0.7)
    right = torch.rand(cues, batch, generator=rng) < likely
    rate = torch.zeros(cues * (CUE + GAP) + delay + PROMPT, batch, 4, GROUP)
    for number in range(cues):
        begin = number * (CUE + GAP) + GAP
        for side in (0, 1):
            rate[begin : begin + CUE, :, side] = CUE_RATE * (right[number] == bool(side)).float().unsqueeze(1)
    rate[-PROMPT:, :, 2] = CUE_RATE
    rate[:, :, 3] = NOISE_RATE
    x = (torch.rand(rate.shape, generator=rng) < rate).float().flatten(2)
    return Trials(x, (right.sum(0) * 2 > cues).long())


def torch_executor() -> TorchExecutor:
    """Return the task's neurons on torch."""
    return TorchExecutor(alif(NEURONS, ADAPTIVE, TAU_MS, TAU_ADAPTATION_MS, BETA, THRESHOLD))


def wrong(trial: Trial, side: Tensor) -> Tensor:
    """Say which trials are answered wrongly: bool [B]."""
    return trial.y[-PROMPT:].mean(0).argmax(1) != side


def error_signal(trial: Trial, side: Tensor) -> Tensor:
    """Differentiate the loss by the readouts: [T, B, 2], not zero during the prompt alone."""
    delta = torch.zeros_like(trial.y)
    target = torch.nn.functional.one_hot(side, 2)
    delta[-PROMPT:] = (trial.y[-PROMPT:].softmax(-1) - target) / (PROMPT * len(side))
    return delta


def check(learner: Learner, cues: int, rng: torch.Generator, trials: int = CHECKED, delay: int = DELAY) -> float:
    """Measure the share of wrong answers on new trials."""
    batches = [draw(cues, min(BATCH, trials), rng, delay) for _ in range(max(1, trials // BATCH))]
    return float(torch.cat([wrong(learner.run(batch.x), batch.side) for batch in batches]).float().mean())


def learn(
    executor: Executor,
    seed: int,
    minutes: float,
    feedback: Feedback = "symmetric",
    curriculum: tuple[int, ...] = CURRICULUM,
    iterations: int = 10_000,
    batch: int = BATCH,
    delay: int = DELAY,
    watch: Callable[[Check], None] | None = None,
) -> Run:
    """Learn the curriculum by e-prop and Adam.

    Args:
        executor: runs the neurons.
        seed: of weights and trials.
        minutes: processor time after which learning ends, learnt or not.
        feedback: broadcast weights.
        curriculum: numbers of cues.
        iterations: most changes of the weights.
        batch: trials of a change.
        delay: steps between the last cue and the prompt.
        watch: called with every check.

    Returns:
        The errors on new trials, and an example.
    """
    rng = torch.Generator().manual_seed(seed)
    learner = Learner(executor, (INPUTS, NEURONS, 2), TAU_MS, 1.0, seed, feedback)
    optimiser = torch.optim.Adam(list(learner.weights), lr=RATE)
    checks: list[Check] = []
    stage, begun, learnt = 0, time.process_time(), None
    for iteration in range(1, iterations + 1):
        trials = draw(curriculum[stage], batch, rng, delay)
        trial = learner.run(trials.x)
        mean_rate = trial.recorded.z.mean((0, 1))
        steps = trials.x.shape[0] * trials.x.shape[1]
        learner.differentiate(trial, error_signal(trial, trials.side), 2 * RATE_WEIGHT * (mean_rate - TARGET_RATE) / steps)
        optimiser.step()
        if iteration % CHECK_EVERY == 0:
            error = float(wrong(trial, trials.side).float().mean())
            if error < SUCCESS:  # worth a measurement
                error = check(learner, curriculum[stage], rng, delay=delay)
            checks.append(Check(iteration, curriculum[stage], error))
            if watch is not None:
                watch(checks[-1])
            if error < SUCCESS:
                stage += 1
            if stage == len(curriculum):
                learnt = iteration
                break
            if time.process_time() - begun > 60 * minutes:
                break
    last = draw(curriculum[min(stage, len(curriculum) - 1)], 8, rng, delay)
    return Run(checks, last, learner.run(last.x), learnt)


def draw_figure(runs: list[Run], path: Path) -> None:
    """Draw an example, and the errors over the iterations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    run = runs[0]
    figure, (inputs, neurons, readouts, errors) = pyplot.subplots(4, 1, figsize=(7, 8), height_ratios=(1.4, 2, 1.4, 1.6), layout="constrained")
    for axes, spikes, name in ((inputs, run.trials.x, "input"), (neurons, run.example.recorded.z, "neuron")):
        step, neuron = spikes[:, 0].nonzero(as_tuple=True)
        axes.plot(step, neuron, "|", markersize=2, color="k")
        axes.set(ylabel=name, xlim=(0, len(spikes)))
    inputs.set_yticks([5, 15, 25, 35], ["left", "right", "prompt", "noise"])
    neurons.axhline(NEURONS - ADAPTIVE - 0.5, color="0.7", linewidth=0.5)
    share = run.example.y[:, 0].softmax(-1)
    readouts.plot(share[:, 0], label="left")
    readouts.plot(share[:, 1], label="right")
    readouts.axvspan(len(share) - PROMPT, len(share), color="0.9")
    readouts.set(ylabel="readout", xlabel="ms", ylim=(-0.05, 1.05), xlim=(0, len(share)))
    readouts.legend(loc="upper left", frameon=False, fontsize="small")
    for number, each in enumerate(runs):
        errors.plot([point.iteration for point in each.checks], [point.error for point in each.checks], label=f"seed {number}", linewidth=0.8)
    errors.axhline(SUCCESS, color="k", linestyle=":")
    errors.set(ylabel="share of wrong answers", xlabel="iteration", ylim=(0, 0.6))
    errors.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="processor time of a network, at most")] = 12.0,
    seeds: Annotated[int, typer.Option(min=1, help="networks")] = 2,
    feedback: Annotated[str, typer.Option(help="random or symmetric")] = "symmetric",
    out: Annotated[Path, typer.Option(help="figure")] = Path("docs/reference_cues.png"),
    json_out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Learn to accumulate evidence by e-prop."""
    broadcast: Feedback = "random" if feedback == "random" else "symmetric"

    def watch(point: Check) -> None:
        print(f"iteration {point.iteration}: {point.cues} cues, {point.error:.1%} wrong", file=sys.stderr)

    runs = [learn(torch_executor(), seed, minutes, broadcast, watch=watch) for seed in range(seeds)]
    draw_figure(runs, out)
    rows = []
    for seed, run in enumerate(runs):
        last = run.checks[-1]
        figures = {"iterations": last.iteration, "cues reached": last.cues, "error there": last.error}
        rows.append(Report(f"seed {seed}", figures, run.learnt is not None))
    settings = {"task": "cues", "minutes": minutes, "feedback": broadcast, "criterion": f"error on {CHECKED} trials of 7 cues < {SUCCESS}"}
    publish("Temporal credit assignment", rows, settings, json_out)


if __name__ == "__main__":
    typer.run(main)
