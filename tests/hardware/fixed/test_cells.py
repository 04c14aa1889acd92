"""The cells in s16.15: bit for bit against Python's integers, and near the cells that were primed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.fixed.arithmetic import ONE, multiply, multiply_nearest, to_fixed, to_float
from hardware.fixed.cells import cell_named
from snn import eprop, network
from snn.cells.adlif import AdlifParams
from snn.cells.alif import AlifParams
from snn.cells.board import BoardParams

CELLS = ("lif", "alif", "adlif", "board")
N = 6


def params_of(cell: str, rng: np.random.Generator) -> network.Params:
    def between(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, N))

    alpha, rho = between(0.3, 0.9), between(0.5, 0.97)
    if cell == "adlif":
        return AdlifParams(alpha, rho, between(-0.3, 0.5), between(0, 1), 0.5)
    if cell == "board":
        return BoardParams(alpha, rho, between(0, 0.6), 0.8, 0.4)
    return AlifParams(alpha, rho, between(0.1, 0.6) if cell == "alif" else torch.zeros(N, dtype=torch.float64), 0.8, 0.4)


def wrapped(n: int) -> int:
    return (n + 2**31) % 2**32 - 2**31


def floored(a: int, b: int) -> int:
    return wrapped((wrapped(a) * wrapped(b)) // 2**15)


def reference(cell: str, params: Any, current: list[list[int]]) -> list[list[int]]:
    """Distances to the threshold at every step, one neuron after the other, in Python's integers."""
    one = 2**15

    def fixed(value: float) -> int:
        return round(float(value) * one)

    out = []
    for j in range(N):
        alpha, rho = fixed(params.alpha[j]), fixed(params.rho[j])
        v = adaptation = z = 0
        distances = []
        for row in current:
            if cell == "adlif":
                a, b = float(params.a[j]), fixed(params.b[j])
                adaptation = floored(rho, adaptation) + floored(fixed((1 - float(params.rho[j])) * a), v) + z * b
                v = floored(alpha, v - z * one) + floored(fixed(1 - float(params.alpha[j])), row[j] - adaptation)
                distance = v - one
            elif cell == "board":
                adaptation = floored(rho, adaptation + z * fixed(params.jump[j]))
                settled = floored(row[j] - adaptation, fixed(1 / (1 - float(params.alpha[j]))))
                v = settled - floored(alpha, settled - (0 if z else v))
                distance = v - fixed(params.v_th)
            else:
                v = floored(alpha, v) + row[j] - z * fixed(params.v_th)
                adaptation = floored(rho, adaptation) + z * one
                distance = v - fixed(params.v_th) - floored(fixed(params.beta[j]), adaptation)
            v, adaptation, distance = wrapped(v), wrapped(adaptation), wrapped(distance)
            z = int(distance >= 0)
            distances.append(distance)
        out.append(distances)
    return [list(row) for row in zip(*out, strict=True)]


def run(cell: str, params: network.Params, current: Any) -> tuple[Any, Any, Any]:
    """Distances, pseudo-derivatives and spikes of every step."""
    functions = cell_named(cell)
    constants, state = functions.constants(params), functions.initial_state((N,))
    distances, psis, spikes = [], [], []
    for row in current:
        state = functions.step(row, state, constants)
        distances.append(state.distance)
        psis.append(functions.psi(state.distance, constants))
        spikes.append(state.z)
    return np.stack(distances), np.stack(psis), np.stack(spikes)


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), largest=st.sampled_from([1.0, 2.0, 60000.0]))
def test_membranes_bit_for_bit(cell: str, seed: int, largest: float) -> None:
    """Also where they leave the range and wrap."""
    rng = np.random.default_rng(seed)
    params = params_of(cell, rng)
    current = to_fixed(rng.uniform(-0.3, 1, (30, N)) * largest)
    distances, _, _ = run(cell, params, current)
    assert distances.tolist() == reference(cell, params, current.tolist())


@pytest.mark.parametrize("cell", CELLS)
def test_one_step_is_near_the_primed_cell(cell: str) -> None:
    """Every step starts from the same spikes, so that no difference grows through a threshold."""
    rng = np.random.default_rng(3)
    params = params_of(cell, rng)
    current = rng.normal(0.4, 0.8, (60, N))
    distances, psis, spikes = run(cell, params, to_fixed(current))
    functions = network.cell_of(params)
    state = functions.initial_state((N,), torch.float64)
    checked = 0
    for t, row in enumerate(current):
        out, state = functions.step(torch.from_numpy(row), state, params)
        sure = np.abs(to_float(distances[t])) > 2e-3
        np.testing.assert_array_equal(out.z.numpy()[sure], spikes[t][sure])
        boundary = cell == "adlif"  # where the boxcar ends, the last bit decides
        near = sure & (np.abs(np.abs(to_float(distances[t])) - 0.5) > 2e-3) if boundary else sure
        np.testing.assert_allclose(out.psi.numpy()[near], to_float(psis[t])[near], rtol=0, atol=1e-3)
        state = state._replace(z=torch.from_numpy(spikes[t]).double())
        checked += int(near.sum())
    assert checked > 0.9 * spikes.size
    assert 0.03 < spikes.mean() < 0.9


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("product", [multiply, multiply_nearest])
def test_traces_and_factors_are_near_those_of_the_primed_cell(cell: str, product: Callable[..., Any]) -> None:
    rng = np.random.default_rng(4)
    params, steps, inputs = params_of(cell, rng), 40, 7
    functions = cell_named(cell)
    constants = functions.constants(params)
    _, psi, z = run(cell, params, to_fixed(rng.normal(0.4, 0.8, (steps, N))))
    x, signal = (rng.random((steps, inputs)) < 0.3).astype(np.int32), to_fixed(rng.normal(0, 0.5, (steps, N)))
    exact = [torch.from_numpy(values) for values in (to_float(psi), to_float(signal), z.astype(np.float64))]
    expected = eprop.factors(exact[0], exact[1], params, exact[2])
    np.testing.assert_allclose(to_float(functions.factors(psi, signal, z, constants, product)), expected.numpy(), rtol=0, atol=5e-3)
    trace, wanted = functions.initial_trace((N, inputs)), network.cell_of(params).initial_trace((N, inputs), torch.float64)
    largest = 0.0
    for t in range(steps):
        eligibility, trace = functions.trace_step(x[t] * ONE, psi[t], z[t], trace, constants, product)
        same, wanted = network.cell_of(params).trace_step(torch.from_numpy(x[t]).double(), exact[0][t], wanted, params, exact[2][t])
        np.testing.assert_allclose(to_float(eligibility), same.numpy(), rtol=0, atol=5e-3)
        largest = max(largest, float(same.abs().max()))
    assert largest > 0.1
    assert expected.abs().max() > 0.1
