r"""What a network takes of a SpiNNaker board, and whether the board keeps up: counted from sizes, weights and measured spikes.

The layout is sPyNNaker's: a population is cut into cores of 256 neurons at most, every learning network has cores of its own, the spike sources have
one. A projection has a synaptic matrix for each receptor type, one row per source neuron. What arrives within a step must be worked off within the
step, on each core:

.. math::
    \text{cycles} = n\, c_{neuron} + \text{packets} \cdot c_{packet} + \text{events} \cdot c_{event} \le f \cdot \text{step}

A packet is a spike that reaches the core, an event one of its synapses there. :math:`c_{event}` = 40 cycles are 5,000 events a millisecond, the
lower end of what Rhodes et al. 2018 measured ("within a factor of 2 of 10,000"); :math:`c_{neuron}` = 780 are 256 neurons a millisecond, sPyNNaker's
default load of a core in real time; :math:`c_{packet}` is an estimate (`hardware.fixed.budget`). How many spikes there are is measured: the model
listens to its own background bank (`priming.background`).

Sizes of boards, of the memory that applications get, and of tables: sPyNNaker 7.4.1 (SpiNNMachine's `version_3`, `version_5`, `version_spin1`; the
population table's rows; `MAX_DTCM_AVAILABLE` of its delay vertices); chips and cores: Furber et al. 2014, "The SpiNNaker Project".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError
from hardware.fixed.budget import CLOCK_HZ, EVENT_CYCLES, PACKET_CYCLES, ROW_HEADER_WORDS, WORD_BYTES
from hardware.spinnaker.circuit import FEATURES, INPUT, features_reached_by, word_name, word_reached_by
from snn import features, network
from snn.config import LearnerConfig
from snn.populations import cell_params, without_autapses

NEURONS_PER_CORE = 256  # the longest row of the population table
NEURON_CYCLES = CLOCK_HZ // 1000 // NEURONS_PER_CORE
DTCM_BYTES = 59_756  # of 64 kB: the rest is stack and system
SDRAM_BYTES = 123_469_792  # of a chip's 128 MB
ROUTES = 1023  # entries of a chip's routing table
SYSTEM_CORES = 2  # of a chip: monitor, and the extra monitor that loads and reads data
STATE_BYTES = 15 * WORD_BYTES  # of a neuron: membrane 8 words, delta synapse 2, input scale, threshold, adaptation 3
DELAY_SLOTS = 2  # of a ring buffer, for delays of one step
RECEPTORS = 2
SPIKE_BUFFER_WORDS = 256  # of packets that wait
TABLE_WORDS = 4  # per source vertex and matrix: population table and address list
STRETCH_S = 6.4  # of the background bank, heard from rest
BOARD_CELLS = ("board",)


class Board(NamedTuple):
    """A kind of board."""

    chips: int
    cores: int  # of all chips, those of the system included

    @property
    def application_cores(self) -> int:
        """Cores for populations: one core of the board, besides, gathers what the host reads."""
        return self.cores - SYSTEM_CORES * self.chips - 1


BOARDS = {"spin3": Board(4, 72), "spin5": Board(48, 856)}


class Traffic(NamedTuple):
    """Spikes of every step while the model hears background: [T] each."""

    inputs: NDArray[np.float64]
    features: NDArray[np.float64]  # of all layers
    heard: NDArray[np.float64]  # of the last layer
    network: NDArray[np.float64]  # of one learning network, as primed


@dataclass(frozen=True)
class Load:
    """What the busiest core of a population does within a step, as a share of the cycles it has."""

    mean: float
    busiest: float  # step of the background


@dataclass(frozen=True)
class Placement:
    """A network on a board."""

    board: str
    cell: str
    words: int
    step_ms: float
    neurons: int
    synapses: int
    synapses_per_neuron: dict[str, int]  # that a neuron receives
    cores: int
    cores_available: int
    chips: int
    chips_available: int
    dtcm_bytes: int  # of the fullest core
    sdram_bytes: int  # of all synapses
    spikes_per_s: dict[str, float]  # measured
    events_per_s: float  # synaptic events of the whole network
    load: dict[str, Load]
    keeps_up: bool  # in real time, at the busiest step
    limits: list[str]  # that are broken, in words


def measure(config: LearnerConfig, weights: Mapping[str, Tensor], background: NDArray[np.uint8]) -> Traffic:
    """Let a model hear background and count spikes.

    Args:
        config: of the learner.
        weights: primed.
        background: [T, I] spikes of the encoder.

    Returns:
        Spikes per step; what does not fill a stretch of 6.4 s at the end is left out, a shorter bank is heard whole.
    """
    steps = min(len(background), round(1000 * STRETCH_S / config.step_ms))
    stretches = len(background) // steps
    x = torch.from_numpy(background[: steps * stretches].reshape(stretches, steps, -1).swapaxes(0, 1).astype(np.float32))
    with torch.no_grad():
        heard, population = features.hear(config, weights, x)
        current = heard @ weights["w_in"].T + weights["bias"]
        own = network.run(current, without_autapses(weights["w_rec"]), cell_params(config, weights)).z
    last = population.z[..., -config.features[-1] :]
    return Traffic(*(z.sum(-1).T.reshape(-1).double().numpy() for z in (x, population.z, last, own)))


def place(config: LearnerConfig, weights: Mapping[str, Tensor], traffic: Traffic, words: int, board: str) -> Placement:
    """Lay a network out on a board.

    Args:
        config: of the learner.
        weights: primed.
        traffic: of `measure`.
        words: enrolled, at least 1.
        board: a name of `BOARDS`.

    Returns:
        What it takes, and which limits it breaks.

    Raises:
        BackendError: no such board, or no words.
    """
    if board not in BOARDS:
        raise BackendError(f"no board is called '{board}'; choose one of: {', '.join(BOARDS)}")
    if words < 1:
        raise BackendError("a network on a board has at least one word; give --words 1 or more")
    kind, hidden = BOARDS[board], sum(config.features)
    reached = {FEATURES: features_reached_by(config, weights), "word": word_reached_by(config, weights, word_name(0))}
    size, count = {FEATURES: hidden, "word": config.neurons}, {FEATURES: 1, "word": words}
    cores = {name: math.ceil(size[name] / NEURONS_PER_CORE) for name in size}
    rows = {name: {source: _matrix(matrix) for source, matrix in parts.items()} for name, parts in reached.items()}
    synapses = {name: sum(found.synapses for found in parts.values()) for name, parts in rows.items()}
    sdram = sum(count[name] * found.bytes for name, parts in rows.items() for found in parts.values())
    dtcm = max(_dtcm(min(size[name], NEURONS_PER_CORE), 1 + sum(cores.values()), config.inputs + hidden + size[name]) for name in size)

    spikes = {INPUT: traffic.inputs, FEATURES: traffic.features, word_name(0): traffic.network}
    load, events_per_step = {}, 0.0
    for name in size:
        arriving = {source: spikes[source] for source in rows[name]}
        events = sum(arriving[source] * found.per_source for source, found in rows[name].items())
        events_per_step += count[name] * float(np.mean(events))
        packets = np.sum(list(arriving.values()), axis=0)
        used = min(size[name], NEURONS_PER_CORE) * NEURON_CYCLES + packets * PACKET_CYCLES + events / cores[name] * EVENT_CYCLES
        share = used / (CLOCK_HZ * config.step_ms / 1000)
        load[name] = Load(float(share.mean()), float(share.max()))

    total = 1 + sum(count[name] * cores[name] for name in size)
    chips = math.ceil(total / (kind.cores // kind.chips - SYSTEM_CORES))
    names = dict(zip(spikes, ("inputs", "features", "word"), strict=True))
    per_s = {names[source]: float(z.mean()) * 1000 / config.step_ms for source, z in spikes.items()}
    limits = []
    if config.cell not in BOARD_CELLS:
        limits.append(f"cell: no released binary of SpiNNaker has '{config.cell}'; these are the figures of a hypothetical one")
    if total > kind.application_cores:
        limits.append(f"cores: {total} of {kind.application_cores}")
    if dtcm > DTCM_BYTES:
        limits.append(f"DTCM of a core: {dtcm} of {DTCM_BYTES} bytes")
    if sdram > SDRAM_BYTES * kind.chips:
        limits.append(f"SDRAM: {sdram} of {SDRAM_BYTES * kind.chips} bytes")
    if total > ROUTES:
        limits.append(f"routes of a chip: {total} of {ROUTES}")
    slow = [name for name, found in load.items() if found.busiest > 1]
    if slow:
        limits.append(f"time: a core of {' and of '.join(slow)} needs {max(load[name].busiest for name in slow):.1f} steps for its busiest one")
    return Placement(
        board=board,
        cell=config.cell,
        words=words,
        step_ms=config.step_ms,
        neurons=hidden + words * config.neurons,
        synapses=sum(count[name] * synapses[name] for name in size),
        synapses_per_neuron={name: round(synapses[name] / size[name]) for name in size},
        cores=total,
        cores_available=kind.application_cores,
        chips=chips,
        chips_available=kind.chips,
        dtcm_bytes=dtcm,
        sdram_bytes=sdram,
        spikes_per_s=per_s,
        events_per_s=events_per_step * 1000 / config.step_ms,
        load=load,
        keeps_up=not slow,
        limits=limits,
    )


class _Matrix(NamedTuple):
    """A projection."""

    synapses: int
    per_source: float  # synapses of a source neuron
    bytes: int  # of its rows in SDRAM


def _matrix(weights: Tensor) -> _Matrix:
    """Count the rows of weights [N, I]: as long as the longest of their core and receptor type, with a header, for each source."""
    total = 0
    for part in weights.split(NEURONS_PER_CORE):
        longest = sum(int((sign * part > 0).sum(0).max()) for sign in (1, -1))
        total += weights.shape[1] * (RECEPTORS * ROW_HEADER_WORDS + longest) * WORD_BYTES
    found = int((weights != 0).sum())
    return _Matrix(found, found / weights.shape[1], total)


def _dtcm(neurons: int, vertices: int, sources: int) -> int:
    """Count the bytes of a core: neurons, ring buffers (16 bits), tables of its source vertices, a bit for every source neuron, waiting packets."""
    ring = DELAY_SLOTS * RECEPTORS * (1 << math.ceil(math.log2(max(2, neurons)))) * 2
    tables = vertices * RECEPTORS * TABLE_WORDS * WORD_BYTES + math.ceil(sources / 8)
    rows = 2 * (ROW_HEADER_WORDS + neurons) * WORD_BYTES  # two buffers, filled in turn
    return neurons * STATE_BYTES + ring + tables + rows + SPIKE_BUFFER_WORDS * WORD_BYTES
