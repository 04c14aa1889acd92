"""`app evaluate`: one-shot learning measured on words and speakers that priming never heard."""

import json
from pathlib import Path

from app.errors import AppError


def run(
    data: str,
    role: str,
    subset: str,
    ways: int,
    shots: int,
    episodes: int,
    seed: int,
    snr: float | None,
    model: str | None,
    backend: str,
    as_json: bool,
) -> None:
    """Run the protocol and print its figures."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from app import terminal
    from app.engine import open_engine

    for name, value, least in (("--ways", ways, 2), ("--shots", shots, 1), ("--episodes", episodes, 1), ("--seed", seed, 0)):
        if value < least:
            raise AppError(f"{name} {value}: must be at least {least}")
    if not Path(data).is_dir():
        raise AppError(f"{data} is not a folder; --data names the recordings")

    from priming.evaluation import EvaluationConfig, evaluate

    engine = open_engine(model, backend)
    config = EvaluationConfig(Path(data), role, subset, ways, shots, episodes, seed, snr)
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TextColumn("episodes"), TimeRemainingColumn())
    with Progress(*columns, console=terminal.err, transient=True, disable=not terminal.err.is_terminal) as progress:
        task = progress.add_task("", total=episodes)
        summary = evaluate(engine.model, engine.backend, config, lambda done, total: progress.update(task, completed=done, total=total))
    figures = {**summary.figures(), "model": engine.model.name}
    if as_json:
        conditions = {
            "model_sha256": engine.model.sha256,
            "role": role,
            "ways": ways,
            "shots": shots,
            "seed": seed,
            "snr_db": snr,
            "backend": backend,
        }
        print(json.dumps({**figures, **conditions}))
        return
    from rich.table import Table

    words = f"{role} words" if role == "test" else f"{role} words, {subset}"
    noise = "" if snr is None else f", {snr:g} dB signal to noise"
    terminal.out.print(f"{engine.model.name} on {backend}: {ways} ways, {shots} shot{'s' if shots > 1 else ''}, {words}{noise}", markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    interval = "" if summary.accuracy_ci95 is None else f" ± {summary.accuracy_ci95:.3f}"
    table.add_row("accuracy", f"{summary.accuracy:.3f}{interval}", f"of known words, {summary.episodes} episodes")
    table.add_row("area under ROC", f"{summary.auroc_pairs:.3f}", "a word against what is not that word")
    if summary.auroc_open_set is not None:
        table.add_row("", f"{summary.auroc_open_set:.3f}", "known against unknown words")
    table.add_row("missed", f"{summary.frr_at_far_5:.1%}", "where 5 % of other words are accepted")
    table.add_row("", f"{summary.frr_at_far_1:.1%}", "where 1 % are")
    terminal.out.print(table)
    if shots >= 5:
        terminal.out.print("with 5 shots and more the utterances of a word come from several speakers", style="bright_black")
