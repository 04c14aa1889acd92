"""`app map`: what a model takes of a SpiNNaker board, and whether the board keeps up."""

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from app import terminal
from app.errors import AppError

if TYPE_CHECKING:
    from hardware.mapping import Placement

log = logging.getLogger("sayonce")

ON_BOARD = ("cores", "chips", "sdram_bytes")  # what sPyNNaker tells, too


def run(model: str | None, board: str, words: int, analytic: bool, as_json: bool) -> None:
    """Count, let sPyNNaker count where it is installed, and print both."""
    from hardware.backend import BackendError
    from hardware.mapping import BOARD_CELLS, measure, place
    from hardware.spinnaker.machine import require
    from hardware.spinnaker.virtual import virtual_figures
    from priming.model import DEFAULT_MODEL, load_model

    wanted = model or DEFAULT_MODEL
    loaded = load_model(wanted)
    config = loaded.config.learner
    found = place(config, loaded.weights, measure(config, loaded.weights, loaded.background), words, board)
    mapped: dict[str, int] | None = None
    if not analytic and config.cell in BOARD_CELLS and not found.limits:
        try:
            require()
        except BackendError as missing:
            log.info("%s, for its own figures", missing)
        else:
            log.info("mapping onto a virtual board with sPyNNaker")
            mapped = virtual_figures(config, loaded.weights, board, words)
    if as_json:
        print(json.dumps(asdict(found) | {"model": loaded.name, "spynnaker": mapped}))
    else:
        _print(found, mapped, loaded.name)
    if found.limits:
        raise AppError(f"{loaded.name} with {words} words does not run on a {board}: {'; '.join(found.limits)}")


def _print(found: "Placement", mapped: dict[str, int] | None, name: str) -> None:
    """Print a table."""
    table = Table(title=f"{name}, {found.words} words, on a {found.board}", title_justify="left", box=None, padding=(0, 1))
    for heading in ("", "counted", "sPyNNaker", "available"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    available = {"cores": found.cores_available, "chips": found.chips_available}
    for row in ON_BOARD:
        theirs = "" if mapped is None else f"{mapped[row]:,}"
        table.add_row(row.replace("_", " "), f"{getattr(found, row):,}", theirs, f"{available[row]:,}" if row in available else "")
    figures = {"DTCM bytes of a core": found.dtcm_bytes, "neurons": found.neurons, "synapses": found.synapses}
    figures |= {f"synapses of a neuron, {part}": count for part, count in found.synapses_per_neuron.items()}
    figures |= {f"spikes per second, {part}": round(rate) for part, rate in found.spikes_per_s.items()}
    figures |= {"synaptic events per second": round(found.events_per_s)}
    for label, value in figures.items():
        table.add_row(label, f"{value:,}")
    for part, load in found.load.items():
        table.add_row(f"load of a core, {part}", f"{load.mean:.1%}")
        table.add_row("in the busiest step", f"{load.busiest:.1%}")
    terminal.out.print(table)
    terminal.out.print(f"A step lasts {found.step_ms:g} ms; the board {'keeps up' if found.keeps_up else 'does not keep up'}.")
