"""Chip in the loop: a float chip gives what the torch emulator gives, an emulated one nearly so, and a stream is answered one step late."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hardware import BackendError, Shot
from hardware.spinnaker import replay
from hardware.spinnaker.backend import ChipInTheLoop
from hardware.spinnaker.chip import EmulatedChip, ReferenceChip, whole
from hardware.spinnaker.circuit import FEATURES, INPUT, circuit
from hardware.torch_backend import TorchBackend
from snn.cells import board
from snn.config import LearnerConfig

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
Spikes = NDArray[np.uint8]
MakeSpikes = Callable[..., Spikes]
Load = Callable[[Primed], TorchBackend]

NETWORKS: list[dict[str, Any]] = [
    {},
    {"features": (10, 6)},
    {"adaptive_fraction": 0.5, "delays_ms": (0.0, 2000.0)},
    {"adaptive_fraction": 0.0},
    {"plastic": False},
]


def looped(chip: Any, primed: Primed) -> ChipInTheLoop:
    backend = ChipInTheLoop(chip)
    backend.load(*primed)
    return backend


def fine(primed: Primed) -> Primed:
    """Weights off the grid that the fixture puts them on."""
    config, weights = primed
    rng = torch.Generator().manual_seed(7)
    moved = {n: w + 0.02 * torch.randn(w.shape, generator=rng) if n.endswith(("w_in", "w_rec", "bias")) else w for n, w in weights.items()}
    return config, moved


@pytest.mark.parametrize("settings_", NETWORKS, ids=str)
@pytest.mark.parametrize("fit", [lambda primed: primed, fine], ids=["coarse", "fine"])
def test_a_float_chip_gives_what_the_emulator_gives(
    make_primed: MakePrimed,
    make_spikes: MakeSpikes,
    make_less: Callable[..., list[NDArray[np.float32]]],
    load: Load,
    settings_: dict[str, Any],
    fit: Callable[[Primed], Primed],
) -> None:
    primed = fit(make_primed(1, cell="board", **settings_))
    reference, backend = load(primed), looped(ReferenceChip(), primed)
    uttered = [make_spikes(24, 0), make_spikes(20, 1)]
    shots = []
    for spikes in uttered:
        expected, trace = reference.learn_traced(spikes)
        shot, mine = backend.learn_traced(spikes)
        np.testing.assert_allclose(shot.factor, expected.factor, rtol=0, atol=1e-5)
        np.testing.assert_allclose(shot.readout, expected.readout, rtol=0, atol=1e-5)
        for name in ("inputs", "features", "recurrent"):
            np.testing.assert_array_equal(getattr(shot, name), getattr(expected, name))
        np.testing.assert_array_equal(mine.network, trace.network)
        np.testing.assert_allclose(mine.signals, trace.signals, rtol=0, atol=1e-5)
        shots.append(shot)
    assert bool(shots[0].factor.any()) == primed[0].plastic
    assert shots[0].features.any()
    words = [[shots[0]], shots]
    reference.deploy(words)
    backend.deploy(words)
    queries = [make_spikes(30, 5), make_spikes(30, 6), make_spikes(9, 7)]
    np.testing.assert_allclose(backend.score(queries), reference.score(queries), rtol=0, atol=1e-5)
    less = make_less(queries)
    np.testing.assert_allclose(backend.score(queries, less), reference.score(queries, less), rtol=0, atol=1e-5)
    late = backend.process(queries[0])
    assert not late[0].any()
    np.testing.assert_allclose(late[1:], reference.process(queries[0])[:-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("chip", [ReferenceChip(), EmulatedChip()], ids=["float", "fixed"])
def test_how_a_stream_is_cut_changes_no_bit(make_primed: MakePrimed, make_spikes: MakeSpikes, chip: Any) -> None:
    backend = looped(chip, fine(make_primed(2, cell="board", features=(8, 6))))
    backend.deploy([[backend.learn(make_spikes(20, 0))], [backend.learn(make_spikes(20, 1))]])
    stream = make_spikes(30, 3)
    expected = backend.process(stream)

    @settings(max_examples=15, deadline=None)
    @given(cuts=st.lists(st.integers(0, 30), max_size=5))
    def check(cuts: list[int]) -> None:
        backend.reset()
        pieces = [backend.process(stream[first:last]) for first, last in pairwise([0, *sorted(cuts), 30])]
        np.testing.assert_array_equal(np.concatenate(pieces), expected)

    check()
    assert np.abs(expected).max() > 0.05


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), steps=st.integers(1, 40), adaptive=st.floats(0, 1))
def test_replay_finds_the_membranes_of_a_chip_in_fixed_point(
    make_primed: MakePrimed, make_spikes: MakeSpikes, seed: int, steps: int, adaptive: float
) -> None:
    """The host's potentials agree with every decision of the chip, up to what 16-bit state can lose."""
    config, weights = fine(make_primed(seed, cell="board", adaptive_fraction=adaptive))
    chip = EmulatedChip()
    held = chip.load(circuit(config, weights, [(torch.zeros_like(weights["w_in"]), torch.zeros_like(weights["w_rec"]))]))
    _, trace, v = replay.learn(config, weights, chip, held, make_spikes(steps, seed))
    fired = trace.network.astype(bool)
    assert (v[fired] >= 1 - 0.01).all()
    assert (v[~fired] <= 1 + 0.01).all()


def test_replay_is_the_cell_itself_where_the_chip_is_exact(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(3, cell="board")
    chip = ReferenceChip()
    held = chip.load(circuit(config, weights, []))
    spikes, population = make_spikes(40, 0), held.populations[FEATURES]
    z = whole(chip, spikes)[FEATURES]
    arrived = np.concatenate([np.zeros_like(z[:1]), z[:-1]])
    current = replay.currents(population, {INPUT: spikes, FEATURES: arrived})
    v = replay.membrane(current, z, population.params)
    state = board.initial_state((10,), torch.float64)
    for t in range(40):
        _, state = board.step(torch.from_numpy(current[t]), state, population.params)
        np.testing.assert_array_equal(state.z.numpy(), z[t])
        np.testing.assert_allclose(v[t], state.v.numpy(), rtol=0, atol=1e-12)
    assert 0.05 < z.mean() < 0.7


def test_a_chip_in_fixed_point_learns_nearly_the_same(make_primed: MakePrimed, make_spikes: MakeSpikes, load: Load) -> None:
    primed = fine(make_primed(4, cell="board"))
    reference, backend = load(primed), looped(EmulatedChip(), primed)
    cosines = []
    for seed in range(6):
        expected, found = (place.weight_changes([place_shot])[0] for place, place_shot in _pairs(reference, backend, make_spikes(25, seed)))
        cosines.append(float((expected * found).sum() / (expected.norm() * found.norm())))
    assert np.median(cosines) > 0.999


def _pairs(reference: TorchBackend, backend: ChipInTheLoop, spikes: Spikes) -> list[tuple[TorchBackend, Shot]]:
    return [(reference, reference.learn(spikes)), (reference, backend.learn(spikes))]


def test_the_circuit_is_loaded_again_only_when_it_changes(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    class Counting(ReferenceChip):
        loads = 0

        def load(self, ideal: Any) -> Any:
            self.loads += 1
            return super().load(ideal)

    chip = Counting()
    backend = looped(chip, make_primed(1, cell="board"))
    shots = [backend.learn(make_spikes(20, seed)) for seed in range(3)]
    assert chip.loads == 1
    backend.deploy([[shot] for shot in shots])
    backend.score([make_spikes(20, 4), make_spikes(20, 5)])
    backend.process(make_spikes(20, 5))
    assert chip.loads == 2
    backend.learn(make_spikes(20, 6))
    backend.process(make_spikes(20, 5))
    assert chip.loads == 4


def test_requests_that_make_no_sense(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    backend = ChipInTheLoop(ReferenceChip())
    with pytest.raises(BackendError, match="load a primed model first"):
        backend.learn(make_spikes(5, 0))
    backend.load(*make_primed(1, cell="board"))
    with pytest.raises(BackendError, match="12 input channels"):
        backend.learn(make_spikes(5, 0, 13))
    with pytest.raises(BackendError, match="0 steps"):
        backend.learn(make_spikes(0, 0))
    with pytest.raises(BackendError, match="enroll it again"):
        backend.deploy([[]])
    with pytest.raises(BackendError, match="'alif'"):
        backend.load(*make_primed(1))
    assert backend.process(make_spikes(5, 0)).shape == (5, 0)
    assert backend.score([make_spikes(5, 0)]).shape == (1, 0)


@pytest.mark.parametrize("scale", [1.0, 1 + 2**-13, 1 - 2**-13])
def test_the_emulated_chip_holds_what_it_says(make_primed: MakePrimed, scale: float) -> None:
    """Also where the bound on the summed input lies beside a power of two, which rounding may pass."""
    config, weights = make_primed(1, cell="board", features=(10, 6))
    untaught = torch.zeros_like(weights["w_in"]), torch.zeros_like(weights["w_rec"])
    ideal = circuit(config, weights, [untaught])
    for name, population in ideal.populations.items():
        factor = scale * 4 / max(population.bounds)
        moved = {source: matrix * factor for source, matrix in population.weights.items()}
        ideal.populations[name] = population._replace(weights=moved)  # type: ignore[index]
    chip = EmulatedChip()
    held = chip.load(ideal)
    for name, population in held.populations.items():
        for matrix, stored in zip(population.weights.values(), chip._populations[name].synapses.values(), strict=True):
            np.testing.assert_array_equal(stored[0], matrix)
