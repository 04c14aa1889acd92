"""What natural e-prop would need on SpiNNaker cores: the figures of docs/on_chip_eprop.md.

    python benchmarks/on_chip.py [--model embedding] [--steps 60] [--words 10]

Pure arithmetic on the sizes of a primed model (`hardware.fixed.budget`); nothing is run.
"""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from alternatives.plain_errors import plain_errors
from hardware.fixed import budget
from hardware.fixed.budget import Cycles, Need
from hardware.fixed.cells import cell_named
from priming.model import load_model
from snn.config import LearnerConfig

PRODUCTS = 4  # of a neuron and a step at most: of its membrane, and of the recursion of its factors


def memory(config: LearnerConfig, steps: int) -> dict[str, Need]:
    """Return the ways to place a word's learning network."""
    cell = cell_named(config.cell)
    return {
        "traces, 26 + 6 words (published)": budget.published_need(config),
        f"traces, {budget.trace_words(cell)} words a synapse": budget.online_need(config, cell),
        f"factorised, {steps} steps": budget.factorised_need(config, steps, cell),
    }


def cycles(config: LearnerConfig, steps: int, network: Need, usual: float) -> dict[str, Cycles]:
    """Return the prices of a step where every source spikes, and of the update also where a usual share does."""
    here = max(1, network.neurons_per_core)
    features = budget.features_need(config)
    return {
        f"feature population, {features.neurons_per_core} neurons a core, {features.cores} cores": budget.step_cycles(
            config, config.inputs + sum(config.features), features.neurons_per_core, PRODUCTS
        ),
        "learning network": budget.step_cycles(config, config.heard + config.neurons, here, PRODUCTS),
        "generator": budget.generator_cycles(config),
        "update, once": budget.update_cycles(config, steps, here, PRODUCTS),
        f"update, once, {usual:.0%} spiking": budget.update_cycles(config, steps, here, PRODUCTS, usual),
    }


def main(
    model: Annotated[str, typer.Option(help="primed model")] = "embedding",
    steps: Annotated[int, typer.Option(help="of the longest utterance", min=1)] = 60,
    words: Annotated[int, typer.Option(help="enrolled", min=1)] = 10,
) -> None:
    """Print memory, cycles, packets, cores and chips."""
    with plain_errors():
        primed = load_model(model)
    config, usual = primed.config.learner, float(primed.background.mean())
    console = Console(width=150)
    synapses = budget.synapses_per_neuron(config)
    console.print(
        f"{model}: {config.neurons} neurons a word, {synapses} synapses each; {budget.usable_words() * budget.WORD_BYTES} bytes of state a core"
    )
    placements = memory(config, steps)
    table = Table("learning network of a word", box=None, padding=(0, 2))
    for column in ("neurons / core", "cores", "DTCM", f"cores of all, {words} words", "chips"):
        table.add_column(column, justify="right")
    for name, need in placements.items():
        if need.neurons_per_core:
            whole = budget.layout(config, need, words)
            table.add_row(name, str(need.neurons_per_core), str(need.cores), f"{need.dtcm_share:.0%}", str(whole.cores), str(whole.chips))
        else:
            table.add_row(name, "0", "does not fit", "", "", "")
    console.print(table)
    longest = budget.longest_utterance(config, cell_named(config.cell))
    console.print(f"longest utterance that one core learns, factorised: {longest} steps, {longest * config.step_ms / 1000:.2f} s")
    console.print(f"SDRAM of a word's synapses: {budget.row_bytes(config) / 1000:.0f} kB of {budget.SDRAM_BYTES >> 20} MB a chip")
    table = Table("cycles of a step, every source spiking", box=None, padding=(0, 2))
    for column in ("used", "of", "share"):
        table.add_column(column, justify="right")
    for name, price in cycles(config, steps, placements[f"factorised, {steps} steps"], usual).items():
        table.add_row(name, f"{price.used:,}", f"{price.available:,}", f"{price.share:.2f}")
    console.print(table)
    packets = budget.signal_packets(config)
    console.print(f"learning signals: {packets['per_step']:.0f} packets a step, {packets['per_s']:.0f}/s, {packets['bits_per_s'] / 1000:.0f} kbit/s")


if __name__ == "__main__":
    typer.run(main)
