"""Does a word mean the same on every backend? One network, the same validation episodes, several places to run it.

    python benchmarks/agreement.py --data DIR [--episodes 100] [--model embedding-alif] [--model board] [--only fixed] [--json FILE]

A row is a model on a backend. It learns every word of an episode, calibrates it and scores the queries as `app evaluate` does. Besides accuracy and
AUROC the table tells, against the row of the torch emulator on the same episodes:

* agreement: share of the queries, unknown words among them, for which the same enrolled word scores highest;
* rates: correlation (Pearson) of firing rates while words are learnt, over all neurons of the feature population and of the learning network and
  over all utterances.

and how often a neuron of the learning network fires, in spikes per second of sound, on the utterance that it learns: before the enrolment, and after
it, where the backend tells (`process_traced`). A backend that is not installed, or lacks the cell of a model, is named below the table with the
reason.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alternatives.plain_errors import plain_errors
from hardware.backend import Backend, BackendError, open_backend
from hardware.fixed.backend import FixedBackend
from hardware.spinnaker.backend import ChipInTheLoop
from hardware.spinnaker.chip import EmulatedChip
from priming.atomic import write_atomically
from priming.calibration import scale_deployed
from priming.errors import DataError, ModelError
from priming.evaluation import EnrolledWord, EvaluationConfig, HeardEpisode, episode_scores, heard_episodes
from priming.metrics import Summary, summarise
from priming.model import PrimedModel, load_model

REFERENCE = "torch"
MODELS = ("embedding-alif", "board")
RELEASED_CELLS = ("lif", "board")  # that binaries of SpiNNaker hold


@dataclass(frozen=True)
class Row:
    """A way to run a model."""

    title: str
    open: Callable[[], Backend]  # raises BackendError
    of_board: bool = False  # whether the row says what a SpiNNaker board does
    cells: tuple[str, ...] | None = None  # models that the row is about, by their cell; all when None


ROWS: dict[str, Row] = {
    REFERENCE: Row("torch", lambda: open_backend("torch")),
    "fixed-float": Row("fixed, learning in float", lambda: FixedBackend("float"), of_board=True),
    "fixed": Row("fixed, learning too", FixedBackend, of_board=True),
    "nest": Row("nest", lambda: open_backend("nest")),
    "chip": Row("chip in the loop, chip emulated", lambda: ChipInTheLoop(EmulatedChip()), of_board=True, cells=("board",)),
}


@dataclass
class Run:
    """A model on a backend, and what it did so far."""

    title: str
    model: PrimedModel
    backend: Backend
    words: dict[tuple[str, ...], EnrolledWord] = field(default_factory=dict)  # by support clips: several episodes draw the same
    rates: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # by support clip: spikes per step of every neuron
    after: dict[str, float] = field(default_factory=dict)  # by support clip: spikes per step and neuron of the changed network
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)

    def hear(self, heard: HeardEpisode) -> None:
        """Learn the words of an episode and score its queries."""
        keys = [tuple(clip.key for clip in clips) for clips in heard.episode.support]
        self._enrol({key: supports for key, supports in zip(keys, heard.supports, strict=True) if key not in self.words})
        self.scores.append(episode_scores(self.backend, [self.words[key] for key in keys], heard.queries, heard.less))
        self.labels.append(heard.labels)

    def _enrol(self, new: Mapping[tuple[str, ...], Sequence[NDArray[np.uint8]]]) -> None:
        """Learn words from their supports and calibrate them, all at once: the feature population then hears the background once."""
        learnt = {key: [self.backend.learn(spikes) for spikes in supports] for key, supports in new.items()}
        for key, shots in learnt.items():
            for clip, shot in zip(key, shots[:: len(self.model.config.speeds)], strict=True):
                self.rates[clip] = np.concatenate([shot.features.mean(0), shot.recurrent.mean(0)])
                if self.model.config.learner.plastic and hasattr(self.backend, "process_traced"):
                    self.backend.deploy([shots])
                    self.after[clip] = float(self.backend.process_traced(shot.inputs).network.mean())
        self.backend.deploy(list(learnt.values()))
        scales = scale_deployed(self.backend, self.model) if learnt else []
        self.words |= {key: EnrolledWord(shots, scale) for (key, shots), scale in zip(learnt.items(), scales, strict=True)}

    @property
    def decisions(self) -> NDArray[np.int64]:
        """The word that scores highest for every query of all episodes."""
        return np.concatenate([matrix.argmax(1) for matrix in self.scores])

    def firing(self) -> tuple[float | None, float | None]:
        """Spikes per second of a neuron of the learning network on the utterances it learns, before and after."""
        learner = self.model.config.learner
        if not learner.plastic:
            return None, None
        before = float(np.mean([rates[-learner.neurons :].mean() for rates in self.rates.values()]))
        after = float(np.mean(list(self.after.values()))) if self.after else None
        per_s = 1000 / learner.step_ms
        return before * per_s, None if after is None else after * per_s


@dataclass(frozen=True)
class Agreement:
    """A line of the table; None where it cannot be told."""

    summary: Summary
    agreement: float | None
    rate_correlation: float | None
    firing_before_hz: float | None
    firing_after_hz: float | None

    def figures(self) -> dict[str, Any]:
        """Return them for JSON."""
        own = {name: value for name, value in vars(self).items() if name != "summary"}
        return {**self.summary.figures(), **own}


def judge(run: Run, reference: Run | None) -> Agreement:
    """Reduce what a run did to figures."""
    before, after = run.firing()
    if reference is None:
        return Agreement(summarise(run.scores, run.labels), None, None, before, after)
    mine, theirs = (np.concatenate([of.rates[clip] for clip in reference.rates]) for of in (run, reference))
    varies = mine.std() > 0 and theirs.std() > 0
    return Agreement(
        summarise(run.scores, run.labels),
        float((run.decisions == reference.decisions).mean()),
        float(np.corrcoef(mine, theirs)[0, 1]) if varies else None,
        before,
        after,
    )


def prepare(model: PrimedModel, rows: Mapping[str, Row]) -> tuple[dict[str, Run], dict[str, str]]:
    """Load a model on the backends of some rows.

    Returns:
        The rows that can run, and why the others cannot.
    """
    ready: dict[str, Run] = {}
    missing: dict[str, str] = {}
    cell = model.config.learner.cell
    for name, row in rows.items():
        title = row.title + (" (no released binary has this cell)" if row.of_board and cell not in RELEASED_CELLS else "")
        if row.cells is not None and cell not in row.cells:
            missing[name] = f"it is for models with the cell {' or '.join(row.cells)}"
            continue
        try:
            backend = row.open()
            backend.load(model.config.learner, model.weights)
        except BackendError as reason:
            missing[name] = str(reason)
            continue
        ready[name] = Run(title, model, backend)
    return ready, missing


def compare(model: PrimedModel, rows: Mapping[str, Row], config: EvaluationConfig) -> tuple[dict[str, Run], dict[str, Agreement], dict[str, str]]:
    """Run a model on backends.

    Returns:
        What ran, its figures, and why the other rows did not run.
    """
    runs, missing = prepare(model, rows)
    episodes = heard_episodes(model, config) if runs else []
    for heard in track(episodes, total=config.episodes, console=Console(stderr=True), description=model.name):
        for name in list(runs):
            try:
                runs[name].hear(heard)
            except BackendError as reason:  # a board that is needed and not there
                missing[name] = str(reason)
                del runs[name]
    return runs, {name: judge(run, None if name == REFERENCE else runs.get(REFERENCE)) for name, run in runs.items()}, missing


def show(title: str, runs: Mapping[str, Run], found: Mapping[str, Agreement]) -> None:
    """Print the table of a model."""
    table = Table(title=title, box=None, padding=(0, 2))
    for column in ("backend", "accuracy", "AUROC", "agreement", "rates", "fires before / after, Hz"):
        table.add_column(column, justify="left" if column == "backend" else "right", no_wrap=True)
    for name, line in found.items():
        accuracy = f"{line.summary.accuracy:.3f} ± {line.summary.accuracy_ci95 or 0:.3f}"
        agreement, rates = ("" if value is None else f"{value:.{digits}f}" for value, digits in ((line.agreement, 3), (line.rate_correlation, 4)))
        firing = " / ".join("-" if hz is None else f"{hz:.2f}" for hz in (line.firing_before_hz, line.firing_after_hz))
        table.add_row(runs[name].title, accuracy, f"{line.summary.auroc_pairs:.4f}", agreement, rates, firing)
    Console(width=150).print(table)


def opened(models: Sequence[str] | None) -> tuple[list[PrimedModel], dict[str, str]]:
    """Load models.

    Returns:
        The models, and why others are missing.

    Raises:
        ModelError: one that was asked for cannot be loaded.
    """
    found: list[PrimedModel] = []
    missing: dict[str, str] = {}
    for name in models or MODELS:
        try:
            found.append(load_model(name))
        except ModelError as reason:
            if models:
                raise
            missing[name] = str(reason)
    return found, missing


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    model: Annotated[list[str] | None, typer.Option(help=f"primed model; repeatable [default: {', '.join(MODELS)}]")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"{', '.join(ROWS)}; repeatable [default: all]")] = None,
    subset: Annotated[str, typer.Option(help="of validation words: isolated or connected")] = "isolated",
    ways: Annotated[int, typer.Option(help="words enrolled in an episode")] = 5,
    shots: Annotated[int, typer.Option(help="utterances of each word")] = 1,
    episodes: Annotated[int, typer.Option(help="episodes to draw")] = 100,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="file to write the figures to")] = None,
) -> None:
    """Compare backends on validation words."""
    with plain_errors():
        if unknown := set(only or []) - set(ROWS):
            raise DataError(f"--only takes {', '.join(ROWS)}; not {', '.join(sorted(unknown))}")
        rows = {name: row for name, row in ROWS.items() if not only or name in only or name == REFERENCE}
        config = EvaluationConfig(data, "validation", subset, ways, shots, episodes, seed)
        models, absent = opened(model)
        report: dict[str, Any] = {}
        for primed in models:
            runs, found, missing = compare(primed, rows, config)
            show(f"{primed.name}: {ways}-way {shots}-shot, validation words ({subset}), {episodes} episodes, seed {seed}", runs, found)
            for name, reason in missing.items():
                print(f"{primed.name} on {rows[name].title}: {reason}", file=sys.stderr)
            lines = {name: {"title": runs[name].title, **line.figures()} for name, line in found.items()}
            report[primed.name] = {"sha256": primed.sha256, "rows": lines, "left_out": missing}
        for name, reason in absent.items():
            print(f"{name}: {reason}", file=sys.stderr)
        if out is not None:
            run = {"role": "validation", "subset": subset, "ways": ways, "shots": shots, "episodes": episodes, "seed": seed}
            write_atomically(out, (json.dumps({"run": run, "models": report, "models_left_out": absent}, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
