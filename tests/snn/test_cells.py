"""Golden voltages, worked by hand on paper with decays of one half."""

from typing import Any

import pytest
import torch
from torch import Tensor

from snn.cells import adlif, alif
from snn.cells.common import decay

HALF = torch.tensor([0.5], dtype=torch.float64)


def play(cell: Any, params: Any, currents: list[float]) -> list[tuple[Any, Any]]:
    state = cell.initial_state((1,), torch.float64)
    steps = []
    for current in currents:
        out, state = cell.step(torch.tensor([current], dtype=torch.float64), state, params)
        steps.append((out, state))
    return steps


def column(values: list[Tensor]) -> list[float]:
    return [value.item() for value in values]


def test_lif() -> None:
    params = alif.AlifParams(HALF, HALF, 0 * HALF, v_th=1.0, gamma=0.3)
    steps = play(alif, params, [0.5, 0.5, 0.75, 0.0, -1.0])
    # v: 0.5; 0.25 + 0.5; 0.375 + 0.75; 0.5625 + 0 - 1; -0.21875 - 1
    assert column([s.v for _, s in steps]) == [0.5, 0.75, 1.125, -0.4375, -1.21875]
    assert column([o.z for o, _ in steps]) == [0, 0, 1, 0, 0]
    assert column([o.psi for o, _ in steps]) == pytest.approx([0.15, 0.225, 0.2625, 0, 0], abs=1e-15)


def test_lif_with_another_threshold_resets_by_it() -> None:
    params = alif.AlifParams(HALF, HALF, 0 * HALF, v_th=2.0, gamma=0.3)
    steps = play(alif, params, [2.0, 2.0, 2.0])
    assert column([s.v for _, s in steps]) == [2.0, 1.0, 2.5]  # 2; 1 + 2 - 2; 0.5 + 2
    assert column([o.z for o, _ in steps]) == [1, 0, 1]
    assert column([o.psi for o, _ in steps]) == pytest.approx([0.15, 0.075, 0.1125], abs=1e-15)


def test_alif() -> None:
    params = alif.AlifParams(HALF, HALF, 2 * HALF, v_th=1.0, gamma=0.5)
    steps = play(alif, params, [2.0, 2.0, 2.0, 2.0, 0.0])
    # The threshold 1 + a sees a spike one step later: A = 1, 2, 2.5, 1.75, 2.375
    assert column([s.v for _, s in steps]) == [2.0, 2.0, 2.0, 3.0, 0.5]
    assert column([s.a for _, s in steps]) == [0.0, 1.0, 1.5, 0.75, 1.375]
    assert column([o.z for o, _ in steps]) == [1, 1, 0, 1, 0]
    assert column([o.psi for o, _ in steps]) == [0.0, 0.5, 0.25, 0.0, 0.0]


def test_adlif() -> None:
    params = adlif.AdlifParams(HALF, HALF, a=4 * HALF, b=2 * HALF, gamma=0.5)
    steps = play(adlif, params, [4.0, 4.0, 4.0, 8.0, 0.0])
    # t=2: w = 0.5*2*2 + 1 = 3, u = 0.5*(2-1) + 0.5*(4-3). t=3: w = 1.5 + 1 + 1, u = 0 + 0.5*0.5. t=4: w = 1.75 + 0.25, u = 0.125 + 0.5*6.
    # t=5: w = 1 + 3.125 + 1, u = 0.5*2.125 - 0.5*5.125
    assert column([s.u for _, s in steps]) == [2.0, 1.0, 0.25, 3.125, -1.5]
    assert column([s.w for _, s in steps]) == [0.0, 3.0, 3.5, 2.0, 5.125]
    assert column([o.z for o, _ in steps]) == [1, 1, 0, 1, 0]
    assert column([o.psi for o, _ in steps]) == [0.0, 0.5, 0.0, 0.0, 0.0]


def test_alif_eligibility_by_hand() -> None:
    params = alif.AlifParams(HALF, HALF, HALF)
    trace = alif.initial_trace((1, 1), torch.float64)
    eligibility = []
    for x, psi in ((1.0, 0.5), (0.0, 0.25), (1.0, 1.0)):
        e, trace = alif.trace_step(x * torch.ones(1).double(), psi * torch.ones(1).double(), trace, params)
        eligibility.append(e.item())
    # p = 1, 0.5, 1.25; epsilon = 0, 0.5*1 = 0.5, 0.25*0.5 + (0.5 - 0.125)*0.5 = 0.3125; e = psi (p - epsilon / 2)
    assert eligibility == [0.5, 0.25 * (0.5 - 0.25), 1.25 - 0.15625]


def test_adlif_eligibility_by_hand() -> None:
    params = adlif.AdlifParams(HALF, HALF, a=2 * HALF, b=2 * HALF)
    trace = adlif.initial_trace((1, 1), torch.float64)
    eligibility = []
    for x, psi in ((1.0, 0.5), (0.0, 0.5), (1.0, 0.5)):
        e, trace = adlif.trace_step(x * torch.ones(1).double(), psi * torch.ones(1).double(), trace, params)
        eligibility.append(e.item())
    # epsilon_w = 0, (0.5 + 0.5)*0.5 = 0.5, 0.25 - 0.125 = 0.125; epsilon_u = 0.5, 0.125 - 0.25 = -0.125, -0.03125 + 0.5*0.875 = 0.40625
    assert eligibility == [0.25, -0.0625, 0.203125]


def test_decay_is_the_exponential_of_step_over_time_constant() -> None:
    taus = torch.tensor([20.0, 40.0, 1e9], dtype=torch.float64)
    assert decay(taus, 20.0).tolist() == pytest.approx([0.36787944117144233, 0.6065306597126334, 1.0])
