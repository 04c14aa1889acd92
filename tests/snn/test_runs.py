"""The hand-written runs and factors against autograd of the plain loops: the same spikes, the same gradients, and gradients of gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn import eprop, network
from snn.cells import adlif, alif, alif_factors, stepwise

TOLERANCE = 1e-10
SHAPES = {"alone": (), "a batch": (3,), "two axes": (2, 3), "tasks": (2, 3)}
Outputs = Sequence[Tensor]


def inputs(cell: str, shape: str, steps: int, make_params: Callable[..., Any], seed: int) -> tuple[Any, list[Tensor]]:
    """Parameters, and current, w_rec, the parameters' tensors and a state that is not at rest."""
    rng = torch.Generator().manual_seed(seed)
    params = make_params(cell, 6, rng)
    batch = (*SHAPES[shape], 6)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, dtype=torch.float64)

    current = (4.0 if cell == "adlif" else 0.5) + 2 * normal(steps, *batch)
    w_rec = normal(2, 6, 6) if shape == "tasks" else normal(6, 6)
    state = [normal(*batch), normal(*batch), (normal(*batch) > 0).double()]
    tensors = [field for field in params if isinstance(field, Tensor)]
    return params, [current, w_rec, *tensors, *state]


def in_one(params: Any, detach: bool, tensors: list[Tensor]) -> Outputs:
    """The run of `network.run`."""
    activity = network.run(tensors[0], tensors[1], params._replace(**fields(params, tensors)), state(params, tensors), detach_recurrent=detach)
    return activity.z, activity.psi, *activity.state


def step_by_step(params: Any, detach: bool, tensors: list[Tensor]) -> Outputs:
    """The same as a loop over the cell's step."""
    step = network.cell_of(params).step
    z, psi, last = stepwise.run(step, tensors[0], tensors[1], state(params, tensors), params._replace(**fields(params, tensors)), detach)
    return z, psi, *last


def fields(params: Any, tensors: list[Tensor]) -> dict[str, Tensor]:
    return dict(zip(params._fields, tensors[2:-3], strict=False))


def state(params: Any, tensors: list[Tensor]) -> Any:
    return (adlif.AdlifState if isinstance(params, adlif.AdlifParams) else alif.AlifState)(*tensors[-3:])


def derivatives(
    function: Callable[[list[Tensor]], Outputs], given: list[Tensor], used: Sequence[bool]
) -> tuple[Outputs, Sequence[Tensor], Sequence[Tensor]]:
    """Outputs, first and second derivatives of a random sum of the outputs that are used, by inputs that depend on one another."""
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    outputs = function([leaves[0] * leaves[2].mean() + leaves[1].mean(), *leaves[1:]])
    rng = torch.Generator().manual_seed(0)
    terms = [torch.randn(output.shape, generator=rng, dtype=output.dtype) * output for output in outputs]
    total = torch.stack([term.sum() for term, use in zip(terms, used, strict=True) if use]).sum()
    first = torch.autograd.grad(total, leaves, retain_graph=True, materialize_grads=True, allow_unused=True)
    through = torch.autograd.grad(total, leaves, create_graph=True, materialize_grads=True, allow_unused=True)
    torch.testing.assert_close(first, through, rtol=TOLERANCE, atol=TOLERANCE)
    squares = torch.stack([gradient.square().sum() for gradient in through]).sum()
    second = torch.autograd.grad(squares, leaves, materialize_grads=True, allow_unused=True)
    return [output.detach() for output in outputs], first, second


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", ["lif", "alif", "adlif"])
@settings(max_examples=4, deadline=None)
@given(steps=st.integers(1, 14), seed=st.integers(0, 1000), used=st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_run_in_one_is_the_loop_over_steps(
    make_params: Callable[..., Any], cell: str, shape: str, detach: bool, steps: int, seed: int, used: list[bool]
) -> None:
    params, given = inputs(cell, shape, steps, make_params, seed)
    one, loop = (derivatives(lambda own, f=f: f(params, detach, own), given, [True, *used]) for f in (in_one, step_by_step))  # type: ignore[misc]
    for mine, reference in zip(one[0], loop[0], strict=True):
        assert torch.equal(mine, reference)
    for mine, reference in zip((*one[1], *one[2]), (*loop[1], *loop[2]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("cell", ["alif", "adlif"])
def test_the_comparison_has_something_to_compare(make_params: Callable[..., Any], cell: str) -> None:
    params, given = inputs(cell, "a batch", 30, make_params, 1)
    outputs, first, second = derivatives(lambda own: in_one(params, False, own), given, [True] * 5)
    assert 0.05 < outputs[0].mean() < 0.9
    assert all(gradient.abs().max() > 1e-3 for gradient in (*first, *second))


@pytest.mark.parametrize("cell", ["alif", "adlif"])
def test_nothing_is_kept_where_no_gradient_is_needed(make_params: Callable[..., Any], cell: str) -> None:
    params, given = inputs(cell, "tasks", 12, make_params, 2)
    plain = in_one(params, False, given)
    assert not any(output.requires_grad for output in plain)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    kept = in_one(params, False, leaves)
    with torch.no_grad():
        quiet = in_one(params, False, leaves)
    assert kept[0].requires_grad
    for three in zip(plain, kept, quiet, strict=True):
        assert torch.equal(three[0], three[1].detach())
        assert torch.equal(three[0], three[2])


@pytest.mark.parametrize("cell", ["alif", "adlif"])
def test_float32_spikes_are_those_of_the_loop(make_params: Callable[..., Any], cell: str) -> None:
    params, given = inputs(cell, "tasks", 40, make_params, 3)
    narrow = [tensor.float() for tensor in given]
    for mine, reference in zip(in_one(params, False, narrow), step_by_step(params, False, narrow), strict=True):
        assert torch.equal(mine, reference)


@pytest.mark.parametrize("shape", ["alone", "a batch", "two axes"])
@settings(max_examples=6, deadline=None)
@given(steps=st.integers(1, 14), seed=st.integers(0, 1000))
def test_factors_are_those_of_the_plain_recursion(make_params: Callable[..., Any], shape: str, steps: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    params = make_params("alif", 6, rng)
    psi = torch.rand(steps, *SHAPES[shape], 6, generator=rng, dtype=torch.float64)
    signal = torch.randn(psi.shape, generator=rng, dtype=torch.float64)
    given = [psi, signal, params.alpha, params.rho, params.beta]
    folded = derivatives(lambda own: (eprop.factors(own[0], own[1], params._replace(alpha=own[2], rho=own[3], beta=own[4])),), given, [True])
    looped = derivatives(lambda own: alif_factors.plain(*own), given, [True])
    for mine, reference in zip((*folded[0], *folded[1], *folded[2]), (*looped[0], *looped[1], *looped[2]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=TOLERANCE, atol=TOLERANCE)


def test_factors_when_the_parameters_are_fixed(make_params: Callable[..., Any]) -> None:
    rng = torch.Generator().manual_seed(5)
    params = make_params("alif", 6, rng)
    psi, signal = (torch.rand(9, 2, 6, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(2))
    outer = torch.randn(9, 2, 6, generator=rng, dtype=torch.float64)
    mine = torch.autograd.grad(eprop.factors(psi, signal, params), (psi, signal), outer)
    reference = torch.autograd.grad(alif_factors.plain(psi, signal, params.alpha, params.rho, params.beta)[0], (psi, signal), outer)
    torch.testing.assert_close(mine, reference, rtol=TOLERANCE, atol=TOLERANCE)
