"""One figure of one-shot learning, after figure 2 of Scherr & Maass, "Learning-to-learn for neuromorphic hardware".

Time runs to the right, first the utterance that is learnt, then the stream. From top to bottom: what goes into the network, what the network does,
the learning signals that it receives, and the readout. The learning signals stop with the first utterance; what is recognised afterwards was learnt
in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from app.demo_material import Said
    from app.detector import Detection
    from hardware.backend import Trace

SHOWN_CHANNELS = 96  # of input channels and neurons, evenly spaced: single spikes stay visible
SHOWN_SIGNALS = 12  # learning signals of so many neurons, those that vary most
INK, FAINT, GREEN, GREY, RED = "#1d2733", "#8a94a0", "#1a9850", "#d9dee4", "#d7301f"


@dataclass(frozen=True)
class Record:
    """What the figure shows."""

    word: str
    step_s: float
    learning: "Trace"
    listening: "Trace"
    scores: NDArray[np.float32]  # [T] normalised, of the stream
    threshold: float
    truth: "Sequence[Said]"
    detections: "Sequence[Detection]"


def draw(record: Record, path: Path) -> None:
    """Draw the figure and write it.

    Args:
        record: of a demo.
        path: of the PNG file; its folder exists.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    spans = len(record.learning.inputs) * record.step_s, len(record.listening.inputs) * record.step_s
    style: Any = {
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
    }
    with matplotlib.rc_context(style):
        figure, axes = pyplot.subplots(
            4,
            2,
            figsize=(15, 8),
            sharex="col",
            sharey="row",
            layout="constrained",
            width_ratios=(max(1.0, 0.12 * spans[1]), spans[1] * 0.7),
            height_ratios=(2.0, 2.0, 1.1, 1.7),
        )
        for column, (trace, title) in enumerate(((record.learning, f"learning “{record.word}”"), (record.listening, "listening to other voices"))):
            _raster(axes[0, column], trace.inputs, spans[column])
            _raster(axes[1, column], trace.network, spans[column])
            _signals(axes[2, column], trace.signals, record)
            axes[0, column].set_title(title, loc="left", fontweight="bold")
            axes[3, column].set_xlabel("time (s)")
            axes[3, column].set_xlim(0, spans[column])
        for row, label in enumerate(("input\nspikes", "learning network\nspikes", "learning\nsignals", "readout\n(normalised)")):
            axes[row, 0].set_ylabel(label)
        axes[2, 1].text(0.5, 0.5, "the generator of learning signals is off", transform=axes[2, 1].transAxes, ha="center", va="bottom", color=FAINT)
        _readout(axes[3, 1], record)
        axes[3, 0].text(0.5, 0.5, "one update\nat the end", transform=axes[3, 0].transAxes, ha="center", va="center", color=FAINT)
        for axis in axes.flat:
            axis.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def _raster(axis: Any, spikes: NDArray[np.uint8], span_s: float) -> None:
    """Draw spikes [T, n]: a row for each of some channels."""
    shown = spikes[:, np.linspace(0, spikes.shape[1] - 1, min(SHOWN_CHANNELS, spikes.shape[1])).round().astype(int)]
    axis.imshow(shown.T, aspect="auto", cmap="Greys", vmin=0, vmax=1.15, interpolation="nearest", extent=(0, span_s, shown.shape[1], 0))
    axis.set_yticks([])


def _signals(axis: Any, signals: NDArray[np.float32], record: Record) -> None:
    """Draw the learning signals of the neurons whose signals varied most while the word was learnt."""
    chosen = np.argsort(record.learning.signals.std(0))[-SHOWN_SIGNALS:]
    time = (np.arange(len(signals)) + 1) * record.step_s
    axis.set_prop_cycle(color=_shades(SHOWN_SIGNALS))
    axis.plot(time, signals[:, chosen], linewidth=0.9)
    axis.set_yticks([0])


def _shades(count: int) -> Any:
    """Return colours that lie well beside each other."""
    import matplotlib

    return matplotlib.colormaps["viridis"](np.linspace(0.05, 0.85, count))


def _readout(axis: Any, record: Record) -> None:
    """Draw the score over the stream, what was said, and what was detected."""
    low, high = float(min(record.scores.min(), 0)), float(max(record.scores.max(), record.threshold))
    top = high + 0.55 * (high - low)
    for said in record.truth:
        right = said.word == record.word
        axis.axvspan(said.start_s, said.end_s, ymax=0.78, color=GREEN if right else GREY, alpha=0.22 if right else 0.5, linewidth=0)
        place = (said.start_s + said.end_s) / 2
        axis.text(place, top, said.word, rotation=35, ha="center", va="top", fontsize=8, color=GREEN if right else FAINT)
    axis.plot((np.arange(len(record.scores)) + 1) * record.step_s, record.scores, color=INK, linewidth=1.0)
    axis.axhline(record.threshold, color=RED, linewidth=0.8, linestyle=(0, (4, 3)))
    axis.text(0.2, record.threshold, "threshold", color=RED, fontsize=8, va="bottom")
    for number, detection in enumerate(record.detections):
        height = detection.score + 0.06 * (high - low)
        axis.plot([detection.start_s, detection.end_s], [height, height], color=GREEN, linewidth=3, solid_capstyle="round")
        if not number:
            axis.text(detection.end_s + 0.15, height, "detected", color=GREEN, fontsize=8, va="center")
    axis.set_ylim(low - 0.05 * (high - low), top)
