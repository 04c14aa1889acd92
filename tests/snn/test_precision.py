"""Products in other formats: rounded where that is asked for, never anywhere else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import network
from snn.precision import product, products


def factors(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(5, 3, 40, generator=rng, dtype=dtype).requires_grad_(), torch.randn(40, 7, generator=rng, dtype=dtype).requires_grad_()]


def test_without_a_block_it_is_the_operator() -> None:
    left, right = factors()
    assert torch.equal(product(left, right), left @ right)
    with products("float32"):
        assert torch.equal(product(left, right), left @ right)
    with products("bf16"):
        wide = factors(torch.float64)
        assert torch.equal(product(*wide), wide[0] @ wide[1])
        assert not torch.equal(product(left, right), left @ right)
    with pytest.raises(KeyError), products("bf16"):
        raise KeyError
    assert torch.equal(product(left, right), left @ right)


def test_bfloat16_rounds_the_factors_and_the_result() -> None:
    left, right = factors()
    with products("bf16"):
        found = product(left, right)
    assert found.dtype == torch.float32
    assert torch.equal(found, (left.bfloat16() @ right.bfloat16()).float())
    torch.testing.assert_close(found, left @ right, rtol=0.02, atol=0.05)


def test_bfloat16_loses_nothing_of_spikes() -> None:
    rng = torch.Generator().manual_seed(1)
    spikes, weights = (torch.rand(9, 30, generator=rng) < 0.2).float(), torch.randint(-8, 8, (30, 6), generator=rng) / 64
    with products("bf16"):
        assert torch.equal(product(spikes, weights), spikes @ weights)


def test_gradients_are_products_of_the_same_kind_and_can_be_differentiated() -> None:
    left, right = factors()
    grad = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(2))
    rounded: dict[str, Any] = {}
    for precision in ("float32", "bf16"):
        with products(precision):  # type: ignore[arg-type]
            found = product(left, right)
        first = torch.autograd.grad(found, (left, right), grad, create_graph=True)
        second = torch.autograd.grad(torch.stack([each.square().sum() for each in first]).sum(), (left, right))
        rounded[precision] = (*first, *second)
    assert torch.equal(rounded["bf16"][0], (grad.bfloat16() @ right.T.bfloat16()).float())
    for name, tolerance in (("float32", 0.0), ("bf16", 0.03)):
        for mine, reference in zip(rounded[name], rounded["float32"], strict=True):
            assert (mine - reference).norm() <= tolerance * reference.norm()
    with products("bf16"):
        product(left.detach(), right).sum().backward()
    assert left.grad is None


def test_tf32_changes_nothing_on_a_cpu_and_no_other_product() -> None:
    left, right = factors()
    before = torch.backends.cuda.matmul.allow_tf32
    with products("tf32"):
        found = product(left, right)
        assert torch.backends.cuda.matmul.allow_tf32 == before
    assert torch.equal(found, left @ right)
    assert torch.equal(torch.autograd.grad(found.sum(), right)[0], torch.autograd.grad((left @ right).sum(), right)[0])


@pytest.mark.parametrize("cell", ["alif", "adlif", "board"])
def test_membranes_and_thresholds_are_not_rounded(make_params: Callable[..., Any], cell: str) -> None:
    rng = torch.Generator().manual_seed(3)
    params = make_params(cell, 9, rng)
    params = params._replace(**{name: value.float() for name, value in params._asdict().items() if isinstance(value, Tensor)})
    current, w_rec = 1 + 2 * torch.randn(20, 4, 9, generator=rng), torch.randn(9, 9, generator=rng)
    plain = network.run(current, w_rec, params)
    with products("bf16"):
        activity = network.run(current, w_rec, params)
    for mine, reference in zip((activity.z, activity.psi, *activity.state), (plain.z, plain.psi, *plain.state), strict=True):
        assert torch.equal(mine, reference)
