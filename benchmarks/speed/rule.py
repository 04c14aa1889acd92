"""The e-prop update of a projection and its outer gradient: factorised, and with one explicit eligibility trace a synapse.

Both compute g = sum_t L^t e^t of one projection and the gradient of <g, R> by learning signals and pseudo-derivatives, which is what priming needs
of it. The explicit traces are those of `snn.eprop.OnlineEprop`, the vectorised online form, under autograd.
"""

from functools import partial

import torch
from torch import Tensor

from snn import eprop
from snn.cells.alif import AlifParams
from speed.measure import Contestant, Row, compare

NEURONS, INPUTS, STEPS = 256, 832, 64


def factorised(x: Tensor, psi: Tensor, signal: Tensor, params: AlifParams, outer: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of <g, outer> by psi and signal through the factorised form."""
    change = eprop.gradient(eprop.factors(psi, signal, params), x)
    return torch.autograd.grad(change, (psi, signal), outer)


def explicit(x: Tensor, psi: Tensor, signal: Tensor, params: AlifParams, outer: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of <g, outer> by psi and signal through explicit traces."""
    rule = eprop.OnlineEprop((psi.shape[-1], x.shape[-1]), params, x.dtype)
    for x_t, psi_t, signal_t in zip(x, psi, signal, strict=True):
        rule.step(x_t, psi_t, signal_t)
    return torch.autograd.grad(rule.gradient, (psi, signal), outer)


def contestants(neurons: int = NEURONS, inputs: int = INPUTS, steps: int = STEPS, dtype: torch.dtype = torch.float32) -> dict[str, Contestant]:
    """Prepare both forms."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, inputs, generator=rng) < 0.15).to(dtype)
    psi = (0.3 * torch.rand(steps, neurons, generator=rng)).to(dtype).requires_grad_()
    signal = torch.randn(steps, neurons, generator=rng).to(dtype).requires_grad_()
    alpha, rho, beta = (torch.full((neurons,), value, dtype=dtype) for value in (0.7, 0.9, 0.3))
    outer = torch.randn(neurons, inputs, generator=rng).to(dtype)
    arguments = x, psi, signal, AlifParams(alpha, rho, beta), outer
    return {"factorised": partial(factorised, *arguments), "explicit traces": partial(explicit, *arguments)}


def measure(repeats: int) -> list[Row]:
    """Compare time and peak memory."""
    return compare(f"e-prop and outer gradient, N={NEURONS}, I={INPUTS}, T={STEPS}", "factorised", contestants(), repeats, memory=True)
