"""Values and gradients of the spike function and its pseudo-derivatives."""

import pytest
import torch

from snn.surrogate import boxcar, spike, triangular


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_triangle_has_its_height_at_threshold_and_the_width_of_the_base_threshold() -> None:
    distance = values(-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3)
    expected = values(0, 0, 0.075, 0.1125, 0.15, 0.1125, 0.075, 0, 0)  # gamma / v_th = 0.15, zero from |d| = 2
    torch.testing.assert_close(triangular(distance, gamma=0.3, v_th=2.0), expected)


def test_boxcar_covers_half_a_threshold_on_either_side() -> None:
    distance = values(-0.51, -0.5, 0, 0.5, 0.51)
    torch.testing.assert_close(boxcar(distance, gamma=0.5), values(0, 0.5, 0.5, 0.5, 0))


def test_spike_at_and_above_threshold() -> None:
    distance = values(-0.1, 0.0, 0.1)
    assert spike(distance, boxcar(distance, 0.5)).tolist() == [0, 1, 1]


@pytest.mark.parametrize("shape", ["triangular", "boxcar"])
def test_spike_is_differentiated_by_the_pseudo_derivative(shape: str) -> None:
    distance = values(-0.7, -0.2, 0.3, 2.0).requires_grad_()
    psi = triangular(distance, 0.3, 1.0) if shape == "triangular" else boxcar(distance, 0.5)
    upstream = values(1, -2, 3, 4)
    (gradient,) = torch.autograd.grad(spike(distance, psi), distance, upstream)
    torch.testing.assert_close(gradient, upstream * psi)  # and nothing from psi's own dependence on the distance


def test_triangle_can_be_differentiated_again() -> None:
    distance = values(-0.7, -0.2, 0.3, 2.5).requires_grad_()
    (gradient,) = torch.autograd.grad(triangular(distance, 0.6, 2.0).sum(), distance)
    torch.testing.assert_close(gradient, values(0.15, 0.15, -0.15, 0))  # slope gamma / v_th^2
