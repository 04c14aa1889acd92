"""What a network takes of a board: counted against the network itself, and limits that break."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware import BackendError, mapping
from hardware.torch_backend import TorchBackend
from snn.config import LearnerConfig

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
Spikes = NDArray[np.uint8]
MakeSpikes = Callable[..., Spikes]


def placed(primed: Primed, spikes: Spikes, words: int = 3, board: str = "spin5") -> mapping.Placement:
    return mapping.place(*primed, mapping.measure(*primed, spikes), words, board)


@pytest.mark.parametrize("cell", ["board", "alif"])
def test_spikes_are_those_of_the_network(make_primed: MakePrimed, make_spikes: MakeSpikes, cell: str) -> None:
    config, weights = make_primed(1, cell=cell, features=(10, 6))
    stretch = round(6400 / config.step_ms)
    background = make_spikes(2 * stretch + 7, 0)
    traffic = mapping.measure(config, weights, background)
    assert {len(counts) for counts in traffic} == {2 * stretch}
    np.testing.assert_array_equal(traffic.inputs, background[: 2 * stretch].sum(1))
    backend = TorchBackend()
    backend.load(config, weights)
    for number in range(2):
        part = slice(number * stretch, (number + 1) * stretch)
        shot, trace = backend.learn_traced(background[part])
        np.testing.assert_array_equal(traffic.heard[part][:-1], shot.features[1:].sum(1))
        np.testing.assert_array_equal(traffic.network[part], trace.network.sum(1))
    assert (traffic.features >= traffic.heard).all()
    assert traffic.network.any()
    short = mapping.measure(config, weights, background[:20])
    np.testing.assert_array_equal(short.inputs, background[:20].sum(1))


def test_everything_is_counted(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(1, cell="board", features=(300,), neurons=20)
    found = placed((config, weights), make_spikes(300, 0), words=4)
    features = int((weights["feature.w_in"] != 0).sum()) + int((weights["feature.w_rec"].clone().fill_diagonal_(0) != 0).sum())
    word = int((weights["w_in"] != 0).sum()) + int((weights["w_rec"].clone().fill_diagonal_(0) != 0).sum())
    assert (found.neurons, found.synapses) == (380, features + 4 * word)
    assert found.synapses_per_neuron == {"features": round(features / 300), "word": round(word / 20)}
    assert found.cores == 1 + 2 + 4  # spike sources; 300 neurons on two cores; four words
    assert (found.chips, found.cores_available, found.chips_available) == (1, 759, 48)
    assert found.spikes_per_s["inputs"] == pytest.approx(0.3 * 12 * 25, rel=0.1)
    # Each synapse is a word of a row; a row is as long as the longest of its matrix.
    assert 4 * (features + 4 * word) < found.sdram_bytes < 8 * (features + 4 * word)
    assert 256 * 60 < found.dtcm_bytes < 30_000
    assert found.keeps_up
    assert not found.limits
    assert all(0 < load.mean <= load.busiest < 1 for load in found.load.values())


def test_events_are_spikes_times_synapses(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(1, cell="board")
    spikes = make_spikes(160, 0)
    traffic = mapping.measure(config, weights, spikes)
    found = mapping.place(config, weights, traffic, 2, "spin3")
    reach = [torch.count_nonzero(weights[name], 0).double().mean().item() for name in ("feature.w_in", "w_in")]
    into_features = (
        traffic.inputs.mean() * reach[0] + traffic.features.mean() * torch.count_nonzero(_no_autapses(weights["feature.w_rec"])).item() / 10
    )
    from_inputs = torch.count_nonzero(weights["w_in"][:, :12], 0).double().mean().item()
    from_features = torch.count_nonzero(weights["w_in"][:, 12:], 0).double().mean().item()
    own = traffic.network.mean() * torch.count_nonzero(_no_autapses(weights["w_rec"])).item() / 16
    into_word = traffic.inputs.mean() * from_inputs + traffic.features.mean() * from_features + own
    assert found.events_per_s == pytest.approx(25 * (into_features + 2 * into_word), rel=1e-6)


def _no_autapses(weights: Tensor) -> Tensor:
    return weights.clone().fill_diagonal_(0)


def test_a_spin3_has_room_for_61_words(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    """As sPyNNaker maps it: 63 cores of a SpiNN-3 are free for a network of this size, and 62 words were refused."""
    primed = make_primed(1, cell="board")
    assert not placed(primed, make_spikes(50, 0), 61, "spin3").limits
    broken = placed(primed, make_spikes(50, 0), 62, "spin3")
    assert broken.limits == ["cores: 64 of 63"]
    assert placed(primed, make_spikes(50, 0), 62).limits == []


def test_a_board_that_is_too_slow(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(1, cell="board", features=(200,), neurons=100)
    found = placed((config.model_copy(update={"step_ms": 0.5}), weights), make_spikes(400, 0))
    assert not found.keeps_up
    assert found.limits[0].startswith("time: a core of features")


@pytest.mark.parametrize(("limit", "value", "message"), [("DTCM_BYTES", 1000, "DTCM"), ("SDRAM_BYTES", 100, "SDRAM"), ("ROUTES", 3, "routes")])
def test_each_limit_is_named(
    make_primed: MakePrimed, make_spikes: MakeSpikes, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    primed = make_primed(1, cell="board")
    assert not placed(primed, make_spikes(50, 0)).limits
    monkeypatch.setattr(mapping, limit, value)
    (broken,) = placed(primed, make_spikes(50, 0)).limits
    assert broken.startswith(message)


def test_a_cell_that_no_board_has_is_a_limit(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    (broken,) = placed(make_primed(1, cell="adlif"), make_spikes(50, 0)).limits
    assert "no released binary of SpiNNaker has 'adlif'" in broken


@pytest.mark.parametrize(("words", "board", "message"), [(1, "spin4", "'spin4'.*spin3, spin5"), (0, "spin5", "--words 1")])
def test_requests_that_make_no_sense(make_primed: MakePrimed, make_spikes: MakeSpikes, words: int, board: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        placed(make_primed(1, cell="board"), make_spikes(50, 0), words, board)
