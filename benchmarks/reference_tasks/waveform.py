r"""Waveform matching: the same Poisson spikes again and again, and a sum of sines to be produced each time.

    python -m benchmarks.reference_tasks.waveform [--iterations 2000] [--seed 0 --seed 1] [--executor torch --executor fixed] [--out FIGURE]

The task of Bellec et al. 2020 (Supplementary Fig. 7, and the tutorial on pattern generation in their repository), which NEST ships as
`eprop_supervised_regression_sine-waves_bsshslm_2020`, with their parameters: 100 inputs at 50 Hz, 100 LIF neurons, one readout, random feedback
weights, 1 s, sines of periods 1, 1/2, 1/3 and 1/5 s with random amplitudes and phases, gradient descent. The loss is theirs,

.. math:: E = \frac12 \sum_t (y^t - y^{*t})^2 + \frac{c}{2} \sum_j (\bar z_j - r^*)^2

Neither source names a number for success; here it is a normalised error :math:`\sum (y - y^*)^2 / \sum (y^* - \bar y^*)^2` below 0.1.
"""

import math
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

from .executor import Executor, Name, alif, executor_named
from .learner import Feedback, Learner
from .report import Report, kept, line, publish

INPUTS, NEURONS = 100, 100
STEPS = 1000  # of 1 ms
INPUT_RATE = 0.05  # spikes a step
PERIODS = (1000, 500, 333, 200)  # steps
TAU_MS = 30.0
THRESHOLD = 0.03 / (1 - math.exp(-1 / TAU_MS))  # theirs is 0.03 for a membrane whose input enters with gain 1 - alpha; here the gain is 1
TARGET_RATE, RATE_WEIGHT = 0.01, 300.0  # r* in spikes a step, c
RATE = 1e-4  # of gradient descent
SUCCESS = 0.1


class Task(NamedTuple):
    """What is heard and what is to be answered, the same at every repetition."""

    x: Tensor  # [T, 1, I]
    target: Tensor  # [T, 1, 1]


class Run(NamedTuple):
    """How a network learnt."""

    errors: list[float]  # normalised, before each change of the weights and at the end
    target: Tensor  # [T]
    before: Tensor  # [T] readout before the first change
    after: Tensor  # [T] and after the last
    z: Tensor  # [T, N] bool, spikes after the last
    seconds: float  # processor time


def draw(seed: int, steps: int = STEPS) -> Task:
    """Draw the frozen input and the target, which starts at 0 and has maximum 1."""
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(steps, 1, INPUTS, generator=rng) < INPUT_RATE).float()
    amplitude = 0.5 + 1.5 * torch.rand(len(PERIODS), generator=rng)
    phase = 2 * torch.pi * torch.rand(len(PERIODS), generator=rng)
    passed = torch.arange(steps).unsqueeze(1) / STEPS
    sines = amplitude * torch.sin(phase + 2 * torch.pi * passed * torch.tensor([STEPS // period for period in PERIODS]))
    target = sines.sum(1) - sines.sum(1)[0]
    return Task(x, (target / target.abs().max()).reshape(steps, 1, 1))


def executor(name: Name = Name.TORCH) -> Executor:
    """Return who runs the task's neurons."""
    return executor_named(name, alif(NEURONS, 0, TAU_MS, 100.0, 0.0, THRESHOLD))


def learn(task: Task, runs_on: Executor, iterations: int, seed: int, feedback: Feedback = Feedback.RANDOM, rate: float = RATE) -> Run:
    """Learn the target by e-prop and gradient descent.

    Args:
        task: what to learn.
        runs_on: runs the neurons.
        iterations: changes of the weights.
        seed: of the initial weights.
        feedback: broadcast weights.
        rate: of gradient descent.

    Returns:
        The errors, and what the network did before the first and after the last change.
    """
    learner = Learner(runs_on, (INPUTS, NEURONS, 1), TAU_MS, None, seed, feedback)
    optimiser = torch.optim.SGD(list(learner.weights), lr=rate)
    power = float((task.target - task.target.mean()).square().sum())
    errors: list[float] = []
    begun = time.process_time()
    first = learner.run(task.x)
    trial = first
    for _ in range(iterations):
        delta = trial.y - task.target
        errors.append(float(delta.square().sum()) / power)
        mean_rate = trial.recorded.z.mean((0, 1))
        learner.differentiate(trial, delta, RATE_WEIGHT * (mean_rate - TARGET_RATE) / len(task.x))
        optimiser.step()
        trial = learner.run(task.x)
    errors.append(float((trial.y - task.target).square().sum()) / power)
    z = trial.recorded.z[:, 0].bool()
    return Run(errors, task.target.flatten(), first.y.flatten(), trial.y.flatten(), z, time.process_time() - begun)


def draw_figure(runs: dict[tuple[Name, int], Run], path: Path) -> None:
    """Draw target and output before and after, spikes, and the error over the iterations.

    Args:
        runs: by who ran the neurons, and seed; the readout and the spikes are those of the first.
        path: of the figure.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    (name, seed), run = next(iter(runs.items()))
    iterations = len(run.errors) - 1
    figure, (upper, middle, lower) = pyplot.subplots(3, 1, figsize=(7.5, 7), height_ratios=(2, 2, 1.8), layout="constrained")
    upper.plot(run.before, color="0.7", label="before learning")
    upper.plot(run.after, **line(name, 0), label=f"after {iterations} iterations")
    upper.plot(run.target, "k--", label="target", linewidth=1.2)
    bound = 1.3 * float(torch.cat([run.target, run.before, run.after]).abs().max())
    upper.set(title=f"Readout ({name}, seed {seed})", ylabel="readout (1)", ylim=(-bound, bound), xlim=(0, len(run.target)), xlabel="time (ms)")
    upper.legend(loc="upper center", ncols=3, frameon=False)
    step, neuron = run.z.nonzero(as_tuple=True)
    middle.plot(step, neuron, "|", markersize=2.5, color="k")
    middle.set(title="Spikes after learning", ylabel="neuron (number)", xlabel="time (ms)", xlim=(0, len(run.target)), ylim=(-1, NEURONS))
    for (executor_name, number), each in runs.items():
        lower.semilogy(each.errors, **line(executor_name, number), label=f"{executor_name}, seed {number}", linewidth=1.1)
    lower.axhline(SUCCESS, color="k", linewidth=0.8)
    lower.annotate("criterion", (0, SUCCESS), xytext=(4, -11), textcoords="offset points")
    lower.set(
        title="Learning", ylabel="normalised error (1)", xlabel="changes of the weights (number)", xlim=(0, iterations), ylim=(SUCCESS / 2.5, None)
    )
    lower.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main(
    iterations: Annotated[int, typer.Option(min=1)] = 2000,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="of a network, its input and its target; 0 and 1 when none is given")] = None,
    executors: Annotated[list[Name] | None, typer.Option("--executor", help="who runs the neurons; torch when none is given")] = None,
    feedback: Annotated[Feedback, typer.Option(help="broadcast weights")] = Feedback.RANDOM,
    keep: Annotated[Path | None, typer.Option(help="folder of finished networks, which are not run again")] = None,
    out: Annotated[Path, typer.Option(help="figure")] = Path("docs/reference_waveform.png"),
    json_out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Learn a waveform by e-prop."""
    runs: dict[tuple[Name, int], Run] = {}
    for name, seed in product(executors or [Name.TORCH], seeds or [0, 1]):
        file = None if keep is None else keep / f"waveform-{name}-{feedback}-{iterations}-{seed}.safetensors"
        runs[name, seed] = kept(Run, file, partial(learn, draw(seed), executor(name), iterations, seed, feedback))
    draw_figure(runs, out)
    rows = []
    for (name, seed), run in runs.items():
        reached = next((number for number, error in enumerate(run.errors) if error < SUCCESS), math.nan)
        figures = {"before": run.errors[0], "after": run.errors[-1], f"first below {SUCCESS}": reached, "seconds": run.seconds}
        rows.append(Report(f"{name}, seed {seed}", figures, run.errors[-1] < SUCCESS))
    settings = {"task": "waveform", "iterations": iterations, "feedback": feedback, "criterion": f"normalised error < {SUCCESS}"}
    publish("Waveform matching: normalised error", rows, settings, json_out)


if __name__ == "__main__":
    typer.run(main)
