r"""Temporal credit assignment: left and right cues, a delay of a second, and the question on which side there were more.

    python -m benchmarks.reference_tasks.cues [--minutes 14] [--seed 0 --seed 1] [--executor torch --executor fixed] [--out FIGURE]

The task of Bellec et al. 2020 (Fig. 3a, Methods "Evidence accumulation"; their tutorial, and NEST's
`eprop_supervised_classification_evidence-accumulation_bsshslm_2020`), with their parameters: cues of 100 ms every 150 ms, each on one side with
probability 0.3 or 0.7, 1050 ms of waiting, a prompt of 150 ms during which alone there is a learning signal. 40 inputs in four groups (left, right,
prompt, noise), 50 LIF and 50 ALIF neurons whose thresholds remember for 2 s, Adam at 5e-3, batches of 32 (theirs 64, NEST's 32), spikes kept near
10 Hz. The number of cues grows 1, 3, 5, 7: the next number comes when the error on 512 new trials is below 0.08, and the task is learnt when that
holds for seven cues. Those 512 trials stop the learning and so flatter it a little: a network is judged by 1,024 others. The neurons have no
refractory period here (theirs have 5 ms).

The loss is the cross-entropy of the softmax of the two readouts, averaged over the prompt; an answer is the larger mean readout.
"""

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

from .executor import Executor, Name, alif, executor_named
from .learner import Feedback, Learner, Trial
from .report import Report, kept, line, publish

GROUP = 10  # inputs of each of the four groups
INPUTS, NEURONS, ADAPTIVE = 4 * GROUP, 100, 50
CUE, GAP, DELAY, PROMPT = 100, 50, 1050, 150  # steps of 1 ms
CUE_RATE, NOISE_RATE = 0.04, 0.01  # spikes a step
TAU_MS, TAU_ADAPTATION_MS, THRESHOLD = 20.0, 2000.0, 0.6
BETA = 1.7 * (1 - math.exp(-1 / TAU_ADAPTATION_MS)) / (1 - math.exp(-1 / TAU_MS))
TARGET_RATE, RATE_WEIGHT = 0.01, 1.0
RATE, BATCH = 5e-3, 32
CURRICULUM = (1, 3, 5, 7)
CHECK_EVERY, CHECKED, JUDGED = 10, 512, 1024  # iterations, trials, trials
TOGETHER = 128  # trials that are run side by side where nothing is learnt
SUCCESS = 0.08
WORTH_CHECKING = 0.11  # share of wrong answers since the last check


class Trials(NamedTuple):
    """A batch of trials."""

    x: Tensor  # [T, B, I] spikes
    side: Tensor  # [B] 0 or 1: where most cues were


class Check(NamedTuple):
    """How many answers are wrong after some changes of the weights."""

    iteration: int
    cues: int
    error: float  # of new trials: 512, or those that were learnt from since the last check where many of these went wrong


class Run(NamedTuple):
    """How a network learnt."""

    checks: list[tuple[int, int, float]]  # as in `Check`
    x: Tensor  # [T, I] bool, spikes of an example that is heard
    z: Tensor  # [T, N] bool, and of the neurons
    share: Tensor  # [T, 2] softmax of the readouts
    learnt: int  # iteration at which seven cues were learnt; 0 when they were not
    final: float  # error on other new trials with as many cues as were reached
    seconds: float  # processor time


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


def executor(name: Name = Name.TORCH) -> Executor:
    """Return who runs the task's neurons."""
    return executor_named(name, alif(NEURONS, ADAPTIVE, TAU_MS, TAU_ADAPTATION_MS, BETA, THRESHOLD))


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
    answers = []
    for begin in range(0, trials, TOGETHER):
        batch = draw(cues, min(TOGETHER, trials - begin), rng, delay)
        answers.append(wrong(learner.run(batch.x), batch.side))
    return float(torch.cat(answers).float().mean())


def learn(
    runs_on: Executor,
    seed: int,
    minutes: float,
    feedback: Feedback = Feedback.SYMMETRIC,
    curriculum: tuple[int, ...] = CURRICULUM,
    iterations: int = 10_000,
    batch: int = BATCH,
    delay: int = DELAY,
    watch: Callable[[Check], None] | None = None,
    judged: int = JUDGED,
) -> Run:
    """Learn the curriculum by e-prop and Adam.

    Args:
        runs_on: runs the neurons.
        seed: of weights and trials.
        minutes: processor time after which learning ends, learnt or not.
        feedback: broadcast weights.
        curriculum: numbers of cues.
        iterations: most changes of the weights.
        batch: trials of a change.
        delay: steps between the last cue and the prompt.
        watch: called with every check.
        judged: new trials at the end.

    Returns:
        The errors on new trials, and an example.
    """
    rng = torch.Generator().manual_seed(seed)
    learner = Learner(runs_on, (INPUTS, NEURONS, 2), TAU_MS, 1.0, seed, feedback)
    optimiser = torch.optim.Adam(list(learner.weights), lr=RATE)
    checks: list[tuple[int, int, float]] = []
    stage, begun, learnt = 0, time.process_time(), 0
    mistakes: list[float] = []
    for iteration in range(1, iterations + 1):
        trials = draw(curriculum[stage], batch, rng, delay)
        trial = learner.run(trials.x)
        mistakes.append(float(wrong(trial, trials.side).float().mean()))
        mean_rate = trial.recorded.z.mean((0, 1))
        steps = trials.x.shape[0] * trials.x.shape[1]
        learner.differentiate(trial, error_signal(trial, trials.side), 2 * RATE_WEIGHT * (mean_rate - TARGET_RATE) / steps)
        optimiser.step()
        if iteration % CHECK_EVERY:
            continue
        error = sum(mistakes) / len(mistakes)
        if min(error, mistakes[-1]) < WORTH_CHECKING:
            error = check(learner, curriculum[stage], rng, delay=delay)
        mistakes.clear()
        checks.append((iteration, curriculum[stage], error))
        if watch is not None:
            watch(Check(*checks[-1]))
        if error < SUCCESS:
            stage += 1
        if stage == len(curriculum):
            learnt = iteration
            break
        if time.process_time() - begun > 60 * minutes:
            break
    reached = curriculum[min(stage, len(curriculum) - 1)]
    final = check(learner, reached, rng, judged, delay)
    last = draw(reached, 1, rng, delay)
    example = learner.run(last.x)
    share = example.y[:, 0].softmax(-1)
    return Run(checks, last.x[:, 0].bool(), example.recorded.z[:, 0].bool(), share, learnt, final, time.process_time() - begun)


def draw_figure(runs: dict[tuple[Name, int], Run], path: Path) -> None:
    """Draw an example, and the errors over the iterations.

    Args:
        runs: by who ran the neurons, and seed; the example is that of the first.
        path: of the figure.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    (name, seed), run = next(iter(runs.items()))
    figure, (inputs, neurons, readouts, errors) = pyplot.subplots(4, 1, figsize=(7.5, 8.6), height_ratios=(1.3, 2, 1.2, 1.8), layout="constrained")
    for axes, spikes in ((inputs, run.x), (neurons, run.z)):
        step, neuron = spikes.nonzero(as_tuple=True)
        axes.plot(step, neuron, "|", markersize=2.5, color="k")
        axes.set(xlim=(0, len(spikes)), ylim=(-1, spikes.shape[1]))
        axes.tick_params(labelbottom=False)
    inputs.set_yticks([5, 15, 25, 35], ["left", "right", "prompt", "noise"])
    inputs.set(title=f"A trial ({name}, seed {seed})", ylabel="inputs")
    neurons.axhline(NEURONS - ADAPTIVE - 0.5, color="0.5", linewidth=0.8)
    neurons.set_yticks([(NEURONS - ADAPTIVE) / 2, NEURONS - ADAPTIVE / 2], ["LIF", "ALIF"])
    neurons.set(ylabel="neurons")
    for side, (label, colour) in enumerate((("left", "#0072B2"), ("right", "#D55E00"))):
        readouts.plot(run.share[:, side], label=label, color=colour)
    readouts.axvspan(len(run.share) - PROMPT, len(run.share), color="0.88")
    readouts.set(ylabel="softmax of\nthe readouts (1)", xlabel="time (ms); grey: the prompt", ylim=(-0.05, 1.05), xlim=(0, len(run.share)))
    readouts.legend(loc="upper center", bbox_to_anchor=(0.7, 1.05), ncols=2, frameon=False)  # during the wait, when nothing happens
    for (executor_name, number), each in runs.items():
        points = [Check(*point) for point in each.checks]
        label, style = f"{executor_name}, seed {number}", line(executor_name, number)
        errors.plot([point.iteration for point in points], [point.error for point in points], label=label, linewidth=1.1, **style)
        for before, after in pairwise(points):
            if after.cues != before.cues:
                errors.plot(before.iteration, before.error, "o", color=style["color"], markersize=4)
    errors.axhline(SUCCESS, color="k", linewidth=0.8)
    errors.annotate("criterion", (0, SUCCESS), xycoords=("axes fraction", "data"), xytext=(4, -11), textcoords="offset points")
    errors.set(
        title="Learning; dots: more cues from here on", ylabel="wrong answers (share)", xlabel="changes of the weights (number)", ylim=(0, 0.6)
    )
    errors.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="processor time of a network, at most")] = 14.0,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="of a network and its trials; 0 and 1 when none is given")] = None,
    executors: Annotated[list[Name] | None, typer.Option("--executor", help="who runs the neurons; torch when none is given")] = None,
    feedback: Annotated[Feedback, typer.Option(help="broadcast weights")] = Feedback.SYMMETRIC,
    keep: Annotated[Path | None, typer.Option(help="folder of finished networks, which are not run again")] = None,
    out: Annotated[Path, typer.Option(help="figure")] = Path("docs/reference_cues.png"),
    json_out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Learn to accumulate evidence by e-prop."""

    def watch(point: Check) -> None:
        print(f"iteration {point.iteration}: {point.cues} cues, {point.error:.1%} wrong", file=sys.stderr, flush=True)

    runs: dict[tuple[Name, int], Run] = {}
    for name, seed in product(executors or [Name.TORCH], seeds or [0, 1]):
        file = None if keep is None else keep / f"cues-{name}-{feedback}-{minutes:g}-{seed}.safetensors"
        runs[name, seed] = kept(Run, file, partial(learn, executor(name), seed, minutes, feedback, watch=watch))
    draw_figure(runs, out)
    rows = []
    for (name, seed), run in runs.items():
        last = Check(*run.checks[-1])
        figures = {
            "iterations": last.iteration,
            "cues reached": last.cues,
            "error then": last.error,
            "error judged": run.final,
            "seconds": run.seconds,
        }
        rows.append(Report(f"{name}, seed {seed}", figures, bool(run.learnt) and run.final < SUCCESS))
    settings = {"task": "cues", "minutes": minutes, "feedback": feedback, "criterion": f"error on {JUDGED} trials of 7 cues < {SUCCESS}"}
    publish("Temporal credit assignment", rows, settings, json_out)


if __name__ == "__main__":
    typer.run(main)
