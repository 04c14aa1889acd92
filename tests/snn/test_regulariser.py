"""The firing-rate regulariser against finite differences, and the direction in which it drives a neuron."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import eprop, network
from snn.regulariser import rate_loss, rate_signal


def test_loss_by_hand() -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)  # rates 0.5 and 0
    assert rate_loss(z, 0.1).item() == pytest.approx(0.5 * (0.4**2 + 0.1**2) / 2)


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 3), (4, 2, 3, 2)])
def test_signal_equals_finite_differences(shape: tuple[int, ...], make_spikes: Callable[..., Tensor]) -> None:
    z = make_spikes(*shape, rate=0.3, rng=torch.Generator().manual_seed(1))
    signal = rate_signal(z, 0.2)
    assert signal.shape == z.shape
    step = 1e-6
    numeric = torch.zeros_like(z)
    for index in range(z.numel()):
        bump = torch.zeros(z.numel(), dtype=torch.float64)
        bump[index] = step
        numeric.view(-1)[index] = (rate_loss(z + bump.reshape(shape), 0.2) - rate_loss(z - bump.reshape(shape), 0.2)) / (2 * step)
    torch.testing.assert_close(signal, numeric, rtol=1e-7, atol=1e-10)


def test_signal_equals_autograd(make_spikes: Callable[..., Tensor]) -> None:
    z = make_spikes(9, 4, 5, rate=0.3, rng=torch.Generator().manual_seed(2)).requires_grad_()
    (gradient,) = torch.autograd.grad(rate_loss(z, 0.1), z)
    torch.testing.assert_close(gradient, rate_signal(z.detach(), 0.1))


@pytest.mark.parametrize(("target", "direction"), [(0.0, -1), (1.0, 1)])
@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
def test_eprop_on_the_signal_brings_the_rate_to_its_target(
    make_params: Callable[..., Any], make_spikes: Callable[..., Tensor], cell: str, target: float, direction: int
) -> None:
    rng = torch.Generator().manual_seed(3)
    params = make_params(cell, 8, rng)
    weights = torch.rand(8, 6, generator=rng, dtype=torch.float64)
    x = make_spikes(60, 6, rate=0.4, rng=rng)
    silent = torch.zeros(8, 8, dtype=torch.float64)
    before = network.run(network.project(x, weights), silent, params)
    assert 0.05 < before.z.mean() < 0.9
    gradient = eprop.gradient(eprop.factors(before.psi, rate_signal(before.z, target), params, before.z), x)
    after = network.run(network.project(x, weights - 20 * gradient), silent, params)
    assert direction * (after.z.mean() - before.z.mean()) > 0.01
