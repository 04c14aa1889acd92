"""The recurrent network: batching, continuing, connectivity."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn import network
from snn.cells.alif import AlifParams

CELLS = ("lif", "alif", "adlif", "board")


def coarse(*shape: int, rng: torch.Generator) -> Tensor:
    """Random multiples of 1/64: their sums do not depend on the order of addition."""
    return (torch.randn(*shape, generator=rng, dtype=torch.float64) * 64).round() / 64


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_of_one_equals_a_batch_of_many(make_params: Callable[..., Any], cell: str) -> None:
    rng = torch.Generator().manual_seed(0)
    params = make_params(cell, 6, rng)
    w_rec, current = coarse(3, 6, 6, rng=rng), coarse(25, 3, 4, 6, rng=rng)
    many = network.run(current, w_rec, params)
    assert many.z.shape == many.psi.shape == (25, 3, 4, 6)
    assert many.z.sum() > 0
    for b in range(3):
        for q in range(4):
            one = network.run(current[:, b, q], w_rec[b], params)
            assert torch.equal(one.z, many.z[:, b, q])
            torch.testing.assert_close(one.psi, many.psi[:, b, q], rtol=0, atol=1e-14)
            kept = network.run(current[:, b : b + 1, q : q + 1], w_rec[b : b + 1], params)
            assert torch.equal(kept.z[:, 0, 0], many.z[:, b, q])


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 29), max_size=4), seed=st.integers(0, 1000))
def test_a_run_in_pieces_equals_one_run(make_params: Callable[..., Any], cell: str, cuts: list[int], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    params = make_params(cell, 5, rng)
    w_rec, current = coarse(5, 5, rng=rng), coarse(30, 2, 5, rng=rng)
    whole = network.run(current, w_rec, params)
    state, pieces = None, []
    edges = [0, *sorted(set(cuts)), 30]
    for first, last in pairwise(edges):
        piece = network.run(current[first:last], w_rec, params, state)
        state = piece.state
        pieces.append(piece)
    assert torch.equal(torch.cat([p.z for p in pieces]), whole.z)
    assert torch.equal(torch.cat([p.psi for p in pieces]), whole.psi)
    assert all(torch.equal(a, b) for a, b in zip(pieces[-1].state, whole.state, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_equal_weights_per_task_equal_shared_weights(make_params: Callable[..., Any], cell: str) -> None:
    rng = torch.Generator().manual_seed(4)
    params = make_params(cell, 6, rng)
    w_in, w_rec = coarse(6, 5, rng=rng), coarse(6, 6, rng=rng)
    x = (torch.rand(20, 3, 4, 5, generator=rng) < 0.4).double()
    shared = network.run(network.project(x, w_in), w_rec, params)
    per_task = network.run(network.project(x, w_in.expand(3, -1, -1)), w_rec.expand(3, -1, -1), params)
    assert torch.equal(shared.z, per_task.z)
    torch.testing.assert_close(shared.psi, per_task.psi, rtol=0, atol=1e-14)


def test_project_sums_each_task_over_its_own_weights() -> None:
    rng = torch.Generator().manual_seed(5)
    x, weights = coarse(7, 2, 3, 4, rng=rng), coarse(2, 5, 4, rng=rng)
    out = network.project(x, weights)
    assert out.shape == (7, 2, 3, 5)
    assert torch.equal(out[3, 1, 2], weights[1] @ x[3, 1, 2])
    assert torch.equal(network.project(x[:, 0], weights[0])[3, 2], weights[0] @ x[3, 0, 2])


def test_masks_of_a_chain() -> None:
    w_in, w_rec = network.masks((2, 1, 2), 3)
    assert w_in.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert w_rec.tolist() == [  # rows hear, columns speak
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 1],
        [0, 0, 1, 1, 0],
    ]


@given(groups=st.lists(st.integers(1, 6), min_size=1, max_size=5), inputs=st.integers(1, 5))
def test_no_neuron_projects_to_itself_or_backwards(groups: list[int], inputs: int) -> None:
    w_in, w_rec = network.masks(tuple(groups), inputs)
    assert not w_rec.diagonal().any()
    assert w_in.sum() == groups[0] * inputs
    assert w_rec.sum() == sum(n * (n - 1) for n in groups) + sum(a * b for a, b in pairwise(groups))
    assert not w_rec[: groups[0], groups[0] :].any()


def test_spikes_travel_one_group_a_step() -> None:
    masks = network.masks((1, 1, 1), 1, torch.float64)
    ones = torch.ones(3, dtype=torch.float64)
    params = AlifParams(alpha=0 * ones, rho=0 * ones, beta=0 * ones)
    x = torch.tensor([[1.0], [0.0], [0.0], [0.0]], dtype=torch.float64)
    activity = network.run(network.project(x, masks[0]), masks[1], params)
    assert activity.z.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_delayed_spikes_arrive_a_step_later() -> None:
    z = torch.arange(6.0).reshape(3, 2)
    assert network.delayed(z).tolist() == [[0, 0], [0, 1], [2, 3]]
    assert network.delayed(z, torch.tensor([8.0, 9.0])).tolist() == [[8, 9], [0, 1], [2, 3]]
