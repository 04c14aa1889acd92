"""e-prop three ways: traces forward in time, factors backward in time, and autograd with the recurrent spikes detached."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from snn import eprop, network
from snn.cells.adlif import AdlifParams

CELLS = ("lif", "alif", "adlif", "board")
TOLERANCE = 1e-10


class Run(NamedTuple):
    """A population that heard something."""

    params: Any
    x: Tensor  # [T, I] spikes
    center: Tensor  # [I] what a channel does usually
    w_in: Tensor  # [N, I] masked
    w_rec: Tensor  # [N, N] masked
    mask_in: Tensor
    mask_rec: Tensor
    signal: Tensor  # [T, N]
    z: Tensor  # [T, N]
    psi: Tensor  # [T, N]
    reference: tuple[Tensor, Tensor]  # autograd's gradients of sum(L z)

    @property
    def unusual(self) -> Tensor:
        """Presynaptic signal of W_in, x - c [T, I]."""
        return self.x - self.center


def experiment(make_params: Callable[..., Any], cell: str, seed: int, steps: int, groups: tuple[int, ...], inputs: int, detach: bool = True) -> Run:
    """Let a population hear x, and differentiate sum(L z) by weights whose change leaves the current of the usual input, W c, as it is."""
    rng = torch.Generator().manual_seed(seed)
    neurons = sum(groups)
    params = make_params(cell, neurons, rng)
    mask_in, mask_rec = network.masks(groups, inputs, torch.float64)
    w_in = (torch.randn(neurons, inputs, generator=rng, dtype=torch.float64) * 1.5).requires_grad_()
    w_rec = torch.randn(neurons, neurons, generator=rng, dtype=torch.float64).requires_grad_()
    x = (torch.rand(steps, inputs, generator=rng) < 0.4).double()
    center = torch.rand(inputs, generator=rng, dtype=torch.float64)
    signal = torch.randn(steps, neurons, generator=rng, dtype=torch.float64)
    usual = (w_in * mask_in).detach() @ center
    bias = usual + torch.full((neurons,), 0.4, dtype=torch.float64)
    activity = network.run(network.project(x - center, w_in * mask_in) + bias, w_rec * mask_rec, params, detach_recurrent=detach)
    grad_in, grad_rec = torch.autograd.grad((signal * activity.z).sum(), (w_in, w_rec))
    z, psi = activity.z.detach(), activity.psi.detach()
    masked = (w_in * mask_in).detach(), (w_rec * mask_rec).detach()
    return Run(params, x, center, *masked, mask_in, mask_rec, signal, z, psi, (grad_in, grad_rec))


def online(run: Run, presynaptic: Tensor) -> Tensor:
    rule = eprop.OnlineEprop((run.psi.shape[-1], presynaptic.shape[-1]), run.params, torch.float64)
    for row in zip(presynaptic, run.psi, run.signal, run.z, strict=True):
        rule.step(*row)
    return rule.gradient


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 25),
    groups=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    inputs=st.integers(1, 6),
)
def test_online_equals_factorised_equals_autograd(
    make_params: Callable[..., Any], cell: str, seed: int, steps: int, groups: list[int], inputs: int
) -> None:
    run = experiment(make_params, cell, seed, steps, tuple(groups), inputs)
    factor = eprop.factors(run.psi, run.signal, run.params, run.z)
    for presynaptic, mask, reference in ((run.unusual, run.mask_in, run.reference[0]), (network.delayed(run.z), run.mask_rec, run.reference[1])):
        forward = online(run, presynaptic) * mask
        backward = eprop.gradient(factor, presynaptic) * mask
        assert (forward - backward).abs().max() <= TOLERANCE
        assert (forward - reference).abs().max() <= TOLERANCE


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cell", CELLS)
def test_the_comparison_has_something_to_compare(make_params: Callable[..., Any], cell: str, seed: int) -> None:
    run = experiment(make_params, cell, seed, 40, (8, 6), 6)
    assert 0.05 < run.z.mean() < 0.7
    assert run.z[:, 8:].sum() > 0
    assert all(gradient.abs().max() > 0.1 for gradient in run.reference)
    through_time = experiment(make_params, cell, seed, 40, (8, 6), 6, detach=False)
    difference = (through_time.reference[0] - run.reference[0]).abs().max()
    assert difference > 1e-3  # e-prop is not back-propagation through time


@pytest.mark.parametrize("cell", CELLS)
def test_the_constant_part_is_what_a_bias_gets(make_params: Callable[..., Any], cell: str) -> None:
    """A device takes it off with one synapse more per neuron, on which a presynaptic signal of 1 arrives at every step."""
    run = experiment(make_params, cell, 2, 30, (6,), 5)
    bias = online(run, torch.ones(30, 1, dtype=torch.float64))
    assert bias.abs().max() > 0.1
    torch.testing.assert_close(online(run, run.unusual), online(run, run.x) - bias * run.center, rtol=0, atol=TOLERANCE)


def numpy_eligibility(run: Run, presynaptic: NDArray[np.float64], cell: str) -> NDArray[np.float64]:
    """Differentiate every neuron's own state by every weight, one synapse at a time, forward in time: e [T, N, I]."""
    psi = run.psi.numpy()
    steps, neurons = psi.shape
    out = np.zeros((steps, neurons, presynaptic.shape[1]))
    for j in range(neurons):
        for i in range(presynaptic.shape[1]):
            membrane = adaptation = spike = 0.0  # derivatives of v_j (u_j), a_j (w_j) and z_j by W_ji
            if cell == "adlif":
                alpha, rho, a, b = (float(p[j]) for p in run.params[:4])
            else:
                alpha, rho, strength = (float(p[j]) for p in run.params[:3])  # beta, or the board's jump
            for t in range(steps):
                if cell == "adlif":
                    adaptation = rho * adaptation + (1 - rho) * a * membrane + b * spike
                    membrane = alpha * (membrane - spike) + (1 - alpha) * (presynaptic[t, i] - adaptation)
                    spike = psi[t, j] * membrane
                elif cell == "board":
                    fired = t > 0 and run.z[t - 1, j] == 1
                    adaptation = rho * (adaptation + strength * spike)
                    membrane = presynaptic[t, i] - adaptation + (0 if fired else alpha * membrane)
                    spike = psi[t, j] * membrane
                else:
                    membrane = alpha * membrane + presynaptic[t, i]
                    adaptation = rho * adaptation + spike
                    spike = psi[t, j] * (membrane - strength * adaptation)
                out[t, j, i] = spike
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cell", CELLS)
def test_traces_equal_an_independent_reference_at_every_step(make_params: Callable[..., Any], cell: str, seed: int) -> None:
    run = experiment(make_params, cell, seed, 30, (4, 3), 5)
    functions = network.cell_of(run.params)
    for presynaptic in (run.x, run.unusual, network.delayed(run.z)):
        expected = numpy_eligibility(run, presynaptic.numpy(), cell)
        trace = functions.initial_trace((7, presynaptic.shape[1]), torch.float64)
        for t in range(30):
            eligibility, trace = functions.trace_step(presynaptic[t], run.psi[t], trace, run.params, run.z[t])
            np.testing.assert_allclose(eligibility.numpy(), expected[t], rtol=0, atol=1e-12)


def numpy_spikes(run: Run, cell: str) -> NDArray[np.float64]:
    """Simulate the network one neuron at a time."""
    steps, neurons = run.psi.shape
    z, before = np.zeros((steps, neurons)), np.zeros(neurons)
    v, w = np.zeros(neurons), np.zeros(neurons)
    for t in range(steps):
        for j in range(neurons):
            current = 0.4 + run.w_in[j].numpy() @ run.x[t].numpy() + run.w_rec[j].numpy() @ before
            if cell == "adlif":
                alpha, rho, a, b = (float(p[j]) for p in run.params[:4])
                w[j] = rho * w[j] + (1 - rho) * a * v[j] + b * before[j]
                v[j] = alpha * (v[j] - before[j]) + (1 - alpha) * (current - w[j])
                z[t, j] = v[j] >= 1
            elif cell == "board":
                alpha, rho, jump = (float(p[j]) for p in run.params[:3])
                w[j] = rho * (w[j] + jump * before[j])
                v[j] = (0 if before[j] else alpha * v[j]) + current - w[j]
                z[t, j] = v[j] >= run.params.v_th
            else:
                alpha, rho, beta = (float(p[j]) for p in run.params[:3])
                v[j] = alpha * v[j] + current - run.params.v_th * before[j]
                w[j] = rho * w[j] + before[j]
                z[t, j] = v[j] >= run.params.v_th + beta * w[j]
        before = z[t]
    return z


@pytest.mark.parametrize("cell", CELLS)
def test_spikes_equal_an_independent_simulation(make_params: Callable[..., Any], cell: str) -> None:
    run = experiment(make_params, cell, 5, 60, (6, 5), 6)
    np.testing.assert_array_equal(run.z.numpy(), numpy_spikes(run, cell))


@pytest.mark.parametrize("cell", CELLS)
def test_tasks_beside_each_other_do_not_mix(make_params: Callable[..., Any], cell: str) -> None:
    rng = torch.Generator().manual_seed(9)
    params = make_params(cell, 5, rng)
    psi = torch.rand(12, 3, 2, 5, generator=rng, dtype=torch.float64) * 0.5
    signal = torch.randn(12, 3, 2, 5, generator=rng, dtype=torch.float64)
    x = torch.randn(12, 3, 2, 4, generator=rng, dtype=torch.float64)
    z = (torch.rand(12, 3, 2, 5, generator=rng) < 0.4).double()
    rule = eprop.OnlineEprop((3, 2, 5, 4), params, torch.float64)
    for arguments in zip(x, psi, signal, z, strict=True):
        rule.step(*arguments)
    together = eprop.gradient(eprop.factors(psi, signal, params, z), x)
    assert together.shape == (3, 2, 5, 4)
    torch.testing.assert_close(rule.gradient, together, rtol=0, atol=TOLERANCE)
    alone = eprop.gradient(eprop.factors(psi[:, 2, 1], signal[:, 2, 1], params, z[:, 2, 1]), x[:, 2, 1])
    torch.testing.assert_close(together[2, 1], alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("cell", CELLS)
def test_an_online_trace_knows_nothing_of_the_future(make_params: Callable[..., Any], cell: str) -> None:
    run = experiment(make_params, cell, 3, 20, (5,), 4)
    changed = run._replace(psi=torch.cat([run.psi[:12], torch.rand(8, 5, dtype=torch.float64)]))
    signal = torch.cat([run.signal[:12], torch.zeros(8, 5, dtype=torch.float64)])  # nothing is learnt from the part that differs
    first = online(run._replace(signal=signal), run.unusual)
    assert first.any()
    assert torch.equal(first, online(changed._replace(signal=signal), run.unusual))


def test_lif_is_alif_without_adaptation_whatever_its_decay(make_params: Callable[..., Any]) -> None:
    run = experiment(make_params, "lif", 1, 30, (6,), 4)
    other = run.params._replace(rho=torch.full((6,), 0.123, dtype=torch.float64))
    assert torch.equal(eprop.factors(run.psi, run.signal, run.params), eprop.factors(run.psi, run.signal, other))


def test_cells_are_told_apart_by_their_parameters(make_params: Callable[..., Any]) -> None:
    rng = torch.Generator().manual_seed(0)
    assert isinstance(make_params("adlif", 3, rng), AdlifParams)
    assert len({network.cell_of(make_params(cell, 3, rng)) for cell in ("alif", "adlif", "board")}) == 3
