r"""Learning to learn from a teacher: a network that learns a new function from examples without changing a weight.

    python -m benchmarks.reference_tasks.teacher --keep FOLDER [--cycles 3] [--minutes 14] [--seed 0 --seed 1] [--out FIGURE]

After Bellec et al. 2018 (Section 4), on the family of functions of `functions`. The outer loop (back-propagation through time, Adam) moves the
weights of a recurrent network of LIF and ALIF neurons; within an episode they stand still and the network hears points x of a new function C,
answers each, and then hears the teacher's answer C(x). What it learns of C is in its state, in the thresholds above all. As in the source, the
baseline is the best linear approximation of each teacher, an oracle that knows all points; the task is learnt when the network's squared error over
the second half of new episodes lies below it.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .outer_loop import CYCLES, JUDGED, Check, OuterLoop, Run
from .report import DASHES, Report, publish, read, save


def draw_figure(runs: dict[int, Run], path: Path) -> None:
    """Draw errors within an episode and over the outer loop, and the answers in some episodes; runs by seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    network_colour, linear_colour, mean_colour = "#0072B2", "#D55E00", "#7F7F7F"  # told apart with colour-blind eyes too
    figure, (within, over, answers) = pyplot.subplots(3, 1, figsize=(7.5, 8.5), layout="constrained")
    for seed, run in runs.items():
        label, line = f"network, seed {seed}", DASHES[seed % len(DASHES)]
        within.plot(run.curve, line, color=network_colour, label=label, linewidth=1.1)
        checks = [Check(*values) for values in run.checks[:-1]]  # all on the same functions
        over.plot([point.iteration for point in checks], [point.error for point in checks], line, color=network_colour, label=label, linewidth=1.1)
    run = next(iter(runs.values()))
    last = Check(*run.checks[-2 if len(run.checks) > 1 else -1])
    within.axhline(float(run.linear.mean()), color=linear_colour, linewidth=1.1, label="best linear approximation")
    within.set(
        title="New functions after the outer loop",
        xlabel="examples heard (number)",
        ylabel="squared error (1)",
        ylim=(0, None),
        xlim=(0, len(run.curve)),
    )
    over.axhline(last.linear, color=linear_colour, linewidth=1.1, label="best linear approximation")
    over.axhline(last.constant, color=mean_colour, linewidth=1.1, label="the teacher's own mean")
    over.set(title="Outer loop: examples 51 to 100 of new functions", xlabel="iterations (number)", ylabel="squared error (1)", ylim=(0, None))
    heard = run.example[:, -25:].transpose(1, 2).flatten(1)  # the ends of four episodes, one after the other
    answers.plot(heard[0], "o", color="k", fillstyle="none", markersize=5, label="teacher")
    answers.plot(heard[1], "x", color=network_colour, markersize=5, label="network")
    for begin in range(25, heard.shape[1], 25):
        answers.axvline(begin - 0.5, color="0.7", linewidth=0.8)
    answers.set(title="Examples 76 to 100 of four new functions", xlabel="example, one function beside the other", ylabel="answer (1)", xticks=[])
    answers.set(ylim=(-0.05, 1.25), xlim=(-1, heard.shape[1]))
    for axes in (within, over, answers):
        axes.legend(frameon=False, ncols=2, loc="upper right")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main(
    keep: Annotated[Path, typer.Option(help="folder from which a network that was not finished, or had one cycle, goes on")],
    cycles: Annotated[int, typer.Option(min=1, max=len(CYCLES), help="of the learning rate")] = len(CYCLES),
    minutes: Annotated[float, typer.Option(min=0.01, help="processor time after which to stop; the same command goes on")] = 14.0,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="of a network and its teachers; 0 and 1 when none is given")] = None,
    out: Annotated[Path, typer.Option(help="figure")] = Path("docs/reference_teacher.png"),
    json_out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Learn to learn from a teacher."""

    def watch(point: Check) -> None:
        figures = f"error {point.error:.4f}, linear {point.linear:.4f}, constant {point.constant:.4f}"
        print(f"iteration {point.iteration}: {figures}", file=sys.stderr, flush=True)

    runs: dict[int, Run] = {}
    for seed in seeds or [0, 1]:
        loop, path = OuterLoop(seed, CYCLES[:cycles]), keep / f"teacher-{seed}.safetensors"
        if path.exists():
            try:
                loop.load(read(path))
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--keep") from None
        run = loop.run(minutes, watch)
        save(loop.state(), path)
        if run is None:
            print(f"stopped after {minutes:g} minutes; the same command goes on from {path}", file=sys.stderr)
            raise typer.Exit(3)
        runs[seed] = run
    draw_figure(runs, out)
    rows = []
    for seed, run in runs.items():
        last = Check(*run.checks[-1])
        figures = {"iterations": last.iteration, "error": last.error, "best linear": last.linear, "constant": last.constant, "seconds": run.seconds}
        rows.append(Report(f"seed {seed}", figures, last.error < last.linear))
    settings = {"task": "teacher", "cycles": cycles, "criterion": f"error < best linear, {JUDGED} new episodes"}
    publish("Learning to learn from a teacher", rows, settings, json_out)


if __name__ == "__main__":
    typer.run(main)
