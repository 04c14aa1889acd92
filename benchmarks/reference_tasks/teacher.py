r"""Learning to learn from a teacher: a network that learns a new function from examples without changing a weight.

    python -m benchmarks.reference_tasks.teacher [--minutes 12] [--seeds 2] [--out FIGURE]

After Bellec et al. 2018 (Section 4): the family of functions is that of random two-layer networks C with two inputs and ten hidden sigmoidal
neurons. The outer loop (back-propagation through time, Adam) moves the weights of a recurrent network of LIF and ALIF neurons; within an episode
they stand still and the network hears, one after the other, points x and the teacher's answer to the point before, and answers C(x). What it learns
of C is in its state, in the thresholds above all.

.. math:: E = \frac1{PB} \sum_{p,b} \big(\hat y_{b,p} - C_b(x_{b,p})\big)^2

A teacher is :math:`C(x) = \sigma(s\,(w^\top \sigma(s (V x + c)) + d))`, all weights uniform in [-1, 1] and the slope s = 5 that makes linear fits
leave something to learn; x is uniform in :math:`[-1, 1]^2`. x1, x2 and the answer are coded by neurons with bell-shaped tuning, the network's steps
are of 5 ms and a point is heard for 20 ms. As in the source, the baseline is the best linear approximation of each teacher, an oracle that knows
all points; the task is learnt when the network's error over the second half of new episodes lies below it.
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

from snn import network, readout
from snn.cells.alif import AlifParams
from snn.regulariser import rate_loss

from .report import Report, publish

HIDDEN, SLOPE = 10, 5.0
TUNED = 16  # neurons of each coded value
NEURONS, ADAPTIVE = 150, 90
HOLD = 4  # steps of a point
POINTS, BATCH = 100, 16
LARGEST_RATE = 0.5  # spikes a step of a tuned neuron at its preferred value
ALPHA, RHO = (math.exp(-5.0 / 20.0), (math.exp(-5.0 / 100.0), math.exp(-5.0 / 1500.0)))  # decays a step of 5 ms; the range of the adaptation's
KAPPA = 0.6  # of the readout
RATE, TARGET_RATE, RATE_WEIGHT = 2e-3, 0.08, 0.05
FINAL_RATE = 0.05  # of the largest, at the end


class Episode(NamedTuple):
    """What is heard and what is to be answered."""

    x: Tensor  # [T, B, I] spikes
    points: Tensor  # [P, B, 2]
    answers: Tensor  # [P, B]


class Check(NamedTuple):
    """Errors on new episodes."""

    iteration: int
    error: float  # over the second half of the points
    linear: float  # of the best linear approximations there
    constant: float  # of the teachers' own means there


class Run(NamedTuple):
    """How a network learnt to learn."""

    checks: list[Check]
    curve: Tensor  # [P] error by point
    linear: Tensor  # [P] of the best linear approximations
    example: Tensor  # [2, P] answers of a teacher and of the network


def tuned(values: Tensor, low: float, high: float) -> Tensor:
    """Turn values [...] into rates [..., TUNED] of neurons with bell-shaped tuning between two bounds."""
    preferred = torch.linspace(low, high, TUNED)
    width = (high - low) / (TUNED - 1)
    return LARGEST_RATE * torch.exp(-0.5 * ((values.unsqueeze(-1) - preferred) / width).square())


def teachers(points: Tensor, rng: torch.Generator) -> Tensor:
    """Let one random teacher for each episode answer points [P, B, 2]: [P, B]."""

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=rng) - 1

    batch = points.shape[1]
    hidden = torch.sigmoid(SLOPE * (torch.einsum("pbi,bhi->pbh", points, uniform(batch, HIDDEN, 2)) + uniform(batch, HIDDEN)))
    return torch.sigmoid(SLOPE * (torch.einsum("pbh,bh->pb", hidden, uniform(batch, HIDDEN)) + uniform(batch)))


def draw(batch: int, rng: torch.Generator, points: int = POINTS) -> Episode:
    """Draw episodes, each with a teacher of its own."""
    x = 2 * torch.rand(points, batch, 2, generator=rng) - 1
    answers = teachers(x, rng)
    before = torch.cat([torch.full((1, batch), 0.5), answers[:-1]])
    rates = torch.cat([tuned(x, -1.0, 1.0).flatten(2), tuned(before, 0.0, 1.0)], -1).repeat_interleave(HOLD, 0)
    return Episode((torch.rand(rates.shape, generator=rng) < rates).float(), x, answers)


def linear_errors(episode: Episode) -> Tensor:
    """Return the squared errors [P, B] of each teacher's best linear approximation."""
    design = torch.cat([episode.points, torch.ones_like(episode.points[..., :1])], -1).transpose(0, 1)  # [B, P, 3]
    answers = episode.answers.T.unsqueeze(-1)
    fitted = design @ torch.linalg.lstsq(design, answers).solution
    residual: Tensor = (fitted - answers).squeeze(-1).T
    return residual.square()


class Learner:
    """The network whose weights the outer loop moves.

    Args:
        seed: of the initial weights.
    """

    def __init__(self, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        inputs = 3 * TUNED

        def normal(*shape: int, scale: float) -> Tensor:
            return (scale * torch.randn(*shape, generator=rng)).requires_grad_()

        self.w_in = normal(NEURONS, inputs, scale=1.5 / math.sqrt(inputs))
        self.w_rec = normal(NEURONS, NEURONS, scale=1.0 / math.sqrt(NEURONS))
        self.w_out = normal(NEURONS, scale=1.0 / math.sqrt(NEURONS))
        self.bias = torch.full((NEURONS,), 0.1).requires_grad_()
        self.offset = torch.zeros(()).requires_grad_()
        self._off_diagonal = 1.0 - torch.eye(NEURONS)
        beta = torch.zeros(NEURONS)
        beta[NEURONS - ADAPTIVE :] = 0.1
        low, high = (math.log(1 - rho) for rho in RHO)
        rho = 1 - torch.exp(low + (high - low) * torch.rand(NEURONS, generator=rng))
        self._params = AlifParams(torch.full((NEURONS,), ALPHA), rho, beta)

    @property
    def weights(self) -> list[Tensor]:
        """What the outer loop moves."""
        return [self.w_in, self.w_rec, self.w_out, self.bias, self.offset]

    def answer(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Return the network's answers [P, B], read at the last step of each point, and its spikes."""
        current = network.project(episode.x, self.w_in) + self.bias
        z = network.run(current, self.w_rec * self._off_diagonal, self._params).z
        filtered = readout.low_pass(z @ self.w_out, KAPPA)
        return torch.sigmoid(4 * filtered[HOLD - 1 :: HOLD] + self.offset), z


def check(learner: Learner, iteration: int, rng: torch.Generator, batch: int = 128, points: int = POINTS) -> tuple[Check, Tensor, Tensor, Tensor]:
    """Measure on new episodes.

    Returns:
        The errors of the second half, those of the network and of the linear approximations by point, and the answers in the first episode.
    """
    with torch.no_grad():
        episode = draw(batch, rng, points)
        answers, _ = learner.answer(episode)
    errors, linear = (answers - episode.answers).square(), linear_errors(episode)
    half = points // 2
    constant = (episode.answers[half:] - episode.answers.mean(0)).square()
    figures = Check(iteration, float(errors[half:].mean()), float(linear[half:].mean()), float(constant.mean()))
    return figures, errors.mean(1), linear.mean(1), torch.stack([episode.answers[:, 0], answers[:, 0]])


def learn(
    seed: int, minutes: float, iterations: int | None = None, batch: int = BATCH, points: int = POINTS, watch: Callable[[Check], None] | None = None
) -> Run:
    """Run the outer loop.

    Args:
        seed: of weights, teachers and points.
        minutes: processor time after which it ends.
        iterations: after which it ends, if that is earlier.
        batch: episodes of an iteration.
        points: of an episode.
        watch: called with every check.

    Returns:
        The errors on new episodes during the run and at its end.
    """
    rng, fresh = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1_000_000)
    learner = Learner(seed)
    optimiser = torch.optim.Adam(learner.weights, lr=RATE)
    checks: list[Check] = []
    begun = time.process_time()
    iteration, spent = 0, 0.0
    while spent < 1.0:
        optimiser.param_groups[0]["lr"] = RATE * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * spent)))
        episode = draw(batch, rng, points)
        answers, z = learner.answer(episode)
        loss = (answers - episode.answers).square().mean() + RATE_WEIGHT * NEURONS * rate_loss(z, TARGET_RATE)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.weights, 1.0)
        optimiser.step()
        iteration += 1
        spent = max((time.process_time() - begun) / (60 * minutes), 0.0 if iterations is None else iteration / iterations)
        if iteration % 100 == 0:
            checks.append(check(learner, iteration, fresh, 64, points)[0])
            if watch is not None:
                watch(checks[-1])
    last, curve, linear, example = check(learner, iteration, fresh, 512, points)
    return Run([*checks, last], curve, linear, example)


def draw_figure(runs: list[Run], path: Path) -> None:
    """Draw errors within an episode and over the outer loop, and the answers in an episode."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (within, over, answers) = pyplot.subplots(3, 1, figsize=(7, 7), layout="constrained")
    for number, run in enumerate(runs):
        within.plot(range(1, len(run.curve) + 1), run.curve, label=f"seed {number}", linewidth=0.9)
        over.semilogy([point.iteration for point in run.checks], [point.error for point in run.checks], label=f"seed {number}", linewidth=0.9)
    run = runs[0]
    within.axhline(float(run.linear.mean()), color="k", linestyle=":", label="best linear approximation")
    within.set(xlabel="examples of a new function heard", ylabel="squared error", ylim=(0, None))
    over.axhline(run.checks[-1].linear, color="k", linestyle=":")
    over.axhline(run.checks[-1].constant, color="0.6", linestyle=":")
    over.set(xlabel="iteration of the outer loop", ylabel="squared error")
    answers.plot(run.example[0], "k--", label="teacher")
    answers.plot(run.example[1], color="tab:blue", label="network")
    answers.set(xlabel="point of a new episode", ylabel="answer", ylim=(-0.05, 1.05))
    for axes in (within, over, answers):
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main(
    minutes: Annotated[float, typer.Option(min=0.05, help="processor time of a network")] = 12.0,
    seeds: Annotated[int, typer.Option(min=1, help="networks")] = 2,
    out: Annotated[Path, typer.Option(help="figure")] = Path("docs/reference_teacher.png"),
    json_out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Learn to learn from a teacher."""

    def watch(point: Check) -> None:
        figures = f"error {point.error:.4f}, linear {point.linear:.4f}, constant {point.constant:.4f}"
        print(f"iteration {point.iteration}: {figures}", file=sys.stderr)

    runs = [learn(seed, minutes, watch=watch) for seed in range(seeds)]
    draw_figure(runs, out)
    rows = []
    for seed, run in enumerate(runs):
        last = run.checks[-1]
        figures = {"iterations": last.iteration, "error": last.error, "best linear": last.linear, "constant": last.constant}
        rows.append(Report(f"seed {seed}", figures, last.error < last.linear))
    publish("Learning to learn from a teacher", rows, {"task": "teacher", "minutes": minutes, "criterion": "error < best linear"}, json_out)


if __name__ == "__main__":
    typer.run(main)
