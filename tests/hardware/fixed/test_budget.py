"""The on-chip budget: published figures come out, and what fits follows from the words that the emulator really keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.fixed import budget
from hardware.fixed.cells import adlif, alif, board, cell_named
from snn.config import LearnerConfig

SHIPPED = LearnerConfig(inputs=576, step_ms=40.0)  # the sizes of `embedding`

SIZES = {"inputs": st.integers(1, 1000), "neurons": st.integers(1, 300), "features": st.integers(1, 500), "lsg_neurons": st.integers(1, 200)}


def config_of(**sizes: int) -> LearnerConfig:
    return LearnerConfig(step_ms=40.0, **(sizes | {"features": (sizes["features"],)}))  # type: ignore[arg-type]


def test_the_published_core_is_what_the_literature_says() -> None:
    assert budget.published_words() == 8 * (26 + 6 * 250) == 12_208
    assert budget.published_words() * budget.WORD_BYTES == 48_832
    assert budget.usable_words() * budget.WORD_BYTES < budget.DTCM_BYTES


@pytest.mark.parametrize(("cell", "words"), [(alif, 4), (adlif, 4), (board, 4)])
def test_words_of_a_synapse_are_those_of_the_traces(cell: budget.Cell, words: int) -> None:
    trace = cell.initial_trace((3, 5))
    own = sum(array.shape == (3, 5) for array in trace)
    assert budget.trace_words(cell) == own + 2 == words


@given(**SIZES)
def test_what_is_placed_fits_and_one_neuron_more_does_not(**sizes: int) -> None:
    config = config_of(**sizes)
    shared = 50 * int(np.ceil((config.heard + config.neurons) / 32))
    each = budget.neuron_words(alif) + 100
    need = budget.factorised_need(config, 50)
    if not need.neurons_per_core:
        assert shared + each > budget.usable_words()
        return
    assert need.dtcm_words == shared + need.neurons_per_core * each <= budget.usable_words()
    assert need.neurons_per_core == config.neurons or need.dtcm_words + each > budget.usable_words()
    assert (need.cores - 1) * need.neurons_per_core < config.neurons <= need.cores * need.neurons_per_core
    assert need.dtcm_share < 1


@given(**SIZES)
def test_the_longest_utterance_is_the_longest(**sizes: int) -> None:
    config = config_of(**sizes)
    steps = budget.longest_utterance(config)
    for longer, fits in ((0, True), (1, False)):
        if steps + longer:
            assert (budget.factorised_need(config, steps + longer).neurons_per_core == config.neurons) == fits


def test_the_shipped_network_learns_on_one_core_factorised_and_on_many_with_traces() -> None:
    synapses = budget.synapses_per_neuron(SHIPPED)
    assert synapses == 576 + 256 + 63
    assert budget.published_need(SHIPPED).neurons_per_core == 12_208 // (26 + 6 * synapses) == 2
    assert budget.online_need(SHIPPED).neurons_per_core == 12_208 // (11 + 2 + 4 * synapses) == 3
    assert budget.factorised_need(SHIPPED, 60).cores == 1
    assert budget.published_need(SHIPPED).cores == 32
    assert budget.longest_utterance(SHIPPED) == (12_208 - 64 * 11) // (2 * 64 + 28) == 73


def test_words_of_a_neuron_are_counted_from_the_cells() -> None:
    assert budget.neuron_words(alif) == len(alif.State._fields) + len(alif.Constants._fields) + 1 == 11
    assert budget.neuron_words(board) > budget.neuron_words(adlif) - 2
    assert budget.row_bytes(SHIPPED) == 896 * (3 + 64) * 4


def test_a_step_at_its_worst_is_kept_up_with() -> None:
    here = budget.factorised_need(SHIPPED, 60).neurons_per_core
    worst = budget.step_cycles(SHIPPED, 896, here, 4)
    assert worst.available == 8_000_000
    assert worst.used == 896 * (400 + 64 * 40) + 64 * 4 * 20
    assert worst.share < 0.5
    assert budget.generator_cycles(SHIPPED).share < 0.5
    features = budget.features_need(SHIPPED)
    assert budget.step_cycles(SHIPPED, 576 + 256, features.neurons_per_core, 4).share <= 0.5
    assert budget.step_cycles(SHIPPED, 576 + 256, features.neurons_per_core + 1, 4).share > 0.5


def test_the_update_costs_less_where_fewer_channels_spike() -> None:
    worst, usual = (budget.update_cycles(SHIPPED, 60, 64, 4, share) for share in (1.0, 0.1))
    assert worst.used - usual.used == round(0.9 * 60 * 896) * 64 * 40
    assert worst.share > 1 > budget.update_cycles(SHIPPED, 60, 64, 4, 0.0).share


def test_cores_and_chips_add_up() -> None:
    network = budget.factorised_need(SHIPPED, 60)
    whole = budget.layout(SHIPPED, network, 10)
    assert whole.cores == 1 + whole.features.cores + 10 * 1 + whole.generator.cores
    assert whole.chips == -(-whole.cores // 16)
    more = budget.layout(SHIPPED, network, 11)
    assert more.cores == whole.cores + 1


def test_learning_signals_are_a_packet_a_neuron_and_step() -> None:
    packets = budget.signal_packets(SHIPPED)
    assert packets == {"per_step": 64, "per_s": 64 * 25, "bits_per_s": 64 * 25 * 72}


def test_a_network_that_cannot_learn_on_a_core_is_told() -> None:
    wide = LearnerConfig(inputs=20_000, step_ms=40.0)
    assert cell_named(wide.cell) is alif
    assert budget.published_need(wide).neurons_per_core == 0
    assert budget.factorised_need(wide, 60, alif).neurons_per_core == 0
