"""One-shot learning compared on the same episodes: the primed model, what is left of it without parts of its update, and methods without a network.

    python benchmarks/oneshot.py --data DIR [--role validation] [--model embedding] [--episodes 200]

Prints accuracy with its 95 % interval, AUROC, and the paired difference in accuracy to the model as it is. It also prints how much an enrolment
changes the weights. Every run on the role `test` belongs into docs/test_log.md.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from audio.constants import SAMPLE_RATE
from audio.voice import speech_segments
from hardware import Shot
from hardware.torch_backend import TorchBackend
from priming.corpus import Clip, load
from priming.evaluation import EvaluationConfig, HeardEpisode, enrol, episode_scores, heard_episodes
from priming.metrics import Summary, paired_difference, summarise
from priming.model import PrimedModel, load_model

Scorer = Callable[[HeardEpisode], NDArray[np.float64]]  # an episode to scores [queries, words]
DTW_COEFFICIENTS = 13  # of which the first, the energy, is left out
DTW_MARGIN_S = 0.05  # kept around the speech


class Network:
    """The primed model; each episode's words are learnt once and scored with parts of the update left out."""

    def __init__(self, model: PrimedModel) -> None:
        """Load the model into the torch emulator."""
        self._model, self._backend = model, TorchBackend()
        self._backend.load(model.config.learner, model.weights)
        self.changes: list[tuple[float, float]] = []  # norm of the change over norm of the weights, W_in and W_rec

        self._learnt: tuple[HeardEpisode, list[list[Shot]]] | None = None  # the latest episode: all scorers ask for it in turn

    def _learn(self, heard: HeardEpisode) -> list[list[Shot]]:
        if self._learnt is None or self._learnt[0] is not heard:
            self._learnt = heard, [[self._backend.learn(spikes) for spikes in shots] for shots in heard.supports]
        return self._learnt[1]

    def _scores(self, words: list[list[Shot]], heard: HeardEpisode) -> NDArray[np.float64]:
        return episode_scores(self._backend, [enrol(self._model, self._backend, shots) for shots in words], heard.queries)

    def whole(self, heard: HeardEpisode) -> NDArray[np.float64]:
        """Natural e-prop as enrolment runs it."""
        words = self._learn(heard)
        norms = [float(self._model.weights[name].norm()) for name in ("w_in", "w_rec")]
        for shots in words:
            change_in, change_rec = self._backend.weight_changes(shots)
            self.changes.append((float(change_in.norm()) / norms[0], float(change_rec.norm()) / norms[1]))
        return self._scores(words, heard)

    def readout_only(self, heard: HeardEpisode) -> NDArray[np.float64]:
        """The changes of W_in and W_rec zeroed after enrolment."""
        words = [[shot._replace(factor=np.zeros_like(shot.factor)) for shot in shots] for shots in self._learn(heard)]
        return self._scores(words, heard)

    def untaught(self, heard: HeardEpisode) -> NDArray[np.float64]:
        """The primed weights without any update."""
        words = [
            [shot._replace(factor=np.zeros_like(shot.factor), readout=np.zeros_like(shot.readout)) for shot in shots] for shots in self._learn(heard)
        ]
        return self._scores(words, heard)


def spike_prototype(heard: HeardEpisode) -> NDArray[np.float64]:
    """Cosine of the mean of the encoder's spikes, no network."""
    prototypes = [_unit(np.mean([spikes.mean(0) for spikes in shots], axis=0)) for shots in heard.supports]
    return np.array([[float(_unit(query.mean(0)) @ prototype) for prototype in prototypes] for query in heard.queries])


def _unit(vector: NDArray[np.floating]) -> NDArray[np.floating]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


class MfccDtw:
    """Dynamic time warping of MFCC and their slopes, cut to the speech, mean removed, cosine distance, the best of a word's supports.

    Of six variants on validation words (with and without the energy coefficient, variance normalisation, trimming) this one did best.
    """

    def __init__(self) -> None:
        """Start with an empty cache of features."""
        self._features: dict[str, NDArray[np.float32]] = {}

    def _mfcc(self, clip: Clip) -> NDArray[np.float32]:
        import librosa

        if clip.key not in self._features:
            samples = load(clip)
            if speech := speech_segments(samples):
                first, last = speech[0][0] - DTW_MARGIN_S, speech[-1][1] + DTW_MARGIN_S
                samples = samples[max(0, round(first * SAMPLE_RATE)) : round(last * SAMPLE_RATE)]
            found = librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE, n_mfcc=DTW_COEFFICIENTS, n_fft=400, hop_length=160, n_mels=40)[1:]
            found = found - found.mean(1, keepdims=True)
            slopes = librosa.feature.delta(found, width=5, mode="nearest")
            self._features[clip.key] = np.concatenate([found, 2 * slopes])
        return self._features[clip.key]

    def __call__(self, heard: HeardEpisode) -> NDArray[np.float64]:
        """Return minus the path's cost for each step."""
        supports = [[self._mfcc(clip) for clip in shots] for shots in heard.episode.support]
        queries = [self._mfcc(clip) for clip, _ in heard.episode.queries]
        return np.array([[max(-_path_cost(query, one) for one in shots) for shots in supports] for query in queries])


def _path_cost(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    import librosa

    cost = librosa.sequence.dtw(X=first, Y=second, metric="cosine", backtrack=False)
    return float(cost[-1, -1]) / (first.shape[1] + second.shape[1])


def main(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    role: Annotated[str, typer.Option(help="validation or test")] = "validation",
    subset: Annotated[str, typer.Option(help="of validation: isolated or connected")] = "isolated",
    model: Annotated[str, typer.Option(help="primed model")] = "embedding",
    only: Annotated[list[str] | None, typer.Option(help="eprop, readout, none, spikes or dtw; repeat for several [default: all]")] = None,
    ways: int = 5,
    shots: int = 1,
    episodes: int = 200,
    seed: int = 0,
) -> None:
    """Compare on the same episodes."""
    primed = load_model(model)
    network = Network(primed)
    methods: dict[str, tuple[str, Scorer]] = {
        "eprop": ("natural e-prop", network.whole),
        "readout": ("W_in and W_rec left as primed", network.readout_only),
        "none": ("no update at all", network.untaught),
        "spikes": ("cosine of mean spikes, no network", spike_prototype),
        "dtw": ("MFCC + DTW, nothing primed", MfccDtw()),
    }
    if unknown := set(only or []) - set(methods):
        raise typer.BadParameter(f"--only takes {', '.join(methods)}, not {', '.join(sorted(unknown))}")
    scorers = dict(methods[key] for key in methods if not only or key in only)
    scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in scorers}
    labels = []
    console = Console(stderr=True)
    config = EvaluationConfig(data, role, subset, ways, shots, episodes, seed)
    for heard in track(heard_episodes(primed, config), total=episodes, console=console, description="episodes"):
        labels.append(heard.labels)
        for name, scorer in scorers.items():
            scores[name].append(scorer(heard))
    summaries = {name: summarise(each, labels) for name, each in scores.items()}
    show(
        summaries, f"{primed.name}: {ways}-way {shots}-shot, {role} words{'' if role == 'test' else f' ({subset})'}, {episodes} episodes, seed {seed}"
    )
    if network.changes:
        change_in, change_rec = np.mean(network.changes, axis=0)
        print(f"an enrolment changes the weights by: W_in {change_in:.1%}, W_rec {change_rec:.1%} of their norm")


def show(summaries: dict[str, Summary], title: str) -> None:
    """Print the table."""
    table = Table(title=title, box=None, padding=(0, 2))
    for column in ("method", "accuracy", "AUROC", "open set", "missed at 5 % / 1 %", "accuracy minus the first's"):
        table.add_column(column, justify="left" if column == "method" else "right")
    first = next(iter(summaries.values()))
    for name, summary in summaries.items():
        difference = paired_difference(summary.episode_accuracy, first.episode_accuracy)
        paired = "" if summary is first else f"{difference.mean:+.4f} ± {difference.ci95 or 0:.4f}"
        open_set = "" if summary.auroc_open_set is None else f"{summary.auroc_open_set:.3f}"
        missed = f"{summary.frr_at_far_5:.3f} / {summary.frr_at_far_1:.3f}"
        table.add_row(name, f"{summary.accuracy:.3f} ± {summary.accuracy_ci95 or 0:.3f}", f"{summary.auroc_pairs:.4f}", open_set, missed, paired)
    Console(width=140).print(table)


if __name__ == "__main__":
    typer.run(main)
