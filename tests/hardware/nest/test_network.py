"""A network on NEST does what `snn.network` does, in one piece or in many, whoever else uses NEST meanwhile."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hardware.nest.network import Block, SpikingNetwork
from priming.model import PrimedModel
from snn import features, network
from snn.cells.alif import AlifParams
from snn.populations import cell_params

INPUTS, NEURONS, STEPS = 6, 9, 40


def draw(seed: int, cell: str = "alif") -> tuple[SpikingNetwork, NDArray[np.uint8], network.Activity]:
    """Draw a network and input spikes, and run them in torch."""
    rng = np.random.default_rng(seed)
    alpha, rho = (torch.from_numpy(np.exp(-1 / rng.uniform(low, high, NEURONS))) for low, high in ((0.5, 6), (0.5, 20)))
    params = AlifParams(alpha, rho, torch.from_numpy(rng.uniform(0.05, 0.6, NEURONS)) * (cell == "alif"))
    w_in, w_rec, bias = rng.normal(size=(NEURONS, INPUTS)), rng.normal(size=(NEURONS, NEURONS)) * 0.4, rng.normal(0.3, 0.3, NEURONS)
    np.fill_diagonal(w_rec, 0.0)
    w_rec[:4, 6:] = 0.0  # no synapses
    x = (rng.random((STEPS, INPUTS)) < 0.3).astype(np.uint8)
    activity = network.run(torch.from_numpy(x @ w_in.T + bias), torch.from_numpy(w_rec), params)
    blocks = [Block(0, 0, w_rec[:6]), Block(6, 0, w_rec[6:, :5]), Block(6, 5, w_rec[6:, 5:])]
    return SpikingNetwork(params, INPUTS, [Block(0, 0, w_in)], blocks, bias), x, activity


@pytest.mark.parametrize("cell", ["alif", "lif"])
def test_spikes_and_state_are_those_of_torch(cell: str) -> None:
    drawn, x, activity = draw(0, cell)
    (raster,), state = drawn.run([x])
    assert 20 < raster.sum() < 300
    np.testing.assert_array_equal(raster, activity.z)
    np.testing.assert_allclose(state.v, activity.state.v, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(state.z, activity.z[-1])
    if cell == "alif":
        np.testing.assert_allclose(state.a, activity.state.a, rtol=0, atol=1e-12)


@given(cuts=st.lists(st.integers(1, STEPS - 1), max_size=6, unique=True))
@settings(max_examples=10, deadline=None)
def test_a_stream_in_pieces_is_the_stream(cuts: list[int]) -> None:
    drawn, x, activity = draw(1)
    pieces: list[Any] = []
    state = None
    for piece in np.split(x, sorted(cuts)):
        (raster,), state = drawn.run([piece], state)
        pieces.append(raster)
    np.testing.assert_array_equal(np.concatenate(pieces), activity.z)


def test_pieces_of_one_run_are_each_heard_from_rest() -> None:
    drawn, x, activity = draw(2)
    rasters, state = drawn.run([x, x[:7], x])
    for raster in rasters:
        np.testing.assert_array_equal(raster, activity.z[: len(raster)])
    np.testing.assert_array_equal(state.z, activity.z[-1])


def test_networks_and_other_users_of_nest_take_turns(alternate: Callable[[], None]) -> None:
    several = [draw(seed, cell) for seed, cell in ((3, "alif"), (4, "lif"))]
    states: list[Any] = [None, None]
    for first in range(0, STEPS, 10):
        for k, (drawn, x, activity) in enumerate(several):
            (raster,), states[k] = drawn.run([x[first : first + 10]], states[k])
            np.testing.assert_array_equal(raster, activity.z[first : first + 10])
        if first == 10:
            alternate()


@torch.no_grad()
def test_the_shipped_feature_population_in_float64(shipped: PrimedModel) -> None:
    config, weights = shipped.config.learner, {name: w.double() for name, w in shipped.weights.items()}
    params = cell_params(config, weights, "feature.")
    assert isinstance(params, AlifParams)
    x = shipped.background[:150]
    w_in, w_rec = features.masked(config, weights)
    drawn = SpikingNetwork(params, config.inputs, [Block(0, 0, w_in.numpy())], [Block(0, 0, w_rec.numpy())], weights["feature.bias"].numpy())
    (raster,), _ = drawn.run([x])
    _, activity = features.hear(config, weights, torch.from_numpy(x).double())
    assert activity.z.sum() > 1000
    np.testing.assert_array_equal(raster, activity.z)
