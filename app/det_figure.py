"""Misses against false accepts per hour, both on logarithmic axes: how a word's threshold trades one for the other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.demo_figure import FAINT, GREEN, INK, RED

if TYPE_CHECKING:
    from priming.detection import Curve

TARGET = 1.0  # false accept per hour and word
LOWEST_MISS = 0.02  # lower end of the axis
TICKS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)


def draw(common: "Curve", own: "Curve", shipped: int, title: str, path: Path) -> None:
    """Draw the curves and write them.

    Args:
        common: one threshold for all words.
        own: every word's own threshold, shifted.
        shipped: index of the operating point in `own` at which nothing is shifted.
        title: of the figure.
        path: of the PNG file; its folder exists.
    """
    import io

    import matplotlib

    from priming.atomic import write_atomically

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullLocator

    style: Any = {"font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": FAINT, "ytick.color": FAINT}
    floor = max(0.01, 0.5 / common.word_hours)  # where a rate of nought is drawn: half of what one false accept would give
    with matplotlib.rc_context(style):
        figure, axis = pyplot.subplots(figsize=(8, 6), layout="constrained")
        for curve, colour, name in ((common, INK, "one threshold for all words"), (own, RED, "each word's own threshold, shifted")):
            rates, misses = np.maximum(curve.false_accept_rates(), floor), np.maximum(curve.misses(), LOWEST_MISS)
            axis.fill_between(rates, *np.maximum(curve.bands()[1], LOWEST_MISS), color=colour, alpha=0.13, linewidth=0)
            at_target = curve.misses_at(TARGET)
            axis.plot(rates, misses, color=colour, linewidth=1.6, label=f"{name}: {at_target.value:.1%} missed at {TARGET:g} an hour")
        for word, (of_word, missed_of_word) in own.by_word(shipped).items():
            place = (max(of_word, floor), max(missed_of_word, LOWEST_MISS))
            axis.plot(*place, "o", color=GREEN, markersize=4, alpha=0.7)
            axis.annotate(word, place, xytext=(4, 3), textcoords="offset points", fontsize=8, color=GREEN)
        rate, missed = own.at(shipped)
        axis.plot(max(rate.value, floor), max(missed.value, LOWEST_MISS), "D", color=GREEN, markersize=9, label="as shipped; dots: single words")
        axis.axvline(TARGET, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(floor, max(60.0, float(np.max(common.false_accept_rates()))))
        axis.set_ylim(LOWEST_MISS, 1.05)
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_yticks(TICKS)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_xlabel("false accepts per hour and enrolled word")
        axis.set_ylabel("missed: not told within 0.5 s of the word's end")
        axis.set_title(title, loc="left", fontweight="bold")
        axis.grid(color=FAINT, alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="lower left", frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=120, format="png")
        pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
