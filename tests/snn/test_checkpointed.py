"""Runs in segments are the plain run: the same spikes and states to the last bit, the same gradients and gradients of gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snn import eprop, network
from snn.checkpointed import segments

CELLS = ["lif", "alif", "adlif", "board"]
SHAPES = {"alone": (), "two axes": (2, 3), "tasks": (2, 3)}
TOLERANCE = 1e-10
MakeParams = Callable[..., Any]


def drawn(make_params: MakeParams, cell: str, shape: str, steps: int, seed: int) -> tuple[Any, list[Tensor]]:
    """Parameters, and current, w_rec, the parameters' tensors and a state that is not at rest."""
    rng = torch.Generator().manual_seed(seed)
    params = make_params(cell, 6, rng)
    batch = (*SHAPES[shape], 6)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, dtype=torch.float64)

    current = (4.0 if cell == "adlif" else 0.5) + 2 * normal(steps, *batch)
    w_rec = normal(2, 6, 6) if shape == "tasks" else normal(6, 6)
    return params, [
        current,
        w_rec,
        *(field for field in params if isinstance(field, Tensor)),
        normal(*batch),
        normal(*batch),
        (normal(*batch) > 0).double(),
    ]


def run(params: Any, length: int | None, detach: bool, tensors: list[Tensor]) -> list[Tensor]:
    """Spikes, pseudo-derivatives and last state."""
    state = type(network.cell_of(params).initial_state((6,), torch.float64))(*tensors[-3:])
    own = params._replace(**dict(zip(params._fields, tensors[2:-3], strict=False)))
    with segments(length):
        activity = network.run(tensors[0], tensors[1], own, state, detach_recurrent=detach)
    return [activity.z, activity.psi, *activity.state]


def gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], used: Sequence[bool], **options: Any) -> tuple[Tensor, ...]:
    """Gradients of a random sum of the outputs that are used."""
    rng = torch.Generator().manual_seed(0)
    terms = [torch.randn(output.shape, generator=rng, dtype=output.dtype) * output for output in outputs]
    total = torch.stack([term.sum() for term, use in zip(terms, used, strict=True) if use]).sum()
    return torch.autograd.grad(total, inputs, materialize_grads=True, allow_unused=True, **options)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=4, deadline=None)
@given(steps=st.integers(1, 14), length=st.integers(1, 8), seed=st.integers(0, 1000), used=st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_run_in_segments_is_the_plain_run(
    make_params: MakeParams, cell: str, shape: str, detach: bool, steps: int, length: int, seed: int, used: list[bool]
) -> None:
    params, given = drawn(make_params, cell, shape, steps, seed)
    outputs, first, second = [], [], []
    for segment in (length, None):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        outputs.append(run(params, segment, detach, leaves))
        first.append(gradients(outputs[-1], leaves, [True, *used], retain_graph=True))
        again = gradients(outputs[-1], leaves, [True, *used], create_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in again]).sum()
        second.append(torch.autograd.grad(squares, leaves, materialize_grads=True, allow_unused=True))
    for mine, reference in zip(*outputs, strict=True):
        assert torch.equal(mine, reference)
    for mine, reference in zip((*first[0], *second[0]), (*first[1], *second[1]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("cell", CELLS)
def test_the_comparison_has_something_to_compare(make_params: MakeParams, cell: str) -> None:
    params, given = drawn(make_params, cell, "two axes", 30, 1)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    outputs = run(params, 7, False, leaves)
    assert type(outputs[0].grad_fn).__name__ == "_SegmentedBackward"
    assert 0.05 < outputs[0].mean() < 0.9
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients(outputs, leaves, [True] * 5))


@pytest.mark.parametrize("wanted", [[0], [1], [2], [5], [0, 1, 6]])
def test_only_what_needs_a_gradient_gets_one(make_params: MakeParams, wanted: list[int]) -> None:
    params, given = drawn(make_params, "alif", "tasks", 11, 2)
    found = []
    for length in (4, None):
        tensors = [tensor.clone().requires_grad_(k in wanted) for k, tensor in enumerate(given)]
        found.append(gradients(run(params, length, False, tensors), [tensors[k] for k in wanted], [True] * 5))
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine, reference, rtol=TOLERANCE, atol=TOLERANCE)


def test_runs_that_are_short_or_not_differentiated_are_plain(make_params: MakeParams) -> None:
    params, given = drawn(make_params, "alif", "two axes", 8, 3)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    assert type(run(params, 8, False, leaves)[0].grad_fn).__name__ == "_RunBackward"
    assert not run(params, 3, False, given)[0].requires_grad


def test_segments_end_with_their_block(make_params: MakeParams) -> None:
    params, given = drawn(make_params, "alif", "alone", 8, 3)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    with pytest.raises(ValueError, match="0 steps: one at least"), segments(0):
        pass
    with pytest.raises(KeyError), segments(3):
        raise KeyError
    with segments(3), segments(None):
        assert type(network.run(leaves[0], leaves[1], params).z.grad_fn).__name__ == "_RunBackward"
    assert type(network.run(leaves[0], leaves[1], params).z.grad_fn).__name__ == "_RunBackward"


@pytest.mark.parametrize("cell", ["alif", "adlif"])
def test_what_is_written_by_hand_can_be_checkpointed_by_pytorch(make_params: MakeParams, cell: str) -> None:
    params, given = drawn(make_params, cell, "two axes", 6, 4)

    def taught(current: Tensor, w_rec: Tensor) -> Tensor:
        activity = network.run(current, w_rec, params)
        return eprop.factors(activity.psi, activity.z.cumsum(0), params)

    found = []
    for function in (taught, lambda *own: checkpoint(taught, *own, use_reentrant=False)):
        leaves = [tensor.clone().requires_grad_() for tensor in given[:2]]
        found.append(torch.autograd.grad(function(*leaves).sum(), leaves))
    for mine, reference in zip(*found, strict=True):
        assert torch.equal(mine, reference)
