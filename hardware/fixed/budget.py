r"""What natural e-prop would need on SpiNNaker: words of memory, packets and cycles, from the sizes of a network alone.

Two ways to learn are counted (`hardware.fixed.eprop`), both for the learning network of one word, N neurons with S synapses each (H that hear, N - 1
recurrent):

* **online**: traces and sum of the gradient for every synapse;
* **factorised**: for every neuron :math:`\psi_j^t` and :math:`L_j^t` of T steps, for a core the spikes it received; no word per synapse, whose weight
  stays in SDRAM, where a spike's row is fetched from.

Facts of the machine are constants with their source. Cycles are estimates: each kind of operation has a price below, deliberately high, and every
figure says how many operations it counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hardware.fixed.cells import Cell, alif, cell_named
from snn.config import LearnerConfig

WORD_BYTES = 4
DTCM_BYTES = 64 * 1024  # of a core; code has 32 kB of its own (Furber et al. 2014)
SDRAM_BYTES = 128 * 1024 * 1024  # of a chip
CORES_PER_CHIP = 16  # for applications: of 18, one is the monitor, one is kept as a spare
CHIPS = {"spin3": 4, "spin5": 48}  # of a board
CLOCK_HZ = 200_000_000

# The published e-prop branch for SpiNNaker 1 (read, not run): 8 neurons of 250 synapses on a core.
PUBLISHED_NEURONS, PUBLISHED_SYNAPSES = 8, 250
PUBLISHED_NEURON_WORDS, PUBLISHED_SYNAPSE_WORDS = 26, 6

# Prices in cycles of an ARM968, estimates.
PRODUCT_CYCLES = 20  # SMULL, rounding, saturation, loads and stores of one multiply_nearest
EVENT_CYCLES = 40  # a spike meets one synapse: read the row, add to a ring buffer
PACKET_CYCLES = 400  # a packet is received: interrupt, table look-up, start of the row's transfer from SDRAM

PACKET_BITS, PAYLOAD_BITS = 40, 32  # 8 of control and 32 of key; 32 of payload
ROW_HEADER_WORDS = 3  # of a synaptic row in SDRAM
PACKED_SPIKES = 32  # to a word


def published_words(neurons: int = PUBLISHED_NEURONS, synapses: int = PUBLISHED_SYNAPSES) -> int:
    """Return the words of DTCM that neurons take in the published branch; the first of them exhaust what a core has for state."""
    return neurons * (PUBLISHED_NEURON_WORDS + PUBLISHED_SYNAPSE_WORDS * synapses)


def usable_words() -> int:
    """Return the words of DTCM that state may take: as many as the published branch uses; the rest is stack, buffers and tables."""
    return published_words()


def neuron_words(cell: Cell) -> int:
    """Return the words of a neuron without learning: its state, its constants and its bias, as `hardware.fixed.cells` keeps them."""
    state = cell.initial_state((1,))
    return len(state) + len(_constants(cell)) + 1


def _constants(cell: Cell) -> tuple[str, ...]:
    """Name the constants of a cell."""
    fields: tuple[str, ...] = cell.Constants._fields  # type: ignore[attr-defined]
    return fields


def trace_words(cell: Cell) -> int:
    """Return the words of a synapse that online e-prop keeps: traces, sum of the gradient, weight."""
    return len([trace for trace in cell.initial_trace((1, 1)) if trace.ndim == 2]) + 2


@dataclass(frozen=True)
class Need:
    """What a population needs."""

    neurons: int
    neurons_per_core: int  # as many as fit, or as are kept up with
    dtcm_words: int  # of a core that is full

    @property
    def cores(self) -> int:
        """Cores of the population."""
        return math.ceil(self.neurons / self.neurons_per_core)

    @property
    def dtcm_share(self) -> float:
        """Share of a core's DTCM that its state takes."""
        return self.dtcm_words * WORD_BYTES / DTCM_BYTES


def placed(neurons: int, words_each: int, words_core: int) -> Need:
    """Place as many neurons on a core as its DTCM holds.

    Args:
        neurons: of the population.
        words_each: of a neuron with all that is its own.
        words_core: of what the neurons of a core share.

    Returns:
        The need; neurons_per_core is 0 where not even one fits.
    """
    fit = min(neurons, max(0, (usable_words() - words_core) // words_each))
    return Need(neurons, fit, fit * words_each + words_core)


def synapses_per_neuron(config: LearnerConfig) -> int:
    """Return the synapses of a neuron of the learning network."""
    return config.heard + config.neurons - 1


def online_need(config: LearnerConfig, cell: Cell = alif) -> Need:
    """Place a word's learning network with traces for every synapse, at our count of words (`trace_words`)."""
    return placed(config.neurons, neuron_words(cell) + 2 + trace_words(cell) * synapses_per_neuron(config), 0)


def published_need(config: LearnerConfig) -> Need:
    """Place a word's learning network at the published count of words."""
    return placed(config.neurons, published_words(1, synapses_per_neuron(config)), 0)


def factorised_need(config: LearnerConfig, steps: int, cell: Cell = alif) -> Need:
    """Place a word's learning network that keeps psi and L of an utterance of so many steps, and the spikes that arrived."""
    arriving = steps * math.ceil((config.heard + config.neurons) / PACKED_SPIKES)
    return placed(config.neurons, neuron_words(cell) + 2 * steps, arriving)


def longest_utterance(config: LearnerConfig, cell: Cell = alif) -> int:
    """Return the steps of the longest utterance that a word's learning network can learn on one core, factorised."""
    per_step = 2 * config.neurons + math.ceil((config.heard + config.neurons) / PACKED_SPIKES)
    return max(0, (usable_words() - config.neurons * neuron_words(cell)) // per_step)


def row_bytes(config: LearnerConfig) -> int:
    """Return the SDRAM of a word's synapses: one row per source, one word per synapse."""
    return (config.heard + config.neurons) * (ROW_HEADER_WORDS + config.neurons) * WORD_BYTES


@dataclass(frozen=True)
class Cycles:
    """Cycles of a core, and how many it has."""

    used: int
    available: int

    @property
    def share(self) -> float:
        """Share of the cycles that is used."""
        return self.used / self.available


def cycles_per_step(config: LearnerConfig) -> int:
    """Return the cycles that a core has for one network step in real time."""
    return round(CLOCK_HZ * config.step_ms / 1000)


def step_cycles(config: LearnerConfig, sources: int, neurons: int, products: int) -> Cycles:
    """Price a step in the worst case, in which every source spikes.

    Args:
        config: of the learner.
        sources: that reach the core.
        neurons: on the core.
        products: of a neuron and a step.
    """
    used = sources * (PACKET_CYCLES + neurons * EVENT_CYCLES) + neurons * products * PRODUCT_CYCLES
    return Cycles(used, cycles_per_step(config))


def update_cycles(config: LearnerConfig, steps: int, neurons: int, products: int, spiking: float = 1.0) -> Cycles:
    """Price what follows the last step of an utterance, once per enrolment: the factors and the update of all rows.

    Args:
        config: of the learner.
        steps: of the utterance.
        neurons: on the core.
        products: of a neuron and a step of the recursion.
        spiking: share of sources that spike in a step.

    Returns:
        Cycles of a core, beside those of one step.
    """
    sources = config.heard + config.neurons
    factors = steps * neurons * products * PRODUCT_CYCLES
    sums = round(spiking * steps * sources) * neurons * EVENT_CYCLES
    rewritten = 2 * sources * (PACKET_CYCLES + neurons * 2 * PRODUCT_CYCLES)  # a pass that finds the new weights, and one that rounds them
    return Cycles(factors + sums + rewritten, cycles_per_step(config))


def generator_cycles(config: LearnerConfig) -> Cycles:
    """Price a step of the generator's core: its neurons, the low-pass, and one product for every weight of its output."""
    heard = config.heard + config.neurons + config.lsg_neurons
    neurons = step_cycles(config, heard, config.lsg_neurons, products=5)
    out = (config.neurons + 1) * config.lsg_neurons * PRODUCT_CYCLES
    return Cycles(neurons.used + out, neurons.available)


def generator_need(config: LearnerConfig) -> Need:
    """Place the generator on cores: its neurons, and its output weights in 32 bits, a share of which goes with each neuron."""
    return placed(config.lsg_neurons, neuron_words(cell_named("adlif")) + 1 + config.neurons + 1, config.neurons)


def features_need(config: LearnerConfig) -> Need:
    """Place the feature population: nothing is learnt there, so cycles limit it, at half of what a step has, in the worst case."""
    total = sum(config.features)
    sources = config.inputs + total
    fit = (cycles_per_step(config) // 2 - sources * PACKET_CYCLES) // (sources * EVENT_CYCLES + 4 * PRODUCT_CYCLES)
    here = min(total, max(0, fit), usable_words() // neuron_words(cell_named(config.cell)))
    return Need(total, here, here * neuron_words(cell_named(config.cell)))


def signal_packets(config: LearnerConfig) -> Mapping[str, float]:
    """Count the packets of learning signals: one with a payload for every neuron and step while a word is learnt."""
    per_s = config.neurons * 1000 / config.step_ms
    return {"per_step": config.neurons, "per_s": per_s, "bits_per_s": per_s * (PACKET_BITS + PAYLOAD_BITS)}


@dataclass(frozen=True)
class Layout:
    """Cores and chips of everything: words that listen, and one that is learnt."""

    features: Need
    network: Need  # of one word
    generator: Need
    words: int

    @property
    def cores(self) -> int:
        """All cores, one that receives the encoder's spikes among them."""
        return 1 + self.features.cores + self.words * self.network.cores + self.generator.cores

    @property
    def chips(self) -> int:
        """All chips."""
        return math.ceil(self.cores / CORES_PER_CHIP)


def layout(config: LearnerConfig, network: Need, words: int) -> Layout:
    """Lay out a network whose words all could learn."""
    return Layout(features_need(config), network, generator_need(config), words)
