"""One-shot learning compared on the same episodes: the primed model, what is left of it without parts, and methods of other kinds.

    python benchmarks/oneshot.py --data DIR [--role validation] [--model embedding] [--episodes 200]

Prints accuracy with its 95 % interval, what `priming.metrics` says of thresholds, and by how much natural e-prop's accuracy exceeds each method's,
with the 95 % interval of that paired difference. It also prints how much an enrolment changes the weights. Methods are those of
`alternatives.registry`; one that cannot run here is left out with a line on stderr. Every run on the role `test` belongs into docs/test_log.md.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alternatives.errors import UnavailableError
from alternatives.plain_errors import plain_errors
from alternatives.protocol import Alternative, Settings
from alternatives.registry import METHODS, REFERENCE, Method, primed, rounding
from priming.atomic import write_atomically
from priming.errors import DataError
from priming.evaluation import EvaluationConfig, sounding_episodes
from priming.metrics import Difference, Summary, paired_difference, summarise
from priming.model import load_model

NAMES = ", ".join(METHODS)


def chosen(only: list[str] | None, bits: list[int] | None) -> dict[str, Method]:
    """Return the methods to run by name, in the order of the table.

    Raises:
        DataError: a name that no method has, or fewer than two bits.
    """
    if unknown := set(only or []) - set(METHODS):
        raise DataError(f"--only takes {NAMES}; not {', '.join(sorted(unknown))}")
    if min(bits or [2]) < 2:
        raise DataError("--round takes 2 bits or more: one is the sign")
    methods: dict[str, Method] = {}
    for name, method in METHODS.items():
        if not only or name in only:
            methods[name] = method
        if name == REFERENCE:
            methods |= {f"round-{each}": rounding(each) for each in bits or []}
    return methods


def compared(named: list[str] | None) -> dict[str, Method]:
    """Return a row for each NAME=FILE of --compare-model.

    Raises:
        DataError: it is written otherwise, or the name is taken.
        ModelError: there is no such model.
    """
    methods: dict[str, Method] = {}
    for each in named or []:
        name, equals, file = each.partition("=")
        if not (name and equals and file) or name in METHODS or name in methods:
            raise DataError(f"--compare-model takes NAME=FILE with a name of its own; not {each}")
        methods[name] = primed(name, load_model(file))
    return methods


def build(methods: Mapping[str, Method], settings: Settings, required: bool) -> tuple[dict[str, Alternative], dict[str, str]]:
    """Make the methods ready.

    Args:
        methods: by name.
        settings: what they are made of.
        required: whether one that cannot run is an error.

    Returns:
        Those that can run, and why the others cannot.

    Raises:
        DataError: one that is required cannot run.
    """
    ready: dict[str, Alternative] = {}
    missing: dict[str, str] = {}
    for name, method in methods.items():
        try:
            ready[name] = method.build(settings)
        except UnavailableError as reason:
            if required:
                raise DataError(f"--only {name}: {reason}") from reason
            missing[name] = str(reason)
    return ready, missing


def compare(alternatives: Mapping[str, Alternative], config: EvaluationConfig) -> dict[str, Summary]:
    """Run methods on the same episodes.

    Args:
        alternatives: by name.
        config: of the episodes.

    Returns:
        The figures of each.
    """
    scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in alternatives}
    labels = []
    for sounding in track(sounding_episodes(config), total=config.episodes, console=Console(stderr=True), description="episodes"):
        labels.append(sounding.labels)
        for name, alternative in alternatives.items():
            scores[name].append(alternative.score(sounding.supports, sounding.queries))
    return {name: summarise(each, labels) for name, each in scores.items()}


def differences(summaries: Mapping[str, Summary]) -> dict[str, Difference]:
    """Return accuracy of natural e-prop minus that of each other method, on the same episodes; nothing where natural e-prop did not run."""
    if REFERENCE not in summaries:
        return {}
    reference = summaries[REFERENCE].episode_accuracy
    return {name: paired_difference(reference, summary.episode_accuracy) for name, summary in summaries.items() if name != REFERENCE}


def show(titles: Mapping[str, str], summaries: Mapping[str, Summary], title: str) -> None:
    """Print the table."""
    table = Table(title=title, box=None, padding=(0, 2))
    for column in ("method", "accuracy", "AUROC", "open set", "missed at 5 % / 1 %", "e-prop minus this"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    paired = differences(summaries)
    for name, summary in summaries.items():
        open_set = "" if summary.auroc_open_set is None else f"{summary.auroc_open_set:.3f}"
        missed = f"{summary.frr_at_far_5:.3f} / {summary.frr_at_far_1:.3f}"
        difference = f"{paired[name].mean:+.4f} ± {paired[name].ci95 or 0:.4f}" if name in paired else ""
        accuracy = f"{summary.accuracy:.3f} ± {summary.accuracy_ci95 or 0:.3f}"
        table.add_row(titles[name], accuracy, f"{summary.auroc_pairs:.4f}", open_set, missed, difference)
    Console(width=180).print(table)


def report(titles: Mapping[str, str], summaries: Mapping[str, Summary], missing: Mapping[str, str], run: Mapping[str, Any]) -> bytes:
    """Return the table as JSON.

    Args:
        titles: of the methods.
        summaries: of the methods that ran.
        missing: why others did not.
        run: what was run.
    """
    paired = {name: asdict(difference) for name, difference in differences(summaries).items()}
    rows = {
        name: {"title": titles[name], **summary.figures(), "eprop_minus_this": paired.get(name), "episode_accuracy": summary.episode_accuracy}
        for name, summary in summaries.items()
    }
    return (json.dumps({"run": run, "methods": rows, "left_out": missing}, indent=1) + "\n").encode()


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    role: Annotated[str, typer.Option(help="validation or test")] = "validation",
    subset: Annotated[str, typer.Option(help="of validation: isolated or connected")] = "isolated",
    model: Annotated[str, typer.Option(help="primed model")] = "embedding",
    only: Annotated[list[str] | None, typer.Option(help=f"{NAMES}; repeat for several [default: all]")] = None,
    ways: Annotated[int, typer.Option(help="words enrolled in an episode")] = 5,
    shots: Annotated[int, typer.Option(help="utterances of each word")] = 1,
    episodes: Annotated[int, typer.Option(help="episodes to draw")] = 200,
    seed: Annotated[int, typer.Option(help="of every draw")] = 0,
    snr: Annotated[float | None, typer.Option(help="queries are heard in noise at this ratio in dB")] = None,
    bits: Annotated[list[int] | None, typer.Option("--round", help="also natural e-prop from weights of this many bits; repeatable")] = None,
    readout_model: Annotated[str | None, typer.Option(help="model primed to learn with its readout alone")] = None,
    protonet: Annotated[Path | None, typer.Option(help="prototypical network of benchmarks/protonet.py")] = None,
    compare_model: Annotated[list[str] | None, typer.Option(help="NAME=FILE: also this primed model, by its own scheme; repeatable")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Compare on the same episodes."""
    with plain_errors():
        methods = chosen(only, bits) | compared(compare_model)
        settings = Settings(load_model(model), None if readout_model is None else load_model(readout_model), protonet, seed)
        alternatives, missing = build(methods, settings, required=bool(only))
        for name, reason in missing.items():
            print(f"left out: {methods[name].title}: {reason}", file=sys.stderr)
        config = EvaluationConfig(data, role, subset, ways, shots, episodes, seed, snr)
        summaries = compare(alternatives, config)
        titles = {name: method.title for name, method in methods.items()}
        words = f"{role} words{'' if role == 'test' else f' ({subset})'}{'' if snr is None else f', queries at {snr:g} dB'}"
        show(titles, summaries, f"{settings.model.name}: {ways}-way {shots}-shot, {words}, {episodes} episodes, seed {seed}")
        if REFERENCE in summaries and settings.network.mean_change is not None:
            change_in, change_rec = settings.network.mean_change
            print(f"an enrolment changes the weights by: W_in {change_in:.1%}, W_rec {change_rec:.1%} of their norm")
        if out is not None:
            run = {"model": settings.model.name, "sha256": settings.model.sha256, **asdict(config), "data": data.name}
            write_atomically(out, report(titles, summaries, missing, run))


if __name__ == "__main__":
    typer.run(main)
