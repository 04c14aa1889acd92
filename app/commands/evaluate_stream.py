"""`app evaluate --stream`: misses against false accepts per hour, in hours of continuous sound."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import AppError

if TYPE_CHECKING:
    from app.engine import Engine
    from app.stream_protocol import StreamConfig, StreamResult
    from priming.detection import Curve

TARGET = 1.0  # false accept per hour and enrolled word: where misses are compared


def run(
    data: str,
    role: str,
    hours: float | None,
    enrolments: int,
    words: int,
    shots: int,
    seed: int,
    snr: float | None,
    model: str | None,
    backend: str,
    figure: str | None,
    as_json: bool,
) -> None:
    """Run the evaluation, print its figures and draw the curve."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from app import terminal
    from app.engine import open_engine

    counts = (("--words-per-enrolment", words, 1), ("--enrolments", enrolments, 1), ("--shots", shots, 1), ("--seed", seed, 0))
    for name, value, least in counts:
        if value < least:
            raise AppError(f"{name} {value}: must be at least {least}")
    if hours is not None and not 0 < hours < 1000:
        raise AppError(f"--hours {hours:g}: must be above 0 and below 1000")
    if not Path(data).is_dir():
        raise AppError(f"{data} is not a folder; --data names the recordings")
    if figure is not None and (Path(figure).suffix.lower() != ".png" or not Path(figure).resolve().parent.is_dir()):
        raise AppError(f"--figure {figure}: give the name of a .png file in a folder that exists")

    from app.stream_protocol import StreamConfig, evaluate_stream

    engine = open_engine(model, backend)
    config = StreamConfig(Path(data), role, hours, enrolments, words, shots, snr, seed=seed)
    columns = (TextColumn("{task.description:>24}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.err, transient=True, disable=not terminal.err.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def watch(what: str, done: float, total: float) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        result = evaluate_stream(engine, config, watch)
    if figure is not None:
        from app.det_figure import draw

        title = f"{engine.model.name}, {_utterances(shots)} a word, {role} words{'' if snr is None else f', {snr:g} dB signal to noise'}"
        draw(result.common, result.own, result.shipped, title, Path(figure))
    if as_json:
        print(json.dumps(figures(engine, config, result)))
    else:
        _show(engine, config, result)


def figures(engine: "Engine", config: "StreamConfig", result: "StreamResult") -> dict[str, Any]:
    """Collect every figure, ready for JSON."""
    return {
        "model": engine.model.name,
        "model_sha256": engine.model.sha256,
        "backend": engine.backend.name,
        "role": config.role,
        "shots": config.shots,
        "enrolments": config.enrolments,
        "words_per_enrolment": config.words,
        "seed": config.seed,
        "snr_db": config.snr_db,
        "stream_hours": result.stream_hours,
        "background_hours": result.common.hours,
        "word_hours": result.common.word_hours,
        "utterances": sum(int(counts.spoken.sum()) for counts in result.common.counts),
        "unfit_enrolment_utterances": result.unfit,
        "misses_at_1_per_hour": {
            "one_threshold": {**_told(result.common, TARGET), "threshold": result.common.setting_at(TARGET)},
            "shifted_own_thresholds": {**_told(result.own, TARGET), "shift": result.own.setting_at(TARGET)},
            "best_threshold_of_each_word_on_this_background": result.common.misses_with_own_best(TARGET),
        },
        "as_shipped": _point(result.own, result.shipped, config.words),
        "real_time_factor": result.real_time_factor,
        "seconds": result.seconds,
        "curves": {"one_threshold": _curve(result.common), "shifted_own_thresholds": _curve(result.own)},
    }


def _told(curve: "Curve", rate: float) -> dict[str, Any]:
    estimate, later = curve.misses_at(rate), curve.misses_at(rate, late=True)
    return {"misses": estimate.value, "ci95": estimate.interval, "misses_if_late_counts": later.value}


def _point(curve: "Curve", k: int, words: int) -> dict[str, Any]:
    """Describe one operating point in full."""
    import numpy as np

    rate, misses = curve.at(k)
    latency = curve.latency_s(k)
    spoken = sum(int(counts.spoken.sum()) for counts in curve.counts)
    return {
        "false_accepts_per_hour_and_word": rate.value,
        "false_accepts_ci95": rate.interval,
        "false_accepts_per_hour_of_all_words": rate.value * words,
        "misses": misses.value,
        "misses_ci95": misses.interval,
        "heard_late": sum(int(counts.late[k].sum()) for counts in curve.counts) / spoken,
        "wrong_per_utterance": sum(int(counts.wrong[k]) for counts in curve.counts) / spoken,
        "latency_median_s": float(np.median(latency)) if len(latency) else None,
        "latency_p95_s": float(np.quantile(latency, 0.95)) if len(latency) else None,
        "by_word": {word: {"false_accepts_per_hour": rate_, "misses": missed} for word, (rate_, missed) in curve.by_word(k).items()},
    }


def _curve(curve: "Curve") -> dict[str, list[float]]:
    return {
        "setting": curve.settings.tolist(),
        "false_accepts_per_hour_and_word": curve.false_accept_rates().tolist(),
        "misses": curve.misses().tolist(),
    }


def _utterances(shots: int) -> str:
    return f"{shots} utterance{'s' if shots > 1 else ''}"


def _interval(interval: tuple[float, float] | None, form: str) -> str:
    return "" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}  "


def _show(engine: "Engine", config: "StreamConfig", result: "StreamResult") -> None:
    """Print the figures as tables."""
    from rich.table import Table

    from app import terminal

    told = figures(engine, config, result)
    point: Mapping[str, Any] = told["as_shipped"]
    noise = "" if config.snr_db is None else f", {config.snr_db:g} dB signal to noise"
    of_words = f"{config.enrolments} enrolments of {config.words} {config.role} words, {_utterances(config.shots)} each"
    terminal.out.print(f"{engine.model.name} on {engine.backend.name}: {of_words}{noise}", markup=False)
    lengths = f"{told['background_hours']:.2f} h of background, {told['word_hours']:.1f} word-hours; {told['utterances']} utterances"
    terminal.out.print(f"{lengths}\nmissed: not told within 0.5 s of its end; false accepts: per hour and word", style="bright_black")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    target = told["misses_at_1_per_hour"]
    for row, name, label in (
        ("missed at 1 an hour", "one_threshold", "one threshold for all words"),
        ("", "shifted_own_thresholds", "each word's own"),
    ):
        table.add_row(row, f"{target[name]['misses']:.1%}", f"{_interval(target[name]['ci95'], '.1%')}{label}")
    table.add_row("", f"{target['one_threshold']['misses_if_late_counts']:.1%}", "one threshold, if told later were heard")
    table.add_row("", f"{target['best_threshold_of_each_word_on_this_background']:.1%}", "best for each word on this background")
    late = f"{_interval(point['misses_ci95'], '.1%')}{point['heard_late']:.1%} were told later"
    table.add_row("as shipped: missed", f"{point['misses']:.1%}", late)
    joint = f"{_interval(point['false_accepts_ci95'], '.2f')}an hour; {point['false_accepts_per_hour_of_all_words']:.1f} of all words"
    table.add_row("false accepts", f"{point['false_accepts_per_hour_and_word']:.2f}", joint)
    table.add_row("wrong or twice", f"{point['wrong_per_utterance']:.1%}", "of utterances")
    if point["latency_median_s"] is not None:
        table.add_row("told after its end", f"{point['latency_median_s']:.2f} s", f"median; 95 % within {point['latency_p95_s']:.2f} s")
    table.add_row("computing", f"{result.real_time_factor:.3f}", "of the sound's duration")
    terminal.out.print(table)
    words = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in ("as shipped", "missed", "false accepts per hour"):
        words.add_column(name, justify="left" if name == "as shipped" else "right")
    for word, found in point["by_word"].items():
        words.add_row(word, f"{found['misses']:.0%}", f"{found['false_accepts_per_hour']:.2f}")
    terminal.out.print(words)
    if config.shots > 1:
        terminal.out.print("where nobody has so many clips of a word, its utterances come from several speakers", style="bright_black")
